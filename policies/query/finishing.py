"""What is done with released values: arithmetic over aggregates, HAVING, ORDER BY, LIMIT. It sees no hidden value.

Whole numbers and money stay exact; a quotient, an average or a deviation is a float, as in DuckDB. NULL (also: a
suppressed value) makes NULL of what is computed from it, a division by zero is NULL, and HAVING keeps what is true.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from policies.contract import Cell

Kind = Literal["number", "text", "bool", "map"]


class Released(NamedTuple):
    """One released group: its cells, and its slots' values (None where hidden)."""

    group: tuple[Cell, ...]
    slots: Sequence[int | None]


class ValueType(NamedTuple):
    """What values are: their `kind` (None when all are NULL), and of numbers the decimal places.

    `scale` None stands for floats, 0 for whole numbers. Of a map, `labels` and `scale` are those of its keys, and its
    values are whole numbers.
    """

    kind: Kind | None
    scale: int | None = 0
    labels: Kind | None = None


@dataclass(frozen=True)
class Formula:
    """A value of a released group, None for NULL; `kind`, `scale` and `labels` are those of its `ValueType`."""

    kind: Kind | None
    of: Callable[[Released], Any]
    scale: int | None = 0
    labels: Kind | None = None

    @property
    def type(self) -> ValueType:
        """What its values are, known before there is any."""
        return ValueType(self.kind, self.scale, self.labels)


@dataclass(frozen=True)
class Sort:
    """One key of ORDER BY."""

    formula: Formula
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Finish:
    """The answer's columns and what is done with its rows."""

    outputs: tuple[tuple[str, Formula], ...]
    having: Formula | None = None
    order: tuple[Sort, ...] = ()
    limit: int | None = None
    offset: int = 0

    @property
    def types(self) -> tuple[ValueType, ...]:
        """What the values of each output are."""
        return tuple(formula.type for _, formula in self.outputs)

    def rows(self, released: Iterable[tuple[tuple[Cell, ...], Sequence[int | None]]]) -> list[dict[str, Any]]:
        """The answer's rows, of (cells, slots' values) of every released group in the groups' order."""
        kept = [Released(*one) for one in released]
        if self.having is not None:
            having = self.having
            kept = [one for one in kept if having.of(one) is True]
        for sort in reversed(self.order):
            kept = _sorted(kept, sort)
        stop = None if self.limit is None else self.offset + self.limit
        return [{name: formula.of(one) for name, formula in self.outputs} for one in kept[self.offset : stop]]


def _sorted(rows: list[Released], sort: Sort) -> list[Released]:
    """Stable, so that the keys of ORDER BY can be taken from the last to the first."""
    keyed = [(sort.formula.of(one), one) for one in rows]
    nulls = [one for key, one in keyed if key is None]
    known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=sort.descending)
    ordered = [one for _, one in known]
    return [*nulls, *ordered] if sort.nulls_first else [*ordered, *nulls]
