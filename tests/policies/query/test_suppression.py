"""Suppression: nothing small is released, and nothing that is released gives it back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.query.suppression import Partition, hidden_counts
from tests.policies.query.asked import column, compiled

MINIMUM = 10
COLUMNS = {
    "who": column("text", domain=["a", "b", "c"]),
    "x": column("int", bounds=[0, 3]),
    "y": column("int", domain=[1, 2, 3, 4]),
}


def hidden_of(sql: str, *counts: int) -> list[bool]:
    """Which count slots of one group are hidden, in the order of the query's counts."""
    query = compiled(sql, columns=COLUMNS)
    table = np.zeros((1, len(query.slots)), np.int64)
    table[0, list(query.counts)] = counts
    hidden = query.suppressed(table, MINIMUM)
    np.testing.assert_array_equal(query.suppressed(np.where(hidden, 0, table), MINIMUM), hidden)
    found: list[bool] = hidden[0, list(query.counts)].tolist()
    return found


def test_a_small_count_is_hidden_and_zero_like_any_other() -> None:
    sql = "SELECT COUNT(*) FILTER (WHERE who = 'a') AS a, COUNT(*) FILTER (WHERE x > 1) AS b FROM orders"
    assert hidden_of(sql, 100, 9, 0) == [False, True, True]
    assert hidden_of(sql, 9, 9, 0) == [True, True, True]
    assert hidden_of(sql, 100, 50, 30) == [False, False, False]


def test_a_total_does_not_give_the_few_others_away() -> None:
    sql = "SELECT COUNT(*) AS n, COUNT(x) AS c FROM orders"
    assert hidden_of(sql, 100, 98) == [False, True]
    assert hidden_of(sql, 100, 100) == [False, False]
    assert hidden_of(sql, 100, 90) == [False, False]


def test_two_ranges_that_differ_by_few_rows_are_not_both_released() -> None:
    sql = "SELECT COUNT(*) FILTER (WHERE x > 1) AS a, COUNT(*) FILTER (WHERE x >= 1) AS b FROM orders"
    assert hidden_of(sql, 100, 50, 52) == [False, True, False]


def test_three_parts_of_a_whole_do_not_give_a_small_fourth_back() -> None:
    parts = (f"COUNT(*) FILTER (WHERE who = '{one}') AS {one}" for one in "abc")
    sql = f"SELECT {', '.join(parts)} FROM orders"
    assert hidden_of(sql, 100, 60, 38, 2) == [False, False, True, True]
    assert hidden_of(sql, 100, 60, 40, 0) == [False, False, False, True]
    assert hidden_of(sql, 100, 50, 30, 20) == [False, False, False, False]


def test_the_parts_of_a_case_are_a_whole() -> None:
    sql = "SELECT SUM(CASE WHEN x > 2 THEN 1 WHEN x > 1 THEN 2 ELSE 3 END) AS s FROM orders"
    assert hidden_of(sql, 100, 60, 38, 2) == [False, False, True, True]


def test_bins_hide_their_small_neighbours() -> None:
    sql = "SELECT COUNT(DISTINCT y) AS n FROM orders"
    assert hidden_of(sql, 100, 100, 60, 38, 2, 0) == [False, False, False, True, True, True]
    assert hidden_of(sql, 100, 100, 60, 40, 0, 0) == [False, False, False, False, True, True]
    assert hidden_of(sql, 100, 95, 60, 35, 0, 0) == [False, True, False, True, True, True], "they would add up to 95"


def test_a_few_rows_far_away_leave_the_rest_of_a_tree_told() -> None:
    sql = "SELECT MEDIAN(y) AS m FROM orders"  # all, known, 1-4, 1-2, 1, 2, 3-4, 3, 4
    names = [slot.columns[0] for slot in compiled(sql, columns=COLUMNS).slots]
    assert len(names) == 8
    rows, root, low, one, two, high, three, four = 100, 100, 97, 57, 40, 3, 0, 3
    found = hidden_of(sql, rows, root, low, one, two, high, three, four)
    assert found == [False, False, True, False, True, True, True, True], "1 is told, 2 covers the three"


def test_noise_needs_no_complements() -> None:
    query = compiled("SELECT COUNT(*) AS n, COUNT(who) AS c FROM orders", columns=COLUMNS, noised=True)
    assert query.suppressed(np.array([[100, 98]]), MINIMUM).tolist() == [[False, False]]


counts = st.lists(st.integers(0, 40), min_size=4, max_size=4)


@settings(max_examples=200, deadline=None)
@given(counts, st.integers(1, 12))
def test_what_a_whole_leaves_of_its_released_parts_is_nothing_or_enough(parts: list[int], minimum: int) -> None:
    table = np.array([[sum(parts), *parts[:3]]], np.int64)
    slots, pairs, partition = (0, 1, 2, 3), [(0, 1), (0, 2), (0, 3)], Partition(0, (1, 2, 3))
    hidden = hidden_counts(table, minimum, slots, pairs, [partition])[0]
    shown = [part for part, concealed in zip(parts[:3], hidden[1:], strict=True) if not concealed]
    assert hidden[0] == (sum(parts) < minimum)
    assert all(part >= minimum for part in shown)
    for some in (shown, *([part] for part in shown)):
        left = sum(parts) - sum(some)
        assert not some or left == 0 or left >= minimum
    again = hidden_counts(np.where(hidden, 0, table), minimum, slots, pairs, [partition])[0]
    assert again.tolist() == hidden.tolist()
