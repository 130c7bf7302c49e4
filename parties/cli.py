"""`inbond party ...`: make, join, run and look at a party node."""

import json as _json
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.budget import BudgetLedger
from inbond.config import AddressSection
from inbond.console import emit, facts, size, table
from inbond.member_cli import (
    DEFAULT_HOME,
    Home,
    Json,
    certificate_facts,
    join_consortium,
    life_of,
    load_role,
    log_to_stderr,
    make_node,
    read_invitation,
    serve,
    show_joined,
)
from parties.agent import LIFE_SIGN, Agent
from parties.answers_cli import app as answers
from parties.catalogue import Catalogue
from parties.connectors.base import DataError, check_source
from parties.store import PartyStore
from policies.contract import DataContract

app = typer.Typer(
    no_args_is_help=True, help="A party node: its data stays here; only decided, protected outputs leave."
)
app.add_typer(answers, name="answers")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The party's name, such as warehouse-de.")],
    consortium: Annotated[str, typer.Option(help="The consortium, such as acme.example.")],
    country: Annotated[str, typer.Option(help="Where this node is: ISO 3166-1 alpha-2, such as DE.")],
    home: Home = DEFAULT_HOME,
    *,
    coordinator: Annotated[str, typer.Option(help="host:port; else taken from the invitation.")] = "",
    json: Json = False,
) -> None:
    """Make a party's folder: keys, configuration, and a place for data contracts."""
    make_node(
        "party",
        name,
        consortium,
        country,
        home,
        AddressSection(coordinator=coordinator, authority="", listen=""),
    )
    (home / "contracts").mkdir(exist_ok=True)
    (home / "policies").mkdir(exist_ok=True)
    data = {
        "home": str(home),
        "next": f"put contracts into {home / 'contracts'}, then inbond party join INVITATION",
    }
    emit(data, json=json, human=lambda console: console.print(facts(data)))


@app.command()
def join(
    invitation: Annotated[str, typer.Argument(help="The invitation, or @FILE.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Enrol with the consortium's authority; the keys stay here."""
    show_joined(join_consortium(home, "party", read_invitation(invitation)), json)


@app.command()
def start(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Dial the coordinator and answer, until interrupted. Logs go to standard error."""
    load_role(home, "party")
    log_to_stderr(json)
    agent = Agent(home)
    data = {"party": agent.node.name, "datasets": sorted(agent.catalogue.contracts)}
    serve(agent, lambda: emit(data, json=json, human=lambda console: console.print(facts(data))))


@app.command()
def status(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Who this node is, whether it runs and is connected, and what its budgets are."""
    config = load_role(home, "party")
    data: dict[str, Any] = {"name": config.node.name, "country": config.node.country}
    data |= certificate_facts(home) if (home / "certs").exists() else {"id": "not joined yet"}
    data |= {"process": life_of(home, LIFE_SIGN), "budgets": _budgets(home)}
    shown = {
        **data,
        "process": _sentence(data["process"]),
        "budgets": "\n".join("{dataset}: spent {spent} of {limit}".format(**one) for one in data["budgets"]) or "none",
    }
    emit(data, json=json, human=lambda console: console.print(facts(shown)))


def _sentence(life: dict[str, Any]) -> str:
    return f"{life['state']} (pid {life['pid']})" if life["running"] else "not running"


def _budgets(home: Path) -> list[dict[str, str]]:
    if not (home / "budget.db").exists():
        return []
    with BudgetLedger.read_only(home / "budget.db") as ledger:
        accounts = [ledger.account(name) for name in ledger.datasets()]
    return [{"dataset": one.dataset, "limit": str(one.limit), "spent": str(one.spent)} for one in accounts]


@app.command()
def datasets(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """The data contracts of this node, and whether each table is there as promised."""
    load_role(home, "party")
    rows = [_dataset(contract, home) for contract in Catalogue(home).contracts.values()]

    def human(console: Any) -> None:
        columns = ("dataset", "schema", "country", "columns", "min. group", "table")
        keys = ("dataset", "schema_name", "jurisdiction", "columns", "minimum_group", "table")
        console.print(table(columns, ([row[key] for key in keys] for row in rows)))

    emit(rows, json=json, human=human)
    if any(row["table"] != "ok" for row in rows):
        raise typer.Exit(2)


def _dataset(contract: DataContract, home: Path) -> dict[str, Any]:
    try:
        check_source(contract, home)
        found = "ok"
    except DataError as error:
        found = str(error)
    shown = ("dataset", "schema_name", "jurisdiction", "minimum_group")
    data = {name: getattr(contract, name) for name in shown}
    return {**data, "columns": len(contract.columns), "purposes": sorted(contract.purposes), "table": found}


@app.command()
def jobs(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """What ran on this party's data, and what it gave and cost; only its owner sees this."""
    load_role(home, "party")
    store = PartyStore(home)
    rows = [
        {"job": row.id, "state": row.state, "created": row.created, **_json.loads(row.summary)} for row in store.jobs()
    ]
    store.close()

    def human(console: Any) -> None:
        cells = (
            (
                row["job"][:12],
                row["state"],
                row.get("steps", 0),
                size(row.get("bytes_in", 0)),
                size(row.get("bytes_out", 0)),
                row.get("seconds", 0),
            )
            for row in rows
        )
        console.print(table(("job", "state", "steps", "in", "out", "seconds"), cells))

    emit(rows, json=json, human=human)
