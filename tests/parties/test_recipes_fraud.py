"""Fraud features equal a slow and obvious reference, and never look into the future."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.recipes.base import RecipeError
from parties.recipes.fraud import payment_features, recipe
from parties.recipes.scores import AP_LENGTH

HOUR, DAY = 3600, 86400
Payment = dict[str, int | str]


def payments(seed: int, count: int, days: int = 120) -> list[Payment]:
    rng = np.random.default_rng(seed)
    rows: list[Payment] = []
    for _ in range(count):
        time = int(rng.integers(0, days * DAY))
        rows.append(
            {
                "t_seconds": time,
                "customer_id": int(rng.integers(70, 74)),
                "shop_id": int(rng.integers(500, 503)),
                "customer_country": str(rng.choice(["DE", "GB"])),
                "shop_country": str(rng.choice(["DE", "GB"])),
                "amount_cents": int(rng.integers(50, 90_000)),
                "chargeback_t": time + int(rng.integers(0, 20 * DAY)) if rng.random() < 0.3 else -1,
                "fraud": int(rng.random() < 0.3),
            }
        )
    return rows


def slow_features(rows: list[Payment], now: Payment) -> list[float]:
    """The 31 features of `now`, written as one would say them."""
    time, amount = int(now["t_seconds"]), int(now["amount_cents"]) / 100

    def past(key: str, window: int) -> list[Payment]:
        return [r for r in rows if r[key] == now[key] and time - window < int(r["t_seconds"]) <= time]

    def charged_back(found: list[Payment]) -> int:
        return sum(0 <= int(r["chargeback_t"]) < time for r in found)

    hour = time % DAY / HOUR
    features = [amount, math.log1p(amount), math.sin(hour * math.pi / 12), math.cos(hour * math.pi / 12)]
    features += [hour < 6, time // DAY % 7 >= 5, now["customer_country"] != now["shop_country"]]
    for window in (HOUR, DAY, 7 * DAY, 30 * DAY):
        found = past("customer_id", window)
        mean = sum(int(r["amount_cents"]) / 100 for r in found) / len(found)
        features += [len(found), mean, amount / mean]
    for window in (DAY, 7 * DAY, 30 * DAY):
        found = past("shop_id", window)
        features += [len(found), charged_back(found), charged_back(found) / len(found)]
    features += [charged_back(past("customer_id", window)) for window in (7 * DAY, 30 * DAY)]
    visits = [r for r in past("customer_id", 60 * DAY) if r["shop_id"] == now["shop_id"]]
    return [float(value) for value in [*features, len(visits) == 1]]


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 40]))
@settings(max_examples=12, deadline=None)
def test_features_equal_the_slow_reference(seed: int, days: int) -> None:
    rows = payments(seed, 80, days)
    got = payment_features(pa.Table.from_pylist(rows))
    np.testing.assert_allclose(got, [slow_features(rows, now) for now in rows], rtol=1e-9, atol=1e-9)


def test_many_payments_in_one_second_equal_the_reference() -> None:
    rows = [row | {"t_seconds": int(row["t_seconds"]) // DAY * DAY} for row in payments(1, 60, 10)]
    got = payment_features(pa.Table.from_pylist(rows))
    np.testing.assert_allclose(got, [slow_features(rows, now) for now in rows], rtol=1e-9, atol=1e-9)


def test_nothing_that_happens_later_changes_a_payment_s_features() -> None:
    rows = sorted(payments(2, 200), key=lambda row: int(row["t_seconds"]))
    known = rows[:100]
    end = int(known[-1]["t_seconds"])
    unreported = [row | {"chargeback_t": -1, "fraud": 0} if int(row["chargeback_t"]) >= end else row for row in known]
    before = payment_features(pa.Table.from_pylist(rows))[:100]
    np.testing.assert_array_equal(before, payment_features(pa.Table.from_pylist(unreported)))


def test_the_split_follows_the_parameters() -> None:
    rows = payments(3, 600)
    task = recipe.bind(pa.Table.from_pylist(rows), recipe.parse({}), seed=1)
    days = [int(row["t_seconds"]) // DAY for row in rows]
    assert task.examples == sum(30 <= day <= 79 for day in days)
    task.begin(task.census())
    metrics = recipe.metrics(task.evaluate(task.initial()))
    assert metrics["rows"] == sum(87 <= day <= 119 for day in days)


def test_lengths_are_as_declared() -> None:
    parameters = recipe.parse({"solo_epochs": 1})
    task = recipe.bind(pa.Table.from_pylist(payments(4, 300)), parameters, seed=1)
    census, metric = recipe.statistics(parameters)
    assert (len(task.census()), metric) == (census, AP_LENGTH)
    assert len(task.baselines()) == metric * len(recipe.baselines)
    assert len(task.initial()) == recipe.model_size(parameters)
    assert set(recipe.baseline_metrics(task.baselines())) >= {"naive_auprc", "local_auprc"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraud": 2}, "neither 0 nor 1"),
        ({"t_seconds": -5}, "a time is out of range"),
        ({"chargeback_t": 10**15}, "a time is out of range"),
        ({"t_seconds": 500, "chargeback_t": 499}, "precedes its payment"),
    ],
)
def test_impossible_rows_give_one_error_without_a_value(change: Payment, message: str) -> None:
    rows = payments(5, 20)
    rows[3] |= change
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.bind(pa.Table.from_pylist(rows), recipe.parse({}), seed=1)
    assert "\n" not in str(caught.value)


def test_a_table_without_payments_is_told() -> None:
    empty = pa.Table.from_pylist(payments(6, 1)).slice(0, 0)
    with pytest.raises(RecipeError, match="no training rows"):
        recipe.bind(empty, recipe.parse({}), seed=1)
