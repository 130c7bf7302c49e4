"""`inbond budget ...`: what a party's tables have spent, on which jobs, and what still fits; read-only, at home."""

from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.budget import BudgetLedger
from compliance.budget_accounts import Account
from inbond.console import emit, table
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from parties.releases import loss_of
from policies.plan import PlanNoise

app = typer.Typer(no_args_is_help=True, help="The privacy budget of this party's tables; only its owner sees it.")

Dataset = Annotated[str, typer.Option(help="Only this dataset.")]
MOST = 100_000  # queries counted by a forecast


@app.command()
def show(home: Home = DEFAULT_HOME, *, dataset: Dataset = "", json: Json = False) -> None:
    """Limit, spending and what is left, by dataset; datasets that spend together name each other."""
    with _ledger(home) as ledger:
        rows = [_account(ledger.account(name)) for name in _names(ledger, dataset)]

    def human(console: Any) -> None:
        columns = ("dataset", "epsilon", "spent", "left", "delta", "together with")
        keys = ("dataset", "epsilon", "epsilon_spent", "epsilon_left", "delta", "together")
        cells = ([", ".join(row[key]) if key == "together" else row[key] for key in keys] for row in rows)
        console.print(table(columns, cells) if rows else "no dataset has a budget")

    emit(rows, json=json, human=human)


def _account(account: Account) -> dict[str, Any]:
    """All amounts as decimal text: they are exact."""
    return {
        "dataset": account.dataset,
        "population": account.population,
        "together": [name for name in account.datasets if name != account.dataset],
        "epsilon": _text(account.limit.epsilon),
        "delta": _text(account.limit.delta),
        "epsilon_spent": _text(account.spent.epsilon),
        "delta_spent": _text(account.spent.delta),
        "epsilon_left": _text(account.remaining.epsilon),
    }


@app.command()
def history(home: Home = DEFAULT_HOME, *, dataset: Dataset = "", json: Json = False) -> None:
    """Every limit that was set and every charge, with time and job, oldest first."""
    with _ledger(home) as ledger:
        found = [event for name in _names(ledger, dataset) for event in ledger.history(name)]
    rows: list[dict[str, Any]] = [
        {
            "time": event.time.isoformat(timespec="seconds"),
            "dataset": event.dataset,
            "event": event.event,
            "epsilon": _text(event.cost.epsilon),
            "delta": _text(event.cost.delta),
            "job": event.job,
            "key": event.key,
        }
        for event in sorted(found, key=lambda event: event.time)
    ]

    def human(console: Any) -> None:
        columns = ("time (UTC)", "dataset", "event", "epsilon", "delta", "job")
        cells = (
            (row["time"][:19], row["dataset"], row["event"], row["epsilon"], row["delta"], (row["job"] or "-")[:12])
            for row in rows
        )
        console.print(table(columns, cells) if rows else "nothing has happened yet")

    emit(rows, json=json, human=human)


@app.command()
def forecast(
    home: Home = DEFAULT_HOME,
    *,
    epsilon: Annotated[float, typer.Option(min=1e-6, max=1000, help="The loss of each query.")] = 1.0,
    delta: Annotated[float, typer.Option(min=0, max=0.5, help="Above 0: with Gaussian noise.")] = 0.0,
    dataset: Dataset = "",
    json: Json = False,
) -> None:
    """How many more queries of one kind fit, each of one sum or count."""
    noise = PlanNoise(mechanism="gaussian" if delta else "laplace", epsilon=epsilon, delta=delta)
    with _ledger(home) as ledger:
        fit = {name: ledger.how_many(name, loss_of(noise, 1), MOST) for name in _names(ledger, dataset)}
    rows = [{"dataset": name, "epsilon": epsilon, "delta": delta, "queries": count} for name, count in fit.items()]

    def human(console: Any) -> None:
        kind = f"queries of epsilon {epsilon:g}" + (f", delta {delta:g}" if delta else "")
        console.print(table(("dataset", kind), ((name, _counted(count)) for name, count in fit.items())))

    emit(rows, json=json, human=human)


def _counted(queries: int) -> str:
    return f"{MOST} or more" if queries == MOST else str(queries)


def _ledger(home: Path) -> BudgetLedger:
    load_role(home, "party")
    return BudgetLedger.read_only(home / "budget.db")


def _names(ledger: BudgetLedger, dataset: str) -> list[str]:
    """The one dataset that is asked for (the ledger refuses an unknown one), or all."""
    return [ledger.account(dataset).dataset] if dataset else ledger.datasets()


def _text(amount: Any) -> str:
    return format(amount, "f")
