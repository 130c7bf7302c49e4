"""`inbond approvals|approve|refuse|approve-file`: a person reads a plan, terms or policies, and signs just that.

The signing key stays on this machine. The coordinator and all parties of the job learn who said what, and why.
"""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from federation.client import Proposed, Researcher
from federation.explaining import print_plan
from inbond.acting import decided
from inbond.approvals import sign_approval
from inbond.config import read_text
from inbond.console import emit, facts, table
from inbond.endorsed import Thing, accept_policies, policies_digest
from inbond.errors import ConfigError, InbondError
from inbond.keystore import check_new, write_private
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role
from inbond.node import Node, utc_now
from policies.agreement import load_agreement, read_signed
from policies.document import read_document

app = typer.Typer(help="Human approval of jobs, agreements and policies.")
SHORT = 12
Job = Annotated[str, typer.Argument(help="The job's id, or its first characters.")]


@app.command()
def approvals(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Jobs that wait for you: who asks for what, and what is missing."""
    with Researcher.open(home) as person:
        found = [_told(one) for one in person.proposed()]
    cells = ((one["job"][:SHORT], one["name"], one["submitter"], one["purpose"], one["missing"]) for one in found)
    columns = ("job", "name", "of", "purpose", "missing")
    emit(found, json=json, human=lambda console: console.print(table(columns, cells)))


@app.command()
def approve(
    job: Job,
    home: Home = DEFAULT_HOME,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking back: you have read the plan.")] = False,
    json: Json = False,
) -> None:
    """Read the plan of a waiting job, and sign that it may run."""
    with Researcher.open(home) as person:
        found = _find(person, job)
        if not json:
            emit({}, json=False, human=lambda console: _show(console, found))
        _confirm(yes)
        view = person.decide(found, "approve")
    _done({**_told(found), "state": view.state, "missing": view.reason, "decision": "approve"}, json)


@app.command()
def refuse(
    job: Job,
    reason: Annotated[str, typer.Option("--reason", help="Why; its submitter and all parties read it.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Sign that a waiting job may not run, which ends it."""
    if not reason.strip():
        raise ConfigError("is empty", where="--reason", right="a sentence that its submitter understands")
    with Researcher.open(home) as person:
        found = _find(person, job)
        view = person.decide(found, "refuse", reason.strip())
    _done({**_told(found), "state": view.state, "missing": "", "decision": "refuse"}, json)


@app.command("approve-file")
def approve_file(
    path: Annotated[Path, typer.Argument(help="An agreement or its terms, or the folder of a node's Cedar files.")],
    home: Home = DEFAULT_HOME,
    *,
    out: Annotated[Path, typer.Option(help="Where to write the approval, for the node's operator.")],
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking back: you have read it.")] = False,
    json: Json = False,
) -> None:
    """Read terms, or a node's policies, and sign that the node may sign or run under just these."""
    load_role(home, "user")
    check_new(out)
    thing, what, shown = _thing(path)
    if not json:
        emit({}, json=False, human=lambda console: console.print(facts(shown)))
    _confirm(yes)
    node = Node.open(home, audit=False)
    token = sign_approval(node.signer(), job=thing, plan=what, decision="approve", now=utc_now())
    write_private(out, token.encode())
    data = {"thing": thing, "digest": what, "file": str(out)}
    emit(data, json=json, human=lambda console: console.print(f"wrote {out}: give it to the node's operator"))


@app.command("accept-policies")
@decided("accept-policies", role=None)
def accept(
    home: Home = DEFAULT_HOME,
    *,
    approval: Annotated[
        list[Path] | None, typer.Option("--approval", help="What a person signed by `inbond approve-file`; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Let a node run under the Cedar files in its folder, once the people whom it asks have approved them."""
    node = Node.open(home)
    try:
        people = accept_policies(node, approval or ())
    finally:
        node.close()
    told = f"accepted, approved by {', '.join(people) or 'nobody, whom no rule asks for'}"
    emit({"approved_by": people}, json=json, human=lambda console: console.print(told))


def _thing(path: Path) -> tuple[Thing, str, dict[str, Any]]:
    """What a file or folder is, its digest, and what a person reads before signing. Raises ConfigError."""
    if path.is_dir():
        texts = {one.name: read_text(one, "a Cedar file in UTF-8") for one in sorted(path.glob("*.cedar"))}
        return "policies", policies_digest(texts), dict(texts) or {"policies": "none"}
    text = read_text(path, "an agreement or its terms")
    told = read_document(text, str(path)).value
    signed = isinstance(told, dict) and "agreement" in told
    found = read_signed(text, str(path)).agreement if signed else load_agreement(text, str(path))
    shown = {name: dumps(value, ensure_ascii=False) for name, value in found.payload().items()}
    return "agreement", found.digest(), shown


def _find(person: Researcher, prefix: str) -> Proposed:
    """The one waiting job that starts with `prefix`; raises InbondError."""
    found = [one for one in person.proposed() if one.order.jti.startswith(prefix)]
    if len(found) != 1:
        what = "no job that waits for you" if not found else f"{len(found)} jobs"
        raise InbondError(f"{what} starts with {prefix[:64]}", where="job", right="see `inbond approvals`")
    return found[0]


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to ask", where="--yes", right="--yes, when you have read the plan")
    typer.confirm("Sign that this plan may run?", abort=True, err=True)


def _told(one: Proposed) -> dict[str, Any]:
    spec = one.order.spec
    return {
        "job": one.order.jti,
        "name": spec.name,
        "submitter": one.order.iss.rsplit("/", 1)[-1],
        "purpose": spec.purpose,
        "recipients": [f"{reader.id} ({reader.country})" for reader in spec.recipients],
        "plan": one.plan.digest(),
        "leaks": [f"{', '.join(leak.learners) or leak.who.value}: {leak.what.value}" for leak in one.plan.leaks()],
        "missing": one.missing,
    }


def _show(console: Any, one: Proposed) -> None:
    """Everything that the signature will stand for."""
    told = _told(one)
    asked = (
        {"sql": one.plan.sql}
        if one.plan.sql
        else {"recipe": one.order.spec.recipe.name if one.order.spec.recipe else ""}
    )
    head = {name: told[name] for name in ("job", "name", "submitter", "purpose", "missing")}
    console.print(facts({**head, "recipients": ", ".join(told["recipients"]), **asked}))
    console.print()
    print_plan(console, one.plan)


def _done(data: dict[str, Any], json: bool) -> None:
    shown = {name: data[name] for name in ("job", "decision", "state", "missing") if data[name]}
    emit(data, json=json, human=lambda console: console.print(facts(shown)))
