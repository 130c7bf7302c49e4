"""An owner's result as a table: what is in no declared group or bin is left out, sums stay exact."""

import numpy as np
import pytest

from policies.query.gathering import OUTSIDE, added, added_below, group_places, places, side_table
from tests.policies.query.asked import compiled


def test_values_are_found_in_their_domain() -> None:
    assert places(["b", None, "x", "a"], ("a", "b")).tolist() == [1, OUTSIDE, OUTSIDE, 0]
    assert places(np.array([5, 3]), (3, 5)).tolist() == [1, 0]
    assert places([False, True, None], (True, False)).tolist() == [1, 0, OUTSIDE]


def test_the_last_domain_varies_fastest() -> None:
    found = group_places([["a", "b", "b", "c"], [1, 0, 1, 1]], [("a", "b"), (0, 1)], 4)
    assert found.tolist() == [1, 2, 3, OUTSIDE]
    assert group_places([], [], 3).tolist() == [0, 0, 0]


def test_sums_are_exact_beyond_what_a_float_holds() -> None:
    values = np.array([2**53, 1, 1, 7], np.int64)
    assert added(values, np.array([0, 0, 0, OUTSIDE]), 2).tolist() == [2**53 + 2, 0]


def test_bins_are_added_from_below() -> None:
    found = added_below(np.array([1, 2, 4]), np.array([0, 0, 0]), 1, np.array([0, 2, OUTSIDE]), 3)
    assert found.tolist() == [[0, 1, 1, 3]]


def test_a_table_has_plain_columns_and_cuts_of_bins() -> None:
    result: dict[str, list[int | None]] = {"b_0": [3, 5, 5, None], "v_0": [1, 1, 2, 4], "v_1": [10, 20, 30, 40]}
    columns = [("v_0", None, 0, 0), ("v_1", None, 0, 0), ("v_0", "b_0", 0, 1), ("v_0", "b_0", 1, 2)]
    found = side_table(result, columns, np.zeros(4, np.int64), 1, {"b_0": (3, 5)})
    assert found.tolist() == [[8, 100, 1, 3]]


def test_a_result_without_an_output_is_no_table() -> None:
    query = compiled("SELECT country, COUNT(*) AS n FROM orders GROUP BY country")
    with pytest.raises(KeyError):
        query.table({"v_0": [1]})
    assert query.table({"g_0": ["FR", "XX"], "v_0": [3, 9]}).tolist() == [[0], [3], [0]]
