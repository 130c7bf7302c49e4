"""`inbond party answers ...`: the answers of joins that this party's side reads."""

from pathlib import Path
from typing import Any

import typer

from inbond.acting import decided
from inbond.answer_view import show_answer
from inbond.console import emit, table
from inbond.job_options import SHORT, Force, Job, Out
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.node import Node
from inbond.result_files import check_out
from parties.answers import Answers, KeptAnswer

app = typer.Typer(no_args_is_help=True, help="Answers of joins that this party reads.")


@app.command("list")
@decided("party answers list")
def show_all(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every answer that came here, the newest first."""
    rows = [_row(kept) for kept in _answers(home).all()]

    def human(console: Any) -> None:
        cells = ((row["job"][:SHORT], row["rows"], row["asked_by"], row["at"]) for row in rows)
        console.print(table(("job", "rows", "asked by", "came at"), cells) if rows else "no answers")

    emit(rows, json=json, human=human)


@app.command()
@decided("party answers show")
def show(job: Job, home: Home = DEFAULT_HOME, *, out: Out = None, force: Force = False, json: Json = False) -> None:
    """One answer: its released groups."""
    check_out(out, "query", force=force)
    show_answer(_answers(home).find(job).answer, out, force=force, json=json)


def _answers(home: Path) -> Answers:
    node = Node.open(home, audit=False)
    return Answers(node.home, node.keystore)


def _row(kept: KeptAnswer) -> dict[str, Any]:
    found = kept.answer
    about = {"purpose": found.plan.purpose, "sql": found.plan.sql, "rows": len(found.rows), "columns": found.columns}
    return {"job": found.job, **about, "asked_by": kept.asked_by, "at": f"{kept.at:%Y-%m-%dT%H:%M:%SZ}"}
