"""`inbond law duties`: what this party's jobs left to be done, by when, and which record settled it; the officer's."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.law_cli import DIFFERS
from compliance.law_store import FILE
from compliance.records import standing_in
from inbond.console import emit, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node, utc_now
from parties.duties import all_duties
from policies.law.duties import Docket, Owed, Standing

SHOWN = 12  # digits of a job's number, as the tables of jobs show it
_SETTLED, _OVERDUE = "settled", "overdue"

app = typer.Typer()


@app.command()
def duties(
    home: Home = DEFAULT_HOME,
    *,
    still_open: Annotated[
        bool, typer.Option("--open", help="What has no record yet, overdue or not (default).")
    ] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="What should have had its record by now.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Also what a record settled.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 5 where anything is overdue.")] = False,
    json: Json = False,
) -> None:
    """What this party's jobs left to be done: obligations whose evidence falls due after the release."""
    if still_open + overdue + every > 1:
        raise ConfigError("several lists at once", where="duties", right="one of --open, --overdue, --all")
    rows = _rows(home)
    late = [row for row in rows if row["state"] == _OVERDUE]
    shown = rows if every else late if overdue else [row for row in rows if row["state"] != _SETTLED]

    def human(console: Any) -> None:
        heads = ("obligation", "job", "transfer of", "to", "due", "state")
        nothing = "nothing is overdue" if overdue else "no duties" if every else "nothing is open"
        console.print(table(heads, map(_cells, shown)) if shown else nothing)
        if any(row["state"] != _SETTLED for row in shown):
            console.print("\n`inbond record add` settles a duty by a record that proves it (docs/law-in-a-job.md).")

    emit(shown, json=json, human=human)
    if check and late:
        raise typer.Exit(DIFFERS)


def _rows(home: Path) -> list[dict[str, Any]]:
    load_role(home, "party")
    node = Node.open(home)
    try:
        owed, docket = all_duties(node), Docket(standing_in(home / FILE), utc_now().date())
    finally:
        node.close()
    return _grouped((one, docket.standing(one.duty)) for one in owed)


def _grouped(found: Iterable[tuple[Owed, Standing]]) -> list[dict[str, Any]]:
    """A row for all recipients of the same duty; the most urgent first, what is settled last."""
    rows: dict[str, dict[str, Any]] = {}
    for (job, duty), stands in found:
        row = {
            "obligation": duty.code,
            "job": job,
            "exporter": duty.exporter,
            "dataset": duty.dataset,
            "what": duty.what,
            "country": duty.country,
            "arose": str(duty.arose),
            "due": str(stands.due),
            "every_years": duty.every_years,
            "state": stands.state,
            "record": stands.record,
            "evidence": duty.evidence,
        }
        rows.setdefault(str(row), {**row, "recipients": []})["recipients"].append(duty.recipient)
    return sorted(rows.values(), key=lambda row: (row["state"] == _SETTLED, row["due"], row["obligation"]))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = f"settled by {row['record']}" if row["state"] == _SETTLED else row["state"]
    to = f"{', '.join(row['recipients'])} in {row['country']}"
    return (row["obligation"], row["job"][:SHOWN], f"{row['dataset']}: {row['what']}", to, row["due"], state)
