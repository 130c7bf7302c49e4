"""Statistics are exact, additive integers; a view, census or parameter that does not fit gives one error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from parties.recipes.base import (
    ColumnNeed,
    RecipeError,
    check_statistics,
    from_fixed,
    moments,
    needed_columns,
    standardisation,
    to_fixed,
)
from parties.recipes.demand import recipe as demand
from parties.recipes.fraud import recipe as fraud
from policies.contract import ColumnType, Use
from policies.errors import InvalidInput

NEEDS = (ColumnNeed("country", ColumnType.TEXT, Use.FEATURE), ColumnNeed("units", ColumnType.INT, Use.LABEL))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
@settings(max_examples=40)
def test_fixed_point_is_within_half_a_step(values: list[float]) -> None:
    exact = np.array(values)
    assert np.abs(from_fixed(to_fixed(exact)) - exact).max() <= 2.0**-13


@pytest.mark.parametrize("value", [2.0**46, -(2.0**46), np.inf, np.nan])
def test_a_value_beyond_an_exact_sum_is_refused(value: float) -> None:
    with pytest.raises(RecipeError, match="does not fit into an exact sum"):
        to_fixed(np.array([value]))


@given(arrays.arrays(np.float32, (12, 3), elements=st.floats(-1000, 1000, width=32)), st.integers(1, 11))
@settings(max_examples=40)
def test_the_census_of_the_parts_adds_up_to_the_census_of_the_whole(rows: Any, cut: int) -> None:
    parts = moments(rows[:cut]) + moments(rows[cut:])
    assert parts[0] == 12
    assert np.abs(parts - moments(rows)).max() <= 1  # each part is rounded once


def test_standardisation_is_that_of_the_pooled_rows() -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(5, 3, (n, 2)).astype(np.float32) for n in (100, 30, 7)]
    pooled = np.concatenate(parts)
    mean, deviation = standardisation(np.sum([moments(part) for part in parts], axis=0), 2)
    np.testing.assert_allclose(mean, pooled.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(deviation, pooled.std(axis=0), atol=1e-4)


def test_a_constant_feature_keeps_deviation_one() -> None:
    _, deviation = standardisation(moments(np.full((4, 1), 7.0, dtype=np.float32)), 1)
    assert deviation[0] == 1.0


@pytest.mark.parametrize(
    ("total", "message"),
    [
        (np.zeros(3, dtype=np.int64), "no party has training rows"),
        (np.zeros(4, dtype=np.int64), r"shape \(3,\)"),
        (np.zeros(3), "float64"),
        (np.array([1, 2**58, 0]), "out of range"),
        (np.array([1, np.iinfo(np.int64).min, 0]), "out of range"),
    ],
)
def test_a_census_that_cannot_be_a_sum_is_refused(total: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        standardisation(total, 1)


def test_checked_statistics_are_a_copy() -> None:
    given_array = np.ones(2, dtype=np.int64)
    assert check_statistics(given_array, 2, "x") is not given_array


def test_dictionaries_are_decoded_and_other_columns_left_behind() -> None:
    view = pa.table({"extra": [1], "units": [3], "country": pa.array(["DE"]).dictionary_encode()})
    chosen = needed_columns(view, NEEDS, "view")
    assert chosen.column_names == ["country", "units"]
    assert chosen.schema.field("country").type == pa.string()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"country": ["DE"]}, "view: column `units` is missing; a column of type int"),
        ({"country": ["DE"], "units": [1.5]}, "view: column `units` is double; type int"),
        ({"country": [None], "units": [1]}, "view: column `country` is null; type text"),
        ({"country": ["DE", None], "units": [1, 2]}, "view: column `country` has empty cells"),
    ],
)
def test_a_wrong_column_gives_one_line(columns: dict[str, Sequence[object]], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        needed_columns(pa.table(columns), NEEDS, "view")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"rounds": 3}, "`rounds` is not known"),
        ({"clip": 0}, "`clip` is 0: greater than|`clip` is 0"),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan"),
        ({"train_to": 90}, "days are not in order"),
    ],
)
def test_wrong_parameters_give_one_line(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        fraud.parse(raw)
    assert "\n" not in str(caught.value)


def test_demand_parameters_read_a_date_as_text() -> None:
    assert demand.parse({"first_week": "2011-01-03"}).first_week.isoformat() == "2011-01-03"
    with pytest.raises(InvalidInput, match="first_week"):
        demand.parse({"first_week": "soon"})
