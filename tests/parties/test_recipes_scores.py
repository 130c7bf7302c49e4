"""WAPE and average precision come out of sums as they would out of the pooled rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.recipes.base import RecipeError
from parties.recipes.scores import (
    AP_LENGTH,
    CELLS,
    score_metrics,
    score_statistics,
    wape_metrics,
    wape_statistics,
)


def exact_average_precision(logits: Any, labels: Any) -> float:
    """Sum of precision at each positive, highest score first; no two scores are equal."""
    ranked = labels[np.argsort(-logits)]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked > 0].mean())


def scored(seed: int, rows: int = 20_000, rate: float = 0.01) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(np.float32)
    return (rng.normal(-6, 2.5, rows) + labels * rng.normal(6, 4, rows)).astype(np.float32), labels


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_average_precision_from_cells_is_within_0_005(seed: int) -> None:
    logits, labels = scored(seed)
    metrics = score_metrics(score_statistics(logits, labels))
    assert abs(metrics["auprc"] - exact_average_precision(logits, labels)) < 0.005
    assert metrics["positives"] == labels.sum()


def test_score_statistics_of_the_parties_add_up() -> None:
    logits, labels = scored(1)
    parts = [score_statistics(logits[s], labels[s]) for s in (slice(0, 9000), slice(9000, None))]
    whole = score_statistics(logits, labels)
    assert (parts[0] + parts[1])[2:].tolist() == whole[2:].tolist()
    assert abs(int((parts[0] + parts[1] - whole)[1])) <= 1


def test_the_loss_is_the_cross_entropy() -> None:
    metrics = score_metrics(score_statistics(np.array([0.0, 0.0], np.float32), np.array([0, 1], np.float32)))
    assert metrics["loss"] == pytest.approx(np.log(2), abs=1e-3)


def test_scores_beyond_the_grid_fall_into_the_last_cells() -> None:
    extreme = np.array([1e30, -1e30], dtype=np.float32)
    statistics = score_statistics(extreme, np.array([1, 0], np.float32))
    assert score_metrics(statistics)["auprc"] == 1.0
    assert (statistics[2 + CELLS - 1], statistics[2 + CELLS]) == (1, 1)


def test_the_length_does_not_depend_on_the_rows_and_no_score_is_in_it() -> None:
    logits, labels = scored(2, rows=50, rate=0.2)
    statistics = score_statistics(logits, labels)
    assert statistics.shape == (AP_LENGTH,)
    assert statistics[2:].sum() == 50
    assert len(score_statistics(logits[:0], labels[:0])) == AP_LENGTH


def test_metrics_that_are_not_defined_are_left_out() -> None:
    nothing = score_statistics(np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert score_metrics(nothing) == {"rows": 0.0, "positives": 0.0}
    assert wape_metrics(wape_statistics(np.zeros(0), np.zeros(0), 0.0)) == {"rows": 0.0}


def test_wape_of_the_sums_is_the_wape_of_the_pooled_rows() -> None:
    rng = np.random.default_rng(3)
    actual, forecast = rng.poisson(20, 300).astype(np.float64), rng.normal(20, 5, 300)
    parts = [wape_statistics(forecast[s], actual[s], 1.5) for s in (slice(0, 100), slice(100, None))]
    metrics = wape_metrics(parts[0] + parts[1])
    assert metrics["wape"] == pytest.approx(np.abs(forecast - actual).sum() / actual.sum(), abs=1e-6)
    assert metrics["loss"] == pytest.approx(3 / 300, abs=1e-5)
    assert metrics["rows"] == 300


@pytest.mark.parametrize("change", [(2, -1), (0, 5)])
def test_histograms_that_do_not_count_the_rows_are_refused(change: tuple[int, int]) -> None:
    statistics = score_statistics(*scored(4, rows=50))
    statistics[change[0]] = change[1]
    with pytest.raises(RecipeError, match="do not count the rows"):
        score_metrics(statistics)
