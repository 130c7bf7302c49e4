"""Which cells of a joint table may not be released: pure arithmetic on joint counts, the same at everybody.

Primary: a count below the minimum (zero like any other), and whatever it governs. Complementary, for exact answers:
what is released may not give a hidden count back. So two released counts never differ by 1 to minimum - 1 unless they
count rows that cannot be the same ones, and the parts of a whole that stay hidden never add up to that little.

Applied again to a released table (hidden cells zero) the rule finds the same cells: a reader needs no further word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]
Hidden = NDArray[np.bool_]


class Partition(NamedTuple):
    """Count slots that count different rows of `whole`; with `exhaustive`, all of them."""

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
    while True:
        before = int(hidden.sum())
        for one, other in pairs:
            _tell_apart(counts, hidden, minimum, one, other)
        for partition in partitions:
            _cover(counts, hidden, minimum, partition)
        if int(hidden.sum()) == before:
            return hidden


def _tell_apart(counts: Table, hidden: Hidden, minimum: int, one: int, other: int) -> None:
    """Hide the smaller of two released counts whose difference is small, in place."""
    difference = counts[:, one] - counts[:, other]
    close = (difference != 0) & (np.abs(difference) < minimum) & ~hidden[:, one] & ~hidden[:, other]
    hidden[:, other] |= close & (difference > 0)
    hidden[:, one] |= close & (difference < 0)


def _cover(counts: Table, hidden: Hidden, minimum: int, partition: Partition) -> None:
    """Where the hidden rest of a released whole is small, hide the smallest released part, in place.

    The parts of a hidden whole that they make up are hidden, or they would add up to it.
    """
    parts = np.array(partition.parts)
    if partition.exhaustive:
        hidden[:, parts] |= hidden[:, [partition.whole]]
    shown = np.where(hidden[:, parts], 0, counts[:, parts])
    rest = counts[:, partition.whole] - shown.sum(axis=1)
    small = (rest > 0) & (rest < minimum) & ~hidden[:, partition.whole] & (shown > 0).any(axis=1)
    smallest = parts[np.argmin(np.where(shown > 0, shown, np.iinfo(np.int64).max), axis=1)]
    rows = np.flatnonzero(small)
    hidden[rows, smallest[rows]] = True
