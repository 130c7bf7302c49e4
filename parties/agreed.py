"""Agreements at the party's door: whether what a job would make known of its tables was agreed on, and its use.

Asked for the tables whose contract says so, before anything runs. The party reads its contracts and its own agreements.
Its verdict tells the other members which terms are missing, never an agreement's name, id or sides; the party's
evidence log has the id. Agreements that cannot be read cover nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from compliance.agreements import FILE, AgreementStore, Compared, Standing
from compliance.errors import ComplianceError, NotAgreed
from inbond.errors import Refused
from inbond.node import Node
from parties.telling import telling
from policies.agreement_rules import Share, shares_of
from policies.agreement_wanted import wanted
from policies.contract import DataContract
from policies.engine import DEFAULT_DENY
from policies.errors import PolicyError
from policies.plan import Plan
from policies.request import Decision, Reason
from policies.verdict import RefusedError

NONE, UNSIGNED, ENDED, PARTY = "agreement", "agreement-signed", "agreement-revoked", "agreement-party"
SHOWN = 3  # things that one reason is about
LOGGED_MOST = 32
_PROPOSE = "`inbond agreement propose TERMS.yaml --out FILE`"
_SIGN = "`inbond agreement sign FILE --out FILE`"


@dataclass(frozen=True)
class Agreed:
    """A job beside this party's agreements: why it is not covered, or the id of the one that covers it.

    `lacking` are (id, rules of which it lacks the term) of those that do not, for the log. A job that needs none has
    neither.
    """

    reasons: tuple[Reason, ...] = ()
    agreement: str | None = None
    lacking: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def logged(self) -> dict[str, Any]:
        """What the evidence log keeps of it."""
        if self.agreement is not None:
            return {"agreement": self.agreement}
        lacking = [{"agreement": name, "lacks": list(rules)} for name, rules in self.lacking[:LOGGED_MOST]]
        return {"agreements_lacking": lacking} if self.reasons else {}


class Agreements:
    """Judges jobs by this node's agreements and takes their uses; safe for any number of threads."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def judge(self, plan: Plan, contracts: Sequence[DataContract], now: datetime) -> Agreed:
        """Whether an agreement covers all that a plan makes known of the party's tables; never raises, uses nothing."""
        try:
            shares = self._shares(plan, contracts)
            if not shares:
                return Agreed()
            compared = self._compared(shares)
        except (PolicyError, ComplianceError) as error:
            # `where` may be a path of this party, which tells others nothing
            return Agreed((Reason(NONE, error.what, remedy=error.right),))
        found = next((one for one in compared if one.covers), None)
        if found is not None:
            return Agreed(agreement=found.kept.agreement.id)
        lacking = tuple((one.kept.agreement.id, _rules(one)) for one in compared)
        return Agreed(_why(compared, shares, now), lacking=lacking)

    @contextmanager
    def taken(self, plan: Plan, contracts: Sequence[DataContract], job: str, found: Agreed) -> Iterator[None]:
        """Take one use of the agreement that was `found` for a job, durably; it is taken back where the body raises,
        which must be before anything is shared.

        Raises Refused where that agreement covers the job no more, and ComplianceError where a use cannot be kept.
        """
        shares = self._shares(plan, contracts)
        if not shares:
            yield
            return
        with AgreementStore.open(self._node.home / FILE, telling(self._node)) as store:
            try:
                used = store.use(job, shares, self._node.trust)
            except NotAgreed:
                raise _changed() from None
            try:
                if used.agreement != found.agreement:
                    raise _changed()
                yield
            except Exception:
                store.rollback(job)
                raise
            store.commit(job)

    def check(self, plan: Plan, contracts: Sequence[DataContract], job: str) -> None:
        """Raise RefusedError unless the agreement whose use an admitted job took still stands."""
        try:
            shares = self._shares(plan, contracts)
            held = self._compared(shares, job) if shares else []
        except (PolicyError, ComplianceError) as error:
            what = "this party's agreements cannot be read"
            raise RefusedError(what, where=f"job {job}", right=str(error)) from error
        if shares and not any(one.covers for one in held):
            where = f"agreement {held[0].kept.agreement.id}: {held[0].cause}" if held else f"job {job}"
            right = "a new agreement, and a new job"
            raise RefusedError("the agreement that the job rests on does not hold any more", where=where, right=right)

    def _shares(self, plan: Plan, contracts: Sequence[DataContract]) -> tuple[Share, ...]:
        return shares_of(plan, str(self._node.credentials.spiffe_id), contracts)

    def _compared(self, shares: Sequence[Share], job: str | None = None) -> list[Compared]:
        path = self._node.home / FILE
        if not path.exists():
            return []
        with AgreementStore.read_only(path) as store:
            return store.compare(shares, self._node.trust, key=job)


