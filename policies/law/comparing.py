"""Two sets of regimes beside each other: which cases would one decide otherwise than the other, and in what.

Learns facts of transfers, no data. Pure: who loads the sets and where the cases are from is the caller's affair.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.law.decision import LawDecision
from policies.law.law import ClosedLaw, Law
from policies.law.scenario import Scenario


@dataclass(frozen=True)
class Turned:
    """A case that the two sets decide differently."""

    scenario: Scenario
    before: LawDecision
    after: LawDecision

    @property
    def lines(self) -> tuple[str, ...]:
        """Every difference, one line each."""
        old, new = self.before, self.after
        parts = (
            _moved("decides", (old.outcome.value,), (new.outcome.value,)),
            _moved("class", (old.object_class or "unknown",), (new.object_class or "unknown",)),
            _moved("rules", old.rules, new.rules),
            _moved("policies", old.policies, new.policies) if old.rules == new.rules else "",
            _moved("obligations", _codes(old), _codes(new)),
            _moved("binds", _bound(old, new), _bound(new, old)),
            _moved("causes", old.causes, new.causes),
        )
        return tuple(part for part in parts if part)


def turned(old: Law | ClosedLaw, new: Law | ClosedLaw, cases: Sequence[Scenario]) -> tuple[Turned, ...]:
    """The cases that `new` decides otherwise than `old`; a fact that one of them does not know is a denial there."""
    both = (Turned(case, old.judge(case.facts), new.judge(case.facts)) for case in cases)
    return tuple(one for one in both if one.lines)


def merged(old: Iterable[tuple[str, Scenario]], new: Iterable[tuple[str, Scenario]]) -> tuple[Scenario, ...]:
    """The cases of both sets once each, by regime and id; where both have one, the newer facts."""
    found = {(regime, case.id): case for regime, case in (*old, *new)}
    return tuple(found.values())


def _codes(decision: LawDecision) -> tuple[str, ...]:
    return tuple(duty.code for duty in decision.obligations)


def _bound(one: LawDecision, other: LawDecision) -> tuple[str, ...]:
    """What the obligations that both have bind columns to, in `one`."""
    duties = (duty for duty in one.obligations if duty.binds is not None and duty.code in _codes(other))
    return tuple(f"{duty.code} {json.dumps(duty.payload()['binds'], sort_keys=True)}" for duty in duties)


def _moved(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    """What left and what came; nothing where both hold the same."""
    gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
    if not gone and not come:
        return ""
    if len(old) == len(new) == 1:
        return f"{name} {new[0]} instead of {old[0]}"
    signed = [f"-{one}" for one in gone] + [f"+{one}" for one in come]
    return f"{name} {', '.join(signed)}"
