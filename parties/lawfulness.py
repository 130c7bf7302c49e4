"""The law at the party's door: whether what a job would take out of this party may leave, by the party's own records.

Asked for every table of the party, before anything runs. The party reads its contracts, its records of evidence, its
counters and the duties that earlier jobs left. Its verdict tells the other members places, kinds, rules, obligations
and which of them are overdue, never who is in the table. Whatever cannot be read or counted is not lawful.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow.compute as pc

from compliance.counters import CounterLedger
from compliance.counters_flow import Flow, headings_of
from compliance.errors import ComplianceError
from compliance.law_store import FILE
from compliance.past import FILE as PAST
from compliance.past import PastTransfers
from compliance.records import standing_in
from inbond.errors import InbondError, Refused
from inbond.node import Node
from parties.counting import opened_counters
from parties.duties import keep_duties, late_duties, marked
from parties.withheld import Withholding
from policies.contract import DataContract
from policies.errors import PolicyError
from policies.evidence import Evidence
from policies.law.duties import LaterDuty, duties_of, late_lines
from policies.law.judging import Judged, judge, needs, refusals, told, with_changes
from policies.law.law import ClosedLaw, Law
from policies.plan import Plan
from policies.request import Reason
from policies.verdict import JudgedTransfer
from policies.views import Asker

EXEMPT = "C7"  # of PIPL's rules: an exemption that the law found


@dataclass(frozen=True)
class Lawful:
    """The law on one job at this party: why not (`reasons`), what is missing (`needs`), and on which transfers.

    `duties` are what the job would leave to be done after its release.
    """

    reasons: tuple[Reason, ...] = ()
    needs: tuple[str, ...] = ()
    transfers: tuple[JudgedTransfer, ...] = ()
    judged: tuple[Judged, ...] = ()
    duties: tuple[LaterDuty, ...] = ()


class Lawfulness:
    """Judges jobs by the law of this node, its records and its counters; safe for any number of threads."""

    def __init__(self, node: Node, law: Law | ClosedLaw) -> None:
        self._node, self._law = node, law

    def judge(self, plan: Plan, contracts: Sequence[DataContract], job: str, now: datetime) -> Lawful:
        """The law on every transfer of the party's tables in the plan of `job`; never raises."""
        law = self._law
        if isinstance(law, ClosedLaw):
            return Lawful((Reason("law", law.cause),))
        try:
            records, day = standing_in(self._node.home / FILE), now.date()
            found = [one for each in contracts for one in self._on_table(law, plan, each, records, day, job)]
            leaving = duties_of(law, found, self._node.name, day)
            late = late_duties(self._node, found, leaving, records, day)
        except PolicyError as error:
            return Lawful((Reason("law", error.what, remedy=error.right, about=error.where),))
        except ComplianceError as error:  # `where` is a path of this party, which tells others nothing
            return Lawful((Reason("law", error.what, remedy=error.right),))
        except InbondError:
            return Lawful((Reason("law", "people cannot be counted where their table cannot be read"),))
        every = with_changes(law, found)
        if reasons := refusals(every):
            return Lawful(reasons, (), told(every), every)
        return Lawful((), (*needs(law, every), *late_lines(late)), told(marked(every, late)), every, leaving)

    def remember(self, job: str, lawful: Lawful) -> None:
        """Keep the facts of a job's transfers before it is admitted; raises LawStoreUnavailable."""
        if lawful.judged:
            with PastTransfers.open(self._node.home / PAST, lambda _subject, _data: None) as store:
                store.keep(job, ((one.about, one.facts) for one in lawful.judged))

    def owe(self, job: str, lawful: Lawful) -> None:
        """Keep what a job that is about to be admitted leaves to be done, durably; again is no change.

        Raises LawStoreUnavailable.
        """
        keep_duties(self._node, job, lawful.duties)

    def count(self, plan: Plan, contracts: Sequence[DataContract], job: str, now: datetime) -> None:
        """Count the people of a job that is about to be admitted, durably; again is no change.

        Raises Refused where the counters, with these people in them, make a transfer unlawful, and InbondError or
        ComplianceError where they cannot be kept.
        """
        law = self._law
        if isinstance(law, ClosedLaw):
            raise Refused(law.cause, where="law")
        records, day = standing_in(self._node.home / FILE), now.date()
        for contract in contracts:
            flow = _flow(law, judge(law, plan, self._node.name, contract, records, day, {}), contract, job, self._node)
            if flow is None:
                continue

            def lawful(counted: Mapping[str, Any], contract: DataContract = contract) -> None:
                found = judge(law, plan, self._node.name, contract, records, day, counted)
                if why := refusals(found):
                    raise Refused(f"{why[0].text} [{why[0].policy_id}]", where=why[0].about, right=why[0].remedy)

            with opened_counters(self._node) as ledger:
                ledger.reserve(flow, lawful)
                ledger.commit(flow.key)

    def _on_table(
        self, law: Law, plan: Plan, contract: DataContract, records: Sequence[Evidence], day: date, job: str
    ) -> tuple[Judged, ...]:
        found = judge(law, plan, self._node.name, contract, records, day, {})
        flow = _flow(law, found, contract, job, self._node)
        if flow is None:
            return found
        with ExitStack() as stack:
            ledger: CounterLedger = stack.enter_context(opened_counters(self._node))
            return judge(law, plan, self._node.name, contract, records, day, ledger.preview(flow))


def _flow(law: Law, found: Sequence[Judged], contract: DataContract, job: str, node: Node) -> Flow | None:
    """The people of a table as the counters see them, or None where no transfer counts anybody."""
    held = (column.category for column in contract.columns.values())
    kinds = {law.catalogue.category(name).counts_as for name in held if name is not None}
    headings: set[str] = set()
    for one in found:
        facts, exempt = law.catalogue.sheet(one.facts).values, EXEMPT in one.decision.rules
        counted = [kind for kind in kinds if kind is not None]
        headings |= headings_of(facts, one.decision.object_class, exempt=exempt, kinds=counted)
    if not headings:
        return None
    people = _people(contract, node, found[0].facts["purpose"])
    return Flow(f"{job}:{contract.dataset}", job, node.name, frozenset(headings), people)


def _people(contract: DataContract, node: Node, purpose: str) -> list[bytes] | int:
    """Everybody who is read, by the column that tells them apart, or at most how many there are in the table."""
    terms = contract.law
    if terms is None or terms.subject is None:
        return terms.subjects if terms is not None else 0
    column = Withholding(node).table(contract, [terms.subject], Asker(purpose))[terms.subject]
    return [str(one).encode() for one in pc.unique(column).to_pylist() if one is not None]
