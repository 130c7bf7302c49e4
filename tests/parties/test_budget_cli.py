"""`inbond budget`: what is spent, on what, and what still fits; within 80 columns, exact in JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compliance.budget import BudgetLedger
from compliance.budget_curves import Loss
from inbond.config import AddressSection
from inbond.member_cli import make_node
from parties.budget_cli import app

JOB = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("node") / "p1"
    make_node("party", "p1", "acme.example", "DE", home, AddressSection(coordinator="", authority="", listen=""))
    with BudgetLedger.open(home / "budget.db") as ledger:
        for name in ("order_payments", "order_returns"):
            ledger.register(name, "10", "0.000001", population="customers-eu")
        ledger.register("visits", 1, 0)
        ledger.reserve_release("answer/ab/cd", ("order_payments",), Loss.pure("1.5", 2), JOB)
        ledger.commit("answer/ab/cd")
    return home


def run(home: Path, *arguments: str) -> str:
    found = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    assert found.exit_code == 0, found.output
    assert all(len(line) <= 80 for line in found.output.splitlines() if "--json" not in arguments)
    return found.output


def rows(home: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(home, *arguments, "--json"))
    return found


def test_show_says_what_is_spent_and_with_whom(home: Path) -> None:
    by_name = {row["dataset"]: row for row in rows(home, "show")}
    assert by_name["order_returns"] == {
        "dataset": "order_returns",
        "population": "customers-eu",
        "together": ["order_payments"],
        "epsilon": "10",
        "delta": "0.000001",
        "epsilon_spent": "1.5",
        "delta_spent": "0",
        "epsilon_left": "8.5",
    }
    assert by_name["visits"]["epsilon_spent"] == "0"
    assert "order_returns" in run(home, "show")
    assert [row["dataset"] for row in rows(home, "show", "--dataset", "visits")] == ["visits"]


def test_history_names_jobs_and_times(home: Path) -> None:
    events = [
        (row["event"], row["epsilon"], row["job"]) for row in rows(home, "history", "--dataset", "order_payments")
    ]
    assert events == [("registered", "10", None), ("reserved", "1.5", JOB), ("committed", "1.5", JOB)]
    assert JOB[:12] in run(home, "history")


def test_forecast_counts_what_fits_by_either_proof(home: Path) -> None:
    fit = {row["dataset"]: row["queries"] for row in rows(home, "forecast", "--epsilon", "0.1")}
    assert fit["visits"] == 10, "no delta: epsilons add"
    assert fit["order_payments"] == fit["order_returns"] > 85, "with a delta the curves allow more"
    gaussian = {row["dataset"]: row["queries"] for row in rows(home, "forecast", "--epsilon", "1", "--delta", "1e-6")}
    assert gaussian["visits"] == 0
    assert gaussian["order_payments"] > 10
    assert "100000 or more" in run(home, "forecast", "--epsilon", "0.000001", "--dataset", "order_payments")
