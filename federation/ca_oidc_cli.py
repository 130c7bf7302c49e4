"""`inbond ca oidc`: which OpenID providers are trusted, and what their claims mean; every change is evidence."""

from pathlib import Path
from typing import Annotated, Any

import typer

from federation.ca_home import (
    DEFAULT_HOME,
    DEFAULT_UNLOCK,
    Home,
    Json,
    UnlockSetting,
    decided,
    open_authority,
    recorder,
    show,
)
from federation.oidc import FILE, fetch_keys, read_providers, write_providers
from inbond.console import emit, facts, note, table
from inbond.errors import ConfigError
from policies.canonical import digest
from policies.document import Document, validate
from policies.provider import Provider
from policies.providers import SOLE, Providers, chosen

oidc = typer.Typer(no_args_is_help=True, help="The OpenID providers at which people log in.")

Name = Annotated[str, typer.Argument(help="The provider's name here; with one provider it need not be said.")]
Pairs = list[str] | None
COLUMNS = ("name", "issuer", "speaks for", "country", "binding")


@oidc.command("set")
@decided("ca oidc set")
def set_provider(
    name: Annotated[str, typer.Argument(help="The provider's name here, such as bank.")] = SOLE,
    home: Home = DEFAULT_HOME,
    *,
    issuer: Annotated[str, typer.Option(help="The provider's issuer URL, to the letter.")],
    client_id: Annotated[str, typer.Option(help="A public client there that may use the device grant.")],
    role_claim: Annotated[str, typer.Option(help="Claim with the role: a name, or a path a.b.")],
    organisation_claim: Annotated[str, typer.Option(help="Claim with the organisation.")] = "",
    organisation: Annotated[str, typer.Option(help="Instead of a claim: everybody's organisation.")] = "",
    country_claim: Annotated[str, typer.Option(help="Claim with the country, such as address.country.")] = "",
    country: Annotated[str, typer.Option(help="Instead of a claim: everybody's country, to be attested.")] = "",
    user_claim: Annotated[str, typer.Option(help="Claim with the user's name.")] = "preferred_username",
    user_suffix: Annotated[str, typer.Option(help="Ending of that claim to cut off, such as @bank.example.")] = "",
    map_organisation: Annotated[Pairs, typer.Option(help="VALUE=ORGANISATION; repeatable.")] = None,
    map_role: Annotated[Pairs, typer.Option(help="VALUE=ROLE; repeatable.")] = None,
    map_country: Annotated[Pairs, typer.Option(help="VALUE=COUNTRY, such as Germany=DE; repeatable.")] = None,
    scopes: Annotated[str, typer.Option(help="What is asked for.")] = "openid profile",
    binding: Annotated[
        str, typer.Option(help="nonce: tokens must name the login's keys; single-use: they need not.")
    ] = "nonce",
    unlock: UnlockSetting = DEFAULT_UNLOCK,
    json: Json = False,
) -> None:
    """Trust a provider, in place of any other of that name, and say what its claims mean here.

    What maps to nothing is refused. Without --map-... a claim's value must itself be a name here; with it, only the
    values named count. Where several providers are trusted, each is for the organisations that it names.
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
        "country": country,
        "country_claim": country_claim,
        "countries": _pairs(map_country, "--map-country"),
    }
    provider = validate(Provider, Document(said, "ca oidc set", {}))
    together = {**read_providers(home).providers, name: provider}
    trusted = validate(Providers, Document({"providers": together}, "ca oidc set", {}))
    authority = open_authority(home, unlock)
    details = {"issuer": provider.issuer, "client": provider.client_id, "rules": digest(provider.model_dump())}
    recorder(home, unlock)("oidc.set", {"trust_domain": authority.trust_domain, "provider": name, **details})
    write_providers(home, trusted)
    note("hand out a new card: inbond ca card --out FILE")
    _show_provider(name, provider, json)


@oidc.command("list")
def list_providers(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every trusted provider: whose people it certifies, and whether it attests where they are."""
    rows = [
        {
            "name": name,
            "issuer": one.issuer,
            "speaks_for": sorted(one.speaks_for) or ["any organisation"],
            "country": one.country or (f"claim {one.country_claim}" if one.country_claim else "none"),
            "binding": one.binding,
        }
        for name, one in sorted(read_providers(home).providers.items())
    ]
    shown = [[", ".join(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows]
    emit(rows, json=json, human=lambda console: console.print(table(COLUMNS, shown)))


@oidc.command("show")
def show_provider(name: Name = "", home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """A trusted provider, and what its claims mean here."""
    _show_provider(*_provider(home, name), json)


@oidc.command()
def check(name: Name = "", home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Fetch a provider's description and keys, as the authority does at a login."""
    found, provider = _provider(home, name)
    keys = [f"{key.name} ({key.algorithm})" for key in fetch_keys(provider)]
    told = {"provider": found, "issuer": provider.issuer, "keys": keys}
    emit(told, json=json, human=lambda console: console.print(facts(told | {"keys": ", ".join(keys)})))


@oidc.command("remove")
@decided("ca oidc remove")
def remove_provider(
    name: Name = "", home: Home = DEFAULT_HOME, *, unlock: UnlockSetting = DEFAULT_UNLOCK, json: Json = False
) -> None:
    """Trust a provider no more; certificates of earlier logins live on until they end."""
    gone, provider = _provider(home, name)
    rest = {one: kept for one, kept in read_providers(home).providers.items() if one != gone}
    recorder(home, unlock)("oidc.removed", {"provider": gone, "issuer": provider.issuer})
    if rest:
        write_providers(home, Providers(providers=rest))
    else:
        (home / FILE).unlink()
    note("hand out a new card: inbond ca card --out FILE")
    show({"removed": gone, "issuer": provider.issuer}, json)


def _provider(home: Path, name: str) -> tuple[str, Provider]:
    """The provider of that name, or the only one; raises ConfigError or InvalidInput."""
    trusted = read_providers(home).providers
    if not trusted:
        raise ConfigError("no provider is trusted", where=str(home / FILE), right="inbond ca oidc set")
    return chosen(trusted, name, "NAME")


def _show_provider(name: str, provider: Provider, json: bool) -> None:
    value = {"name": name} | provider.model_dump(exclude_defaults=True) | {"binding": provider.binding}
    shown = {key: _words(one) for key, one in value.items()}
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
