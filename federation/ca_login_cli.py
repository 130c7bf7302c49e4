"""`inbond ca card|account|release`: how people log in, by the operator's word; every change is evidence."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import hashes

from federation.accounts import Accounts, check_password
from federation.ca_home import (
    DEFAULT_HOME,
    DEFAULT_UNLOCK,
    Country,
    Home,
    Json,
    Office,
    Organisation,
    UnlockSetting,
    decided,
    named,
    open_authority,
    recorder,
    show,
)
from federation.card import Card
from federation.oidc import read_providers
from inbond.console import emit, facts, line_in, note, table
from inbond.enrolment import check_address, utc_now
from inbond.errors import ConfigError
from policies.certificates import to_pem
from policies.identity import Standing

people = typer.Typer()
accounts = typer.Typer(no_args_is_help=True, help="Accounts with password and one-time codes.")

AccountName = Annotated[str, typer.Argument(help="The user's name, such as rosa.")]


@people.command()
@decided("ca card")
def card(
    out: Annotated[Path, typer.Option("--out", help="The file to hand to people.")],
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    coordinator: Annotated[str, typer.Option(help="host:port of the coordinator, passed on.")] = "",
    json: Json = False,
) -> None:
    """Write what people need to log in: the CA certificate, addresses and the providers. No secret is in it."""
    authority, trusted = open_authority(home, unlock), read_providers(home).providers
    if coordinator:
        check_address(coordinator)
    enrol_address, address = authority.addresses
    made = Card(
        consortium=authority.trust_domain,
        ca=to_pem(authority.certificate).decode(),
        enrol_address=enrol_address,
        authority_address=address,
        coordinator_address=coordinator,
        providers={name: one.client() for name, one in trusted.items()},
    )
    made.save(out)
    told = {"card": str(out), "fingerprint": authority.certificate.fingerprint(hashes.SHA256()).hex()}
    issuers = {name: one.issuer for name, one in trusted.items()}
    listed = "\n".join(f"{name}: {issuer}" for name, issuer in issuers.items()) or "none"
    emit(
        told | {"providers": issuers},
        json=json,
        human=lambda console: console.print(facts(told | {"providers": listed})),
    )


@people.command()
@decided("ca release")
def release(
    name: Annotated[str, typer.Argument(help="A person's name, such as user/rosa.")],
    home: Home = DEFAULT_HOME,
    *,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Forget whose a person's name is: it renews no more, and the next login whose claims say so takes it."""
    authority = open_authority(home, unlock)
    authority.release(named(name, authority))
    show({"released": name}, json)


@accounts.command()
@decided("ca account add")
def add(
    name: AccountName,
    home: Home = DEFAULT_HOME,
    *,
    organisation: Organisation,
    role: Office,
    country: Country = "",
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask for the password (with --json: a line of standard input).")
    ] = False,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Make an account: prints its password, and once the otpauth:// secret for the person's authenticator."""
    held = _accounts(home, unlock)
    made = held.add(name, Standing(organisation, role, country), _asked(json) if ask_password else "")
    note(f"for {made.spiffe_id}; shown this once, hand it over in confidence")
    told = {"id": str(made.spiffe_id), "otpauth": made.uri} | ({} if ask_password else {"password": made.password})
    lines = "\n".join(f"{name}: {text}" for name, text in told.items())  # whole: a secret is copied, not read
    emit(told, json=json, human=lambda console: console.out(lines, highlight=False))


@accounts.command("list")
def list_accounts(home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False) -> None:
    """Every account, and until when it is locked."""
    rows = [
        {
            "name": one.name,
            "organisation": one.standing.organisation,
            "role": one.standing.office,
            "country": one.standing.country,
            "added": f"{one.added:%Y-%m-%d %H:%M}",
            "locked_until": f"{one.locked_until:%Y-%m-%d %H:%M}" if one.locked_until else "",
        }
        for one in _accounts(home, unlock).all()
    ]
    columns = ("name", "organisation", "role", "in", "added", "locked until")
    emit(rows, json=json, human=lambda console: console.print(table(columns, [list(row.values()) for row in rows])))


@accounts.command("remove")
@decided("ca account remove")
def remove_account(
    name: AccountName, home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False
) -> None:
    """End an account; its last certificates live on until they end (to end them at once: inbond ca revoke SERIAL)."""
    _accounts(home, unlock).remove(name)
    show({"removed": name}, json)


def _accounts(home: Path, unlock: str) -> Accounts:
    return Accounts(open_authority(home, unlock), utc_now, recorder(home, unlock))


def _asked(json: bool) -> str:
    """A password from the terminal, twice without echo, or one line of standard input."""
    if json:
        return check_password(line_in())
    if not sys.stdin.isatty():
        right = "a terminal, or --json and the password as a line on standard input"
        raise ConfigError("nobody is there to ask", where="--ask-password", right=right)
    return check_password(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
