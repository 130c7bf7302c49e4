"""An owner's own result, row by row, made a table of whole numbers by group. It stays with its owner."""

from collections.abc import Mapping, Sequence
from itertools import compress, repeat
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.contract import Cell

Table = NDArray[np.int64]
Values: TypeAlias = "Sequence[Any] | NDArray[Any] | pa.ChunkedArray"
OUTSIDE = -1


def numbers(values: Values) -> Table:
    """Whole numbers of a result as int64; raises TypeError or OverflowError for anything else."""
    return np.asarray(values, np.int64)


def kept_of(values: Values, inside: NDArray[np.bool_]) -> Values:
    """Those of `values` that are `inside`, (values,)."""
    if isinstance(values, pa.ChunkedArray):
        column: Values = values.filter(pa.array(inside))
        return column
    return list(compress(values, inside))


def places(values: Values, domain: Sequence[Cell]) -> Table:
    """The position of each value in `domain`, OUTSIDE where it is not there: (values,) int64."""
    known = {cell: index for index, cell in enumerate(domain)}
    return np.fromiter(map(known.get, values, repeat(OUTSIDE)), np.int64, len(values))


def group_places(columns: Sequence[Values], domains: Sequence[Sequence[Cell]], rows: int) -> Table:
    """Each row's position in the cross product of `domains` (the last varies fastest), OUTSIDE where in none."""
    found = np.zeros(rows, np.int64)
    outside = np.zeros(rows, np.bool_)
    for values, domain in zip(columns, domains, strict=True):
        place = places(values, domain)
        outside |= place == OUTSIDE
        found = found * len(domain) + place
    return np.where(outside, OUTSIDE, found)


def added(values: Table, place: Table, size: int) -> Table:
    """The sum of `values` by place: (size,) int64; what is OUTSIDE is left out."""
    inside = place != OUTSIDE
    total = np.zeros(size, np.int64)
    np.add.at(total, place[inside], values[inside])
    return total


def added_below(values: Table, place: Table, size: int, bins: Table, leaves: int) -> Table:
    """For every place, the sum of `values` in the bins below each edge: (size, leaves + 1), the first column zero."""
    both = np.where((place == OUTSIDE) | (bins == OUTSIDE), OUTSIDE, place * leaves + bins)
    by_bin = added(values, both, size * leaves).reshape(size, leaves)
    return np.concatenate([np.zeros((size, 1), np.int64), np.cumsum(by_bin, axis=1)], axis=1)


def side_table(
    result: Mapping[str, Values],
    columns: Sequence[tuple[str, str | None, int, int]],
    place: Table,
    size: int,
    axes: Mapping[str, Sequence[Cell]],
) -> Table:
    """Groups x columns of a result; each column is (output, axis or None, first bin, bin after the last)."""
    bins = {axis: places(result[axis], labels) for axis, labels in axes.items()}
    below: dict[tuple[str, str | None], Table] = {}
    for source, axis, _, _ in columns:
        if (source, axis) not in below:
            values = numbers(result[source])
            below[source, axis] = (
                added(values, place, size)[:, None]
                if axis is None
                else added_below(values, place, size, bins[axis], len(axes[axis]))
            )
    cells = [
        below[source, None][:, 0] if axis is None else below[source, axis][:, stop] - below[source, axis][:, first]
        for source, axis, first, stop in columns
    ]
    return np.stack(cells, axis=1)
