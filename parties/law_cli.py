"""`inbond law ...` of a party: what-if questions, people sent abroad, duties after jobs, and the clocks of breaches.

The officer sees counts and deadlines, at home; nobody else does.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.counters import FILE, CounterLedger
from compliance.counters_flow import HEADINGS, Flow
from compliance.law_cli import app as questions
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node
from parties.breach_cli import app as breaches
from parties.counting import begin_counters, opened_counters
from parties.duty_cli import app as duties

app = typer.Typer(help="What the law says of a transfer, and why; counters and clocks.", no_args_is_help=True)
app.add_typer(questions)
app.add_typer(duties)
app.add_typer(breaches, name="breach")


@app.command("begin-counters")
@decided("law begin-counters")
def begin(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Start this party's counters at nothing; then state what left it this year by other ways (`sent`)."""
    with _opened(home) as node:
        begin_counters(node)
    emit({"counters": str(home / FILE)}, json=json, human=lambda console: console.print("counters begun"))


@app.command()
def counters(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Whose data left: people of this year by heading (China), of the last twelve months by kind (United States)."""
    load_role(home, "party")
    with CounterLedger.read_only(home / FILE) as ledger:
        rows = [asdict(one) for one in ledger.standing()]

    def human(console: Any) -> None:
        cells = ([row["exporter"], row["heading"], _period(row), row["people"], row["reserved"]] for row in rows)
        heads = ("exporter", "heading", "period", "people", "awaiting release")
        console.print(table(heads, cells) if rows else "nobody was counted yet")

    emit(rows, json=json, human=human)


@app.command()
@decided("law sent")
def sent(
    heading: Annotated[str, typer.Argument(help=f"One of {', '.join(HEADINGS)}.")],
    people: Annotated[int | None, typer.Argument(help="How many, at most; nobody can tell them apart.", min=0)] = None,
    home: Home = DEFAULT_HOME,
    *,
    ids: Annotated[
        Path | None, typer.Option(help="Instead: a file of ids, one a line; each person counts once.")
    ] = None,
    reference: Annotated[str, typer.Option(help="What names this transfer; stated again, it counts once.")] = "",
    json: Json = False,
) -> None:
    """Count people whose data left this party by other ways than inbond."""
    config, whom = load_role(home, "party"), _people(people, ids)
    key = f"stated:{reference or secrets.token_hex(8)}"
    with _opened(home) as node, opened_counters(node) as ledger:
        found = ledger.reserve(Flow(key, key, config.node.name, frozenset({heading}), whom))
        ledger.commit(key)
    value = {"reference": key.removeprefix("stated:"), "before": found.before, "after": found.after}
    emit(value, json=json, human=lambda console: console.print(f"counted under {heading} as {value['reference']}"))


def _people(number: int | None, file: Path | None) -> list[bytes] | int:
    if file is not None and number is None:
        lines = read_text(file, "one id a line, in UTF-8").splitlines()
        return [line.strip().encode() for line in lines if line.strip()]
    if number is None or file is not None:
        raise ConfigError("not one number of people", where="sent", right="a number, or --ids FILE")
    return number


@contextmanager
def _opened(home: Path) -> Iterator[Node]:
    node = Node.open(home)
    try:
        yield node
    finally:
        node.close()


def _period(row: dict[str, Any]) -> str:
    return "last 12 months" if row["period"] is None else str(row["period"])
