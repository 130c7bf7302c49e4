"""A regime read from its folder: dated tables, Cedar rules, and the part of the schema that its rules need.

Fails closed: a folder without its files, a table that is not one, a rule that speaks of an unknown fact, word or list
makes loading fail with the cause. Adding a regime is adding a folder; no Python knows its name.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import cedarpy
from pydantic import BaseModel

from policies.document import read_document, validate
from policies.errors import InvalidInput, InvalidPolicy
from policies.law.catalogue import Catalogue
from policies.law.derive import CLASSES, GRADES, MEASURES
from policies.law.tables import CommonTables, Duty, Lever, PlaceRow, RegimeTables
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
    """One regime: its tables, the text of its rules, what they speak of, and their JSON form by @id."""

    tables: RegimeTables
    rules: str
    spoken: Spoken
    policies: Mapping[str, Mapping[str, Any]] = field(hash=False)

    @property
    def name(self) -> str:
        """The regime's name, which is also its Cedar action."""
        return self.tables.regime

    @property
    def entity(self) -> str:
        """The Cedar type of a transfer under this regime."""
        return f"Transfer_{self.name}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that a row of its tables rests on, once."""
        tables = self.tables
        listed = (row for rows in tables.lists.values() for row in rows)
        rows = (*listed, *tables.adequacy, *tables.tools, *tables.thresholds)
        return tuple(sorted({row.source for row in rows}))

    @property
    def digest(self) -> str:
        """The version of this regime's data: SHA-256 of its rules and tables."""
        text = json.dumps([self.rules, self.tables.model_dump(mode="json")], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def lists(self, common: Lists) -> Lists:
        """The regime's own lists (`regime/list`) and the common ones, by the names that rules use."""
        return common | {f"{self.name}/{name}": rows for name, rows in self.tables.lists.items()}

    def attributes(self, catalogue: Catalogue) -> dict[str, str]:
        """The Cedar type of each fact that the rules read."""
        return {name: _cedar_type(name, catalogue) for name in self.spoken.facts}

    def schema(self, catalogue: Catalogue) -> str:
        """The Cedar schema of this regime: exactly the facts that its rules read."""
        facts = ", ".join(f'"{name}": {kind}' for name, kind in sorted(self.attributes(catalogue).items()))
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
    found = _policies(rules, f"{folder.name}/{RULES}")
    return Regime(tables, rules, spoken(found), {str(_annotations(one).get("id")): one for one in found.values()})


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
    check_levers(regime.tables.levers, f"{regime.name}/{FACTS}", catalogue)


def check_levers(levers: Sequence[Lever], where: str, catalogue: Catalogue) -> None:
    """Refuse a lever that sets an unknown fact, or claims something about the world. Raises InvalidPolicy.

    Without `only_if` a suggestion would read as if writing the claim down made it true.
    """
    for lever in levers:
        unknown = next((name for name in lever.set if name not in catalogue.rules), None)
        if unknown is not None:
            raise InvalidPolicy(f"a lever sets an unknown fact `{unknown}`", where=where, right="a fact of the tables")
        claims = catalogue.claims(lever.set)
        if claims and not lever.only_if:
            what = f"the lever `{lever.say}` claims `{claims[0]}`"
            raise InvalidPolicy(what, where=where, right="say in `only_if` what must really be so")


def check_categories(catalogue: Catalogue) -> None:
    """Refuse a field that makes something true of a cut column which no fact can be. Raises InvalidPolicy."""
    for name, category in catalogue.common.categories.items():
        for fact, value in (pair for row in category.masked for pair in row.raises.items()):
            rule = catalogue.rules.get(fact)
            if rule is None or rule.raised:  # a raised flag would become true again
                right = "a fact of the tables that is not `raised`"
                raise InvalidPolicy(f"`{name}`, masked, makes `{fact}` true", where=COMMON, right=right)
            _read_in(catalogue, fact, value, COMMON)


def obligations_of(common: CommonTables, regimes: Sequence[Regime]) -> dict[str, Duty]:
    """Every obligation there is, by code, of `common.yaml` and of the regimes.

    Raises InvalidPolicy for a code that is there twice, and where one binds columns of a field that nobody knows: it
    would bind nothing.
    """
    found: dict[str, Duty] = {}
    tables = {COMMON: common.obligations} | {f"{one.name}/{FACTS}": one.tables.obligations for one in regimes}
    for where, duties in tables.items():
        for code, duty in duties.items():
            if code in found:
                raise InvalidPolicy(f"obligation `{code}` is declared twice", where=where, right="rename it")
            bound = duty.binds.categories if duty.binds is not None else ()
            unknown = next((name for name in bound if name not in common.categories), None)
            if unknown is not None:
                what = f"obligation `{code}` binds columns of `{unknown}`, which is no field"
                raise InvalidPolicy(what, where=where, right="a field of common.yaml's `categories`")
            found[code] = duty
    return found


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
        _read_in(catalogue, fact, [value] if rule.type in {"words", "places", "categories"} else value, where)


def _read_in(catalogue: Catalogue, fact: str, value: Any, where: str) -> None:
    """Raise InvalidPolicy unless a table may give the fact this value."""
    try:
        catalogue.read(fact, value)
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


def _annotations(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    """The annotations of a policy; that each has its @id is checked when the rules become a bundle."""
    found: Mapping[str, Any] = policy.get("annotations") or {}
    return found


def _policies(text: str, where: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        found: Mapping[str, Mapping[str, Any]] = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    except ValueError as error:
        cause = " ".join(str(error).split())[:200]
        raise InvalidPolicy(f"not readable as Cedar: {cause}", where=where, right="mend it") from error
    return found
