"""What everybody decides about a job: the coordinator by what parties publish, each party by itself, signed.

Who learns what: the coordinator sees published contracts, plans and verdicts; a party sees the order, the plan and, for
a join, the published contracts of the other side.
"""

import json
from concurrent.futures import Future
from typing import Any

import structlog
from flwr.app import RecordDict

from compliance.audit.entry import EntryType, fitting
from federation.catalogue import PartyEntry, read_catalogue
from federation.hub import Hub
from federation.planner import make_plan
from federation.recipes import recipe_info
from federation.steps import request_of
from federation.store import CoordinatorStore
from inbond import codec
from inbond.errors import Errors
from inbond.messages import Reply
from inbond.node import Node, utc_now
from inbond.orders import orderer
from inbond.records import settings, texts
from inbond.roster import VERDICT_TYPE
from policies.contract import PublishedContract
from policies.document import Document, validate
from policies.engine import Engine
from policies.envelope import verify
from policies.errors import InvalidInput
from policies.explain import explain
from policies.facts import Membership, Requester, admission_facts
from policies.job import JobOrder
from policies.plan import Plan
from policies.regions import Hop, check_way, way
from policies.request import Decision, Effect
from policies.verdict import Verdict

log = structlog.get_logger(__name__)
ADMISSION_SECONDS = 30.0


class Verdicts:
    """Plans over the published contracts, and asks for decisions on them."""

    def __init__(self, node: Node, store: CoordinatorStore, hub: Hub, engine: Engine) -> None:
        self._node, self._store, self._hub, self._engine = node, store, hub, engine

    def catalogues(self) -> dict[str, PartyEntry]:
        """Party -> what it publishes; a catalogue that no longer verifies is left out."""
        found: dict[str, PartyEntry] = {}
        for name, token in self._store.catalogues().items():
            try:
                found[name] = read_catalogue(token, self._node.trust, utc_now())
            except Errors as error:
                log.info("a catalogue is out of date", party=name, reason=str(error))
        return found

    def plan(self, order: JobOrder) -> Plan:
        """The plan of an order over the parties' published contracts; raises InvalidInput."""
        dataset, entries = order.spec.dataset, self.catalogues()
        contracts = {name: one.contracts for name, one in entries.items()}
        if not any(dataset in held for held in contracts.values()):
            known = sorted({name for one in entries.values() for name in one.contracts})
            right = f"the datasets are {', '.join(known)}" if known else "wait until a party has joined"
            raise InvalidInput(f"no party offers dataset `{dataset}`", where="job: dataset", right=right)
        country = self._node.config.node.country
        return make_plan(order, contracts, recipe_info(order.spec), coordinator_country=country)

    def explain(self, token: str, order: JobOrder, sum_key: bytes) -> tuple[Plan, Decision, dict[str, Any]]:
        """Plan and every verdict of an order that is not to run."""
        plan = self.plan(order)
        decision = self.decide(order, plan, self._way(token, order, plan))
        return plan, decision, self.ask(token, sum_key, order, plan, binding=False)

    def decide(self, order: JobOrder, plan: Plan, hops: tuple[Hop, ...]) -> Decision:
        """The coordinator's own decision, on the contracts that parties publish and the way (`hops`) of their data."""
        try:
            check_way(hops)
        except InvalidInput as error:
            return Decision(effect=Effect.DENY, determining=(), errors=(str(error),))
        entries = self.catalogues()
        membership = Membership(order.consortium, frozenset(entries), frozenset({order.iss}))
        decisions = []
        for party, table in ((one.name, table) for one in plan.participants for table in one.tables):
            facts = admission_facts(
                order,
                plan,
                entries[party].contracts[table.dataset],
                party=party,
                requester=Requester(order.iss),
                membership=membership,
                now=utc_now(),
                contracts={one.dataset: one for one in self._contracts(plan)} | entries[party].contracts,
            )
            decisions.append(self._engine.decide_cached(facts.requests, facts.entities))
        return Decision.all_of(decisions)

    def refusals(self, token: str, order: JobOrder, plan: Plan) -> list[str]:
        """Why the coordinator refuses, if it does; the decision is logged."""
        hops = self._way(token, order, plan)
        decision = self.decide(order, plan, hops)
        kind = EntryType.DECISION if decision.permitted else EntryType.REFUSAL
        data = {**decision.logged(), "plan": plan.digest(), "way": fitting([hop.payload() for hop in hops])}
        self._node.record(kind, job=order.jti, subject=order.iss, data=data)
        return [] if decision.permitted else list(explain(decision))

    def ask(
        self, token: str, sum_key: bytes, order: JobOrder, plan: Plan, *, binding: bool
    ) -> dict[str, tuple[Verdict, str] | str]:
        """Party -> its verdict and the signed token, or why there is none."""
        contracts = [json.dumps(one.published()) for one in self._contracts(plan)]
        text = json.dumps(plan.payload())
        content = RecordDict({"admit": settings(order=[token], plan=[text], contracts=contracts, sum_key=sum_key)})
        if binding and (approvals := self._store.approvals(order.jti)):
            content["people"] = settings(approvals=approvals)
        body = codec.encode(content)
        kind = "admit" if binding else "explain"
        futures = {
            one.name: self._hub.request(
                one.name,
                request_of(order.jti, one.name, kind, "", 0, 0, plan.digest(), ADMISSION_SECONDS, body),
            )
            for one in plan.participants
        }
        return {party: self._verdict(party, future) for party, future in futures.items()}

    def _way(self, token: str, order: JobOrder, plan: Plan) -> tuple[Hop, ...]:
        """Where the job's data go, with the countries that the authority attests of all that are seen here."""
        root, own = f"spiffe://{order.consortium}", self._node.credentials
        attested = {f"{root}/party/{name}": one.attested for name, one in self.catalogues().items()}
        submitter = orderer(token, trust=self._node.trust, now=utc_now())
        attested |= {str(own.spiffe_id): own.standing.country, str(submitter.spiffe_id): submitter.standing.country}
        return way(plan, order, attested)

    def _contracts(self, plan: Plan) -> list[PublishedContract]:
        """One published contract of every table that a join is over: all parties need the other side's columns."""
        if plan.join is None:
            return []
        entries = self.catalogues()
        found: dict[str, PublishedContract] = {}
        for party, table in ((one.name, table) for one in plan.participants for table in one.tables):
            found.setdefault(table.dataset, entries[party].contracts[table.dataset])
        return list(found.values())

    def _verdict(self, party: str, future: "Future[Reply]") -> tuple[Verdict, str] | str:
        try:
            reply = future.result(ADMISSION_SECONDS + 1)
            if reply.status != "ok":
                return reply.reason
            token = texts(codec.decode(reply.body), "verdict", "token")[0]
            signed = verify(token, typ=VERDICT_TYPE, trust=self._node.trust, now=utc_now())
            if signed.issuer.role != "party" or signed.issuer.name != party:
                return "its verdict is signed by somebody else"
            return validate(Verdict, Document(signed.payload, "verdict", {})), token
        except TimeoutError:
            return f"no verdict within {ADMISSION_SECONDS:.0f} s; it may be offline"
        except Errors as error:
            return str(error)
