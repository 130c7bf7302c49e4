"""From an order and the parties' published contracts to a plan. Pure: no clock, no network, no data.

The plan says who learns what before anything runs. Contracts' conditions are put into it: the largest minimum
group, the largest minimum of parties (two only where every contract allows two), noise where one requires it.
Whether the plan is permitted is not decided here but by the policies of the coordinator and of every party.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from federation.join_planner import JoinChoice, choose_join
from inbond.joint_query import table_shape
from policies.contract import PublishedContract, Use
from policies.errors import InvalidInput
from policies.job import JobOrder
from policies.plan import (
    UNREADABLE,
    ColumnUse,
    JoinPlan,
    Leak,
    LeakKind,
    Operator,
    Participant,
    Plan,
    PlanNoise,
    Protection,
    Pushed,
    Reader,
    Role,
    Table,
)
from policies.protocols import (
    JOINED_SUM,
    MASKED_SUM,
    PLAIN_SUM,
    answered_by,
    check_protocol,
    released_leaks,
    steps_of,
)
from policies.query.compiled import Compiled
from policies.query.compiling import compile_query
from policies.query.reading import Query, parse
from policies.query.scope import Offer

# What one contribution weighs: bytes and usable places (one is the canary) of a ciphertext, by who holds the key
# (protocols.params: 6 bytes a coefficient and a seed, or two polynomials of two 5-byte primes each).
SHARED_CIPHERTEXT = (2048 * 6 + 64, 2047)
OWNERS_CIPHERTEXT = (4096 * 2 * 2 * 5, 4095)
VALUES_PER_PLACE = {False: 2, True: 3}  # quantised values that share a place, by whether the owner holds the key
PLACES_PER_INTEGER = 3  # an exact integer travels as three limbs of 20 bits
PLAIN_BYTES = 4.0
SECONDS_PER_EXCHANGE = 0.01  # a round trip with mutual TLS, policy check and durable audit
SECONDS_PER_MILLION_VALUES = 0.5  # encrypt, add, decrypt on one core
MAX_SECONDS_SHOWN = 7 * 24 * 3600.0

Tables = Mapping[str, PublishedContract]  # dataset -> contract
Uses = tuple[tuple[str, str, Use], ...]  # (dataset, column, use)

_COORDINATOR_SIZES = Leak(who=Role.COORDINATOR, what=LeakKind.SIZES_AND_TIMING)


@dataclass(frozen=True)
class RecipeInfo:
    """What the planner must know of an installed recipe: its size, columns and speed per round and party."""

    name: str
    version: int
    parameter_count: int
    columns: tuple[tuple[str, Use], ...] = field(default=())
    seconds_per_round: float = 1.0


def make_plan(
    order: JobOrder,
    contracts: Mapping[str, Tables],
    recipe_info: RecipeInfo | None = None,
    *,
    coordinator_country: str | None = None,
) -> Plan:
    """Return the plan of `order` over the tables in `contracts` (party -> dataset -> contract).

    `coordinator_country` is where ciphertexts pass through, and in plain jobs where contributions are read.
    Raises InvalidInput when parties, schema, columns, recipe or SQL do not fit, or no protocol runs it.
    """
    query = parse(order.spec.sql, "job: sql", order.spec.parameters) if order.spec.sql is not None else None
    chosen = _participants(order, contracts, query)
    draft = _Draft(order, chosen, coordinator_country)
    plan = draft.query_plan(query) if query is not None else draft.training_plan(recipe_info)
    check_protocol(plan, order.spec.rounds or 1)
    return plan


def _participants(order: JobOrder, contracts: Mapping[str, Tables], query: Query | None) -> Mapping[str, Tables]:
    """Every party of the job with the tables it brings: those that the statement names, of a training its dataset."""
    spec = order.spec
    named = query.datasets if query is not None else (spec.dataset,)
    _refuse_unknown(spec.dataset, named, sorted({dataset for held in contracts.values() for dataset in held}))
    offered = {
        name: {dataset: held[dataset] for dataset in named if dataset in held}
        for name, held in sorted(contracts.items())
        if any(dataset in held for dataset in named)
    }
    wanted = list(offered) if spec.parties == "all" else sorted(spec.parties)
    for name in wanted:
        if name not in offered:
            close = difflib.get_close_matches(name, offered, n=1)
            right = f"did you mean `{close[0]}`?" if close else f"name parties of: {', '.join(offered) or 'none'}"
            raise _wrong(f"party `{name}` offers no dataset `{'` or `'.join(named)}`", "parties", right)
    chosen = {name: offered[name] for name in wanted}
    _refuse_mixed_schemas(chosen)
    return chosen


def _refuse_unknown(dataset: str, named: tuple[str, ...], known: list[str]) -> None:
    if dataset not in known:
        right = f"the datasets are {', '.join(known) or 'none'}"
        raise _wrong(f"no party offers dataset `{dataset}`", "dataset", right)
    unknown = next((name for name in named if name not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown, known, n=1)
        right = f"did you mean `{close[0]}`?" if close else f"the datasets are {', '.join(known)}"
        raise _wrong(f"no dataset `{unknown}` here", "sql", right)
    if dataset not in named:
        raise _wrong(f"the SQL is not over `{dataset}`", "dataset", f"a table of the statement: {', '.join(named)}")


def _refuse_mixed_schemas(chosen: Mapping[str, Tables]) -> None:
    first: dict[str, str] = {}
    for party, tables in chosen.items():
        for dataset, held in tables.items():
            kind = first.setdefault(dataset, held.schema_name)
            if kind != held.schema_name:
                raise _wrong(
                    f"the parties hold different kinds of table ({kind}, {held.schema_name}; first other: `{party}`)",
                    "parties",
                    "name parties whose contracts share one schema_name",
                )


def _wrong(what: str, key: str, right: str) -> InvalidInput:
    return InvalidInput(what, where=f"job: {key}", right=right)


@dataclass(frozen=True)
class _Draft:
    """One plan in the making."""

    order: JobOrder
    chosen: Mapping[str, Tables]
    coordinator_country: str | None

    @property
    def plain(self) -> bool:
        return self.order.spec.protection == "plain"

    @property
    def contracts(self) -> list[PublishedContract]:
        """All contracts of the job's tables."""
        return [held for tables in self.chosen.values() for held in tables.values()]

    @property
    def countries(self) -> dict[str, str]:
        """Where each party's tables are."""
        return {name: next(iter(tables.values())).jurisdiction for name, tables in self.chosen.items()}

    def plan(
        self,
        columns: Uses,
        operators: tuple[Operator, ...],
        protection: Protection,
        query: Compiled | None = None,
        join: JoinPlan | None = None,
    ) -> Plan:
        """Return the plan; its readers follow from its leaks."""
        spec, held = self.order.spec, self.contracts
        pushed = query.pushed if query is not None else ()
        return Plan(
            job=self.order.digest(),
            kind=spec.kind,
            purpose=spec.purpose,
            dataset=spec.dataset,
            sql=query.query.canonical_sql if query is not None else None,
            columns=tuple(ColumnUse(dataset=dataset, column=column, use=use) for dataset, column, use in columns),
            participants=tuple(self._participant(name, query) for name in self.chosen),
            operators=operators,
            steps=steps_of(spec.kind, spec.protection, spec.rounds or 1, join),
            protection=protection,
            pushed=tuple(Pushed(dataset=dataset, condition=condition) for dataset, condition in pushed),
            join=join,
            minimum_group=max(one.minimum_group for one in held),
            minimum_parties=max(spec.minimum_parties, *(one.minimum_parties for one in held)),
            noise=self.noise(),
            readers=self.readers(operators),
            coordinator=self.coordinator_country,
        )

    def _participant(self, name: str, query: Compiled | None) -> Participant:
        tables = tuple(Table(dataset=dataset, contract=one.digest()) for dataset, one in self.chosen[name].items())
        side = next((one.number for one in query.sides if name in one.owners), 0) if query is not None else 0
        return Participant(name=name, country=self.countries[name], tables=tables, side=side)

    def noise(self) -> PlanNoise:
        """Return the noise asked for, or for a query the least that satisfies every contract."""
        asked = self.order.spec.privacy
        if asked.mechanism != "none":
            return PlanNoise(mechanism=asked.mechanism, epsilon=asked.epsilon or 0.0, delta=asked.delta)
        wanted = [one.noise.epsilon for one in self.contracts if one.noise.epsilon is not None]
        if wanted and self.order.spec.kind == "query":
            return PlanNoise(mechanism="laplace", epsilon=min(wanted))
        return PlanNoise()

    def readers(self, operators: tuple[Operator, ...]) -> tuple[Reader, ...]:
        """Return everybody for whom a leak makes something of the data readable, with the country."""
        found = [
            Reader(id=identity, country=country, object=leak.what)
            for leak in dict.fromkeys(leak for operator in operators for leak in operator.leaks)
            if leak.what not in UNREADABLE
            for identity, country in self._people(leak.who, leak.learners)
        ]
        return tuple(dict.fromkeys(found))

    def _people(self, who: Role, learners: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Those in a role; of the parties, only the `learners` where there are some."""
        root = f"spiffe://{self.order.consortium}"
        if who is Role.RESEARCHER:
            return self._recipients()
        if who is Role.COORDINATOR:
            if self.coordinator_country is None:
                raise _wrong(
                    "in a plain job the coordinator reads contributions, and its country is not known",
                    "protection",
                    "use `protection: encrypted`, or configure the coordinator's country",
                )
            return ((f"{root}/coordinator", self.coordinator_country),)
        named = {name: self.countries[name] for name in learners or self.countries}
        return tuple((f"{root}/party/{name}", country) for name, country in named.items())

    def _recipients(self) -> tuple[tuple[str, str], ...]:
        """Return the recipients; the person who asks holds the result key, and so must be one of them."""
        listed = tuple((one.id, one.country) for one in self.order.spec.recipients)
        if self.order.iss not in {identity for identity, _ in listed}:
            raise _wrong(
                f"`{self.order.iss}` holds the result key and is not listed",
                "recipients",
                f"add {{id: {self.order.iss}, country: ..}}",
            )
        return listed

    def _protection(self, *, joined: bool = False) -> Protection:
        _, protocol, version = PLAIN_SUM if self.plain else JOINED_SUM if joined else MASKED_SUM
        parameters: dict[str, JsonValue] = {} if self.plain else {"key_mode": self.order.spec.key_mode}
        return Protection(mode=self.order.spec.protection, protocol=protocol, version=version, parameters=parameters)

    # --- queries ---

    def query_plan(self, query: Query) -> Plan:
        """Return the plan of a joint query: group counts first, then the groups that remain."""
        noise = self.noise()
        compiled = _compiled(query, self.chosen, noised=noise.mechanism != "none")
        joined = self._join(compiled) if len(compiled.sides) > 1 else None
        protection = self._protection(joined=joined is not None)
        moduli, groups, slots = table_shape(compiled, joined.join if joined else None)
        operators = (
            *((self._join_operator(joined, protection),) if joined else ()),
            self._operator(
                "count",
                "group-count",
                self._count_leaks(joined),
                values=moduli * groups * len(compiled.counts) + groups,
                protection=protection,
            ),
            self._operator(
                "release",
                "aggregate",
                self._release_leaks(noise, joined),
                values=moduli * groups * slots,
                protection=protection,
                epsilon=noise.epsilon,
                owner=True,
            ),
        )
        uses = tuple((dataset, column, Use(use)) for dataset, column, use in compiled.uses)
        return self.plan(uses, operators, protection, compiled, joined.join if joined else None)

    def _join(self, compiled: Compiled) -> JoinChoice:
        """The join to plan, with its answer where the order's recipients are; raises InvalidInput."""
        choice = choose_join(compiled, self.chosen, self.order.spec.matching)
        named = [one.id for one in self.order.spec.recipients]
        answer = answered_by(named, self.order.consortium, choice.join, choice.sides)
        if answer != "researcher":
            self._check_countries()
        return replace(choice, join=choice.join.model_copy(update={"answer": answer}))

    def _check_countries(self) -> None:
        """A party reads where its tables are, whatever the order says."""
        for one in self.order.spec.recipients:
            name = one.id.rsplit("/", 1)[-1]
            if one.country != self.countries[name]:
                right = f"{{id: {one.id}, country: {self.countries[name]}}}"
                raise _wrong(f"`{name}` is not in {one.country}", "recipients", right)

    def _join_operator(self, choice: JoinChoice, protection: Protection) -> Operator:
        """The matching of rows; what is counted afterwards is the next operator's."""
        kept = tuple(leak for leak in choice.leaks if leak.what is not LeakKind.GROUP_COUNTS)
        return Operator(
            id="join",
            kind="private-join",
            participants=tuple(self.chosen),
            protocol=f"{protection.protocol}/{protection.version} {choice.join.engine}",
            leaks=(*self._coordinator_leaks(), *kept),
            up_bytes=choice.up_bytes,
            seconds=min(round(choice.seconds, 3), MAX_SECONDS_SHOWN),
        )

    def _count_leaks(self, joined: JoinChoice | None) -> tuple[Leak, ...]:
        """Of a join the owners' contracts say by key who may know the joint counts."""
        counts = Leak(who=Role.PARTY, what=LeakKind.GROUP_COUNTS, about="all parties together")
        learned = tuple(leak for leak in joined.leaks if leak.what is LeakKind.GROUP_COUNTS) if joined else (counts,)
        return (*self._coordinator_leaks(), *learned)

    def _release_leaks(self, noise: PlanNoise, joined: JoinChoice | None) -> tuple[Leak, ...]:
        readers = joined.join.readers(joined.sides) if joined else ()
        return (*self._coordinator_leaks(), *released_leaks(noise, readers))

    def _coordinator_leaks(self) -> tuple[Leak, ...]:
        if not self.plain:
            return (_COORDINATOR_SIZES,)
        seen = Leak(who=Role.COORDINATOR, what=LeakKind.PARTY_CONTRIBUTION, about="each party, in the clear")
        return (_COORDINATOR_SIZES, seen)

    # --- training ---

    def training_plan(self, recipe: RecipeInfo | None) -> Plan:
        """Return the plan of a federated training: census, rounds, and the release of the model."""
        spec = self.order.spec
        info = self._checked_recipe(recipe)
        rounds = spec.rounds or 1
        protection = self._protection()
        operators = (
            self._operator(
                "census", "secure-sum", self._census_leaks(), values=1, protection=protection, owner=self.owner_opens
            ),
            self._operator(
                "round",
                "train-and-sum",
                self._round_leaks(),
                values=info.parameter_count,
                protection=protection,
                times=rounds,
                seconds_each=info.seconds_per_round,
                epsilon=self.noise().epsilon,
                exact=False,
                owner=self.owner_opens,
            ),
            self._operator("finish", "seal-model", self._finish_leaks(), values=0, protection=protection),
        )
        uses = tuple((spec.dataset, column, use) for column, use in info.columns)
        return self.plan(uses, operators, protection)

    def _checked_recipe(self, info: RecipeInfo | None) -> RecipeInfo:
        wanted = self.order.spec.recipe
        if wanted is None or info is None or (info.name, info.version) != (wanted.name, wanted.version):
            asked = f"{wanted.name}/{wanted.version}" if wanted else "none"
            raise _wrong(f"recipe `{asked}` is not installed", "recipe", "name an installed recipe and version")
        for party, tables in self.chosen.items():
            held = tables[self.order.spec.dataset].columns
            missing = next((column for column, _ in info.columns if column not in held), None)
            if missing is not None:
                raise _wrong(
                    f"the recipe uses column `{missing}`, which `{party}` does not have",
                    "recipe",
                    f"its columns are {', '.join(held)}",
                )
        return info

    @property
    def owner_opens(self) -> bool:
        """Whether only the job's owner can open the sums of a training."""
        return self.order.spec.key_mode == "holder"

    def _census_leaks(self) -> tuple[Leak, ...]:
        what, about = LeakKind.EXAMPLE_COUNT, "all parties together"
        openers = (Role.PARTY, Role.RESEARCHER) if self.owner_opens else (Role.PARTY,)
        return (*self._coordinator_leaks(), *(Leak(who=who, what=what, about=about) for who in openers))

    def _round_leaks(self) -> tuple[Leak, ...]:
        """Trainers learn each round's sum and start the next from the joint model; an owner who opens it, the same."""
        opened = Leak(who=Role.RESEARCHER, what=LeakKind.JOINT_UPDATE, about="the sum over all parties, each round")
        return (
            *self._coordinator_leaks(),
            *((opened,) if self.owner_opens else ()),
            Leak(who=Role.PARTY, what=LeakKind.JOINT_UPDATE, about="the sum over all parties, each round"),
            Leak(who=Role.PARTY, what=LeakKind.JOINT_MODEL, about="each round's starting point"),
            Leak(who=Role.PARTY, what=LeakKind.JOINT_METRICS, about="each round"),
            Leak(who=Role.RESEARCHER, what=LeakKind.JOINT_METRICS, about="each round"),
        )

    def _finish_leaks(self) -> tuple[Leak, ...]:
        return (
            _COORDINATOR_SIZES,
            Leak(who=Role.RESEARCHER, what=LeakKind.JOINT_MODEL, about="the final model"),
        )

    # --- costs ---

    def _operator(
        self,
        name: str,
        kind: str,
        leaks: tuple[Leak, ...],
        *,
        values: int,
        protection: Protection,
        times: int = 1,
        seconds_each: float = 0.0,
        epsilon: float = 0.0,
        exact: bool = True,
        owner: bool = False,
    ) -> Operator:
        work = seconds_each + SECONDS_PER_EXCHANGE + SECONDS_PER_MILLION_VALUES * values / 1e6
        return Operator(
            id=name,
            kind=kind,
            participants=tuple(self.chosen),
            protocol=f"{protection.protocol}/{protection.version}",
            leaks=leaks,
            epsilon=epsilon,
            up_bytes=times * self._bytes(values, exact=exact, owner=owner),
            seconds=min(round(times * work, 3), MAX_SECONDS_SHOWN),
        )

    def _bytes(self, values: int, *, exact: bool, owner: bool) -> int:
        """Bytes of one contribution of `values` numbers, `exact` ones or quantised ones."""
        if self.plain or not values:
            return math.ceil(values * PLAIN_BYTES)
        size, places = OWNERS_CIPHERTEXT if owner else SHARED_CIPHERTEXT
        used = values * PLACES_PER_INTEGER if exact else math.ceil(values / VALUES_PER_PLACE[owner])
        return math.ceil(used / places) * size


def _compiled(query: Query, chosen: Mapping[str, Tables], *, noised: bool) -> Compiled:
    """The query, which every party's contracts must answer in the same way."""
    owners: dict[str, list[str]] = {}
    first: dict[str, PublishedContract] = {}
    for party, tables in chosen.items():
        for dataset, held in tables.items():
            owners.setdefault(dataset, []).append(party)
            first.setdefault(dataset, held)
    catalogue = {dataset: Offer(first[dataset], tuple(held)) for dataset, held in owners.items()}
    compiled = compile_query(query, catalogue, noised=noised)
    for party, tables in chosen.items():
        if all(held.columns == first[dataset].columns for dataset, held in tables.items()):
            continue
        own = {name: Offer(tables.get(name, offer.contract), offer.owners) for name, offer in catalogue.items()}
        _refuse_differences(compiled, owners, catalogue, own, party, ("type", "domain"))
        if compile_query(query, own, noised=noised).agreed() != compiled.agreed():
            _refuse_differences(compiled, owners, catalogue, own, party, ("bounds",))
            raise _differs("the columns", "definition", owners[query.datasets[0]][0], party)
    return compiled


def _refuse_differences(
    compiled: Compiled,
    owners: Mapping[str, list[str]],
    catalogue: Mapping[str, Offer],
    own: Mapping[str, Offer],
    party: str,
    parts: tuple[str, ...],
) -> None:
    """Raise InvalidInput for the first column of the query of which `party` defines a part otherwise than another."""
    for dataset, name, _ in compiled.uses:
        column, other = catalogue[dataset].contract.columns[name], own[dataset].contract.columns.get(name)
        for what in parts:
            if other is not None and getattr(column, what) != getattr(other, what):
                raise _differs(f"column `{name}`", what, owners[dataset][0], party)


def _differs(column: str, what: str, first: str, other: str) -> InvalidInput:
    return _wrong(
        f"{column} has another {what} at `{other}` than at `{first}`",
        "sql",
        "its owners can agree on one contract schema, or leave one of the parties out",
    )
