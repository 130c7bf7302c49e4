"""From signed things to the questions a policy is asked: nobody types facts.

Coordinator and party use the same function, the coordinator with the published contract, the party with its
own. What a plan claims and can be recomputed from the order (the columns of a query) is recomputed here.
epsilon is in thousandths and delta in billionths: what is asked rounds up, what is allowed rounds down.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from policies.contract import Column, JoinKey, JoinLeak, PublishedContract, Use
from policies.errors import InvalidInput
from policies.job import JobOrder
from policies.plan import UNREADABLE, JoinPlan, Leak, LeakKind, Plan, Reader, Role
from policies.protocols import answered_by
from policies.query.compiling import compile_query
from policies.query.paths import outputs_of, path_of
from policies.query.reading import Query, parse
from policies.query.scope import Offer
from policies.remedies import Remedies, column_remedies, join_remedies
from policies.request import AccessRequest, Entity, EntityRef, EntitySet, Facts

UNLIMITED = 2**62


@dataclass(frozen=True)
class Requester:
    """Who asks, as proved by the certificate: SPIFFE ID and roles."""

    id: str
    roles: tuple[str, ...] = ("researcher",)


@dataclass(frozen=True)
class Membership:
    """The consortium as this node knows it: its name, its parties' names and its users' SPIFFE IDs."""

    consortium: str
    parties: frozenset[str]
    users: frozenset[str]

    def holds(self, identity: str) -> bool:
        """Return whether `identity` (a SPIFFE ID) is a party, a user or the coordinator of the consortium."""
        root = f"spiffe://{self.consortium}"
        parties = {f"{root}/party/{name}" for name in self.parties}
        return identity in self.users or identity in parties or identity == f"{root}/coordinator"


@dataclass(frozen=True)
class AdmissionFacts:
    """What is asked about one party's table for one job, and the entities it is about."""

    requests: tuple[AccessRequest, ...]
    entities: EntitySet


@dataclass(frozen=True)
class _Case:
    order: JobOrder
    plan: Plan
    contract: PublishedContract
    contracts: Mapping[str, PublishedContract]
    party: str
    requester: Requester
    membership: Membership
    now: datetime

    @property
    def user(self) -> EntityRef:
        return EntityRef("User", self.requester.id)

    @property
    def dataset(self) -> EntityRef:
        return EntityRef("Dataset", f"{self.party}/{self.contract.dataset}")

    @cached_property
    def query(self) -> Query | None:
        """The order's statement; None for a training. Raises InvalidInput."""
        spec = self.order.spec
        return parse(spec.sql, "job: sql", spec.parameters) if spec.sql is not None else None

    @property
    def common(self) -> Facts:
        plan = self.plan
        return (
            ("kind", plan.kind),
            ("protection", plan.protection.mode),
            ("mechanism", plan.noise.mechanism),
        )


def admission_facts(
    order: JobOrder,
    plan: Plan,
    contract: PublishedContract,
    *,
    party: str,
    requester: Requester,
    membership: Membership,
    now: datetime,
    contracts: Mapping[str, PublishedContract] | None = None,
) -> AdmissionFacts:
    """Return everything to be decided about `party`'s table for this job at `now` (aware).

    `contracts` has one of every dataset of the query, where there is more than this table's.
    One `run`, one `use` per column and use, one `reveal` per leak, one `receive` per reader.
    Raises InvalidInput when the order's SQL cannot be read.
    """
    held = {**(contracts or {}), contract.dataset: contract}
    case = _Case(order, plan, contract, held, party, requester, membership, now)
    mine = (item for item in plan.columns if item.dataset == contract.dataset)
    uses = tuple(dict.fromkeys((item.column, item.use.value) for item in mine))
    leaks = tuple(leak for leak in plan.leaks() if not leak.owners or party in leak.owners)
    requests = (
        _run(case),
        *(_use(case, column, use) for column, use in uses),
        *(_reveal(case, leak) for leak in leaks),
        *(_receive(case, reader) for reader in dict.fromkeys(plan.readers) if plan.concerns(party, reader)),
    )
    return AdmissionFacts(requests, EntitySet(_entities(case, uses, leaks)))


