"""`inbond subject request|requests|copy|answer|terms`: people's requests, their deadlines, and what answers them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.law_cli import DIFFERS
from compliance.subject_requests import Kind, Request
from compliance.subject_terms import subject_terms
from inbond.acting import decided
from inbond.console import bars, emit, facts, table
from inbond.member_cli import DEFAULT_HOME, Home, Json, time_of
from inbond.node import utc_now
from parties.subject_copy import copy_of
from parties.subject_home import Person, changing, id_of, looking

app = typer.Typer()
MOST = 2**63 - 1
SHOW_AFTER = 2.0  # seconds: what is quicker needs no bar


@app.command()
@decided("subject request")
def request(
    person: Person,
    kind: Annotated[Kind, typer.Option(help="What the person asks for.")],
    regime: Annotated[str, typer.Option(help="The law that it is made under, such as gdpr.")],
    home: Home = DEFAULT_HOME,
    *,
    received: Annotated[str, typer.Option(help="When it came: now, or 2026-11-26T09:30+01:00.")] = "now",
    json: Json = False,
) -> None:
    """Keep a person's request, and say by when it is to be answered."""
    with changing(home) as (_, registry):
        found = registry.receive(id_of(person), kind, regime, time_of(received, "--received"))
    _show_request(found, json)


@app.command()
@decided("subject requests")
def requests(
    home: Home = DEFAULT_HOME,
    *,
    overdue: Annotated[bool, typer.Option("--overdue", help="Those alone; exit 5 where there are any.")] = False,
    json: Json = False,
) -> None:
    """Every request, the overdue and most urgent first, with the days left."""
    now = utc_now()
    with looking(home) as (_, registry):
        found = registry.requests() if registry is not None else []
    rows = [_request(one, now) for one in found if one.overdue(now) or not overdue]

    def human(console: Any) -> None:
        keys = ("request", "kind", "regime", "due", "days_left", "state")
        cells = (["-" if row[key] is None else row[key] for key in keys] for row in rows)
        heads = ("request", "asks for", "under", "by", "days left", "state")
        nothing = "no request is overdue" if overdue else "no requests"
        console.print(table(heads, cells) if rows else nothing)

    emit(rows, json=json, human=human)
    if overdue and rows:
        raise typer.Exit(DIFFERS)


@app.command()
@decided("subject copy")
def copy(
    person: Person,
    out: Annotated[Path, typer.Option(help="The new folder for the copy.")],
    home: Home = DEFAULT_HOME,
    *,
    request: Annotated[
        int | None, typer.Option(help="The open request for access or portability that it answers.", min=1, max=MOST)
    ] = None,
    json: Json = False,
) -> None:
    """Write a person's data, from every table here that can tell people apart, with what the person must be told."""
    with changing(home) as (node, registry), bars(quiet=json, after=SHOW_AFTER) as progress:
        task = progress.add_task("reading", total=None, detail="")

        def reading(dataset: str, tables: int) -> None:
            progress.update(task, total=tables, advance=0 if progress.tasks[0].total is None else 1, detail=dataset)

        made = copy_of(node, registry, id_of(person), out, request=request, now=utc_now(), reading=reading)
    value = {
        "folder": str(made.folder),
        "sha256": made.digest,
        "request": request,
        "rows": dict(made.rows),
        "not_searched": list(made.not_searched),
    }

    def human(console: Any) -> None:
        console.print(table(("table", "rows"), made.rows.items()))
        left = {"not searched": ", ".join(made.not_searched)} if made.not_searched else {}
        answers = {} if request is None else {"answers": f"request {request}"}
        console.print()
        console.print(facts({"copy": made.folder, "SHA-256": made.digest, **answers, **left}))

    emit(value, json=json, human=human)


@app.command()
@decided("subject answer")
def answer(
    number: Annotated[int, typer.Argument(help="The request's number.", min=1, max=MOST)],
    outcome: Annotated[str, typer.Argument(help="granted or refused.")],
    home: Home = DEFAULT_HOME,
    *,
    say: Annotated[str, typer.Option(help="What was done, or why not, in words that name nobody.")],
    given_otherwise: Annotated[
        bool, typer.Option("--given-otherwise", help="The data were given in another way than `copy`; --say names it.")
    ] = False,
    json: Json = False,
) -> None:
    """Say that a request was answered. Nothing is granted that was not done here: a copy, an erasure, an objection."""
    with changing(home) as (_, registry):
        found = registry.answer(number, outcome, say, given_otherwise=given_otherwise)
    _show_request(found, json)


@app.command()
def terms(*, json: Json = False) -> None:
    """How long each law gives for an answer."""
    rows = [
        {"regime": name, "days": term.days, "months": term.months, "source": term.source}
        for name, term in sorted(subject_terms().regimes.items())
    ]

    def human(console: Any) -> None:
        cells = ((row["regime"], f"{row['days']} days" if row["days"] else "1 month", row["source"]) for row in rows)
        console.print(table(("regime", "answer within", "source"), cells))

    emit(rows, json=json, human=human)


def _request(one: Request, now: datetime) -> dict[str, Any]:
    return {
        "request": one.number,
        "kind": one.kind.value,
        "regime": one.regime,
        "received": one.received.isoformat(timespec="minutes"),
        "due": one.due.isoformat(timespec="minutes"),
        "days_left": one.days_left(now),
        "state": one.outcome or ("overdue" if one.overdue(now) else "open"),
        "copy": one.copy,
        "note": one.note,
    }


def _show_request(one: Request, json: bool) -> None:
    value = _request(one, utc_now())
    shown = {name.replace("_", " "): "-" if cell in {None, ""} else cell for name, cell in value.items()}
    emit(value, json=json, human=lambda console: console.print(facts(shown)))
