"""`inbond record ...`: the evidence on which this party's transfers rest; the officer adds and ends, at home."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.law_store import FILE, Tell
from compliance.records import Record, RecordStore
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, facts, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node, utc_now
from parties.duties import noting_duties
from parties.telling import telling
from policies.evidence import load_evidence, payload_of

app = typer.Typer(no_args_is_help=True, help="Records of evidence: transfer tools, assessments, anonymity.")


@app.command()
@decided("record add")
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Records, one in each file, YAML or JSON.")],
    home: Home = DEFAULT_HOME,
    *,
    document: Annotated[
        Path | None, typer.Option(help="The document itself of the one record: its digest must be the stated one.")
    ] = None,
    json: Json = False,
) -> None:
    """Keep records, and say so in the evidence log. One that cannot be read, and none is kept."""
    evidence = [load_evidence(read_text(file, "a record in UTF-8"), str(file)) for file in files]
    if document is not None and len(files) > 1:
        raise ConfigError("one document and several records", where="--document", right="one record at a time")
    if document is not None:
        _check_document(document, evidence[0].document_sha256)
    with opened(home) as tell, RecordStore.open(home / FILE, tell) as store, noting_duties(home, tell, store):
        kept = [store.add(one) for one in evidence]
    if len(kept) == 1:
        _show(kept[0], json)
    else:
        told = f"{len(kept)} records kept"
        emit([_row(one) for one in kept], json=json, human=lambda console: console.print(told))


def _check_document(path: Path, stated: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", where=str(path), right="the recorded document"
        ) from None
    if found != stated:
        raise ConfigError(f"its SHA-256 is {found}", where=str(path), right=f"the document of SHA-256 {stated}")


@app.command("list")
def show_all(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every record, what it covers, and whether it holds today."""
    load_role(home, "party")
    rows: list[dict[str, Any]] = []
    if (home / FILE).exists():
        with RecordStore.read_only(home / FILE) as store:
            rows = [_row(record) for record in store.all()]

    def human(console: Any) -> None:
        columns = ("record", "kind", "what", "recipients", "until", "state")
        keys = ("id", "kind", "what", "recipients", "valid_until", "state")
        cells = ([", ".join(row[key]) if key == "recipients" else row[key] for key in keys] for row in rows)
        console.print(table(columns, cells) if rows else "no records")

    emit(rows, json=json, human=human)


@app.command()
@decided("record expire")
def expire(
    record: Annotated[str, typer.Argument(help="The record's id, or its first characters.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """End a record before its time: from now on it is as good as none."""
    with opened(home) as tell, RecordStore.open(home / FILE, tell) as store, noting_duties(home, tell, store):
        ended = store.expire(record)
    _show(ended, json)


@contextmanager
def opened(home: Path) -> Iterator[Tell]:
    """The node's evidence log as what a store tells its acts to."""
    node = Node.open(home)
    try:
        yield telling(node)
    finally:
        node.close()


def _show(record: Record, json: bool) -> None:
    data = _row(record)
    shown = {**data, "recipients": ", ".join(data["recipients"]) or "-"}
    emit(data, json=json, human=lambda console: console.print(facts(shown)))


def _row(record: Record) -> dict[str, Any]:
    payload = payload_of(record.evidence)
    what = (payload.get(name) for name in ("mechanism", "scheme", "outcome", "dataset", "number"))
    one = [payload["recipient"]] if "recipient" in payload else []
    return {
        "id": record.id,
        "kind": payload["kind"],
        "what": next((text for text in what if text), "-"),
        "issuer": payload["issuer"],
        "exporter": payload.get("exporter"),
        "recipients": payload.get("recipients", one),
        "valid_from": payload["valid_from"],
        "valid_until": payload["valid_until"],
        "document_sha256": payload["document_sha256"],
        "state": _state(record, utc_now().date()),
    }


def _state(record: Record, today: date) -> str:
    if record.ended is not None:
        return "ended"
    if record.evidence.holds(today):
        return "holds"
    return "not yet" if today < date.fromisoformat(record.evidence.valid_from) else "expired"