def _run(case: _Case) -> AccessRequest:
    plan = case.plan
    context: Facts = (
        *case.common,
        ("consortium", EntityRef("Consortium", case.order.consortium)),
        ("participants", tuple(sorted(found.name for found in plan.participants))),
        ("parties", len({found.name for found in plan.participants})),
        ("purpose", case.order.spec.purpose),
        ("minimum_group", plan.minimum_group),
        ("minimum_parties", plan.minimum_parties),
        ("epsilon_milli", _asked(plan.noise.epsilon, 1000)),
        ("delta_1e9", _asked(plan.noise.delta, 10**9)),
        ("bound", _bound(case)),
        ("in_time", case.order.nbf <= case.now.timestamp() < case.order.exp),
    )
    return AccessRequest(case.user, "run", case.dataset, context, f"job `{case.order.spec.name}`")


def _bound(case: _Case) -> bool:
    """Whether order, plan, contract and requester are those that were signed for each other."""
    own = case.plan.participant(case.party)
    return (
        own is not None
        and own.contract(case.contract.dataset) == case.contract.digest()
        and own.country == case.contract.jurisdiction
        and case.plan.job == case.order.digest()
        and case.order.iss == case.requester.id
        and _says_what_was_ordered(case)
    )


def _says_what_was_ordered(case: _Case) -> bool:
    spec, plan = case.order.spec, case.plan
    same = (plan.kind, plan.purpose, plan.dataset) == (spec.kind, spec.purpose, spec.dataset)
    protected = plan.protection.mode == spec.protection and plan.minimum_parties >= spec.minimum_parties
    named = spec.parties == "all" or {found.name for found in plan.participants} == set(spec.parties)
    noised = spec.privacy.mechanism in {"none", plan.noise.mechanism}
    enough = plan.noise.epsilon <= (spec.privacy.epsilon or math.inf)
    return all((same, protected, named, noised, enough, _names_the_readers(case), _covers_the_query(case)))


def _names_the_readers(case: _Case) -> bool:
    """Whether recipients, requester and (for what the protocol opens to them) all parties are readers, and everybody
    is one of all that the plan's leaks open to them.

    A requester reads nothing where the parties of one side read the answer.
    """
    order, plan = case.order, case.plan
    readers = {(reader.id, reader.country) for reader in plan.readers}
    listed = all((recipient.id, recipient.country) in readers for recipient in order.spec.recipients)
    opened = LeakKind.JOINT_MODEL if plan.kind == "train" else LeakKind.GROUP_COUNTS
    root = f"spiffe://{order.consortium}/party"
    parties = {Reader(id=f"{root}/{found.name}", country=found.country, object=opened) for found in plan.participants}
    asks = bool(plan.answered()) or order.iss in {identity for identity, _ in readers}
    said = {(reader.id, reader.country, reader.object) for reader in plan.readers}
    return listed and asks and parties <= set(plan.readers) and _opened(case) <= said


def _opened(case: _Case) -> set[tuple[str, str | None, LeakKind]]:
    """(who, where, what) becomes readable by the leaks of the plan."""
    order, plan = case.order, case.plan
    root = f"spiffe://{order.consortium}"
    researchers = [(one.id, one.country) for one in order.spec.recipients]
    found: set[tuple[str, str | None, LeakKind]] = set()
    for leak in plan.leaks():
        if leak.what in UNREADABLE:
            continue
        if leak.who is Role.RESEARCHER:
            found |= {(identity, country, leak.what) for identity, country in researchers}
        elif leak.who is Role.COORDINATOR:
            found.add((f"{root}/coordinator", plan.coordinator, leak.what))
        else:
            learners = [one for one in plan.participants if not leak.learners or one.name in leak.learners]
            found |= {(f"{root}/party/{one.name}", one.country, leak.what) for one in learners}
    return found


