"""`inbond contract ...`: is a data contract well written, what did a new version change, and whose word is it?

`lint` and `diff` need no node, no table and no network. A signature tells whoever holds a contract's file that it is
the party's word; only what is published is signed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.audit.entry import EntryType
from compliance.law_cli import DIFFERS
from compliance.law_files import law_of
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, facts, note, table
from inbond.contract_files import place, read_any_contract, read_contract
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.node import Node, utc_now
from policies.contract import is_date
from policies.contract_diff import Change, changes
from policies.contract_lint import Finding, findings
from policies.contract_signature import check_place, sign_contract, verify_contract
from policies.errors import InvalidIdentity, InvalidInput
from policies.law.law import Law

SUFFIX = ".jws"

app = typer.Typer(no_args_is_help=True, help="Data contracts: check, compare, sign, verify.")

File = Annotated[Path, typer.Argument(help="A data contract, or a published one, in YAML or JSON.")]
Regimes = Annotated[str, typer.Option(help="The law to check by: a folder of regimes, or built-in.")]


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(help="Data contracts, in YAML or JSON.")],
    *,
    as_of: Annotated[str, typer.Option(metavar="DATE", help="The day to check for; today without it.")] = "",
    regimes: Regimes = "built-in",
    json: Json = False,
) -> None:
    """Say what is wrong or unwise in contracts; exit code 5 where there is anything to say."""
    law, now = law_of(regimes), _day(as_of)
    rows = [row for file in files for row in _linted(file, law, now)]

    def human(console: Any) -> None:
        cells = ((row["where"], row["level"], _sentence(row)) for row in rows)
        if rows:
            console.print(table(("where", "", "finding"), cells))
        console.print(f"{len(files)} checked, {len(rows)} findings")

    emit(rows, json=json, human=human)
    if rows:
        raise typer.Exit(DIFFERS)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The contract as it was.")],
    new: Annotated[Path, typer.Argument(help="The contract as it is to be.")],
    *,
    json: Json = False,
) -> None:
    """Say what changed, and whether it permits more, less or other; exit code 5 where anything did."""
    found = changes(read_any_contract(old), read_any_contract(new))

    def human(console: Any) -> None:
        rows = ((one.key, one.effect, _shown(one.old), _shown(one.new)) for one in found)
        console.print(table(("key", "permits", "old", "new"), rows) if found else "the contracts are the same")

    emit(_summary(found), json=json, human=human)
    if found:
        raise typer.Exit(DIFFERS)


@app.command()
@decided("contract sign")
def sign(
    file: Annotated[Path, typer.Argument(help="One of this party's data contracts.")],
    home: Home = DEFAULT_HOME,
    *,
    out: Annotated[Path | None, typer.Option(help="Where the signature goes; FILE.jws without it.")] = None,
    json: Json = False,
) -> None:
    """Sign what is published of a contract with this party's key, and write the signature beside it."""
    contract, path = read_contract(file), out or file.with_name(file.name + SUFFIX)
    node = Node.open(home)
    try:
        check_place(contract, node.credentials.standing.country)
        signature = sign_contract(contract, node.signer(), utc_now())
        data = {"event": "contract signed", "dataset": contract.dataset, "version": contract.version}
        node.record(EntryType.NODE, data={**data, "contract": contract.digest()})
    finally:
        node.close()
    try:
        path.write_text(signature + "\n", "ascii")
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror})", where=str(path), right="a file, with --out"
        ) from None
    told = {"signature": str(path), **_named(contract.dataset, contract.version, contract.digest()), "jws": signature}
    note(f"give {path} to whoever has the contract; only what is published is signed")
    emit(told, json=json, human=lambda console: console.print(facts({**told, "jws": f"{signature[:40]}..."})))


@app.command()
def verify(
    file: File,
    signature: Annotated[Path, typer.Argument(help="Its signature, as `inbond contract sign` wrote it.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Check that a contract is a party's word, by the trust of any node; exit code 5 where it is not."""
    contract = read_any_contract(file)
    token = read_text(signature, "a signature made by `inbond contract sign`").strip()
    node = Node.open(home, audit=False)
    told: dict[str, Any] = _named(contract.dataset, contract.version, contract.digest())
    try:
        signed = verify_contract(contract, token, node.trust, utc_now())
    except InvalidIdentity as error:
        told |= {"verified": False, "reason": str(error)}
    else:
        at = signed.at.isoformat() if signed.at else ""
        attested = signed.certificate.standing.country or "no country"
        told |= {"verified": True, "signer": str(signed.issuer), "signed": at, "attested": attested}
    emit(told, json=json, human=lambda console: console.print(facts(told)))
    if not told["verified"]:
        raise typer.Exit(DIFFERS)


def _day(text: str) -> datetime:
    if text and not is_date(text):
        raise InvalidInput(f"{text[:40]!r} is no date", where="--as-of", right="a date such as 2026-11-15")
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else utc_now()


def _linted(file: Path, law: Law, now: datetime) -> list[dict[str, str]]:
    """The findings on one file; a contract that does not follow the schema has one, its first fault."""
    try:
        contract = read_any_contract(file)
    except InvalidInput as error:
        return [{"where": error.where, "level": "error", "key": "", "what": error.what, "right": error.right}]
    return [_row(file, one) for one in findings(contract, law, now)]


def _row(file: Path, one: Finding) -> dict[str, str]:
    return {"where": place(file, one.path), "level": one.level, "key": one.key, "what": one.what, "right": one.right}


def _sentence(row: dict[str, str]) -> str:
    return f"`{row['key']}`: " * bool(row["key"]) + f"{row['what']}; {row['right']}"


def _summary(found: Sequence[Change]) -> dict[str, Any]:
    counted = {effect: sum(one.effect == effect for one in found) for effect in ("more", "less", "other")}
    return {"permits": counted, "changes": [one.payload() for one in found]}


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _named(dataset: str, version: int, digest: str) -> dict[str, Any]:
    return {"dataset": dataset, "version": version, "contract": digest}
