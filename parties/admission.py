"""A party decides about a job on its own data; its word is final.

The coordinator sends the owner's signed order and the plan it made of it. Nothing in the plan is believed: the party
checks that it says what was ordered, that it follows a protocol this version knows, that the recipe is one that this
party's administrator installed, and then asks its own policies, its own contract and its own budget.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from compliance.audit.entry import EntryType, fitting
from compliance.budget import BudgetLedger
from compliance.errors import ComplianceError
from inbond.approvals import count, patience, question
from inbond.errors import InbondError
from inbond.joint_query import planned_query
from inbond.node import Node, utc_now
from inbond.orders import open_order, orderer
from inbond.roster import VERDICT_TYPE
from parties.agreed import Agreed, Agreements
from parties.catalogue import Catalogue, check_derived
from parties.lawfulness import Lawful, Lawfulness
from parties.recipes.base import Recipe
from parties.recipes.registry import find_recipe
from parties.regions import Regions
from parties.releases import check_budget
from parties.showing import shown
from parties.store import JobRow, PartyStore
from policies.approval import Tally
from policies.approval_rule import ApprovalRule
from policies.calls import role_of
from policies.canonical import digest
from policies.contract import DataContract, PublishedContract, read_published
from policies.engine import Engine
from policies.envelope import sign
from policies.errors import PolicyError
from policies.explain import explain
from policies.facts import Membership, Requester, admission_facts
from policies.job import JobOrder
from policies.plan import Plan, load_plan
from policies.protocols import check_protocol
from policies.regions import Hop, check_way
from policies.request import Decision, Effect, Reason
from policies.verdict import JudgedTransfer, Verdict, make_verdict
from policies.views import Asker
from protocols.masking import EpochKey

NO_KEY = "0" * 64
REPEAT_SECONDS = 3600.0
MAX_REMEMBERED = 10_000
MAX_LAW_BYTES = 32 * 1024  # of the 64 KiB that an entry may hold
Contracts = Mapping[str, PublishedContract]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the coordinator sends for admission: the signed order, the plan as JSON, the researcher's BFV key, and for a
    join one published contract (JSON) of every table that it is over; and what people have signed about the plan.
    """

    token: str
    plan: str
    sum_key: bytes
    contracts: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