def _covers_the_query(case: _Case) -> bool:
    """Whether the plan says the query, every use of a column and every condition, as they follow from the order."""
    plan, query = case.plan, case.query
    if query is None:
        return plan.sql is None
    owners = {name: tuple(one.name for one in plan.participants if one.contract(name)) for name in query.datasets}
    catalogue = {name: Offer(case.contracts[name], held) for name, held in owners.items() if name in case.contracts}
    try:
        ordered = compile_query(query, catalogue, noised=plan.noise.mechanism != "none")
    except InvalidInput:  # not by this table's own contract, which is then not what the plan was made with
        return False
    planned = {(item.dataset, item.column, item.use.value) for item in plan.columns}
    conditions = {(item.dataset, item.condition) for item in plan.pushed}
    sides = {name: side.number for side in ordered.sides for name in side.owners}
    return (
        plan.sql == query.canonical_sql
        and set(ordered.uses) <= planned
        and set(ordered.pushed) <= conditions
        and ordered.keys == (plan.join.keys if plan.join else ())
        and (plan.join is None or plan.join.answer == _answered_by(case, plan.join))
        and all(one.side == sides.get(one.name) for one in plan.participants)
    )


def _answered_by(case: _Case, join: JoinPlan) -> str:
    recipients = [one.id for one in case.order.spec.recipients]
    try:
        return answered_by(recipients, case.order.consortium, join, (case.plan.side(0), case.plan.side(1)))
    except InvalidInput:
        return "nobody"


def _use(case: _Case, column: str, use: str) -> AccessRequest:
    context: Facts = (*case.common, ("use", use))
    path = path_of(case.query, case.contract.dataset, column) if case.query is not None else ""
    about = f"column `{column}`, use {use}" + (f", read by {path}" if path else "")
    remedies = column_remedies(case.party, column, use, path)
    return AccessRequest(case.user, "use", _column_ref(case, column), context, about, remedies)


def _reveal(case: _Case, leak: Leak) -> AccessRequest:
    context: Facts = (
        *case.common,
        ("what", leak.what.value),
        ("joined", bool(leak.learners)),
        ("granted", _granted(case, leak.what.value, leak.learners)),
    )
    who = ", ".join(leak.learners) or leak.who
    about = f"{who} {'learn' if len(leak.learners) > 1 else 'learns'} {leak.what}"
    about += f": {leak.about}" if leak.about else ""
    remedies = _grants(case, leak.what, leak.learners)
    if remedies and case.query is not None:
        about += f", in the join on {', '.join(map('`{}`'.format, _keys(case)))} for {outputs_of(case.query)}"
    return AccessRequest(EntityRef("Learner", leak.who.value), "reveal", case.dataset, context, about, remedies)


def _grants(case: _Case, what: LeakKind, learners: tuple[str, ...]) -> Remedies:
    """What would let the keys of this table show `what` to `learners`; nothing where no key can grant it."""
    if case.plan.join is None or not learners or what.value not in set(JoinLeak):
        return ()
    fast = case.order.spec.matching == "fast"
    return join_remedies(case.party, _keys(case), JoinLeak(what.value), learners, fast=fast)


def _granted(case: _Case, what: str, learners: tuple[str, ...]) -> bool:
    """Whether every join key of this table lets each of the `learners` (other than its owner) know `what`."""
    others = [name for name in learners if name != case.party]
    if what not in set(JoinLeak):
        return False
    return all(JoinLeak(what) in (key.grants(name) or ()) for key in _keys(case).values() for name in others)


def _keys(case: _Case) -> dict[str, JoinKey]:
    """The join keys of this table that the plan uses, by column."""
    used = {item.column for item in case.plan.columns if (item.dataset, item.use) == (case.contract.dataset, Use.JOIN)}
    held = case.contract.columns.items()
    return {name: column.key for name, column in held if name in used and column.key is not None}


