"""From an order and the parties' published contracts to a plan. Pure: no clock, no network, no data.

The plan says who learns what before anything runs. Contracts' conditions are put into it: the largest minimum
group, the largest minimum of parties (two only where every contract allows two), noise where one requires it.
Whether the plan is permitted is not decided here but by the policies of the coordinator and of every party.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from policies.contract import PublishedContract, Use
from policies.errors import InvalidInput
from policies.job import JobOrder
from policies.plan import (
    ColumnUse,
    Leak,
    LeakKind,
    Operator,
    Participant,
    Plan,
    PlanNoise,
    Protection,
    Reader,
    Role,
    Table,
)
from policies.protocols import MASKED_SUM, PLAIN_SUM, check_protocol, steps_of
from policies.sql import JointQuery, check_against, fragment, parse_query

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
    contracts: Mapping[str, PublishedContract],
    recipe_info: RecipeInfo | None = None,
    *,
    coordinator_country: str | None = None,
) -> Plan:
    """Return the plan of `order` over the parties in `contracts` (by party name).

    `coordinator_country` is needed for plain jobs only, where the coordinator reads contributions.
    Raises InvalidInput when parties, schema, columns, recipe or SQL do not fit, or no protocol runs it.
    """
    chosen = _participants(order, contracts)
    draft = _Draft(order, chosen, coordinator_country)
    plan = draft.query_plan() if order.spec.kind == "query" else draft.training_plan(recipe_info)
    check_protocol(plan, order.spec.rounds or 1)
    return plan


def _participants(order: JobOrder, contracts: Mapping[str, PublishedContract]) -> dict[str, PublishedContract]:
    spec = order.spec
    offered = {name: held for name, held in sorted(contracts.items()) if held.dataset == spec.dataset}
    wanted = list(offered) if spec.parties == "all" else sorted(spec.parties)
    for name in wanted:
        if name not in offered:
            close = difflib.get_close_matches(name, offered, n=1)
            right = f"did you mean `{close[0]}`?" if close else f"name parties of: {', '.join(offered) or 'none'}"
            raise _wrong(f"party `{name}` offers no dataset `{spec.dataset}`", "parties", right)
    if not wanted:
        known = ", ".join(sorted({held.dataset for held in contracts.values()})) or "none"
        raise _wrong(f"no party offers dataset `{spec.dataset}`", "dataset", f"the datasets are {known}")
    chosen = {name: offered[name] for name in wanted}
    _refuse_mixed_schemas(chosen)
    return chosen


def _refuse_mixed_schemas(chosen: Mapping[str, PublishedContract]) -> None:
    kinds = {held.schema_name for held in chosen.values()}
    if len(kinds) > 1:
        first = next(iter(chosen.values())).schema_name
        other = next(name for name, held in chosen.items() if held.schema_name != first)
        raise _wrong(
            f"the parties hold different kinds of table ({', '.join(sorted(kinds))}; first other: `{other}`)",
            "parties",
            "name parties whose contracts share one schema_name",
        )


def _wrong(what: str, key: str, right: str) -> InvalidInput:
    return InvalidInput(what, where=f"job: {key}", right=right)


@dataclass(frozen=True)
class _Draft:
    """One plan in the making."""

    order: JobOrder
    chosen: Mapping[str, PublishedContract]
    coordinator_country: str | None

    @property
    def plain(self) -> bool:
        return self.order.spec.protection == "plain"

    def plan(
        self,
        columns: tuple[tuple[str, Use], ...],
        operators: tuple[Operator, ...],
        protection: Protection,
        sql: str | None = None,
    ) -> Plan:
        """Return the plan; its readers follow from its leaks."""
        spec, held = self.order.spec, self.chosen.values()
        return Plan(
            job=self.order.digest(),
            kind=spec.kind,
            purpose=spec.purpose,
            dataset=spec.dataset,
            sql=sql,
            columns=tuple(ColumnUse(dataset=spec.dataset, column=column, use=use) for column, use in columns),
            participants=tuple(
                Participant(
                    name=name,
                    country=one.jurisdiction,
                    tables=(Table(dataset=one.dataset, contract=one.digest()),),
                )
                for name, one in self.chosen.items()
            ),
            operators=operators,
            steps=steps_of(spec.kind, spec.protection, spec.rounds or 1),
            protection=protection,
            minimum_group=max(one.minimum_group for one in held),
            minimum_parties=max(spec.minimum_parties, *(one.minimum_parties for one in held)),
            noise=self.noise(),
            readers=self.readers(operators),
        )

    def noise(self) -> PlanNoise:
        """Return the noise asked for, or for a query the least that satisfies every contract."""
        asked = self.order.spec.privacy
        if asked.mechanism != "none":
            return PlanNoise(mechanism=asked.mechanism, epsilon=asked.epsilon or 0.0, delta=asked.delta)
        wanted = [one.noise.epsilon for one in self.chosen.values() if one.noise.epsilon is not None]
        if wanted and self.order.spec.kind == "query":
            return PlanNoise(mechanism="laplace", epsilon=min(wanted))
        return PlanNoise()

    def readers(self, operators: tuple[Operator, ...]) -> tuple[Reader, ...]:
        """Return everybody for whom a leak makes something of the data readable, with the country."""
        learned = dict.fromkeys((leak.who, leak.what) for operator in operators for leak in operator.leaks)
        found = [
            Reader(id=identity, country=country, object=what)
            for who, what in learned
            if what not in {LeakKind.NOTHING, LeakKind.SIZES_AND_TIMING, LeakKind.MASKED_VALUE}
            for identity, country in self._people(who)
        ]
        return tuple(dict.fromkeys(found))

    def _people(self, who: Role) -> tuple[tuple[str, str], ...]:
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
        parties = [(f"{root}/party/{name}", held.jurisdiction) for name, held in self.chosen.items()]
        return tuple(parties)

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

    def _protection(self) -> Protection:
        _, protocol, version = PLAIN_SUM if self.plain else MASKED_SUM
        parameters: dict[str, JsonValue] = {} if self.plain else {"key_mode": self.order.spec.key_mode}
        return Protection(mode=self.order.spec.protection, protocol=protocol, version=version, parameters=parameters)

    # --- queries ---

    def query_plan(self) -> Plan:
        """Return the plan of a joint query: group counts first, then the groups that remain."""
        query = parse_query(self.order.spec.sql or "", where="job: sql")
        groups = _check_query(query, self.chosen)
        noise = self.noise()
        protection = self._protection()
        operators = (
            self._operator("count", "group-count", self._count_leaks(), values=groups, protection=protection),
            self._operator(
                "release",
                "aggregate",
                self._release_leaks(noise),
                values=groups * (1 + 2 * len(query.aggregates)),
                protection=protection,
                epsilon=noise.epsilon,
                owner=True,
            ),
        )
        return self.plan(query.uses, operators, protection, query.canonical_sql)

    def _count_leaks(self) -> tuple[Leak, ...]:
        counts = Leak(who=Role.PARTY, what=LeakKind.GROUP_COUNTS, about="all parties together")
        return (*self._coordinator_leaks(), counts)

    def _release_leaks(self, noise: PlanNoise) -> tuple[Leak, ...]:
        exact = noise.mechanism == "none"
        what = LeakKind.EXACT_AGGREGATE if exact else LeakKind.NOISED_AGGREGATE
        result = Leak(who=Role.RESEARCHER, what=what, about="groups of at least the minimum size")
        counts = Leak(who=Role.RESEARCHER, what=LeakKind.GROUP_COUNTS, about="groups of at least the minimum size")
        return (*self._coordinator_leaks(), counts, result)

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
        return self.plan(info.columns, operators, protection)

    def _checked_recipe(self, info: RecipeInfo | None) -> RecipeInfo:
        wanted = self.order.spec.recipe
        if wanted is None or info is None or (info.name, info.version) != (wanted.name, wanted.version):
            asked = f"{wanted.name}/{wanted.version}" if wanted else "none"
            raise _wrong(f"recipe `{asked}` is not installed", "recipe", "name an installed recipe and version")
        for party, held in self.chosen.items():
            for column, _ in info.columns:
                if column not in held.columns:
                    raise _wrong(
                        f"the recipe uses column `{column}`, which `{party}` does not have",
                        "recipe",
                        f"its columns are {', '.join(held.columns)}",
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


def _check_query(query: JointQuery, chosen: Mapping[str, PublishedContract]) -> int:
    """Check the query with every contract; return the number of groups, which all must define alike."""
    first_party, first = next(iter(chosen.items()))
    groups = fragment(query, first).groups
    for party, held in chosen.items():
        check_against(query, held)
        for name, _ in query.uses:
            if held.columns[name].type is not first.columns[name].type:
                raise _differs(name, "type", first_party, party)
        for name in query.groups:
            if held.columns[name].domain != first.columns[name].domain:
                raise _differs(name, "domain", first_party, party)
    return len(groups)


def _differs(column: str, what: str, first: str, other: str) -> InvalidInput:
    return _wrong(
        f"column `{column}` has another {what} at `{other}` than at `{first}`",
        "sql",
        "its owners can agree on one contract schema, or leave one of the parties out",
    )
