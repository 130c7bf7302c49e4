"""The law of this node: regimes and catalogue, loaded once; facts of transfers in, explained answers out.

Learns facts of transfers, no data. Several regimes are asked about one transfer and each must permit; any denial
wins. Fails closed: what cannot be loaded, read or evaluated is a denial with its cause, from the first line on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from importlib.resources.abc import Traversable
from typing import Any

from policies.bundle import Bundle, load_bundle
from policies.engine import CACHE_SIZE
from policies.errors import InvalidInput, InvalidPolicy, PolicyError
from policies.law.catalogue import Catalogue, Sheet
from policies.law.decision import LawDecision, LegalDuty, Outcome
from policies.law.derive import InForce, adequacy, classify, in_force, measure, reached, released, tools
from policies.law.joint import ACTION, ENTITY, Joint, joint_schema, own_name
from policies.law.regime import (
    AREA,
    COMMON,
    Regime,
    check,
    check_categories,
    check_levers,
    obligations_of,
    packaged,
    read_common,
    read_regime,
    regime_folders,
)
from policies.law.tables import CommonTables, Duty, members
from policies.request import AccessRequest, Entity, EntityRef, EntitySet, Fact, Facts

SILENT = "-"
"""`@rule("-")`: a policy that adds duties or permits beside others and is not itself told as the deciding rule."""
NOWHERE = EntityRef("Place", "none")


@dataclass(frozen=True, eq=False)
class Question:
    """One transfer, ready to be decided: a request for all regimes that apply. `causes` deny without asking.

    Equal by what is asked; its hash is kept, for an answer from memory must cost less than an answer.
    """

    sheet: Sheet | None
    day: date
    object_class: str
    regimes: tuple[str, ...]
    requests: tuple[AccessRequest, ...]
    entities: EntitySet
    causes: tuple[str, ...] = ()

    @cached_property
    def _asked(self) -> tuple[EntitySet, tuple[AccessRequest, ...], Sheet | None, tuple[str, ...]]:
        return self.entities, self.requests, self.sheet, self.causes

    @cached_property
    def _hash(self) -> int:
        return hash(self._asked)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Question) and self._asked == other._asked)


class Law:
    """Regimes that are in force at this node. Another set of rules or tables is another Law, with an empty memory."""

    def __init__(self, common: CommonTables, regimes: Sequence[Regime]) -> None:
        self.common, self.regimes = common, {regime.name: regime for regime in regimes}
        _all_there(common, regimes)
        self.catalogue = Catalogue(common, (regime.tables for regime in regimes))
        check_levers(common.levers, COMMON, self.catalogue)
        check_categories(self.catalogue)
        self.obligations = obligations_of(common, regimes)
        for regime in regimes:
            check(regime, common, self.catalogue)
        self.bundle = _bundle(regimes, self.catalogue)
        attributes = {
            own_name(regime.name, name): kind
            for regime in regimes
            for name, kind in regime.attributes(self.catalogue).items()
        }
        rules = {regime.name: regime.policies for regime in regimes}
        self.joint = Joint(rules, self.bundle, joint_schema(attributes))
        self.digest = _digest(self.bundle, common, regimes)
        self._notes = _notes(self.bundle, self.obligations)
        self._told = lru_cache(maxsize=CACHE_SIZE)(self._together)
        self._world = lru_cache(maxsize=64)(self._lists_on)
        self._place = lru_cache(maxsize=CACHE_SIZE)(self._place_on)
        self._in_force = lru_cache(maxsize=64 * len(self.regimes))(self._tables_on)
        self._kept = lru_cache(maxsize=CACHE_SIZE)(self.decide)

    def judge(self, facts: Mapping[str, Any]) -> LawDecision:
        """Decide one transfer from a mapping of facts, a stranger's perhaps. Never raises."""
        try:
            return self.decide(self.questions([self.catalogue.sheet(facts)])[0])
        except PolicyError as error:
            return self._denied((str(error),))
        except Exception as error:  # noqa: BLE001  whatever goes wrong must deny, never pass
            return self._denied((f"{type(error).__name__} while the facts were read",))

    def questions(self, sheets: Sequence[Sheet]) -> tuple[Question, ...]:
        """Build what is to be asked about transfers: one question each, over one common set of entities."""
        parts = [self._part(str(number), sheet) for number, sheet in enumerate(sheets)]
        entities = EntitySet(tuple(dict.fromkeys(entity for part in parts for entity in part.entities)))
        self.joint.prepare(entities)
        return tuple(
            Question(p.sheet, p.sheet["as_of"], p.object_class, p.regimes, p.requests, entities, p.causes)
            for p in parts
        )

    def decide(self, question: Question) -> LawDecision:
        """Ask every regime of the question; the answer names rules, articles and obligations."""
        if question.causes:
            return self._denied(question.causes, question.object_class, question.regimes)
        found = self.joint.decide(question.regimes, question.requests, question.entities)
        told = self._told(found.determining)
        granted = Outcome.PERMIT_WITH_OBLIGATIONS if told.duties else Outcome.PERMIT
        return LawDecision(
            outcome=granted if found.permitted else Outcome.DENY,
            rules=told.rules,
            policies=found.determining,
            articles=told.articles,
            obligations=told.duties if found.permitted else (),
            object_class=question.object_class,
            regimes=question.regimes,
            reasons=found.reasons,
            causes=found.errors or (() if found.determining else tuple(reason.text for reason in found.reasons)),
            digest=self.digest,
        )

    def decide_cached(self, question: Question) -> LawDecision:
        """Do as `decide` does, from memory where the same question was asked of the same law before."""
        return self._kept(question)

    def bringing(self, decision: LawDecision, code: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The policies of a decision that bring the obligation `code`, and the articles that they serve."""
        brought = [one for one in decision.policies if code in {duty.code for duty in self._notes[one].duties}]
        articles = (article for one in brought for article in self._notes[one].articles)
        return tuple(brought), tuple(dict.fromkeys(articles))

    def _together(self, policies: tuple[str, ...]) -> "_Note":
        notes = [self._notes[policy] for policy in policies]
        return _Note(
            rules=tuple(dict.fromkeys(rule for note in notes for rule in note.rules)),
            articles=tuple(dict.fromkeys(article for note in notes for article in note.articles)),
            duties=tuple(dict.fromkeys(duty for note in notes for duty in note.duties)),
        )

    def _denied(self, causes: tuple[str, ...], what: str = "", regimes: tuple[str, ...] = ()) -> LawDecision:
        return LawDecision(Outcome.DENY, object_class=what, regimes=regimes, causes=causes, digest=self.digest)

    def _part(self, number: str, sheet: Sheet) -> "_Part":
        day: date = sheet["as_of"]
        world = self._world(day)
        found = [regime for regime in self.regimes.values() if _applies(regime, sheet, world)]
        what = released(sheet, self.catalogue.sensitive)
        object_class = classify(what, self.common.constants)
        here, what_leaves = EntityRef("Place", sheet["dst"]), EntityRef(ENTITY, number)
        asked = AccessRequest(here, ACTION, what_leaves, (), f"transfer {number}")
        transfer = Entity(what_leaves, self._facts(found, sheet, object_class))
        places = [self._place(code, day) for code in dict.fromkeys((sheet["src"], sheet["dst"], sheet["key_holder"]))]
        causes = _causes(found, sheet, day, world)
        names = tuple(regime.name for regime in found)
        return _Part(sheet, object_class, names, (asked,) if found else (), (*places, transfer), causes)

    def _facts(self, regimes: Sequence[Regime], sheet: Sheet, object_class: str) -> Facts:
        """The attributes of the transfer: what the rules of these regimes read, derived or as stated."""
        day: date = sheet["as_of"]
        known: dict[str, Fact] = {"class": object_class}
        for regime in regimes:
            for name in regime.spoken.facts:
                attribute = own_name(regime.name, name)
                if attribute not in known:
                    known[attribute] = self._fact(regime, name, sheet, day)
        return tuple(sorted(known.items()))

    def _fact(self, regime: Regime, name: str, sheet: Sheet, day: date) -> Fact:
        rows = self._in_force(regime.name, day)
        if name == "tools":
            return tools(rows.tools, sheet, day, rows.lists)
        if name == "reached":
            return reached(rows.thresholds, sheet)
        if name == "adequacy":
            return adequacy(rows.adequate, sheet, day)
        if name == "measure":
            area = rows.lists.get(AREA, frozenset())
            return measure(sheet, area=area, safe=area | rows.keys)
        value = sheet[name]
        if name in {"src", "key_holder"}:
            return EntityRef("Place", value) if value is not None else NOWHERE
        return "" if value is None else value

    def _place_on(self, code: str | None, day: date) -> Entity:
        if code is None:
            return Entity(NOWHERE)
        lists = (name for name, places in self._world(day).items() if code in places)
        return Entity(EntityRef("Place", code), (), tuple(EntityRef("List", name) for name in lists))

    def _tables_on(self, regime: str, day: date) -> InForce:
        return in_force(self.regimes[regime].tables, day, self.common.lists)

    def _lists_on(self, day: date) -> dict[str, frozenset[str]]:
        """The members on `day` of every list that some rule or table names."""
        common = self.common.lists
        named = {name: rows for regime in self.regimes.values() for name, rows in regime.lists(common).items()}
        return {name: members(rows, day, common) for name, rows in named.items()}


@dataclass(frozen=True)
class _Part:
    sheet: Sheet
    object_class: str
    regimes: tuple[str, ...]
    requests: tuple[AccessRequest, ...]
    entities: tuple[Entity, ...]
    causes: tuple[str, ...]


@dataclass(frozen=True)
class _Note:
    """What is told of a decisive policy, or of several together."""

    rules: tuple[str, ...]
    articles: tuple[str, ...]
    duties: tuple[LegalDuty, ...]


def load_law(*folders: Traversable) -> Law:
    """Load the regimes of `folders` (the first has `common.yaml`; none: those of inbond). Raises InvalidPolicy."""
    homes = folders or (packaged(),)
    common = read_common(homes[0])
    found = [read_regime(folder) for home in homes for folder in regime_folders(home)]
    double = next((one.name for at, one in enumerate(found) if one.name in {other.name for other in found[:at]}), None)
    if double is not None:
        raise InvalidPolicy(f"regime `{double}` is there twice", where=double, right="rename one of them")
    try:
        return Law(common, found)
    except InvalidInput as error:
        raise InvalidPolicy(error.what, where=error.where, right=error.right) from error


class ClosedLaw:
    """What stands in for a law that could not be loaded: it answers every question with the cause."""

    def __init__(self, cause: str) -> None:
        self.cause = cause

    def judge(self, facts: Mapping[str, Any]) -> LawDecision:
        """Deny, with the cause."""
        del facts
        return LawDecision(Outcome.DENY, causes=(self.cause,))


def law_or_closed(*folders: Traversable) -> Law | ClosedLaw:
    """Load as `load_law` does; a law that denies everything where that fails."""
    try:
        return load_law(*folders)
    except PolicyError as error:
        return ClosedLaw(str(error))


def _all_there(common: CommonTables, regimes: Sequence[Regime]) -> None:
    missing = set(common.regimes) - {regime.name for regime in regimes}
    if missing:
        raise InvalidPolicy(f"regime `{min(missing)}` is missing", where="regimes", right="put its folder back")


def _bundle(regimes: Sequence[Regime], catalogue: Catalogue) -> Bundle:
    schema = "entity List;\nentity Place in [List];\n" + "".join(regime.schema(catalogue) for regime in regimes)
    return load_bundle({f"{regime.name}/rules.cedar": regime.rules for regime in regimes}, schema)


def _digest(bundle: Bundle, common: CommonTables, regimes: Sequence[Regime]) -> str:
    tables = [common, *(regime.tables for regime in sorted(regimes, key=lambda one: one.name))]
    text = json.dumps([bundle.fingerprint, *(table.model_dump(mode="json") for table in tables)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _notes(bundle: Bundle, known: Mapping[str, Duty]) -> dict[str, _Note]:
    return {policy: _note(policy, dict(note.others), note.article, known) for policy, note in bundle.notes.items()}


def _note(policy: str, others: Mapping[str, str], article: str, known: Mapping[str, Duty]) -> _Note:
    codes = [code.strip() for code in others.get("duties", "").split(",") if code.strip()]
    unknown = next((code for code in codes if code not in known), None)
    if unknown is not None:
        right = "one of the obligations of common.yaml or of a facts.yaml"
        raise InvalidPolicy(f"unknown obligation `{unknown}`", where=policy, right=right)
    duties = ((code, known[code]) for code in codes)
    return _Note(
        rules=() if others.get("rule") == SILENT else (others.get("rule") or policy,),
        articles=tuple(one.strip() for one in article.split(";") if one.strip()),
        duties=tuple(LegalDuty(code, duty.when, duty.evidence, duty.binds) for code, duty in duties),
    )


def _applies(regime: Regime, sheet: Sheet, world: Mapping[str, frozenset[str]]) -> bool:
    applies, area = regime.tables.applies, world.get(f"{regime.name}/{AREA}", frozenset())
    if applies.source and sheet["src"] in area:
        return True
    if applies.subjects and any(place in area for place in sheet["subject_residency"]):
        return True
    return any(sheet.has(fact, values) for fact, values in applies.when.items())


def _causes(found: Sequence[Regime], sheet: Sheet, day: date, world: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """What denies before any rule: no regime that covers the source, or a day before a regime's tables."""
    causes = [
        f"{regime.name}: the tables describe the law from {regime.tables.since} on, not on {day}"
        for regime in found
        if day < regime.tables.since
    ]
    areas = (world[f"{regime.name}/{AREA}"] for regime in found if regime.tables.kind == "jurisdiction")
    if not any(sheet["src"] in area for area in areas):
        causes.append(f"no regime covers data that leave {sheet['src']}")
    return tuple(causes)
