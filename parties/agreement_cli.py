"""`inbond agreement ...`: what this party and others have agreed to compute together; the officer signs, at home.

The other sides get a file with the terms and the signatures so far; how it reaches them does not matter.
"""

import json as _json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.agreements import FILE, AgreementStore, Kept, Taken
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, facts, note, table
from inbond.endorsed import check_endorsed
from inbond.keystore import check_new, write_private
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node, utc_now
from parties.telling import telling
from policies.agreement import Act, SignedAgreement, load_agreement, read_signed, sign_agreement

app = typer.Typer(no_args_is_help=True, help="Data-sharing agreements with other parties.")

Out = Annotated[Path, typer.Option(help="The file for the other sides; never one that is there already.")]
Signed = Annotated[Path, typer.Argument(help="A file that another side sent.")]
SHOWN_JOBS = 20  # the newest; `--json` has all

Approvals = Annotated[
    list[Path] | None, typer.Option("--approval", help="What a person signed by `inbond approve-file`; repeatable.")
]
Name = Annotated[str, typer.Argument(help="The agreement's id, or its first characters.")]


@app.command()
@decided("agreement propose")
def propose(
    terms: Annotated[Path, typer.Argument(help="The terms, YAML or JSON (docs/agreements.md).")],
    home: Home = DEFAULT_HOME,
    *,
    out: Out,
    approval: Approvals = None,
    json: Json = False,
) -> None:
    """Sign terms, and write the file that the other sides sign."""
    found = SignedAgreement(agreement=load_agreement(read_text(terms, "terms in UTF-8"), str(terms)))
    _speak(home, found, "agree", out, json, approval)


@app.command()
@decided("agreement sign")
def sign(file: Signed, home: Home = DEFAULT_HOME, *, out: Out, approval: Approvals = None, json: Json = False) -> None:
    """Sign what another side sent (read it first: `show FILE`), and write the file with all signatures."""
    _speak(home, _read(file), "agree", out, json, approval)


@app.command()
@decided("agreement revoke")
def revoke(name: Name, home: Home = DEFAULT_HOME, *, out: Out, json: Json = False) -> None:
    """End an agreement: here at once and for good, at the other sides when they `receive` the file."""
    with _opened(home) as (node, store):
        found = store.one(name, node.trust).signed
    _speak(home, found, "revoke", out, json)


@app.command()
@decided("agreement receive")
def receive(file: Signed, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Take up the signatures and revocations in a file that another side sent, without signing anything."""
    with _opened(home) as (node, store):
        kept = store.take(_read(file), node.trust)
        jobs = store.uses_of(kept.agreement.id)
    _show(kept, jobs, json)


@app.command("list")
def show_all(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every agreement, who has not signed it, until when it holds, how it stands today, and which jobs used it."""
    load_role(home, "party")
    rows: list[dict[str, Any]] = []
    if (home / FILE).exists():
        node = Node.open(home, audit=False)
        with AgreementStore.read_only(home / FILE) as store:
            rows = [_row(kept, store.uses_of(kept.agreement.id)) for kept in store.all(node.trust)]

    def human(console: Any) -> None:
        heads = ("agreement", "name", "unsigned", "until", "uses", "state")
        cells = (
            [
                row["agreement"],
                row["name"],
                ", ".join(row["unsigned"]) or "-",
                row["valid_until"],
                _uses(row),
                row["state"],
            ]
            for row in rows
        )
        console.print(table(heads, cells) if rows else "no agreements")
        used = [(one["at"], one["job"], row["name"], one["state"]) for row in rows for one in row["jobs"]]
        if used:
            console.print()
            newest = sorted(used, key=lambda one: one[0], reverse=True)[:SHOWN_JOBS]
            lines = ((job, name, _when(at), state) for at, job, name, state in newest)
            console.print(table(("job", "agreement", "used (UTC)", "state"), lines))

    emit(rows, json=json, human=human)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="The agreement's id, its first characters, or a file.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Show terms and the jobs that used them; or terms in a file of another side, its signatures not checked yet."""
    load_role(home, "party")
    if Path(what).is_file():
        terms = _read(Path(what)).agreement.payload()
        emit(terms, json=json, human=lambda console: console.print(facts(_shown(terms))))
        return
    node = Node.open(home, audit=False)
    with AgreementStore.read_only(home / FILE) as store:
        kept = store.one(what, node.trust)
        _show(kept, store.uses_of(kept.agreement.id), json)


@contextmanager
def _opened(home: Path) -> Iterator[tuple[Node, AgreementStore]]:
    node = Node.open(home)
    try:
        with AgreementStore.open(home / FILE, telling(node)) as store:
            yield node, store
    finally:
        node.close()


def _speak(
    home: Path, found: SignedAgreement, act: Act, out: Path, json: bool, approvals: list[Path] | None = None
) -> None:
    """Add this party's word, keep everything, and write it for the other sides; people approve what binds it."""
    check_new(out)
    with _opened(home) as (node, store):
        if act == "agree":
            rule = node.config.approval.agreements
            check_endorsed(node, rule, "agreement", found.agreement.digest(), approvals or ())
        token = sign_agreement(found.agreement, act, node.signer(), utc_now())
        key = "signatures" if act == "agree" else "revocations"
        kept = store.take(found.model_copy(update={key: (*getattr(found, key), token)}), node.trust)
        jobs = store.uses_of(kept.agreement.id)
    write_private(out, (_json.dumps(kept.signed.payload(), indent=1, ensure_ascii=False) + "\n").encode())
    note(f"wrote {out}: give it to {', '.join(sorted(kept.agreement.parties - {node.name}))}")
    _show(kept, jobs, json)


def _read(file: Path) -> SignedAgreement:
    return read_signed(read_text(file, "an agreement that another side sent"), str(file))


def _row(kept: Kept, jobs: list[Taken]) -> dict[str, Any]:
    terms = kept.agreement
    return {
        "agreement": terms.id,
        "state": kept.standing(utc_now()).value,
        "signed": sorted(kept.agreed),
        "unsigned": sorted(terms.parties - kept.agreed),
        "revoked_by": sorted(kept.ended),
        "used": kept.used,
        **terms.payload(),
        "jobs": [{"job": one.key, "at": one.at.isoformat(timespec="seconds"), "state": one.state} for one in jobs],
    }


def _when(at: str) -> str:
    return at[:16].replace("T", " ")


def _uses(row: dict[str, Any]) -> str:
    return f"{row['used']} of {row['uses']}"


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """The row for a person: lists on one line, tables by owner."""
    tables = "; ".join(f"{owner}: {', '.join(names)}" for owner, names in row["datasets"].items())
    readers = row["recipients"]
    flat = {"datasets": tables, "recipients": f"{', '.join(readers['ids'])} in {', '.join(readers['countries'])}"}
    if "jobs" in row:
        lines = [f"{one['job']} {_when(one['at'])} {one['state']}" for one in row["jobs"][:SHOWN_JOBS]]
        flat["jobs"] = "\n".join(lines) or "-"
    return {
        key: ", ".join(value) or "-" if isinstance(value, list) else str(value)
        for key, value in {**row, **flat}.items()
    }


def _show(kept: Kept, jobs: list[Taken], json: bool) -> None:
    row = _row(kept, jobs)
    emit(row, json=json, human=lambda console: console.print(facts(_shown(row))))
