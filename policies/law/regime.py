"""A regime read from its folder: dated tables, Cedar rules, and the part of the schema that its rules need.

Fails closed: a folder without its files, a table that is not one, a rule that speaks of an unknown fact, word or list
makes loading fail with the cause. Adding a regime is adding a folder; no Python knows its name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeVar

import cedarpy
from pydantic import BaseModel

from policies.document import read_document, validate
from policies.errors import InvalidInput, InvalidPolicy
from policies.law.catalogue import Catalogue
from policies.law.derive import CLASSES, GRADES, MEASURES
from policies.law.tables import CommonTables, PlaceRow, RegimeTables
from policies.law.vocabulary import Spoken, spoken

COMMON, FACTS, RULES, CASES = "common.yaml", "facts.yaml", "rules.cedar", "cases"
AREA = "area"
_DERIVED = {"class": "String", "measure": "String", "adequacy": "String", "tools": "Set<String>",
            "reached": "Set<String>"}  # fmt: skip
_CEDAR = {"flag": "Bool", "count": "Long", "word": "String", "text": "String", "purpose": "String",
          "words": "Set<String>", "categories": "Set<String>", "places": "Set<String>"}  # fmt: skip
_PLACES = ("src", "key_holder")

M = TypeVar("M", bound=BaseModel)
Lists = dict[str, tuple[PlaceRow, ...]]


@dataclass(frozen=True)
class Regime:
    """One regime: its tables, the text of its rules, and what they speak of."""

    tables: RegimeTables
    rules: str
    spoken: Spoken

    @property
    def name(self) -> str:
        """The regime's name, which is also its Cedar action."""
        return self.tables.regime

    @property
    def entity(self) -> str:
        """The Cedar type of a transfer under this regime."""
        return f"Transfer_{self.name}"

    def lists(self, common: Lists) -> Lists:
        """The regime's own lists (`regime/list`) and the common ones, by the names that rules use."""
        return common | {f"{self.name}/{name}": rows for name, rows in self.tables.lists.items()}

    def schema(self, catalogue: Catalogue) -> str:
        """The Cedar schema of this regime: exactly the facts that its rules read."""
        facts = ", ".join(f'"{name}": {_cedar_type(name, catalogue)}' for name in sorted(self.spoken.facts))
        return (
            f"entity {self.entity} {{ {facts} }};\n"
            f"action {self.name} appliesTo {{ principal: [Place], resource: [{self.entity}], context: {{}} }};\n"
        )


def _cedar_type(name: str, catalogue: Catalogue) -> str:
    if name in _PLACES:
        return "Place"
    rule = catalogue.rules.get(name)
    return _DERIVED.get(name) or _CEDAR[rule.type if rule else ""]


def packaged() -> Traversable:
    """The folder of the regimes that come with inbond."""
    return resources.files("policies.regimes")


def read_common(folder: Traversable) -> CommonTables:
    """Read `common.yaml` of `folder`. Raises InvalidPolicy."""
    return _table(CommonTables, folder.joinpath(COMMON), COMMON)


def regime_folders(folder: Traversable) -> Iterator[Traversable]:
    """The folders of regimes in `folder`, in order of their names. Raises InvalidPolicy when it cannot be read."""
    try:
        found = sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: one.name)
    except OSError as error:
        raise InvalidPolicy(f"cannot be read: {error.strerror}", where=str(folder), right="a folder") from error
    yield from (one for one in found if one.joinpath(FACTS).is_file() or one.joinpath(RULES).is_file())


def read_regime(folder: Traversable) -> Regime:
    """Read one regime's folder. Raises InvalidPolicy."""
    tables = _table(RegimeTables, folder.joinpath(FACTS), f"{folder.name}/{FACTS}")
    if tables.regime != folder.name:
        raise InvalidPolicy(f"the folder holds regime `{tables.regime}`", where=folder.name, right="one name for both")
    rules = _text(folder.joinpath(RULES), f"{folder.name}/{RULES}")
    return Regime(tables, rules, spoken(_policies(rules, f"{folder.name}/{RULES}")))


