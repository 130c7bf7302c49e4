"""What the recipes reach when three parties train together: the figures of the public data sets.

The tables are the real ones where they are present (folder in INBOND_DATA, or ../shared/data beside the
repository), and the synthetic ones elsewhere, with thresholds of their own: nothing is skipped. Training is
simulated in one process as the encrypted protocol does it: updates weighted by the joint example count,
clipped, quantised to 16 bits, summed as integers. Recipe parameters and rounds are those of the example jobs.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from examples.datasets import FIRMS, PAYMENTS, WAREHOUSES, make_synthetic, partition_real
from parties.recipes.base import Float32s, Int64s, LocalTask, Recipe
from parties.recipes.demand import recipe as demand
from parties.recipes.fraud import recipe as fraud
from policies.job import JobSpec, load_job

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INBOND_DATA", ROOT.parent / "shared" / "data"))
REAL = (DATA / PAYMENTS).is_file()
SEEDS = (1, 2, 3)
LEVELS = 2**15 - 1  # a signed 16-bit grid


@dataclass(frozen=True)
class Outcome:
    """Metrics of one seed: of all parties' test rows, of each party's own, and of the baselines."""

    joint: dict[str, float]
    own: list[dict[str, float]]
    alone: list[dict[str, float]]
    naive: dict[str, float]


@dataclass(frozen=True)
class Tables:
    """Where the parties' tables are."""

    folder: Path

    def read(self, parties: Sequence[str], table: str) -> list[Any]:
        return [pq.read_table(self.folder / party / f"{table}.parquet") for party in parties]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("tables")
    if REAL:
        partition_real(DATA, folder)
    else:
        make_synthetic(folder, seed=1)
    return Tables(folder)


def total(tasks: Sequence[LocalTask], statistics: Callable[[LocalTask], Int64s]) -> Int64s:
    return np.asarray(sum(statistics(task) for task in tasks), dtype=np.int64)


def averaged(tasks: Sequence[LocalTask], examples: int, model: Float32s, round_number: int, clip: float) -> Float32s:
    """One round of federated averaging (McMahan et al. 2017) through the 16-bit grid of the encrypted sum."""
    step = clip / LEVELS
    units = np.zeros(len(model), dtype=np.int64)
    for task in tasks:
        update = (task.train(model, round_number) - model) * (task.examples / examples)
        units += np.rint(np.clip(update, -clip, clip) / step).astype(np.int64)
    return model + (units * step).astype(np.float32)


def federate(recipe: Recipe[Any], views: Sequence[Any], job: JobSpec, seed: int) -> Outcome:
    assert job.recipe is not None
    assert job.rounds is not None
    parameters = recipe.parse(job.recipe.parameters)
    tasks = [recipe.bind(view, parameters, seed) for view in views]
    census = total(tasks, lambda task: task.census())
    for task in tasks:
        task.begin(census)
    model = tasks[0].initial()
    for round_number in range(1, job.rounds + 1):
        model = averaged(tasks, int(census[0]), model, round_number, recipe.clip(parameters))
    return Outcome(
        recipe.metrics(total(tasks, lambda task: task.evaluate(model))),
        [recipe.metrics(task.evaluate(model)) for task in tasks],
        [recipe.baseline_metrics(task.baselines()) for task in tasks],
        recipe.baseline_metrics(total(tasks, lambda task: task.baselines())),
    )


def job(name: str) -> JobSpec:
    path = ROOT / "examples" / "jobs" / f"{name}.yaml"
    return load_job(path.read_text(encoding="utf-8"), path.name)


@pytest.fixture(scope="module")
def scored(tables: Tables) -> list[Outcome]:
    views = tables.read(FIRMS, "payments")
    return [federate(fraud, views, job("fraud"), seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def forecast(tables: Tables) -> list[Outcome]:
    views = tables.read(WAREHOUSES, "sales")
    return [federate(demand, views, job("demand"), seed) for seed in SEEDS]


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def test_the_federated_fraud_score_reaches_its_average_precision(scored: list[Outcome]) -> None:
    assert mean([outcome.joint["auprc"] for outcome in scored]) >= (0.71 if REAL else 0.55)


def test_the_smallest_firm_gains_from_the_federation_at_equal_passes_over_its_rows(
    scored: list[Outcome],
) -> None:
    own = mean([outcome.own[2]["auprc"] for outcome in scored])
    alone = mean([outcome.alone[2]["local_auprc"] for outcome in scored])
    assert own >= (0.66 if REAL else 0.60)
    assert own - alone >= (0.005 if REAL else 0.1)


def test_the_federated_fraud_score_beats_the_rule_of_thumb(scored: list[Outcome]) -> None:
    for outcome in scored:
        assert outcome.joint["auprc"] > outcome.naive["naive_auprc"] + 0.1


def test_the_federated_forecast_reaches_its_error(forecast: list[Outcome]) -> None:
    assert mean([outcome.joint["wape"] for outcome in forecast]) <= (0.575 if REAL else 0.32)


def test_the_federated_forecast_beats_the_median_of_four_weeks(forecast: list[Outcome]) -> None:
    for outcome in forecast:
        assert outcome.joint["wape"] < outcome.naive["naive_wape"] - 0.02


def test_the_smallest_warehouse_forecasts_better_with_the_others(forecast: list[Outcome]) -> None:
    own = mean([outcome.own[2]["wape"] for outcome in forecast])
    assert own < mean([outcome.alone[2]["local_wape"] for outcome in forecast])


def test_every_test_row_of_the_published_split_is_scored(tables: Tables, scored: list[Outcome]) -> None:
    day = np.concatenate([view["t_seconds"].to_numpy() // 86400 for view in tables.read(FIRMS, "payments")])
    assert scored[0].joint["rows"] == np.sum((day >= 87) & (day <= 119)) == (103_946 if REAL else len(day[day >= 87]))
