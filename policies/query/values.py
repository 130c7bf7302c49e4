"""The values of aggregates, computed from a released group's slots: exact where SQL's are, None where hidden.

Extremes, quantiles, histograms and distinct counts come from counts of bins: they are of the values that rows enough
to be told carry. A tree of counts is descended as far as its counts are released; what lies in a leaf of more than one
value, or in a range of which no part is told, is answered by its edge (extremes) or by interpolation (quantiles).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from policies.contract import Cell

Slots = Sequence[int | None]
Edge = Cell | Decimal


@dataclass(frozen=True)
class Count:
    """A count."""

    slot: int

    def of(self, slots: Slots) -> int | None:
        """The count, None where hidden; noise may have made it negative, a count is not."""
        value = slots[self.slot]
        return None if value is None else max(0, value)


@dataclass(frozen=True)
class Sum:
    """A sum of units of 10**-scale."""

    slot: int
    scale: int

    def of(self, slots: Slots) -> int | Decimal | None:
        """A whole number, or an exact decimal of `scale` places."""
        value = slots[self.slot]
        return value if value is None or not self.scale else Decimal(value).scaleb(-self.scale)


@dataclass(frozen=True)
class Mean:
    """An average."""

    total: int
    count: int
    scale: int

    def of(self, slots: Slots) -> float | None:
        """A float, None of no rows."""
        total, count = slots[self.total], slots[self.count]
        return None if total is None or not count else float(Fraction(total, count * 10**self.scale))


@dataclass(frozen=True)
class Spread:
    """A variance, of a `sample` or a population; its `root` is the standard deviation."""

    squares: int
    total: int
    count: int
    scale: int
    sample: bool
    root: bool

    def of(self, slots: Slots) -> float | None:
        """A float, None of too few rows; computed exactly, so that nothing cancels."""
        squares, total, count = slots[self.squares], slots[self.total], slots[self.count]
        if squares is None or total is None or count is None or count <= int(self.sample):
            return None
        rest = count - 1 if self.sample else count
        variance = max(Fraction(0), Fraction(count * squares - total**2, count * rest * 100**self.scale))
        return math.sqrt(variance) if self.root else float(variance)


@dataclass(frozen=True)
class Present:
    """COUNT(DISTINCT x): how many values are carried by rows enough to be told."""

    leaves: tuple[int, ...]

    def of(self, slots: Slots) -> int | None:
        """A count of values, None where there is none."""
        return sum(1 for leaf in self.leaves if (slots[leaf] or 0) > 0) or None


@dataclass(frozen=True)
class Histogram:
    """How many rows carry each value (or begin a stretch of values); those too few to be told are left out."""

    leaves: tuple[int, ...]
    labels: tuple[Edge, ...]

    def of(self, slots: Slots) -> dict[Edge, int] | None:
        """Label -> count, None where there is none."""
        counted = ((label, slots[leaf]) for label, leaf in zip(self.labels, self.leaves, strict=True))
        return {label: count for label, count in counted if count is not None and count > 0} or None


@dataclass(frozen=True)
class Node:
    """A range of leaves, from `low` to `high`, the slot that counts its rows, and its two halves."""

    slot: int
    low: Edge
    high: Edge
    halves: "tuple[Node, Node] | None" = None

    def told(self, slots: Slots, into: dict[int, int]) -> int:
        """How many rows are told to be in the range; notes the same for every range within it."""
        parts = sum(half.told(slots, into) for half in self.halves or ())
        count = slots[self.slot]
        into[self.slot] = parts if count is None else max(0, count)
        return into[self.slot]


@dataclass(frozen=True)
class Extreme:
    """MIN or MAX."""

    root: Node
    highest: bool

    def of(self, slots: Slots) -> Edge | None:
        """The lowest (highest) edge of the lowest (highest) range that is told."""
        told: dict[int, int] = {}
        if not self.root.told(slots, told):
            return None
        node = self.root
        while node.halves is not None and any(told[half.slot] for half in node.halves):
            order = reversed(node.halves) if self.highest else node.halves
            node = next(half for half in order if told[half.slot])
        return node.high if self.highest else node.low


@dataclass(frozen=True)
class Quantile:
    """A quantile: of the values themselves, or with `between` interpolated between neighbours."""

    root: Node
    fraction: Fraction
    between: bool

    def of(self, slots: Slots) -> Edge | float | None:
        """The value at the fraction of the ordered rows, as DuckDB's QUANTILE_DISC or QUANTILE_CONT takes it."""
        told: dict[int, int] = {}
        count = self.root.told(slots, told)
        if not count:
            return None
        if not self.between:
            return self._at(max(0, math.ceil(self.fraction * count) - 1), count, told)
        place = self.fraction * (count - 1)
        low, high = (_number(self._at(rank, count, told)) for rank in (math.floor(place), math.ceil(place)))
        return float(low + (high - low) * (place - math.floor(place)))

    def _at(self, rank: int, count: int, told: dict[int, int]) -> Edge:
        """The value of the row at `rank` (from 0) of `count`."""
        node, place = self.root, Fraction(2 * rank + 1, 2 * count)
        while node.halves is not None and any(told[half.slot] for half in node.halves):
            left, right = (told[half.slot] for half in node.halves)
            share = Fraction(left, left + right)
            side = int(place >= share)
            place = (place - share) / (1 - share) if side else place / share
            node = node.halves[side]
        return _between(node, place)


def _between(node: Node, place: Fraction) -> Edge:
    """The value at a place (0 to 1) of a range; of its own kind."""
    if node.low == node.high or isinstance(node.low, str | bool):
        return node.low
    low, high = _number(node.low), _number(node.high)
    value = low + (high - low) * place
    if isinstance(node.low, Decimal):
        return Decimal(round(value * 100)).scaleb(-2)
    return round(value)


def _number(value: Edge) -> Fraction:
    return Fraction(value) if not isinstance(value, str) else Fraction(0)
