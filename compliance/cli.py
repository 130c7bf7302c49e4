"""`inbond audit ...`: what the officer asks of a node's log, read-only, beside the running node."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from compliance.audit.entry import Entry, EntryType
from compliance.audit.export import export as write_export
from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from compliance.audit.verify import Report
from compliance.audit.verify import verify as check
from compliance.errors import InvalidEntry, LogUnavailable

EVIDENCE_DOES_NOT_VERIFY = 5
"""Exit code, from the table in docs/architecture.md."""
WIDTH = 80

app = typer.Typer(help="Read, verify and export the node's audit log.", no_args_is_help=True)

Home = Annotated[Path, typer.Option(envvar="INBOND_HOME", help="The node's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_entries(
    home: Home = Path(),
    last: Annotated[int, typer.Option(min=1, help="How many entries, counted from the end.")] = 20,
    entry_type: Annotated[EntryType | None, typer.Option("--type", help="Only entries of this type.")] = None,
    job: Annotated[str | None, typer.Option(help="Only entries of this job.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the newest entries, oldest of them first."""
    store = _open(home)
    start = store.start_of_last(last, entry_type=entry_type, job=job)
    found = list(read_entries(store, start, store.count(), entry_type=entry_type, job=job))
    if as_json:
        _print_json([_as_json(number, entry) for number, entry in found])
    else:
        _print_table(found)


@app.command()
def show(
    number: Annotated[int, typer.Argument(min=0, max=2**53, help="The entry's number.")],
    home: Home = Path(),
    *,
    as_json: AsJson = False,
) -> None:
    """Show one entry in full."""
    store = _open(home)
    found = next(read_entries(store, number, number + 1), None)
    if found is None:
        raise InvalidEntry(
            f"there is no entry {number}", where=str(store.path), right=f"a number below {store.count()}"
        )
    value = _as_json(*found)
    if as_json:
        _print_json(value)
    else:
        _print_fields({**value, "data": json.dumps(value["data"], ensure_ascii=False, indent=2)})


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; without it, the node's own log.")] = None,
    home: Home = Path(),
    key: Annotated[str | None, typer.Option(help="The verifier key that the log's party published.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash and signature; exit 5 and name the first bad entry where one does not hold."""
    report = check(file or home / "audit.db", key)
    if as_json:
        _print_json({"ok": report.ok, **asdict(report)})
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(EVIDENCE_DOES_NOT_VERIFY)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The new file to write.")],
    home: Home = Path(),
    *,
    as_json: AsJson = False,
) -> None:
    """Write everything up to the last signed checkpoint to one file that verifies anywhere."""
    size = write_export(home / "audit.db", out)
    if as_json:
        _print_json({"entries": size, "file": str(out)})
    else:
        _print_fields({"entries": size, "file": out, "next": f"inbond audit verify {out}"})


def _open(home: Path) -> AuditStore:
    path = home / "audit.db"
    if not home.is_dir():
        raise LogUnavailable("there is no such folder", where=str(home), right="--home with a node's folder")
    return AuditStore.read_only(path)


def _as_json(number: int, entry: Entry) -> dict[str, Any]:
    return {"number": number, **json.loads(entry.to_bytes())}


def _print_table(found: list[tuple[int, Entry]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("job", overflow="ellipsis", no_wrap=True, max_width=14)
    table.add_column("subject", overflow="fold")
    for number, entry in found:
        time = entry.time.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(number), time, entry.type, entry.job or "-", entry.subject)
    _console().print(table if found else "no entries")


def _print_report(report: Report) -> None:
    fields: dict[str, object] = {
        "verdict": "verified" if report.ok else "DOES NOT VERIFY",
        "problem": report.problem,
        "first bad entry": report.first_bad,
        "origin": report.origin,
        "entries": f"{report.size}, {report.unsigned} of them after the last checkpoint",
        "period": report.first_time and f"{report.first_time} to {report.last_time}",
        "root": report.root,
        "key": report.vkey,
        "signer": report.signer,
        "trust anchor": report.anchor and f"SHA-256 {report.anchor}",
    }
    if not report.trusted_key:
        fields["note"] = "the key was taken from the log itself: compare it, or pass --key"
    _print_fields(fields)


def _print_fields(fields: dict[str, Any]) -> None:
    """Print name and value per line, folding long values; what is None is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name, str(value))
    _console().print(table)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _console() -> Console:
    """Return a console of at most 80 columns that reads no markup in what others wrote."""
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = min(WIDTH, console.width)
    return console
