"""`inbond audit ...`: the evidence log of a node, and openings of encrypted join values to an auditor.

An auditor asks (`ask`), both parties of the join answer (`open`), and the auditor compares (`check-opening`). Who
learns what is in docs/audit-openings.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance.cli import EVIDENCE_DOES_NOT_VERIFY
from compliance.cli import app as log
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, facts, table
from inbond.errors import ConfigError, Refused
from inbond.keystore import check_new, write_private
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node, utc_now
from policies.audit_terms import MAX_BLOCKS
from policies.errors import PolicyError
from protocols.sealing import MAX_PLAINTEXT, generate

if TYPE_CHECKING:
    from parties.audit_check import Result

app = typer.Typer(help="Read, verify and export the node's audit log; open encrypted values.", no_args_is_help=True)
app.add_typer(log)
_BLOCKS = 8
New = Annotated[Path, typer.Option("--out", help="The new file to write.")]
Request = Annotated[Path, typer.Argument(help="The file that `inbond audit ask` wrote.")]


@app.command()
def ask(
    job: Annotated[str, typer.Argument(help="The joined query's full id.")],
    values: Annotated[str, typer.Option(help="The party that sent encrypted values.")],
    counterpart: Annotated[str, typer.Option(help="The party that received them.")],
    out: New,
    home: Home = DEFAULT_HOME,
    *,
    blocks: Annotated[int, typer.Option(min=1, max=MAX_BLOCKS, help="How many blocks of 8192 to open.")] = _BLOCKS,
    json: Json = False,
) -> None:
    """As an auditor: sign a request that both parties answer; which blocks it asks for nobody could foresee."""
    from inbond.audit_requests import AUDITOR, secret_name, sign_request  # noqa: PLC0415 - as in `open`

    load_role(home, "user")
    check_new(out)
    node = Node.open(home, audit=False)
    if node.credentials.standing.office != AUDITOR:
        right = "`inbond ca invite user/NAME --organisation ORG --role auditor`"
        raise Refused("only an auditor asks for openings", where=str(home), right=right)
    private, public = generate()
    request, token = sign_request(
        node.signer(), job=job, values=values, counterpart=counterpart, blocks=blocks, key=public, now=utc_now()
    )
    node.keystore.put(secret_name(request.jti), private)
    write_private(out, token.encode())
    told = {"request": request.jti, "job": job, "values": values, "counterpart": counterpart, "blocks": blocks}
    told["file"] = str(out)
    shown = {**told, "next": f"{values} and {counterpart}: inbond audit open {out.name} --out FILE"}
    emit(told, json=json, human=lambda console: console.print(facts(shown)))


@app.command("open")
@decided("audit open")
def open_(request: Request, out: New, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """As a party: answer an auditor's request, sealed to the auditor; as the value side, open the blocks."""
    from parties.audit_answer import answer  # noqa: PLC0415 - `inbond audit list` does without all that this needs

    token = read_text(request, "the file that `inbond audit ask` wrote").strip()
    check_new(out)
    node = Node.open(home)
    try:
        with _about(request):
            made = answer(node, token)
    finally:
        node.close()
    write_private(out, made.box)
    shown = f"{len(made.opened)} of {made.logged.blocks}" if made.logged.role == "values" else "none: they are not ours"
    told = {"job": made.request.job, "role": made.logged.role, "peer": made.logged.peer, "auditor": made.request.iss}
    data = {**told, "commitment": made.logged.commitment, "opened": list(made.opened), "file": str(out)}
    human = {**told, "blocks opened": shown, "file": out}
    emit(data, json=json, human=lambda console: console.print(facts(human)))


@app.command("check-opening")
def check_opening(
    request: Request,
    counterpart: Annotated[Path, typer.Option(help="The answer of the party that received the values.")],
    home: Home = DEFAULT_HOME,
    *,
    values: Annotated[
        Path | None, typer.Option(help="The answer of the party that sent them; left out where it gave none.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the signed result to this new file.")] = None,
    json: Json = False,
) -> None:
    """As the auditor: compare both logs and check the opened values; exit 5 where anything is wrong or not opened."""
    from parties.audit_check import check, signed  # noqa: PLC0415 - as in `open`

    load_role(home, "user")
    token = read_text(request, "the file that `inbond audit ask` wrote").strip()
    boxes = [None if path is None else _answer(path) for path in (values, counterpart)]
    if out is not None:
        check_new(out)
    node = Node.open(home, audit=False)
    with _about(request):
        result = check(node, token, boxes[0], boxes[1] or b"")
    if out is not None:
        write_private(out, (dumps(signed(node, result), indent=1) + "\n").encode())
    emit(result.payload(), json=json, human=lambda console: _show(console, result))
    if not result.good:
        raise typer.Exit(EVIDENCE_DOES_NOT_VERIFY)


@contextmanager
def _about(request: Path) -> Iterator[None]:
    """What is wrong with the token of a request is said of its file; raises the same errors."""
    try:
        yield
    except PolicyError as error:
        what, right = error.what, error.right or "the file that `inbond audit ask` wrote"
        raise type(error)(what, where=f"{request} ({error.where})", right=right) from None


def _show(console: Any, result: "Result") -> None:
    opened = f"{len(result.opened)} of {result.blocks} ({result.payload()['chance']} of one bad block's chance)"
    shown: dict[str, object] = {
        "verdict": result.verdict.upper() if not result.good else "good: every opened value is within its bounds",
        "problem": "\n".join(result.problems),
        "job": result.job,
        "values of": f"{result.values}, received by {result.counterpart}",
        "blocks opened": opened,
        "columns": f"{result.columns}, {len(result.unbounded)} of them without bounds to check",
        "commitment": result.commitment,
    }
    console.print(facts({name: value for name, value in shown.items() if value}))
    if found := result.findings:
        rows = [[_or_key(one["block"]), _or_key(one["column"]), one["values"] or "-", one["meaning"]] for one in found]
        console.print(table(("block", "column", "values", "what is wrong"), rows))


def _or_key(number: int | None) -> object:
    return "key" if number is None else number


def _answer(path: Path) -> bytes:
    """An answer's bytes; raises ConfigError where they cannot be read."""
    right = "a file that `inbond audit open` wrote"
    try:
        if path.stat().st_size > MAX_PLAINTEXT:
            raise ConfigError("is too large for an answer", where=str(path), right=right)
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path), right=right) from None
