"""The law at the party's door: whether what a job would take out of this party may leave, by the party's own records.

Asked for every table of the party, before anything runs; it also says which columns its obligations mask. The party
reads its contracts, its records of evidence, its counters and the duties that earlier jobs left. Its verdict tells
the other members places, kinds, rules, obligations and which of them are overdue, never who is in the table. Whatever
cannot be read or counted is not lawful.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from parties.connectors.base import permitted_view
from parties.connectors.views import View
from parties.counting import opened_counters
from parties.duties import keep_duties, late_duties, marked
from parties.withheld import Withholding
from policies.contract import DataContract
from policies.errors import PolicyError
from policies.evidence import Evidence
from policies.job import JobOrder
from policies.law.binding import Bound, bound_columns, unanswerable
from policies.law.duties import LaterDuty, duties_of, late_lines
from policies.law.judging import Judged, judge, needs, refusals, told, with_changes
from policies.law.law import ClosedLaw, Law
from policies.plan import Plan
from policies.query.paths import path_of
from policies.query.reading import parse
from policies.request import Reason
from policies.verdict import JudgedTransfer
from policies.views import Asker, Views

EXEMPT = "C7"  # of PIPL's rules: an exemption that the law found


@dataclass(frozen=True)
class Lawful:
    """The law on one job at this party: why not (`reasons`), what is missing (`needs`), and on which transfers.

    `bound` are the columns that its obligations mask, by table and name; `duties` what the job would leave to be done
    after its release.
    """

    reasons: tuple[Reason, ...] = ()
    needs: tuple[str, ...] = ()
    transfers: tuple[JudgedTransfer, ...] = ()
    judged: tuple[Judged, ...] = ()
    bound: Mapping[str, Mapping[str, Bound]] = field(default_factory=dict)
    duties: tuple[LaterDuty, ...] = ()


class Lawfulness:
    """Judges jobs by the law of this node, its records and its counters; safe for any number of threads."""

    def __init__(self, node: Node, law: Law | ClosedLaw) -> None:
        self._node, self._law = node, law

    def judge(
        self, order: JobOrder, plan: Plan, contracts: Sequence[DataContract], asker: Asker, now: datetime
    ) -> Lawful:
        """The law on every transfer of the party's tables in the plan of a job that `asker` ordered; never raises."""
        law = self._law
        if isinstance(law, ClosedLaw):
            return Lawful((Reason("law", law.cause),))
        try:
            records, day = standing_in(self._node.home / FILE), now.date()
            asked = _Asked(law, plan, asker, records, day, order.jti)
            found = {contract.dataset: self._on_table(asked, contract) for contract in contracts}
            unfit = tuple(_unfit(asked, order, found[contract.dataset], contract) for contract in contracts)
            judged = [one for table in found.values() for one in table]
            leaving = duties_of(law, judged, self._node.name, day)
            late = late_duties(self._node, judged, leaving, records, day)
        except PolicyError as error:
            return Lawful((Reason("law", error.what, remedy=error.right, about=error.where),))
        except ComplianceError as error:  # `where` is a path of this party, which tells others nothing
            return Lawful((Reason("law", error.what, remedy=error.right),))
        except InbondError:
            return Lawful((Reason("law", "people cannot be counted where their table cannot be read"),))
        every = with_changes(law, judged)
        bound = {contract.dataset: bound_columns(every, contract) for contract in contracts}
        if reasons := (*refusals(every), *(reason for table in unfit for reason in table)):
            return Lawful(reasons, (), told(every), every, bound)
        needed = (*needs(law, every), *late_lines(late))
        return Lawful((), needed, told(marked(every, late)), every, bound, leaving)

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

    def count(
        self, plan: Plan, contracts: Sequence[DataContract], asker: Asker, job: str, now: datetime, before: Lawful
    ) -> None:
        """Count the people of a job that is about to be admitted, durably; again is no change.

        Raises Refused where the counters, with these people in them, make a transfer unlawful or bind other columns
        than `before`, and InbondError or ComplianceError where they cannot be kept.
        """
        law = self._law
        if isinstance(law, ClosedLaw):
            raise Refused(law.cause, where="law")
        asked = _Asked(law, plan, asker, standing_in(self._node.home / FILE), now.date(), job)
        for contract in contracts:
            flow = _flow(law, asked.judge(self._node.name, contract), contract, job, self._node)
            if flow is None:
                continue

            def lawful(counted: Mapping[str, Any], contract: DataContract = contract) -> None:
                found = asked.judge(self._node.name, contract, counted)
                if why := refusals(found):
                    raise Refused(f"{why[0].text} [{why[0].policy_id}]", where=why[0].about, right=why[0].remedy)
                if bound_columns(found, contract) != before.bound.get(contract.dataset):
                    what = "the law masks other columns than it did a moment ago"
                    raise Refused(what, where=contract.dataset, right="submit the job again")

            with opened_counters(self._node) as ledger:
                ledger.reserve(flow, lawful)
                ledger.commit(flow.key)

    def _on_table(self, asked: "_Asked", contract: DataContract) -> tuple[Judged, ...]:
        found = asked.judge(self._node.name, contract)
        flow = _flow(asked.law, found, contract, asked.job, self._node)
        if flow is None:
            return found
        with ExitStack() as stack:
            ledger: CounterLedger = stack.enter_context(opened_counters(self._node))
            return asked.judge(self._node.name, contract, ledger.preview(flow))


@dataclass(frozen=True)
class _Asked:
    """What the law is asked about in one job: by whom, on which day, by which records."""

    law: Law
    plan: Plan
    asker: Asker
    records: Sequence[Evidence]
    day: date
    job: str

    def judge(self, party: str, contract: DataContract, counted: Mapping[str, Any] | None = None) -> tuple[Judged, ...]:
        """The law on every transfer of a table, with what its party has `counted`."""
        return judge(self.law, self.plan, party, contract, self.records, self.day, counted or {}, self.asker)


def _unfit(asked: _Asked, order: JobOrder, found: Sequence[Judged], contract: DataContract) -> tuple[Reason, ...]:
    """Why the job cannot be answered with the columns bound that the law binds."""
    spec, masks = order.spec, (contract.views or Views()).masks_for(asked.asker)
    query = parse(spec.sql, "job: sql", spec.parameters) if spec.sql is not None else None

    def path(dataset: str, column: str) -> str:
        return path_of(query, dataset, column) if query is not None else ""

    return tuple(unanswerable(asked.law, found, asked.plan, contract, masks, path))


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
    rows = View(Withholding(node).view_of(contract, Asker(purpose)).rows)  # masked, people could not be told apart
    column = permitted_view(contract, [terms.subject], node.home, rows)[terms.subject]
    return [str(one).encode() for one in pc.unique(column).to_pylist() if one is not None]
