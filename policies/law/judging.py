"""The law on all transfers of one table in a job: decided, explained, and which evidence is missing.

Learns facts of transfers, no data. Transfers with the same facts are decided once; what is said of several recipients
alike is said once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from policies.contract import PublishedContract
from policies.evidence import Evidence, Proof, unproved
from policies.law.decision import LawDecision
from policies.law.law import Law
from policies.law.leaving_out import ways_to_leave_out
from policies.law.levers import smallest_changes
from policies.law.transfers import Transfer, facts_of_transfer, transfers_of
from policies.plan import Plan
from policies.request import Reason
from policies.verdict import JudgedTransfer
from policies.views import Asker

BEFORE = "pre"  # obligations whose evidence is due before a release
CHANGES = 3  # lawful ways that a refusal names
DEPTH = 2  # things to bring about together, at most
SEARCHED = 3  # refused transfers of a table for which ways are searched
TOLD_MOST = 256


@dataclass(frozen=True)
class Judged:
    """A transfer, its facts, the law's answer, the obligations that no record proves, and what would be lawful.

    `fewer` are its facts without some of the columns, by what is left out.
    """

    transfer: Transfer
    facts: Mapping[str, Any]
    decision: LawDecision
    missing: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    fewer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What becomes readable where, in words."""
        one = self.transfer
        key = f" under a key held in {one.key_holder}" if one.key_holder else ""
        what = f"{one.what} of `{one.dataset}`{key} to {one.recipient} in {one.country}"
        return f"{what}, {self.decision.object_class}" if self.decision.object_class else what


def judge(
    law: Law,
    plan: Plan,
    party: str,
    contract: PublishedContract,
    records: Sequence[Evidence],
    day: date,
    counted: Mapping[str, Any],
    asker: Asker,
) -> tuple[Judged, ...]:
    """The law on every transfer of `party`'s table under `contract`, as `asker` would see it.

    `counted` are facts from the party's counters. Raises InvalidInput where the facts cannot be had, and so nothing can
    be lawful.
    """
    transfers = transfers_of(plan, party, contract.dataset)

    def facts(one: Transfer, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        found = facts_of_transfer(
            one,
            plan=plan,
            party=party,
            contract=contract,
            records=records,
            day=day,
            catalogue=law.catalogue,
            asker=asker,
            without=without,
        )
        return found | {**counted}

    asked = [facts(one) for one in transfers]
    decided = [law.decide_cached(one) for one in law.questions([law.catalogue.sheet(one) for one in asked])]
    refused = not all(found.permitted for found in decided)
    ways = ways_to_leave_out(plan, contract, law.catalogue) if refused else {}
    return tuple(
        Judged(
            one,
            said,
            found,
            _missing(law, found, records, party, one, day),
            fewer={} if found.permitted else {say: facts(one, names) for say, names in ways.items()},
        )
        for one, said, found in zip(transfers, asked, decided, strict=True)
    )


def _missing(
    law: Law, decision: LawDecision, records: Sequence[Evidence], party: str, transfer: Transfer, day: date
) -> tuple[str, ...]:
    rules = law.obligations
    due = [Proof(duty.code, rules[duty.code].proved_by) for duty in decision.obligations if duty.when == BEFORE]
    return unproved(due, records, party, transfer.recipient, day, dst=transfer.country, release=transfer.release)


def with_changes(law: Law, found: Sequence[Judged]) -> tuple[Judged, ...]:
    """The same, with the smallest lawful changes of the first refused transfers."""
    known: dict[str, tuple[str, ...]] = {}
    told = []
    for one in found:
        if not one.decision.permitted:
            key = str(sorted(one.facts.items(), key=str))
            if key not in known and len(known) < SEARCHED:
                ways = smallest_changes(law, one.facts, depth=DEPTH, limit=CHANGES, fewer=one.fewer)
                known[key] = tuple(way.sentence() for way in ways)
            told.append(replace(one, changes=known.get(key, ())))
        else:
            told.append(one)
    return tuple(told)


def refusals(found: Iterable[Judged]) -> tuple[Reason, ...]:
    """Why transfers are refused: a reason for each deciding rule, or the cause where no rule decided."""
    reasons: list[Reason] = []
    for one in found:
        if one.decision.permitted:
            continue
        ways = "; or ".join(one.changes)
        if one.decision.causes:
            reasons += [Reason("law", cause, remedy=ways, about=one.about) for cause in one.decision.causes]
            continue
        reasons += [
            Reason(reason.policy_id, reason.text, reason.article, ways or reason.remedy, one.about)
            for reason in one.decision.reasons
        ]
    return tuple(dict.fromkeys(reasons))


def needs(law: Law, found: Iterable[Judged]) -> tuple[str, ...]:
    """The evidence that is missing, a line each, for all recipients together."""
    recipients: dict[str, list[str]] = {}
    for one in found:
        for code in one.missing:
            recipients.setdefault(code, []).append(one.transfer.recipient)
    return tuple(
        f"{code}, for transfers to {', '.join(sorted(set(names)))}: {law.obligations[code].evidence}"
        for code, names in recipients.items()
    )


def told(found: Iterable[Judged]) -> tuple[JudgedTransfer, ...]:
    """The same as a party tells it in its verdict."""
    same: dict[JudgedTransfer, list[str]] = {}
    for one in found:
        transfer, decision = one.transfer, one.decision
        line = JudgedTransfer(
            dataset=transfer.dataset,
            what=transfer.what,
            country=transfer.country,
            key_holder=transfer.key_holder,
            object_class=decision.object_class,
            decision=decision.outcome.value,
            regimes=decision.regimes,
            rules=decision.rules,
            articles=decision.articles,
            obligations=tuple(f"{duty.code} ({duty.when})" for duty in decision.obligations),
            missing=one.missing,
            changes=one.changes,
            causes=tuple(cause[:300] for cause in decision.causes),
        )
        same.setdefault(line, []).append(transfer.recipient)
    lines = [line.model_copy(update={"recipients": tuple(dict.fromkeys(names))}) for line, names in same.items()]
    return tuple(lines[:TOLD_MOST])
