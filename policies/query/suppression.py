"""Which cells of a joint table may not be released: pure arithmetic on joint counts, the same at everybody.

Primary: a count below the minimum (zero like any other), and whatever it governs. Complementary, for exact answers:
what is released may not give a hidden count back. So two released counts never differ by 1 to minimum - 1 unless they
count rows that cannot be the same ones, and what a released whole leaves of its released parts is nothing or enough.
A part that is hidden only for that reason is still told by its own parts, as far as these are enough.

Applied again to a released table (hidden cells zero) the rule finds the same cells: a reader needs no further word.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]
Hidden = NDArray[np.bool_]


class Partition(NamedTuple):
    """Count slots that count different rows of `whole`; with `exhaustive`, all of them.

    Exhaustive ones may lie within each other; those of the parts come before those of their wholes.
    """

    whole: int
    parts: tuple[int, ...]
    exhaustive: bool = False


def hidden_counts(
    counts: Table,
    minimum: int,
    slots: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    partitions: Sequence[Partition],
) -> Hidden:
    """(groups, slots) true where a count slot is hidden; columns that are not in `slots` stay false.

    `pairs` are the slots that may count the same rows. `slots[0]` counts all rows of a group; hidden, it hides all.
    """
    hidden = np.zeros(counts.shape, np.bool_)
    hidden[:, list(slots)] = counts[:, list(slots)] < minimum
    hidden[:, list(slots)] |= hidden[:, [slots[0]]]
    inner = {one.whole: one.parts for one in partitions if one.exhaustive}
    while True:
        before = int(hidden.sum())
        for one, other in pairs:
            _tell_apart(counts, hidden, minimum, one, other)
        told = _told(counts, hidden, partitions)
        for partition in partitions:
            _cover(counts, hidden, minimum, partition, told, inner)
        if int(hidden.sum()) == before:
            return hidden


def _tell_apart(counts: Table, hidden: Hidden, minimum: int, one: int, other: int) -> None:
    """Hide the smaller of two released counts whose difference is small, in place."""
    difference = counts[:, one] - counts[:, other]
    close = (difference != 0) & (np.abs(difference) < minimum) & ~hidden[:, one] & ~hidden[:, other]
    hidden[:, other] |= close & (difference > 0)
    hidden[:, one] |= close & (difference < 0)


def _told(counts: Table, hidden: Hidden, partitions: Sequence[Partition]) -> Table:
    """What is told of each count: all of it where it is released, else what its released parts add up to."""
    told = np.where(hidden, 0, counts)
    for whole, parts, exhaustive in partitions:
        if exhaustive:
            told[:, whole] = np.where(hidden[:, whole], told[:, list(parts)].sum(axis=1), counts[:, whole])
    return told


def _cover(
    counts: Table,
    hidden: Hidden,
    minimum: int,
    partition: Partition,
    told: Table,
    inner: Mapping[int, tuple[int, ...]],
) -> None:
    """Where the rest that a released whole leaves is small, hide the smallest told part and what tells it, in place."""
    parts = list(partition.parts)
    rest = counts[:, partition.whole] - told[:, parts].sum(axis=1)
    small = (rest > 0) & (rest < minimum) & ~hidden[:, partition.whole] & (told[:, parts] > 0).any(axis=1)
    for group in np.flatnonzero(small).tolist():
        within: tuple[int, ...] = partition.parts
        while within:
            smallest = min((part for part in within if told[group, part] > 0), key=lambda part: told[group, part])
            hidden[group, smallest] = True
            within = inner.get(smallest, ())
            within = within if any(told[group, part] > 0 for part in within) else ()
