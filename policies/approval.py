"""A person's yes or no to one plan, and whether it counts under the owners' rules.

Everybody who takes part reads approvals: who said what about which plan, of which organisation, until when. They hold
nothing of the data. They are carried by the coordinator and counted by every party for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from policies.approval_rule import ApprovalRule
from policies.claims import RegisteredClaims
from policies.identity import Standing
from policies.job import Hex32

APPROVAL_TYPE = "inbond-approval+jws"
MAX_REASON = 300


class Approval(RegisteredClaims):
    """The signed thing: a decision on one job's plan."""

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    plan: Hex32
    decision: Literal["approve", "refuse"]
    reason: Annotated[str, Field(max_length=MAX_REASON, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An approval whose signature holds, and what the signer's certificate says of the signer."""

    approval: Approval
    standing: Standing

    @property
    def by(self) -> str:
        """The person in words."""
        return f"{_name(self.approval.iss)} ({self.standing.office or 'no role'} of {_of(self.standing)})"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be approved: the plan of a job, who submitted it, and the time of asking (aware)."""

    job: str
    plan: str
    submitter: str
    standing: Standing
    now: datetime


@dataclass(frozen=True, slots=True)
class Tally:
    """How it stands: what is missing (one line for equal wants), why a yes does not count (one each), whose does."""

    missing: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """All there is to tell; nothing when people have approved."""
        return (*self.missing, *self.uncounted) if self.missing else ()


def objection(rule: ApprovalRule, given: Given, asked: Question) -> str:
    """Why `given` does not count for `rule`; empty when it does. Refusals are judged alike."""
    approval, clock = given.approval, asked.now.timestamp()
    if (approval.job, approval.plan) != (asked.job, asked.plan):
        return "it is for another plan"
    if clock >= min(approval.exp, approval.iat + rule.hours * 3600):
        return "it has expired"
    return stranger(rule, approval.iss, given.standing, asked)


def stranger(rule: ApprovalRule, person: str, standing: Standing, asked: Question) -> str:
    """Why `person` may not approve under `rule`, whatever they sign; empty when they may."""
    if person == asked.submitter:
        return "the submitter may not approve"
    if standing.office != rule.role:
        return f"the certificate makes nobody {_a(rule.role)}"
    if rule.other_organisation and not asked.standing.organisation:
        return "the submitter's certificate names no organisation to differ from"
    if rule.other_organisation and standing.organisation == asked.standing.organisation:
        return f"{standing.organisation} is the submitter's own organisation"
    return ""


def tally(rules: Mapping[str, ApprovalRule], given: Sequence[Given], asked: Question) -> Tally:
    """Count `given` under each of `rules`, by the table they protect. A person counts once, a refusal never."""
    missing: dict[str, list[str]] = {}
    uncounted: list[str] = []
    counted: set[str] = set()
    for table, rule in sorted(rules.items()):
        found = {one: objection(rule, one, asked) for one in given if one.approval.decision == "approve"}
        people = {one.approval.iss for one, why in found.items() if not why}
        counted |= people
        uncounted += [f"the approval of {one.by} does not count: {why}" for one, why in found.items() if why]
        if len(people) < rule.people:
            missing.setdefault(f"{_wanted(rule, len(people), asked.standing)} must approve", []).append(table)
    lines = tuple(f"{wanted} ({', '.join(tables)})" for wanted, tables in missing.items())
    return Tally(lines, tuple(dict.fromkeys(uncounted)), tuple(sorted(counted)))


def _wanted(rule: ApprovalRule, have: int, submitter: Standing) -> str:
    left = rule.people - have
    more = " more" if have else ""
    people = f"{left}{more} {rule.role}{'s' if left > 1 else ''}"
    if not rule.other_organisation:
        return people
    return f"{people} of another organisation than {submitter.organisation or 'the submitter'}"


def _a(role: str) -> str:
    return f"{'an' if role[0] in 'aeiou' else 'a'} {role}"


def _name(identity: str) -> str:
    return identity.rsplit("/", 1)[-1]


def _of(standing: Standing) -> str:
    return standing.organisation or "no organisation"