class Admission:
    """The party's door for new jobs."""

    def __init__(
        self,
        node: Node,
        store: PartyStore,
        catalogue: Catalogue,
        engine: Engine,
        budget: BudgetLedger,
        lawfulness: Lawfulness,
        regions: Regions,
    ) -> None:
        self._node, self._store, self._catalogue = node, store, catalogue
        self._engine, self._budget, self._lawfulness = engine, budget, lawfulness
        self._agreements = Agreements(node)
        self._regions = regions
        self._explained: OrderedDict[str, float] = OrderedDict()

    def decide(self, proposal: Proposal, *, binding: bool) -> str:
        """The party's signed verdict; a `binding` permit admits the job. Every decision is logged first.

        Numbered as in the design: (1) signature, issuer, audience, times; (2) replay; (3) the plan says what was
        ordered, and nobody in it is elsewhere than the authority attests; (4) protocol and recipe are known here; (5)
        policy; (6) budget; (7) the law, with the evidence that it asks for; (8) agreements, where contracts want them;
        (9) people, where contracts want them; (10) a use of the agreement, the counters of people sent abroad, and what
        falls due afterwards.
        """
        now = utc_now()
        plan = load_plan(proposal.plan, "plan")
        rules = self._rules(plan)
        order = open_order(
            proposal.token,
            trust=self._node.trust,
            consortium=self._node.config.node.consortium,
            now=now,
            aged=patience(rules),
        )
        person = orderer(proposal.token, trust=self._node.trust, now=now)
        asker = Asker(plan.purpose, role_of(person), person.standing.organisation)
        hops = self._regions.way(plan, order, person)
        decision = self._decision(order, plan, proposal, hops, now)
        lawful = self._lawful(order, plan, decision, asker, now)
        decision = shown(decision, plan, self._own(plan), asker, lawful)
        agreed = self._agreed(plan, decision, now)
        decision = _also(decision, (*lawful.reasons, *agreed.reasons))
        people = self._people(rules, order, plan, proposal, now)
        if binding and decision.permitted and lawful.needs:
            decision = _unproved(lawful)
        if binding and decision.permitted and people.missing:
            decision = _unapproved(people)
        if binding and decision.permitted and not self._first_sight(order):
            decision = _refusal("replayed order", "an order is good once; submit a new one")
        if binding and decision.permitted:
            decision = self._counted(order, plan, decision, asker, lawful, agreed, now)
        epoch = EpochKey.generate() if decision.permitted else None
        waits = () if binding or not decision.permitted else _waits(people, lawful)
        verdict = self._verdict(order, plan, decision, epoch, waits, lawful)
        self._record(order, plan, verdict, decision, binding, people, agreed, hops)
        token = sign(verdict.payload(), typ=VERDICT_TYPE, signer=self._node.signer(), at=now)
        if binding and epoch is not None:
            self._admit(order, proposal, token, epoch, asker, lawful)
        return token

    def _rules(self, plan: Plan) -> dict[str, ApprovalRule]:
        """What this party's own contracts ask of people, by table."""
        own = plan.participant(self._node.name)
        held = [self._catalogue.contracts.get(table.dataset) for table in own.tables] if own else []
        return {f"{one.dataset} of {self._node.name}": one.approval for one in held if one and one.approval}

    def _people(
        self, rules: Mapping[str, ApprovalRule], order: JobOrder, plan: Plan, proposal: Proposal, now: datetime
    ) -> Tally:
        """(9) How the people's approvals stand, each checked here: nobody's word is taken for them."""
        if not rules:
            return Tally()
        asked = question(proposal.token, job=order.jti, plan=plan.digest(), trust=self._node.trust, now=now)
        return count(rules, proposal.approvals, asked, trust=self._node.trust)

    def _lawful(self, order: JobOrder, plan: Plan, decision: Decision, asker: Asker, now: datetime) -> Lawful:
        """(7) The law on what would leave, of a plan that can be believed: one that fails for itself is not judged."""
        if not decision.permitted and not decision.reasons:
            return Lawful()
        return self._lawfulness.judge(order, plan, self._own(plan), asker, now)

    def _agreed(self, plan: Plan, decision: Decision, now: datetime) -> Agreed:
        """(8) Agreements on what would become known, of a plan that can be believed."""
        if not decision.permitted and not decision.reasons:
            return Agreed()
        return self._agreements.judge(plan, self._own(plan), now)

    def check_agreed(self, plan: Plan, job: str) -> None:
        """Raise RefusedError unless an admitted job's agreement, where its contracts want one, still stands."""
        self._agreements.check(plan, self._own(plan), job)

    def _counted(
        self,
        order: JobOrder,
        plan: Plan,
        decision: Decision,
        asker: Asker,
        lawful: Lawful,
        agreed: Agreed,
        now: datetime,
    ) -> Decision:
        """(10) The permit once its transfers are kept, a use is taken, everybody who is sent abroad is counted, and
        what falls due afterwards is kept.
        """
        own = self._own(plan)
        try:
            self._lawfulness.remember(order.jti, lawful)
            with self._agreements.taken(plan, own, order.jti, agreed):
                self._lawfulness.count(plan, own, asker, order.jti, now, lawful)
                self._lawfulness.owe(order.jti, lawful)
        except (InbondError, ComplianceError) as error:
            return _refusal(error.what, error.right)
        return decision

    def _own(self, plan: Plan) -> list[DataContract]:
        own = plan.participant(self._node.name)
        held = [self._catalogue.contracts.get(table.dataset) for table in own.tables] if own else []
        return [one for one in held if one is not None]

    def _first_sight(self, order: JobOrder) -> bool:
        return self._store.first_sight(order.iss, order.jti, order.exp + 60)

    def _decision(
        self, order: JobOrder, plan: Plan, proposal: Proposal, hops: tuple[Hop, ...], now: datetime
    ) -> Decision:
        own = plan.participant(self._node.name)
        contracts = [self._catalogue.contracts.get(table.dataset) for table in own.tables] if own else [None]
        if None in contracts:
            return _refusal("no such dataset here", f"datasets of this party: {', '.join(self._catalogue.contracts)}")
        try:
            check_way(hops)
            self._check_known(order, plan, proposal.sum_key)
            held = brought(plan, proposal.contracts) | {one.dataset: one for one in contracts if one}
            return Decision.all_of([self._on_table(order, plan, one, held, now) for one in contracts if one])
        except (PolicyError, InbondError) as error:
            return _refusal(error.what, error.right)

    def _on_table(
        self, order: JobOrder, plan: Plan, contract: DataContract, contracts: Contracts, now: datetime
    ) -> Decision:
        """The decision on one of this party's tables; raises PolicyError or InbondError, which refuse."""
        recipe = recipe_of(order)
        if recipe is not None:
            check_columns(recipe, contract, plan)
        check_derived(contract, self._node.home)
        names = frozenset(participant.name for participant in plan.participants)
        facts = admission_facts(
            order,
            plan,
            contract,
            party=self._node.name,
            requester=Requester(order.iss),
            membership=Membership(order.consortium, names, frozenset({order.iss})),
            now=now,
            contracts=contracts,
        )
        decision = self._engine.decide_cached(facts.requests, facts.entities)
        if decision.permitted:
            self._check_budget(order, plan, contract, contracts)
        return decision

    @staticmethod
    def _check_known(order: JobOrder, plan: Plan, sum_key: bytes) -> None:
        """(4) Only what is installed here runs: protocol, version, steps, recipe, its parameters and columns."""
        check_protocol(plan, order.spec.rounds or 1)
        if order.sum_key_digest is not None and hashlib.sha256(sum_key).hexdigest() != order.sum_key_digest:
            raise InbondError("the researcher's key is not the one that was signed", right="the key of the order")

    def _check_budget(self, order: JobOrder, plan: Plan, contract: DataContract, contracts: Contracts) -> None:
        """(6) Refuse early what the ledger would refuse later; the charge itself is made at the release."""
        if plan.noise.mechanism != "none" and contract.budget is not None:
            check_budget(self._budget, planned_query(order.spec, plan, contracts), plan, contract.dataset)

    def _verdict(
        self,
        order: JobOrder,
        plan: Plan,
        decision: Decision,
        epoch: EpochKey | None,
        waits: tuple[str, ...],
        lawful: Lawful,
    ) -> Verdict:
        own = plan.participant(self._node.name)
        return make_verdict(
            decision,
            job=order.jti,
            plan=plan.digest(),
            party=self._node.name,
            contract=own.binding() if own else NO_KEY,
            steps=plan.steps,
            expires=order.exp,
            epoch_key=epoch.public.hex() if epoch else NO_KEY,
            reasons=(*explain(decision), *waits),
            transfers=lawful.transfers,
            needs=lawful.needs,
        )

    def _record(
        self,
        order: JobOrder,
        plan: Plan,
        verdict: Verdict,
        decision: Decision,
        binding: bool,
        people: Tally,
        agreed: Agreed,
        hops: tuple[Hop, ...],
    ) -> None:
        data: dict[str, Any] = {
            "order": order.digest(),
            "plan": verdict.plan,
            "purpose": order.spec.purpose,
            "dataset": ", ".join(plan.datasets()),
            "contract": verdict.contract,
            "effect": verdict.effect,
            "policies": list(verdict.policies),
            "reasons": list(verdict.reasons),
            "errors": list(decision.errors),
            "fingerprint": decision.fingerprint,
            "binding": binding,
            **agreed.logged(),
            "way": fitting([hop.payload() for hop in hops]),
        }
        if verdict.transfers:
            data["law"] = _logged(verdict.transfers)
            data["law_needs"] = list(verdict.needs)
        if people != Tally():
            data |= {"approved_by": list(people.counted), "approvals_missing": list(people.lines)}
        if not binding and self._said(order, data):
            return
        kind = EntryType.ADMISSION if verdict.permitted else EntryType.REFUSAL
        self._node.record(kind, job=order.jti, subject=order.iss, data=data)

    def _said(self, order: JobOrder, data: Mapping[str, Any]) -> bool:
        """Whether this very explanation was logged within the hour: a job that waits for evidence is asked again and
        again.
        """
        said, now = digest([order.jti, dict(data)]), time.monotonic()
        if now - self._explained.get(said, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return True
        self._explained[said] = now
        self._explained.move_to_end(said)
        while len(self._explained) > MAX_REMEMBERED:
            self._explained.popitem(last=False)
        return False

    def _admit(
        self, order: JobOrder, proposal: Proposal, verdict: str, epoch: EpochKey, asker: Asker, lawful: Lawful
    ) -> None:
        kept = {
            "epoch": epoch.private.hex(),
            "sum_key": proposal.sum_key.hex(),
            "contracts": proposal.contracts,
            "asker": (asker.role, asker.organisation),
            "masks": {
                dataset: {name: one.cut.model_dump() for name, one in columns.items()}
                for dataset, columns in lawful.bound.items()
            },
        }
        secrets = json.dumps(kept).encode()
        self._store.admit(
            JobRow(
                id=order.jti,
                token=proposal.token,
                plan=proposal.plan,
                verdict=verdict,
                state="admitted",
                secrets=self._node.keystore.encrypt(secrets, f"{order.jti}/secrets"),
                created=utc_now().timestamp(),
                expires=order.exp,
                summary="{}",
            )
        )


def brought(plan: Plan, texts: Sequence[str]) -> dict[str, PublishedContract]:
    """The contracts that came with a proposal, by dataset; raises InbondError for one that the plan does not bind."""
    bound = {table.contract for participant in plan.participants for table in participant.tables}
    found: dict[str, PublishedContract] = {}
    for text in texts:
        contract = read_published(text, "proposal")
        if contract.digest() not in bound:
            raise InbondError("a contract is not one of the plan's", where=contract.dataset, right="the plan's own")
        found[contract.dataset] = contract
    if plan.join is not None and set(found) != set(plan.datasets()):
        raise InbondError("a contract of the join is missing", right=f"one of each of {', '.join(plan.datasets())}")
    return found


def recipe_of(order: JobOrder) -> Recipe[Any] | None:
    """The installed recipe that an order pins, its parameters checked; None for a query."""
    if order.spec.recipe is None:
        return None
    recipe = find_recipe(order.spec.recipe.name, str(order.spec.recipe.version))
    recipe.parse(order.spec.recipe.parameters, "recipe parameters")
    return recipe


def check_columns(recipe: Recipe[Any], contract: DataContract, plan: Plan) -> None:
    """Raise InbondError unless the contract has every column that the recipe reads, and the plan says that it does.

    What the plan does not say, neither policies nor the law would be asked about.
    """
    said = {(use.column, use.use) for use in plan.columns if use.dataset == contract.dataset}
    for need in recipe.columns:
        if (need.name, need.use) not in said:
            right = f"a plan that says so, for use {need.use}"
            raise InbondError(f"recipe {recipe.name} reads {need.name}, which the plan conceals", right=right)
        column = contract.columns.get(need.name)
        if column is None or column.type != need.type:
            right = f"a column {need.name} of type {need.type}"
            raise InbondError(f"recipe {recipe.name} reads {need.name}, which the contract lacks", right=right)


def _also(decision: Decision, reasons: tuple[Reason, ...]) -> Decision:
    """The decision with what the law has against it: a refusal by both names both."""
    if not reasons:
        return decision
    if decision.permitted:
        return Decision(effect=Effect.DENY, determining=(), reasons=reasons, fingerprint=decision.fingerprint)
    return replace(decision, reasons=(*decision.reasons, *reasons))


def _unproved(lawful: Lawful) -> Decision:
    """The refusal of a plan that would be lawful, were there records of its evidence."""
    reason = Reason("evidence", "the law asks for evidence that no record holds", remedy=_records_of(lawful.needs))
    return Decision(effect=Effect.DENY, determining=(), reasons=(reason,))


def _records_of(needs: tuple[str, ...]) -> str:
    return f"with `inbond record add` a record of {'; of '.join(needs)}"


def _waits(people: Tally, lawful: Lawful) -> tuple[str, ...]:
    """For whom and what a permit waits."""
    evidence = tuple(f"Waits for evidence: {line}." for line in lawful.needs)
    return (*evidence, *(f"Waits for people: {line}." for line in people.lines))


def _logged(transfers: Sequence[JudgedTransfer]) -> list[dict[str, Any]]:
    """What the evidence log keeps of transfers: everything but how else they would be lawful."""
    return fitting(
        [
            {name: value for name, value in one.model_dump(mode="json").items() if value and name != "changes"}
            for one in transfers
        ],
        MAX_LAW_BYTES,
    )


def _unapproved(people: Tally) -> Decision:
    """The refusal of a plan that not enough people have approved."""
    reason = Reason("approval", "not enough people have approved this plan", remedy="; ".join(people.lines))
    return Decision(effect=Effect.DENY, determining=(), reasons=(reason,))


def _refusal(what: str, right: str) -> Decision:
    """A refusal that no policy needed to make."""
    return Decision(effect=Effect.DENY, determining=(), errors=(f"{what}; {right}" if right else what,))
