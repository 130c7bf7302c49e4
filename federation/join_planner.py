"""Which join answers a query over two sides: all that can, less those with a leak that an owner forbids, the cheapest.

Pure: no clock, no network, no data. Where every join has a forbidden leak, the one with the fewest is planned all the
same: the policies then refuse it, and say which grant is missing.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from inbond.joined_query import JoinLayout
from inbond.joint_query import moduli_of
from policies.contract import JoinLeak, PublishedContract, Use
from policies.errors import InvalidInput
from policies.plan import MAX_KEYS, JoinPlan, Leak
from policies.protocols import join_leaks
from policies.query.compiled import Compiled, Side
from protocols.join.terms import MODULI

Tables = Mapping[str, PublishedContract]
ENGINES = {"auto": ("ot", "ec-hidden"), "fast": ("ot",), "hidden": ("ec-hidden",)}

# The cost model: seconds and bytes of one pair of parties, both on two cores (python -m benchmarks join).
UNPUBLISHED_ROWS = 100_000  # what is assumed of a table whose contract does not say
SECONDS_PER_KEY = {"ot": 3e-6, "ec-hidden": 1.8e-4}
BYTES_PER_KEY = {"ot": 115, "ec-hidden": 48}
BLOCK = 8192  # values in one ciphertext
SECONDS_PER_PRODUCT, SECONDS_PER_CIPHERTEXT = 0.002, 0.004
FRESH_BYTES, REPLY_BYTES = 172_100, 98_304  # of a ciphertext, of a reply
MOST_JOINED = 2**24  # keys of a pair up to which a sum with bounds is kept in one modulus; a party refuses more
# Keys of a part of the fast engine (a bucket of its own), and most parts: smaller ones cost more than they save.
PART, MOST_PARTS = 65_536, 8
ROOM = 2  # a side may show so many times the rows that its contract publishes


@dataclass(frozen=True)
class JoinChoice:
    """One way to join, and what it costs: `seconds` of the whole join, `up_bytes` of the busiest party."""

    query: Compiled
    join: JoinPlan
    chosen: Mapping[str, Tables]
    layout: JoinLayout

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the parties by side."""
        return self.query.sides[0].owners, self.query.sides[1].owners

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """What the parties learn by joining."""
        return join_leaks(self.join, self.sides)

    @cached_property
    def forbidden(self) -> int:
        """How many grants are missing: (owner, key column, learner, leak)."""
        return sum(1 for leak in self.leaks for owner in leak.owners for _ in self._missing(owner, leak))

    def _missing(self, owner: str, leak: Leak) -> Iterator[tuple[str, str]]:
        what = JoinLeak(leak.what.value)
        for dataset, contract in self.chosen[owner].items():
            for name, column in contract.columns.items():
                used = (dataset, name, Use.JOIN.value) in self.query.uses and column.key is not None
                for learner in leak.learners if used else ():
                    grants = column.key.grants(learner) if column.key else None
                    if learner != owner and what not in (grants or ()):
                        yield name, learner

    @cached_property
    def seconds(self) -> float:
        """Of the whole join; a party has one pair after the other."""
        pairs = len(self.sides[0]) * len(self.sides[1])
        keys = max(self._rows(side) for side in self.query.sides)
        groups, outputs = self.layout.attribute.size, len(self.layout.outputs)
        work = groups * outputs * SECONDS_PER_PRODUCT + self._columns * SECONDS_PER_CIPHERTEXT
        each = SECONDS_PER_KEY[self.join.engine] * keys + len(moduli_of(self.join)) * self._blocks * work
        return pairs * each

    @cached_property
    def up_bytes(self) -> int:
        """Of a party of the busier side."""
        moduli = len(moduli_of(self.join))
        matching = BYTES_PER_KEY[self.join.engine] * max(self._rows(side) for side in self.query.sides)
        replies = moduli * self.layout.attribute.size * len(self.layout.outputs) * REPLY_BYTES
        columns = moduli * self._columns * self._blocks * FRESH_BYTES
        others = max(map(len, self.sides))
        return others * max(matching + replies, matching + columns)

    @property
    def _columns(self) -> int:
        return len(self.layout.value.columns) * self.layout.value.size

    @property
    def _blocks(self) -> int:
        return math.ceil(1.3 * self._rows(self.layout.value) / BLOCK)

    def _rows(self, side: Side) -> int:
        return max(rows_of(side, self.chosen) or UNPUBLISHED_ROWS, 1)


def rows_of(side: Side, chosen: Mapping[str, Tables]) -> int | None:
    """The most rows that any owner of a side publishes to have; None when one does not say."""
    rows = [contract.published_rows for owner in side.owners for contract in chosen[owner].values()]
    return None if None in rows else max(one for one in rows if one is not None)


def choose_join(query: Compiled, chosen: Mapping[str, Tables], matching: str) -> JoinChoice:
    """The join to plan for a query of two sides. Raises InvalidInput when none can answer it."""
    possible: list[JoinChoice] = []
    problems: list[InvalidInput] = []
    for join in _candidates(query, chosen, matching):
        choice = JoinChoice(query, join, chosen, JoinLayout(query, join, _one_of_each(chosen)))
        try:
            choice.layout.check()
            possible.append(choice)
        except InvalidInput as problem:
            problems.append(problem)
    if not possible:
        raise problems[0]
    return min(possible, key=lambda one: (one.forbidden, one.seconds))


def _candidates(query: Compiled, chosen: Mapping[str, Tables], matching: str) -> Iterator[JoinPlan]:
    for engine in ENGINES[matching]:
        for attributes in (0, 1):
            sides = query.sides[attributes], query.sides[1 - attributes]
            largest = tuple(_largest(rows_of(side, chosen)) for side in sides)
            join = {"engine": engine, "attributes": attributes, "keys": query.keys, "largest": largest}
            narrow = JoinPlan.model_validate(join)
            wide = _wide(JoinLayout(query, narrow, _one_of_each(chosen)))
            yield narrow.model_copy(
                update={"wide": wide, "parts": parts_of(engine, *(rows_of(s, chosen) for s in sides))}
            )


def parts_of(engine: str, *rows: int | None) -> int:
    """Into how many parts the mails of a match are cut, as far as contracts say how many rows there are."""
    keys = max(UNPUBLISHED_ROWS if one is None else one for one in rows)
    return min(max(keys // PART, 1), MOST_PARTS) if engine == "ot" else 1


def _wide(layout: JoinLayout) -> bool:
    """Whether a sum may pass half of one modulus, as far as contracts say how many rows there are, and how large."""
    pairs = len(layout.attribute.owners) * len(layout.value.owners)
    keys = min(MOST_JOINED, *layout.join.largest)
    rows = pairs * keys * layout.rows(layout.attribute) * layout.rows(layout.value)
    return any(slot.largest is None or slot.largest * rows > MODULI[0] // 2 for slot in layout.query.slots)


def _one_of_each(chosen: Mapping[str, Tables]) -> dict[str, PublishedContract]:
    return {dataset: held for tables in chosen.values() for dataset, held in tables.items()}


def _largest(rows: int | None) -> int:
    return MAX_KEYS if rows is None else min(MAX_KEYS, ROOM * rows)
