"""Values of released slots: exact, NULL where hidden, and quantiles no finer than the released counts."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.query.values import Count, Extreme, Histogram, Mean, Node, Present, Quantile, Spread, Sum

LEAVES = 8


def tree(first: int = 0, stop: int = LEAVES) -> Node:
    """A tree over the values 0 to 7; a node's slot is its place in RANGES."""
    low, high, slot = first, stop - 1, RANGES.index((first, stop))
    if stop - first == 1:
        return Node(slot, low, high)
    middle = (first + stop) // 2
    return Node(slot, low, high, (tree(first, middle), tree(middle, stop)))


def _ranges(first: int = 0, stop: int = LEAVES) -> list[tuple[int, int]]:
    middle = (first + stop) // 2
    return [(first, stop), *(_ranges(first, middle) + _ranges(middle, stop) if stop - first > 1 else [])]


RANGES = _ranges()
TREE = tree()


def counted(values: list[int], minimum: int = 1) -> list[int | None]:
    """The tree's slots over `values`, those below the minimum hidden."""
    counts = [sum(first <= value < stop for value in values) for first, stop in RANGES]
    return [count if count >= minimum else None for count in counts]


def duck(function: str, values: list[int]) -> Any:
    with duckdb.connect(":memory:") as connection:
        rows = ", ".join(f"({value})" for value in values)
        found = connection.execute(f"SELECT {function} FROM (VALUES {rows}) AS t(x)").fetchone()
        assert found is not None
        return found[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, LEAVES - 1), min_size=1, max_size=30), st.sampled_from(["0", "0.1", "0.5", "0.95", "1"]))
def test_with_every_count_released_extremes_and_quantiles_are_those_of_the_rows(values: list[int], at: str) -> None:
    slots = counted(values)
    assert Extreme(TREE, highest=False).of(slots) == min(values)
    assert Extreme(TREE, highest=True).of(slots) == max(values)
    assert Quantile(TREE, Fraction(at), between=True).of(slots) == pytest.approx(
        duck(f"QUANTILE_CONT(x, {at})", values)
    )
    assert Quantile(TREE, Fraction(at), between=False).of(slots) == duck(f"QUANTILE_DISC(x, {at})", values)


def test_an_extreme_is_only_as_fine_as_enough_rows_allow() -> None:
    alone = counted([7, *[0] * 9, *[1] * 9, *[4] * 9], minimum=3)  # one row at the top
    assert Extreme(TREE, highest=True).of(alone) == 4
    spread = counted([1, 4, 5, 6, 7], minimum=3)
    assert Extreme(TREE, highest=True).of(spread) == 7, "the edge of the smallest range that is told"
    assert Extreme(TREE, highest=False).of(spread) == 4
    assert Quantile(TREE, Fraction(1, 2), between=False).of(spread) == 6, "in the middle of that range"


def test_nothing_released_is_null() -> None:
    nothing: list[int | None] = [None] * len(RANGES)
    for value in (
        Extreme(TREE, highest=True),
        Quantile(TREE, Fraction(1, 2), between=True),
        Present((0, 1)),
        Histogram((0, 1), (1, 2)),
        Count(0),
        Sum(0, 2),
        Mean(0, 1, 0),
        Spread(0, 1, 2, 0, sample=True, root=False),
    ):
        assert value.of(nothing) is None


def test_sums_of_money_are_decimals_and_averages_floats() -> None:
    assert Sum(0, 2).of([1039]) == Decimal("10.39")
    assert Sum(0, 0).of([7]) == 7
    assert Mean(0, 1, 2).of([1039, 2]) == 5.195
    assert Mean(0, 1, 2).of([1039, 0]) is None


def test_a_variance_does_not_cancel() -> None:
    values = [10**8 + value for value in (1, 2, 3, 4)]
    slots = [sum(value**2 for value in values), sum(values), len(values)]
    assert Spread(0, 1, 2, 0, sample=True, root=False).of(slots) == pytest.approx(5 / 3)
    assert Spread(0, 1, 2, 0, sample=False, root=True).of(slots) == pytest.approx(1.25**0.5)
    assert Spread(0, 1, 2, 0, sample=True, root=False).of([4, 2, 1]) is None


def test_values_are_counted_and_listed_where_enough_rows_carry_them() -> None:
    assert Present((1, 2, 3)).of([20, 12, 8, None]) == 2
    assert Histogram((1, 2, 3), ("a", "b", "c")).of([20, 12, 8, None]) == {"a": 12, "b": 8}


def test_noise_does_not_make_a_count_negative() -> None:
    assert Count(0).of([-3]) == 0
    assert Present((1,)).of([5, -2]) is None
    assert Extreme(TREE, highest=True).of([-1] * len(RANGES)) is None
