"""Weekly demand: the panel and its features equal a slow and obvious reference."""

import math
import statistics
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parties.recipes.base import RecipeError
from parties.recipes.demand import Panel, build_panel, recipe, weekly_features

FIRST = datetime(2010, 11, 29)  # noqa: DTZ001  the tables hold local times without a zone
REGIONS = ["United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Belgium", "Switzerland"]
SMALL = {"train_weeks": 14, "test_weeks": 3, "minimum_weeks": 6}
Line = dict[str, Any]


def line(code: str, week: int, quantity: int, **other: Any) -> Line:
    base = {"country": "United Kingdom", "unit_price": Decimal("2.50"), "cancelled": False}
    return {"stock_code": code, "sold_at": FIRST + timedelta(days=7 * week + 2), "quantity": quantity} | base | other


def sales(seed: int = 1, codes: int = 5) -> list[Line]:
    rng = np.random.default_rng(seed)
    return [
        line(
            f"{10000 + rng.integers(0, codes)}A",
            int(rng.integers(0, 17)),
            int(rng.integers(1, 40)),
            country=str(rng.choice(["United Kingdom", "France", "Japan"])),
            unit_price=Decimal(int(rng.integers(50, 900))) / 100,
        )
        for _ in range(500)
    ]


def panel(lines: list[Line], **parameters: Any) -> Panel:
    return build_panel(table(lines), recipe.parse(SMALL | parameters))


def table(lines: list[Line]) -> pa.Table:
    return pa.Table.from_pylist(lines)


def slow_row(lines: list[Line], code: str, country: str, week: int) -> list[float]:
    """The 26 features of one series and week, written as one would say them."""

    def group(name: str) -> str:
        return name if name in REGIONS else "Other"

    own = [r for r in lines if r["stock_code"] == code and group(r["country"]) == country]

    def units(rows: list[Line], at: int) -> int:
        return sum(r["quantity"] for r in rows if (r["sold_at"] - FIRST).days // 7 == at and r["stock_code"] == code)

    lags = [units(own, week - lag) for lag in range(1, 9)]
    idle = next((lag for lag, sold in enumerate(lags) if sold), 8) / 8
    price = statistics.median(float(r["unit_price"]) for r in own if (r["sold_at"] - FIRST).days // 7 < 14)
    features = [math.log1p(x) for x in lags] + [math.log1p(units(lines, week - lag)) for lag in range(1, 5)]
    features += [math.log1p(sum(lags[:4]) / 4), math.log1p(sum(lags) / 8), math.log1p(max(lags))]
    features += [sum(x > 0 for x in lags) / 8, idle, math.log(price)]
    return features + [float(country == region) for region in REGIONS]


def test_features_by_region_equal_the_slow_reference() -> None:
    lines = sales()
    built = panel(lines, by_region=True, series_per_party=None, minimum_weeks=1)
    order = {"Japan": 0, "United Kingdom": 1, "France": 3}  # as in the one-hot; other countries come first
    names = sorted({(r["stock_code"], r["country"]) for r in lines}, key=lambda key: (key[0], order[key[1]]))
    got = weekly_features(built, 9, 16)
    for row, (code, country) in enumerate(names):
        group = country if country in REGIONS else "Other"
        expected = [slow_row(lines, code, group, week) for week in range(9, 16)]
        np.testing.assert_allclose(got[row], expected, rtol=1e-9, atol=1e-9)


def test_all_countries_together_are_one_series_per_code() -> None:
    lines = sales()
    built = panel(lines)
    assert built.series.shape == (5, 17)
    assert built.series.sum() == sum(r["quantity"] for r in lines)
    np.testing.assert_array_equal(built.series, built.code)
    assert not built.region.any()


@pytest.mark.parametrize(
    "ignored",
    [
        line("10000A", 3, -5, cancelled=True),
        line("10000A", 3, 10_001),
        line("10000A", 3, 7, unit_price=Decimal("0.00")),
        line("POST", 3, 7),
        line("1000", 3, 7),
        line("10000A", -1, 7),
        line("10000A", 17, 7),
    ],
)
def test_lines_that_are_no_sale_of_a_product_in_the_calendar_are_ignored(ignored: Line) -> None:
    lines = sales()
    np.testing.assert_array_equal(panel([*lines, ignored]).series, panel(lines).series)


def test_each_party_takes_its_best_sellers_of_the_training_weeks() -> None:
    lines = [line(f"2000{code}", week, 10 + code) for code in range(4) for week in range(14)]
    lines += [line("20000", 15, 9999), line("20009", 1, 9000)]  # sold later, and too seldom
    built = panel(lines, series_per_party=2)
    assert built.series[:, 0].tolist() == [12.0, 13.0]


def test_the_order_of_the_lines_does_not_matter() -> None:
    lines = sales()
    forward, backward = (recipe.bind(table(rows), recipe.parse(SMALL), seed=1) for rows in (lines, lines[::-1]))
    assert forward.census().tolist() == backward.census().tolist()


def test_lengths_are_as_declared_and_the_naive_forecast_is_the_median_of_four_weeks() -> None:
    parameters = recipe.parse(SMALL | {"solo_epochs": 1})
    lines = sales()
    task = recipe.bind(table(lines), parameters, seed=1)
    census, metric = recipe.statistics(parameters)
    assert (len(task.census()), len(task.baselines())) == (census, 2 * metric)
    assert len(task.initial()) == recipe.model_size(parameters)
    assert task.examples == 5 * (14 - 8)
    units = panel(lines).series
    error = sum(abs(np.median(row[t - 4 : t]) - row[t]) for row in units for t in (14, 15, 16))
    naive = recipe.baseline_metrics(task.baselines())["naive_wape"]
    assert naive == pytest.approx(error / units[:, 14:].sum(), abs=1e-4)


def test_a_forecast_beyond_all_measure_still_fits_into_the_sum() -> None:
    task = recipe.bind(table(sales()), recipe.parse(SMALL), seed=1)
    task.begin(task.census())
    assert recipe.metrics(task.evaluate(task.initial() * np.float32(300)))["wape"] > 1


def test_a_warehouse_without_series_is_told() -> None:
    with pytest.raises(RecipeError, match="no training rows"):
        recipe.bind(table([line("10000A", 1, 5)]), recipe.parse(SMALL), seed=1)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RecipeError, match="demand-forecast: column `cancelled` is missing"):
        recipe.bind(table(sales()).drop_columns("cancelled"), recipe.parse(SMALL), seed=1)


def test_weeks_beyond_the_calendar_are_refused() -> None:
    with pytest.raises(RecipeError, match="after year 9999"):
        recipe.bind(table(sales()), recipe.parse({"first_week": "9999-12-20"}), seed=1)
