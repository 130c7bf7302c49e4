"""`inbond ca card|oidc|account|release`: how people log in, by the operator's word; every change is evidence."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives import hashes

from federation.accounts import Accounts, check_password
from federation.ca_home import (
    DEFAULT_HOME,
    DEFAULT_UNLOCK,
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
from federation.oidc import FILE, fetch_keys, read_provider, write_provider
from inbond.console import emit, facts, line_in, note, table
from inbond.enrolment import check_address, utc_now
from inbond.errors import ConfigError
from policies.canonical import digest
from policies.certificates import to_pem
from policies.document import Document, validate
from policies.identity import Standing
from policies.provider import Provider

people = typer.Typer()
oidc = typer.Typer(no_args_is_help=True, help="The OpenID provider at which people log in.")
accounts = typer.Typer(no_args_is_help=True, help="Accounts with password and one-time codes.")

AccountName = Annotated[str, typer.Argument(help="The user's name, such as rosa.")]
Pairs = list[str] | None


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
    """Write what people need to log in: the CA certificate, addresses and the provider. No secret is in it."""
    authority, provider = open_authority(home, unlock), read_provider(home)
    if coordinator:
        check_address(coordinator)
    enrol_address, address = authority.addresses
    made = Card(
        consortium=authority.trust_domain,
        ca=to_pem(authority.certificate).decode(),
        enrol_address=enrol_address,
        authority_address=address,
        coordinator_address=coordinator,
        provider=provider.client() if provider else None,
    )
    made.save(out)
    told = {"card": str(out), "fingerprint": authority.certificate.fingerprint(hashes.SHA256()).hex()}
    show(told | {"provider": provider.issuer if provider else "none"}, json)


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


@oidc.command("set")
@decided("ca oidc set")
def set_provider(
    home: Home = DEFAULT_HOME,
    *,
    issuer: Annotated[str, typer.Option(help="The provider's issuer URL, to the letter.")],
    client_id: Annotated[str, typer.Option(help="A public client there that may use the device grant.")],
    role_claim: Annotated[str, typer.Option(help="Claim with the role: a name, or a path a.b.")],
    organisation_claim: Annotated[str, typer.Option(help="Claim with the organisation.")] = "",
    organisation: Annotated[str, typer.Option(help="Instead of a claim: everybody's organisation.")] = "",
    user_claim: Annotated[str, typer.Option(help="Claim with the user's name.")] = "preferred_username",
    user_suffix: Annotated[str, typer.Option(help="Ending of that claim to cut off, such as @bank.example.")] = "",
    map_organisation: Annotated[Pairs, typer.Option(help="VALUE=ORGANISATION; repeatable.")] = None,
    map_role: Annotated[Pairs, typer.Option(help="VALUE=ROLE; repeatable.")] = None,
    scopes: Annotated[str, typer.Option(help="What is asked for.")] = "openid profile",
    binding: Annotated[
        str, typer.Option(help="nonce: tokens must name the login's keys; single-use: they need not.")
    ] = "nonce",
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Trust a provider, in place of any other, and say what its claims mean here. What maps to nothing is refused.

    Without --map-... a claim's value must itself be a name here; with it, only the values named count.
    """
    said: dict[str, Any] = {
        "issuer": issuer,
        "client_id": client_id,
        "scopes": scopes,
        "binding": binding,
        "user_claim": user_claim,
        "user_suffix": user_suffix,
        "organisation": organisation,
        "organisation_claim": organisation_claim,
        "organisations": _pairs(map_organisation, "--map-organisation"),
        "role_claim": role_claim,
        "roles": _pairs(map_role, "--map-role"),
    }
    provider = validate(Provider, Document(said, "ca oidc set", {}))
    authority = open_authority(home, unlock)
    details = {"issuer": provider.issuer, "client": provider.client_id, "rules": digest(provider.model_dump())}
    recorder(home, unlock)("oidc.set", {"trust_domain": authority.trust_domain, **details})
    write_provider(home, provider)
    note("hand out a new card: inbond ca card --out FILE")
    _show_provider(provider, json)


@oidc.command("show")
def show_provider(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """The trusted provider, and what its claims mean here."""
    _show_provider(_provider(home), json)


@oidc.command()
def check(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Fetch the provider's description and keys, as the authority does at a login."""
    provider = _provider(home)
    keys = fetch_keys(provider)
    found = {"issuer": provider.issuer, "keys": [f"{key.name} ({key.algorithm})" for key in keys]}
    emit(found, json=json, human=lambda console: console.print(facts(found | {"keys": ", ".join(found["keys"])})))


@oidc.command("remove")
@decided("ca oidc remove")
def remove_provider(home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False) -> None:
    """Trust no provider any more; certificates of earlier logins live on until they end."""
    issuer = _provider(home).issuer
    recorder(home, unlock)("oidc.removed", {"issuer": issuer})
    (home / FILE).unlink()
    show({"removed": issuer}, json)


@accounts.command()
@decided("ca account add")
def add(
    name: AccountName,
    home: Home = DEFAULT_HOME,
    *,
    organisation: Organisation,
    role: Office,
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask for the password (with --json: a line of standard input).")
    ] = False,
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Make an account: prints its password, and once the otpauth:// secret for the person's authenticator."""
    held = _accounts(home, unlock)
    made = held.add(name, Standing(organisation, role), _asked(json) if ask_password else "")
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
            "added": f"{one.added:%Y-%m-%d %H:%M}",
            "locked_until": f"{one.locked_until:%Y-%m-%d %H:%M}" if one.locked_until else "",
        }
        for one in _accounts(home, unlock).all()
    ]
    columns = ("name", "organisation", "role", "added", "locked until")
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


def _provider(home: Path) -> Provider:
    found = read_provider(home)
    if found is None:
        raise ConfigError("no provider is trusted", where=str(home / FILE), right="inbond ca oidc set")
    return found


def _show_provider(provider: Provider, json: bool) -> None:
    value = provider.model_dump(exclude_defaults=True) | {"binding": provider.binding}
    shown = {name: _words(one) for name, one in value.items()}
    emit(value, json=json, human=lambda console: console.print(facts(shown)))


def _words(value: Any) -> str:
    return ", ".join(f"{key} = {one}" for key, one in value.items()) if isinstance(value, dict) else str(value)


def _pairs(given: Pairs, option: str) -> dict[str, str]:
    """VALUE=NAME texts as a table; the last = parts them, because a value may hold one."""
    found: dict[str, str] = {}
    for text in given or ():
        value, equals, name = text.rpartition("=")
        if not (value and equals and name) or value in found:
            raise ConfigError(
                "not a pair, or given twice", where=f"{option} {text[:80]}", right="VALUE=NAME, each once"
            )
        found[value] = name
    return found


def _asked(json: bool) -> str:
    """A password from the terminal, twice without echo, or one line of standard input."""
    if json:
        return check_password(line_in())
    if not sys.stdin.isatty():
        right = "a terminal, or --json and the password as a line on standard input"
        raise ConfigError("nobody is there to ask", where="--ask-password", right=right)
    return check_password(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