def _receive(case: _Case, reader: Reader) -> AccessRequest:
    context: Facts = (
        *case.common,
        ("object", reader.object.value),
        ("named", case.contract.recipients.names(reader.id)),
        ("own", reader.id == f"spiffe://{case.membership.consortium}/party/{case.party}"),
        ("member", case.membership.holds(reader.id)),
        ("granted", _granted(case, reader.object.value, (reader.name,))),
    )
    about = f"{reader.id} reads {reader.object} in {reader.country}"
    remedies = _grants(case, reader.object, (reader.name,))
    return AccessRequest(_reader_ref(reader), "receive", case.dataset, context, about, remedies)


def _reader_ref(reader: Reader) -> EntityRef:
    return EntityRef("Reader", f"{reader.country}|{reader.id}")


def _column_ref(case: _Case, column: str) -> EntityRef:
    return EntityRef("Column", f"{case.dataset.id}/{column}")


def _entities(case: _Case, uses: tuple[tuple[str, str], ...], leaks: tuple[Leak, ...]) -> tuple[Entity, ...]:
    return (
        *_consortia(case),
        _user(case),
        _dataset(case),
        *(_column(case, name) for name in dict.fromkeys(column for column, _ in uses)),
        *(
            Entity(EntityRef("Learner", role.value), (("role", role.value),))
            for role in dict.fromkeys(leak.who for leak in leaks)
        ),
        *dict.fromkeys(Entity(_reader_ref(reader), (("country", reader.country),)) for reader in case.plan.readers),
    )


def _consortia(case: _Case) -> tuple[Entity, ...]:
    known = EntityRef("Consortium", case.membership.consortium)
    ours = Entity(known, (("parties", tuple(sorted(case.membership.parties))),))
    claimed = EntityRef("Consortium", case.order.consortium)
    return (ours,) if claimed == known else (ours, Entity(claimed, (("parties", ()),)))


def _user(case: _Case) -> Entity:
    home = EntityRef("Consortium", case.membership.consortium)
    parents = (home,) if case.requester.id in case.membership.users else ()
    return Entity(case.user, (("roles", case.requester.roles),), parents)


def _dataset(case: _Case) -> Entity:
    contract, budget = case.contract, case.contract.budget
    attributes: Facts = (
        ("party", case.party),
        ("consortium", EntityRef("Consortium", case.membership.consortium)),
        ("jurisdiction", contract.jurisdiction),
        ("purposes", tuple(sorted(contract.purposes))),
        ("countries", contract.recipients.countries),
        ("minimum_group", contract.minimum_group),
        ("minimum_parties", contract.minimum_parties),
        ("allow_plain", contract.allow_plain),
        ("noise_required", contract.noise.mode == "required"),
        ("noise_epsilon_milli", _allowed(contract.noise.epsilon, 1000)),
        ("budget_limited", budget is not None),
        ("budget_epsilon_milli", _allowed(budget.epsilon if budget else None, 1000)),
        ("budget_delta_1e9", _allowed(budget.delta if budget else None, 10**9)),
        ("expired", contract.expired(case.now)),
    )
    return Entity(case.dataset, attributes)


def _column(case: _Case, name: str) -> Entity:
    column: Column | None = case.contract.columns.get(name)
    attributes: Facts = (
        ("class", column.data_class.value if column else "unknown"),
        ("uses", tuple(sorted(use.value for use in column.uses)) if column else ()),
        ("known", column is not None),
    )
    return Entity(_column_ref(case, name), attributes, (case.dataset,))


def _asked(value: float, scale: int) -> int:
    return math.ceil(round(value * scale, 6))


def _allowed(value: float | None, scale: int) -> int:
    return UNLIMITED if value is None else math.floor(round(value * scale, 6))