def check(regime: Regime, common: CommonTables, catalogue: Catalogue) -> None:
    """Refuse names and words in rules and tables that nothing defines. Raises InvalidPolicy."""
    where, lists = f"{regime.name}/{RULES}", regime.lists(common.lists)
    if regime.spoken.actions != {regime.name}:
        right = f'write `action == Action::"{regime.name}"` in every rule'
        raise InvalidPolicy("a rule is for another action, or for all", where=where, right=right)
    for fact in regime.spoken.facts:
        rule = catalogue.rules.get(fact)
        if fact not in (*_DERIVED, *_PLACES) and (rule is None or rule.type not in _CEDAR):
            raise InvalidPolicy(f"rules cannot read a fact `{fact}`", where=where, right="declare it in facts.yaml")
    for fact, word in regime.spoken.words:
        if word not in _vocabulary(regime, fact, catalogue):
            raise InvalidPolicy(f"`{fact}` is never `{word}`", where=where, right="a word that the tables know")
    for name in (*regime.spoken.lists, *_named_lists(regime)):
        if name not in lists:
            raise InvalidPolicy(f"there is no list `{name}`", where=where, right="define it in facts.yaml")
    _check_tables(regime, catalogue)


def _named_lists(regime: Regime) -> Iterator[str]:
    tables = regime.tables
    rows = (*(row for rows in tables.lists.values() for row in rows), *tables.adequacy)
    yield from (name for row in rows for name in row.lists)
    yield from (f"{regime.name}/{name}" for tool in tables.tools for name in tool.to)
    if tables.applies.source or tables.applies.subjects:
        yield f"{regime.name}/{AREA}"


def _vocabulary(regime: Regime, fact: str, catalogue: Catalogue) -> frozenset[str]:
    known = {
        "class": frozenset(CLASSES),
        "measure": frozenset(MEASURES),
        "adequacy": frozenset(GRADES),
        "tools": frozenset(row.kind for row in regime.tables.tools),
        "reached": frozenset(row.name for row in regime.tables.thresholds),
    }
    rule = catalogue.rules.get(fact)
    return known.get(fact) or frozenset(rule.values if rule else ())


def _check_tables(regime: Regime, catalogue: Catalogue) -> None:
    """Every condition of a table must be on a fact there is, with a value it can have."""
    tables = regime.tables
    wanted = [(fact, value) for row in tables.tools for fact, values in row.when.items() for value in values]
    wanted += [(fact, value) for row in tables.adequacy for fact, value in row.scope.items()]
    wanted += [(fact, value) for fact, values in tables.applies.when.items() for value in values]
    where = f"{regime.name}/{FACTS}"
    for row in tables.thresholds:
        rule = catalogue.rules.get(row.fact)
        counted = rule is not None and rule.type in ({"counts"} if row.key else {"count", "flag"})
        if rule is None or not counted or (row.key is not None and row.key not in rule.values):
            raise InvalidPolicy(f"threshold `{row.name}` counts no fact", where=where, right="a count and its key")
    for fact, value in wanted:
        rule = catalogue.rules.get(fact)
        if rule is None:
            raise InvalidPolicy(f"there is no fact `{fact}`", where=where, right="declare it under `facts`")
        try:
            catalogue.read(fact, [value] if rule.type in {"words", "places", "categories"} else value)
        except InvalidInput as error:
            raise InvalidPolicy(error.what, where=where, right=error.right) from error


def _table(model: type[M], file: Traversable, where: str) -> M:
    try:
        return validate(model, read_document(_text(file, where), where))
    except InvalidInput as error:
        raise InvalidPolicy(error.what, where=error.where, right=error.right) from error


def _text(file: Traversable, where: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPolicy("cannot be read", where=where, right="put the file back") from error


def _policies(text: str, where: str) -> Mapping[str, Mapping[str, object]]:
    try:
        found: Mapping[str, Mapping[str, object]] = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    except ValueError as error:
        cause = " ".join(str(error).split())[:200]
        raise InvalidPolicy(f"not readable as Cedar: {cause}", where=where, right="mend it") from error
    return found