def _changed() -> Refused:
    return Refused("the agreement on it does not hold any more", right="submit a new job")


def _rules(one: Compared) -> tuple[str, ...]:
    """The rules that an agreement does not meet, once each."""
    if one.decision is None:
        return (UNSIGNED if one.standing is Standing.PROPOSED else ENDED,)
    return tuple(dict.fromkeys(reason.policy_id for reason in _reasons(one.decision)))


def _reasons(decision: Decision) -> list[Reason]:
    """Why, where without a link of the template for a party of the job nothing is permitted and no rule says so."""
    text = "a party of the job is none of the agreement's"
    return [
        replace(reason, policy_id=PARTY, text=text) if reason.policy_id == DEFAULT_DENY else reason
        for reason in decision.reasons
    ]


def _why(compared: Sequence[Compared], shares: Sequence[Share], now: datetime) -> tuple[Reason, ...]:
    """What is missing: of the signed agreement that lacks least, and of those on the same tables that do not stand."""
    signed = [one for one in compared if one.decision is not None]
    nearest = min(signed, key=lambda one: len(_rules(one)), default=None)
    reasons = _unmet(nearest, shares, now) if nearest is not None else ()
    waiting = {one.standing for one in compared if one.decision is None and _on_tables(one, shares)}
    terms = wanted(shares, now.date())
    if Standing.PROPOSED in waiting:
        text = "an agreement on this table is not signed by every side"
        reasons = (*reasons, Reason(UNSIGNED, text, remedy=f"its sides sign it: {_SIGN}"))
    if Standing.REVOKED in waiting and nearest is None:
        text = "an agreement on this table was ended by one of its sides"
        reasons = (*reasons, Reason(ENDED, text, remedy=f"propose a new one with {terms}: {_PROPOSE}"))
    if not reasons:
        tables = ", ".join(sorted({one.dataset for one in shares}))
        text = "the contract asks for an agreement and there is none"
        reasons = (Reason(NONE, text, remedy=f"propose one with {terms}: {_PROPOSE}", about=tables),)
    return reasons


def _unmet(one: Compared, shares: Sequence[Share], now: datetime) -> tuple[Reason, ...]:
    """A reason for each rule that a signed agreement does not meet; the first names the smallest change."""
    if one.decision is None:
        return ()
    lacks = wanted(shares, now.date(), one.kept.agreement, used_up=one.standing is Standing.USED_UP)
    remedy = f"propose one that also has {lacks}: {_PROPOSE}" if lacks else ""
    found: list[Reason] = []
    for rule in _rules(one):
        same = [reason for reason in _reasons(one.decision) if reason.policy_id == rule]
        abouts = list(dict.fromkeys(reason.about for reason in same if reason.about))
        more = f"; and {len(abouts) - SHOWN} more" if len(abouts) > SHOWN else ""
        about = "; ".join(abouts[:SHOWN]) + more
        found.append(Reason(rule, same[0].text, same[0].article, remedy if not found else "", about))
    return tuple(found)


def _on_tables(one: Compared, shares: Sequence[Share]) -> bool:
    held = one.kept.agreement.datasets
    return any(share.dataset in held.get(share.owner, ()) for share in shares)
