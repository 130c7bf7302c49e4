"""A compiled query: what every owner runs, what is added up, what may be released, and how the answer is finished.

`policies.query.compiling.compile_query` makes it from a statement and the published contracts, so that the parties and
the researcher come to the same layout without telling each other. It holds no row and learns nothing.

One side: every owner runs the side's fragment, `Side.table` makes groups x columns of its result, and the owners'
tables are added. Two sides: `Side.keyed` makes rows by join key, and a joint cell of slot (l, r) in group (g, h) is the
sum over matched keys k of left[l][k, g] * right[r][k, h]. Either way the joint table is groups x slots of int64.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.contract import Cell, ColumnType
from policies.query.finishing import Finish
from policies.query.gathering import OUTSIDE, Values, group_places, kept_of, numbers, side_table
from policies.query.literals import Parameter
from policies.query.reading import Query
from policies.query.suppression import Partition, hidden_counts

Table = NDArray[np.int64]
Hidden = NDArray[np.bool_]
Bounds = tuple[int, int] | None
Kind = Literal["count", "sum", "distinct"]
ROWS = 0  # the slot, and each side's column, that counts all rows


@dataclass(frozen=True)
class Fragment:
    """What an owner's engine runs: one SELECT (DuckDB dialect) over `relations`, with `parameters` by name.

    `relations` maps each relation name (`t0`, `t1` ...) to its dataset and the columns it must hold. `outputs` names
    the result's columns in order with their types: `key_0` ... (two sides only, in the source's type, never NULL),
    `g_0` ... (cells of the group; dates and times as text), `b_0` ... (bins; one side only), `d_0` ... (values that
    are to be counted once; two sides only, may be NULL), and `v_0` ... (whole numbers, never NULL).
    """

    sql: str
    parameters: Mapping[str, Parameter]
    relations: Mapping[str, tuple[str, tuple[str, ...]]]
    outputs: Mapping[str, ColumnType]

    def named(self, prefix: str) -> list[str]:
        """The outputs whose names begin with `prefix`, in order."""
        return [name for name in self.outputs if name.startswith(prefix)]


@dataclass(frozen=True)
class SideColumn:
    """A whole number that a side adds up per group (and key); one row adds at most `bounds` (None if unknown).

    It is the fragment's output `source`; with an `axis` only of the rows whose bin is in [`first`, `stop`).
    """

    kind: Literal["count", "sum"]
    source: str
    bounds: Bounds
    axis: str | None = None
    first: int = 0
    stop: int = 0


class Keyed(NamedTuple):
    """A side's rows by join key; each (keys, group, distinct values) is there once.

    `keys`: one sequence per join key; `groups`: positions in `Side.groups`, (rows,) int64; `values`: (rows, columns)
    int64; `distinct`: one sequence per `d_i` output, whose values may be None. All sequences are (rows,).
    """

    keys: tuple[Values, ...]
    groups: Table
    values: Table
    distinct: tuple[Values, ...]


@dataclass(frozen=True)
class Side:
    """Tables of the same owners, who all run `fragment`; of several tables each owner joins its own rows.

    The groups of the side are the cross product of `domains`, the last varying fastest (one empty group without any).
    `columns[ROWS]` counts rows. `axes` gives the labels of each bin output, in order.
    """

    number: int
    datasets: tuple[str, ...]
    owners: tuple[str, ...]
    fragment: Fragment
    domains: tuple[tuple[Cell, ...], ...]
    columns: tuple[SideColumn, ...]
    axes: Mapping[str, tuple[Cell, ...]]

    @property
    def groups(self) -> tuple[tuple[Cell, ...], ...]:
        """Every group of the side, in the order of its table."""
        return tuple(itertools.product(*self.domains))

    @property
    def size(self) -> int:
        """How many groups the side has."""
        return int(np.prod([len(domain) for domain in self.domains], dtype=np.int64))

    def table(self, result: Mapping[str, Values]) -> Table:
        """Groups x columns of the fragment's result (output name -> its values); for a query of one side.

        Rows of no declared group are left out. Raises KeyError when an output is missing.
        """
        columns = [(one.source, one.axis, one.first, one.stop) for one in self.columns]
        return side_table(result, columns, self._places(result), self.size, self.axes)

    def keyed(self, result: Mapping[str, Values]) -> Keyed:
        """The fragment's result (output name -> its values) by join key; for a query of two sides.

        Rows of no declared group are left out. Raises KeyError when an output is missing.
        """
        place = self._places(result)
        inside = place != OUTSIDE
        whole = bool(inside.all())

        def kept(prefix: str) -> tuple[Values, ...]:
            columns = (result[name] for name in self.fragment.named(prefix))
            return tuple(columns if whole else (kept_of(column, inside) for column in columns))

        values = np.stack([numbers(result[column.source])[inside] for column in self.columns], axis=1)
        return Keyed(kept("key_"), place[inside], values, kept("d_"))

    def _places(self, result: Mapping[str, Values]) -> Table:
        cells = [result[name] for name in self.fragment.named("g_")]
        return group_places(cells, self.domains, len(result[self.columns[ROWS].source]))


@dataclass(frozen=True)
class Slot:
    """A column of the joint table.

    `columns` are the sides' columns that make it: (column, None) for one side; for two, the pair whose products over
    matched keys are added. A `distinct` slot (two sides only) has no pair: in each group it is the number of different
    non-NULL values of output `distinct` (side, `d_i`) among the matched rows, which only that side can count, in a
    protocol in which it learns who matched.

    A cell is released only together with every count slot in `governing` (`ROWS` is always one of them). `bounds` is
    what one (joined) row can add, None if unknown; the value is in units of 10**-`scale`. A row adds to at most one
    slot of a `family` (and one group).
    """

    kind: Kind
    columns: tuple[int | None, int | None]
    governing: tuple[int, ...]
    bounds: Bounds
    scale: int
    family: int
    distinct: tuple[int, str] | None = None

    @property
    def largest(self) -> int | None:
        """The largest size of what one row adds, None if unknown."""
        return None if self.bounds is None else max(abs(self.bounds[0]), abs(self.bounds[1]))


@dataclass(frozen=True)
class Compiled:
    """A query over the tables of `sides` (one or two), as everybody who takes part understands it.

    `outputs` are the answer's column names; `uses` are (dataset, column, use), sorted, and `pushed` (dataset,
    condition), for the owners' policies; `keys` are the join keys' normalisations (none for one side). With `noised`,
    fragments clamp values to the contracts' bounds, and no complementary suppression is needed.
    """

    query: Query
    outputs: tuple[str, ...]
    uses: tuple[tuple[str, str, str], ...]
    pushed: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    sides: tuple[Side, ...]
    slots: tuple[Slot, ...]
    noised: bool
    pairs: tuple[tuple[int, int], ...] = field(repr=False)
    partitions: tuple[Partition, ...] = field(repr=False)
    finish: Finish = field(repr=False, compare=False)

    @property
    def groups(self) -> tuple[tuple[Cell, ...], ...]:
        """Every joint group: those of side 0 times those of side 1; group (g, h) is at g * sides[1].size + h."""
        product = itertools.product(*(side.groups for side in self.sides))
        return tuple(tuple(itertools.chain.from_iterable(parts)) for parts in product)

    @property
    def shape(self) -> tuple[int, int]:
        """Groups, slots of the joint table."""
        return int(np.prod([side.size for side in self.sides], dtype=np.int64)), len(self.slots)

    @property
    def counts(self) -> tuple[int, ...]:
        """The slots that count: what the parties open to decide on suppression; `ROWS` is the first."""
        return tuple(index for index, slot in enumerate(self.slots) if slot.kind != "sum")

    @property
    def families(self) -> int:
        """Over how many families of slots a privacy budget must be split."""
        return len({slot.family for slot in self.slots})

    def agreed(self) -> bytes:
        """Query, groups, slots and fragments as bytes: part of the description of every sum that is made of them."""
        sides = [[side.datasets, side.domains, side.fragment.sql, side.fragment.parameters] for side in self.sides]
        slots = [[slot.kind, slot.columns, slot.governing, slot.scale, slot.distinct] for slot in self.slots]
        return json.dumps([self.query.canonical_sql, self.noised, self.keys, sides, slots], default=str).encode()

    def table(self, result: Mapping[str, Values]) -> Table:
        """One owner's groups x slots from its fragment's result; for a query of one side."""
        found = self.sides[0].table(result)
        return found[:, [slot.columns[0] for slot in self.slots if slot.columns[0] is not None]]

    def suppressed(self, table: Table, minimum: int) -> Hidden:
        """(groups, slots) true where a cell of the joint `table` may not be released; only its counts are read.

        Applied again to the released table (zero where hidden) it is the same.
        """
        pairs, partitions = ((), ()) if self.noised else (self.pairs, self.partitions)
        hidden = hidden_counts(table, minimum, self.counts, pairs, partitions)
        for index, slot in enumerate(self.slots):
            hidden[:, index] |= hidden[:, list(slot.governing)].any(axis=1)
        return hidden

    def rows(self, table: Table, hidden: Hidden) -> list[dict[str, Any]]:
        """The answer: one dict per released group, in the asked order, None for what is suppressed or NULL."""
        cells = [
            [None if concealed else value for value, concealed in zip(values, marks, strict=True)]
            for values, marks in zip(table.tolist(), hidden.tolist(), strict=True)
        ]
        released: Iterable[tuple[tuple[Cell, ...], list[int | None]]] = (
            (group, values) for group, values in zip(self.groups, cells, strict=True) if values[ROWS] is not None
        )
        return self.finish.rows(released)
