"""The smallest lawful changes to a refused transfer, found by search over the levers of the tables.

A lever is something that a party can bring about: a transfer tool, the protection of the released object, key custody,
another recipient, an evidence record. Where it takes a claim about the world (what an assessment finds, that a test is
passed), the suggestion says so; it is not made where the transfer already states otherwise, for a finding stands. Every
combination is put to the engine itself; nothing here knows what would be lawful. A change that is found is then reduced
to the facts it needs. Learns facts of transfers only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from policies.errors import InvalidInput
from policies.law.decision import LawDecision
from policies.law.derive import FURTHER, MECHANISM, needed_k, released, safe_delta
from policies.law.law import Law, Question
from policies.law.tables import Lever

Fewer = Mapping[str, Mapping[str, Any]]
"""The transfer's facts without some of its columns, by what is left out."""
DEPTH = 3
LIMIT = 8


@dataclass(frozen=True)
class Change:
    """What to bring about (`says`, and fact by fact `facts`), and how the changed transfer is decided.

    `only_if` holds what must really be so, and is not made so by saying it.
    """

    says: tuple[str, ...]
    facts: tuple[tuple[str, Any], ...]
    decision: LawDecision
    only_if: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The change as a person would say it."""
        rules = ", ".join(self.decision.rules) or ", ".join(self.decision.policies)
        told = f"with {' and '.join(self.says)} the object is {self.decision.object_class}: permitted under {rules}"
        duties = ", ".join(duty.code for duty in self.decision.obligations)
        told += f", with {duties}" if duties else ""
        return told + (f"; only if {' and '.join(self.only_if)}" if self.only_if else "")

    def payload(self) -> dict[str, Any]:
        """The change as JSON data."""
        return {
            "change": list(self.says),
            "only_if": list(self.only_if),
            "facts": dict(self.facts),
            "decision": self.decision.outcome.value,
            "rules": list(self.decision.rules),
            "obligations": [duty.code for duty in self.decision.obligations],
            "class": self.decision.object_class,
        }


@dataclass(frozen=True)
class _Move:
    say: str
    facts: dict[str, Any]
    only_if: str = ""


def smallest_changes(
    law: Law, facts: Mapping[str, Any], *, depth: int = DEPTH, limit: int = LIMIT, fewer: Fewer | None = None
) -> tuple[Change, ...]:
    """The lawful changes of a refused transfer none of whose levers can be spared, at most `limit`, smallest first.

    Columns can be left out as `fewer` says; where nobody says it, those of each field. Nothing for a transfer that is
    permitted. Raises InvalidInput for facts that cannot be read.
    """
    start = _question(law, facts)
    if law.decide(start).permitted:
        return ()
    moves = _relevant(law, facts, start, _without_fields(facts) if fewer is None else fewer)
    found: list[Change] = []
    for size in range(1, depth + 1):
        for chosen in combinations(moves, size):
            says = {move.say for move in chosen}
            if not any(says.issuperset(one.says) for one in found) and (change := _lawful(law, facts, chosen)):
                found.append(change)
    distinct = {str(one.facts): one for one in reversed(found)}
    return tuple(sorted(distinct.values(), key=_size))[:limit]


def _size(change: Change) -> tuple[int, int, int, tuple[str, ...]]:
    """Fewer things to bring about come first; of as many, those that need nothing to be so."""
    return len(change.says), len(change.only_if), len(change.facts), change.says


def _question(law: Law, facts: Mapping[str, Any]) -> Question:
    return law.questions([law.catalogue.sheet(facts)])[0]


def _relevant(law: Law, facts: Mapping[str, Any], start: Question, fewer: Fewer) -> list[_Move]:
    """The levers that by themselves change what the regimes are asked; of those that ask the same, the first.

    None that would replace what the transfer states of the world by a claim that suits it better.
    """
    seen, moves = {_asked(start)}, []
    levers = (*law.common.levers, *(one for regime in law.regimes.values() for one in regime.tables.levers))
    left_out = (_Move(say, _turned(law, facts, other)) for say, other in fewer.items())
    for move in (*left_out, *(_filled(law, lever, start) for lever in levers)):
        asked = _asked(_question(law, {**facts, **move.facts}))
        if asked not in seen and not _overrules(law, move, start):
            seen.add(asked)
            moves.append(move)
    return moves


def _without_fields(facts: Mapping[str, Any]) -> Fewer:
    """The facts without the columns of each field in turn."""
    fields = tuple(facts["categories"])
    return {
        f"leaving out the columns of field {one}": {
            **facts,
            "categories": tuple(name for name in fields if name != one),
        }
        for one in fields
    }


def _turned(law: Law, facts: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What must change of `facts` for them to be `other`; what those do not say takes its default again."""
    gone = {name: law.catalogue.rules[name].default for name in facts if name not in other}
    return gone | {name: value for name, value in other.items() if name not in facts or facts[name] != value}


