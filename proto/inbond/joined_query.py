"""A query over two sides, laid out as joins of pairs of parties: what everybody derives from the plan alone.

Who learns what: nothing is sent here. Each party of the attribute side joins with each of the value side
(`protocols.join.roles`); the columns of a side are multiplied over matched keys, the value side's once for each of its
own groups. The shares of all pairs add up to the joint table. Values that are to be counted once are counted by the
attribute side itself, which then must be one party that learns who matched.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.contract import PublishedContract, Use
from policies.errors import InvalidInput
from policies.plan import JoinPlan
from policies.query.compiled import ROWS, Compiled, Keyed, Side, SideColumn
from policies.query.gathering import Values
from protocols.join.terms import MAX_PROFILES, MAX_REPLIES, JoinTerms
from protocols.psi.items import Keys, distinct, encode_rows

Table = NDArray[np.int64]
VERSION = 1  # of every normalisation
UNKNOWN_LEFT, UNKNOWN_RIGHT = 2**36, 2**61  # limits of numbers without bounds: `roles` refuses sums that could overflow


class Rows(NamedTuple):
    """A side's rows, one for each key and group: `keys` of (rows,), `groups` (rows,), `values` (rows, columns).

    `of` (n,) is the row that each row of the fragment went into, -1 for one without a key.
    """

    keys: Keys
    groups: Table
    values: Table
    of: Table


@dataclass(frozen=True)
class JoinLayout:
    """A compiled query of two sides under one plan; `contracts` has one of each dataset."""

    query: Compiled
    join: JoinPlan
    contracts: Mapping[str, PublishedContract]

    @property
    def attribute(self) -> Side:
        """The side whose groups and weights meet the other's encrypted values."""
        return self.query.sides[self.join.attributes]

    @property
    def value(self) -> Side:
        """The side that encrypts."""
        return self.query.sides[1 - self.join.attributes]

    @property
    def products(self) -> list[int]:
        """The slots that are sums of products, in order."""
        return [index for index, slot in enumerate(self.query.slots) if slot.distinct is None]

    @property
    def counted(self) -> list[int]:
        """The slots that the attribute side counts itself."""
        return [index for index, slot in enumerate(self.query.slots) if slot.distinct is not None]

    @property
    def outputs(self) -> tuple[tuple[int, int], ...]:
        """(attribute column, value column) of every product, for each group of the value side."""
        own, other, width = self.join.attributes, 1 - self.join.attributes, len(self.value.columns)
        pairs = [self.query.slots[index].columns for index in self.products]
        found = [(pair[own] or 0, group * width + (pair[other] or 0)) for pair in pairs for group in self._value_groups]
        return tuple(found)

    @property
    def _value_groups(self) -> range:
        return range(self.value.size)

    def check(self) -> None:
        """Raise InvalidInput when this placement with this engine cannot answer the query."""
        cells = self.attribute.size * len(self.outputs)
        if cells > MAX_REPLIES:
            raise _cannot(f"the joint answer has {cells} cells", f"fewer groups or outputs; at most {MAX_REPLIES}")
        for index in self.counted:
            self._check_counted(index)
        if self.join.engine == "ec-hidden" and self.profiles() > MAX_PROFILES:
            right = "group by fewer values, let contracts say rows_per_key, or allow `intersection members`"
            raise _cannot("hidden matching cannot tell so many combinations of groups and weights apart", right)

    def _check_counted(self, index: int) -> None:
        slot = self.query.slots[index]
        side = slot.distinct[0] if slot.distinct else 0
        if self.join.engine != "ot" or side != self.join.attributes:
            raise _cannot(
                "COUNT(DISTINCT ..) over a join is counted by the owner of the column, which must learn who matched",
                "an owner's column whose key grants it `intersection members`, and matching auto or fast",
            )
        if len(self.attribute.owners) > 1:
            raise _cannot("values that several owners hold cannot be counted once", "name one of those owners")
        if self.value.size > 1:
            raise _cannot("COUNT(DISTINCT ..) cannot be grouped by the other owner's columns", "group by own columns")

    def profiles(self) -> int:
        """The most combinations of groups and weights that the attribute side's keys can have."""
        rows, side = self.rows(self.attribute), self.attribute
        ways = [_ways(column, rows) for index, column in enumerate(side.columns) if index != ROWS]
        return side.size * rows * math.prod(ways)  # a key has at least one row

    def rows(self, side: Side) -> int:
        """The most rows of a side that share one key, by its contracts."""
        return math.prod(self._rows_of(dataset) for dataset in side.datasets)

    def _rows_of(self, dataset: str) -> int:
        contract = self.contracts[dataset]
        columns = [
            contract.columns[name] for owner, name, use in self.query.uses if (owner, use) == (dataset, Use.JOIN)
        ]
        keyed = [column.key.rows_per_key for column in columns if column.key is not None]
        return min(keyed, default=contract.max_rows_per_subject)

    def terms(self, session: bytes, pairs: int, minimum: int) -> JoinTerms:
        """The terms of one pair; `pairs` are added up, hidden lists have at least `minimum` keys."""
        left = self._limits(self.attribute, UNKNOWN_LEFT)
        right = self._limits(self.value, UNKNOWN_RIGHT) * self.value.size
        return JoinTerms(
            session=session,
            engine=self.join.engine,
            groups=self.attribute.size,
            outputs=self.outputs,
            left_limits=left,
            right_limits=right,
            wide=self.join.wide,
            pairs=pairs,
            largest=self.join.largest,
            minimum=minimum if self.join.engine == "ec-hidden" else 1,
            parts=self.join.parts,
        )

    @property
    def value_ranges(self) -> tuple[tuple[int, int], ...]:
        """The least and the largest value that the contracts let each of the value side's columns have for one key."""
        rows, unknown = self.rows(self.value), (-UNKNOWN_RIGHT, UNKNOWN_RIGHT)
        bounds = [column.bounds for column in self.value.columns]
        return tuple(unknown if one is None else (min(0, rows * one[0]), max(0, rows * one[1])) for one in bounds)

    def _limits(self, side: Side, unknown: int) -> tuple[int, ...]:
        rows = self.rows(side)
        bounds = [column.bounds for column in side.columns]
        return tuple(unknown if one is None else max(1, rows * max(map(abs, one))) for one in bounds)

    def gather(self, keyed: Keyed) -> Rows:
        """A fragment's rows with their items; those without a key are left out, those of one key and group added."""
        kinds = [f"{key}/{VERSION}" for key in self.join.keys]
        items, owner = keys = distinct(encode_rows(keyed.keys, kinds))
        if len(items) == len(owner):  # each row has a key of its own: there is nothing to add up
            return Rows(keys, keyed.groups, keyed.values, owner)
        inside = np.flatnonzero(owner >= 0)
        most = max(self.attribute.size, self.value.size)
        codes, row = np.unique(owner[inside] * most + keyed.groups[inside], return_inverse=True)
        values = _added(keyed.values[inside], row, len(codes))
        of = np.full(len(owner), -1, np.int64)
        of[inside] = row
        return Rows(Keys(items, codes // most), codes % most, values, of)

    def value_columns(self, rows: Rows) -> tuple[Keys, Table]:
        """The value side's keys, and its columns once for each of its groups: (keys, groups * columns)."""
        if self.value.size == 1:
            return rows.keys, rows.values
        items, owner = rows.keys
        columns = np.zeros((len(items), self.value.size, rows.values.shape[1]), np.int64)
        columns[owner, rows.groups] = rows.values
        return Keys(items, np.arange(len(items))), columns.reshape(len(items), -1)

    def placed(self, shares: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Shares (moduli, attribute groups, outputs) as the joint table's (moduli, groups, slots)."""
        moduli, slots = len(shares), len(self.products)
        split = shares.reshape(moduli, self.attribute.size, slots, self.value.size)
        order = (0, 1, 3, 2) if self.join.attributes == 0 else (0, 3, 1, 2)
        table = np.zeros((moduli, *self.query.shape), np.uint64)
        table[..., self.products] = split.transpose(order).reshape(moduli, -1, slots)
        return table

    def count_once(self, keyed: Keyed, of: Table, matched: NDArray[np.bool_]) -> Table:
        """(attribute groups, slots) numbers of different values among the rows that matched; `of` is `Rows.of`."""
        table = np.zeros((self.attribute.size, len(self.query.slots)), np.int64)
        hit = np.append(matched, False)[of]  # -1, a row without a key, is the last
        names = self.attribute.fragment.named("d_")
        for index in self.counted:
            distinct_of = self.query.slots[index].distinct
            values = keyed.distinct[names.index(distinct_of[1])] if distinct_of else ()
            table[:, index] = _different(values, keyed.groups, hit, self.attribute.size)
        return table

    def joint_groups(self, groups: Sequence[int]) -> Table:
        """(joint groups,) 1 for those of the attribute side's `groups`, else 0."""
        marked = np.zeros((self.attribute.size, self.value.size), np.int64)
        marked[list(groups)] = 1
        return (marked if self.join.attributes == 0 else marked.T).reshape(-1)


def _ways(column: SideColumn, rows: int) -> int:
    """How many values a weight can have, which adds up to `rows` rows."""
    return UNKNOWN_LEFT if column.bounds is None else rows * (column.bounds[1] - column.bounds[0]) + 1


def _added(values: Table, row: Table, rows: int) -> Table:
    """Rows (n, columns) added by their number: (rows, columns)."""
    if not rows:
        return np.zeros((0, values.shape[1]), np.int64)
    order = np.argsort(row, kind="stable")
    return np.add.reduceat(values[order], np.searchsorted(row[order], np.arange(rows)), axis=0)


def _different(values: Values, groups: Table, hit: NDArray[np.bool_], size: int) -> Table:
    """(size,) how many different non-NULL values the rows with `hit` have in each group."""
    coded = pa.array(values).dictionary_encode()
    code = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    chosen = hit & (code >= 0)
    pairs = np.unique(groups[chosen] * (int(code.max(initial=0)) + 1) + code[chosen])
    return np.bincount(pairs // (int(code.max(initial=0)) + 1), minlength=size).astype(np.int64)


def _cannot(what: str, right: str) -> InvalidInput:
    return InvalidInput(what, where="job: sql", right=right)