def _overrules(law: Law, move: _Move, start: Question) -> bool:
    sheet = start.sheet
    claims = law.catalogue.claims(move.facts)
    return any(
        sheet is None or (sheet[name] != move.facts[name] and law.catalogue.stated(sheet, name)) for name in claims
    )


def _asked(question: Question) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return question.entities.digest, tuple(one.principal.id for one in question.requests), question.causes


def _lawful(law: Law, facts: Mapping[str, Any], chosen: Sequence[_Move]) -> Change | None:
    """The change that these levers make together, where it is lawful."""
    if any(_contradict(one, other) for one, other in combinations(chosen, 2)):
        return None
    changes = _together(chosen)
    if not law.judge({**facts, **changes}).permitted:
        return None
    needed = _reduced(law, facts, changes)
    decision = law.judge({**facts, **needed})
    return Change(
        says=tuple(move.say for move in chosen),
        facts=tuple(sorted(needed.items(), key=str)),
        decision=decision,
        only_if=tuple(dict.fromkeys(move.only_if for move in chosen if move.only_if)),
    )


def _together(chosen: Sequence[_Move]) -> dict[str, Any]:
    """What several levers set; tools add up, for each regime looks for its own."""
    changes: dict[str, Any] = {}
    for name, value in (pair for move in chosen for pair in move.facts.items()):
        if name == MECHANISM and name in changes and changes[name] != value:
            changes[FURTHER] = (*changes.get(FURTHER, ()), value)
        elif name == FURTHER:
            changes[FURTHER] = tuple(dict.fromkeys((*changes.get(FURTHER, ()), *value)))
        else:
            changes[name] = value
    return changes


def _contradict(one: _Move, other: _Move) -> bool:
    """Whether two levers set a fact to different values."""
    both = one.facts.keys() & other.facts.keys() - {MECHANISM, FURTHER}
    return any(one.facts[name] != other.facts[name] for name in both)


def _reduced(law: Law, facts: Mapping[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Leave out, one by one, the facts without which the changed transfer is still permitted."""
    needed = {name: value for name, value in changes.items() if facts.get(name) != value}
    for name in sorted(needed):
        fewer = {key: value for key, value in needed.items() if key != name}
        if fewer and law.judge({**facts, **fewer}).permitted:
            needed = fewer
    return needed


def _filled(law: Law, lever: Lever, start: Question) -> _Move:
    """The lever for this transfer: `$name` stands for a constant of the project or a place of the transfer."""
    if start.sheet is None:
        raise InvalidInput("there are no facts to change", where="facts", right="state the transfer")
    sheet, constants = start.sheet, law.common.constants
    what = released(sheet, law.catalogue.sensitive)
    known: dict[str, Any] = {
        **constants.model_dump(),
        "src": sheet["src"],
        "dst": sheet["dst"],
        "k": needed_k(what, constants),
        "delta": safe_delta(what.subjects, constants),
    }
    facts_set = {name: _value(value, known) for name, value in lever.set.items()}
    if MECHANISM in facts_set and sheet[MECHANISM] not in {"none", facts_set[MECHANISM]}:
        facts_set[FURTHER] = (*sheet[FURTHER], facts_set.pop(MECHANISM))  # beside the tool that there is
    return _Move(_said(lever.say, known), facts_set, _said(lever.only_if or "", known))


def _said(text: str, known: Mapping[str, Any]) -> str:
    for name in sorted(known, key=len, reverse=True):
        text = text.replace(f"${name}", str(known[name]))
    return text


def _value(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return known[value[1:]]
    if isinstance(value, list):
        return [_value(one, known) for one in value]
    if isinstance(value, dict):
        return {name: _value(one, known) for name, one in value.items()}
    return value
