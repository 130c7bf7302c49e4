"""`inbond login`: a person gets certificates for some hours, by a provider's or an account's word.

Who learns what: the provider that this person logs in, and from where; the authority the ID token, or password and
code; coordinator and parties nothing but the certificate. Keys are made on this machine and stay here.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from federation.card import Card, read_card
from federation.device_login import Prompt, device_login
from inbond.config import NodeConfig
from inbond.console import line_in, note, one_line
from inbond.credentials import Credentials
from inbond.enrolment import LoginProof, login
from inbond.errors import ConfigError, Refused
from inbond.keystore import KeyStore, Unlock
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role, settle, show_joined
from inbond.node import LOGIN_FILE
from policies.base64url import decode
from policies.certificates import key_binding
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId, TrustStore
from policies.provider import Client
from policies.providers import chosen

app = typer.Typer(help="Login of people.")


@app.command("login")
def log_in(
    home: Home = DEFAULT_HOME,
    *,
    card: Annotated[Path | None, typer.Option(help="The consortium's login card; kept after the first time.")] = None,
    provider: Annotated[str, typer.Option(help="Which of the card's providers; with one it need not be said.")] = "",
    account: Annotated[str, typer.Option(help="An account at the authority, instead of a provider.")] = "",
    json: Json = False,
) -> None:
    """Get certificates for some hours: at a provider, or with --account by password and one-time code.

    With --json, password and code are two lines on standard input; the provider's page and code are shown on standard
    error.
    """
    config = load_role(home, "user")
    if account and provider:
        raise ConfigError("two ways to log in", where="--provider and --account", right="one of them")
    if account and account != config.node.name:
        raise ConfigError("another's account", where="--account", right=f"{config.node.name}, or that person's --home")
    kept = home / LOGIN_FILE
    if card is None and not kept.exists():
        raise ConfigError("no login card", where=str(kept), right="--card FILE, as `inbond ca card` wrote it")
    found = read_card(card or kept)
    if found.consortium != config.node.consortium:
        raise ConfigError("the card of another consortium", where=found.consortium, right=config.node.consortium)
    if card is not None:
        note(f"the authority's fingerprint: {found.fingerprint}")
    keystore = KeyStore.open(home / "keys", Unlock.from_setting(config.keys.unlock, home, os.environ))
    proof = _account_proof(json) if account else _provider_proof(_client(found, provider), keystore)
    credentials = _sent(found, config, keystore, proof, home)
    found.save(kept)
    settle(home, config, found, {"event": "logged in", "authority": found.fingerprint})
    show_joined(credentials, json)


def _sent(card: Card, config: NodeConfig, keystore: KeyStore, proof: LoginProof, home: Path) -> Credentials:
    """The certificates that the authority gives for a proof; raises Refused with what the person can do."""
    try:
        return login(
            SpiffeId(card.consortium, f"/user/{config.node.name}"),
            proof,
            keystore,
            home / "certs",
            trust=_trust(card, home),
            enrol_address=card.enrol_address,
            authority_address=card.authority_address,
            country=config.node.country,
        )
    except Refused:
        right = "the authority's operator can read why in its evidence log"
        if not proof.id_token:
            right = "the right password and a fresh code; after 5 failures wait 15 minutes"
        raise Refused("the login is refused", where=card.enrol_address, right=right) from None


def _trust(card: Card, home: Path) -> TrustStore:
    """The card's CA certificate, and those that the authority has signed for since."""
    trust = card.trust()
    if not (home / "certs").exists():
        return trust
    known = Credentials.load(home / "certs").trust
    later = tuple(one for one in known.authorities if one not in trust.authorities)
    return replace(known, authorities=trust.authorities + later) if known.trust_domain == card.consortium else trust


def _client(card: Card, name: str) -> Client:
    """Where to log in."""
    if not card.providers:
        raise ConfigError("the consortium has no provider", where="login card", right="--account NAME, or a newer card")
    return chosen(card.providers, name, "--provider")[1]


def _provider_proof(client: Client, keystore: KeyStore) -> LoginProof:
    """An ID token for this node's keys."""
    nonce = key_binding(keystore.tls_key.public_key(), keystore.signing_key.public_key())
    token = device_login(client, nonce, _show_prompt)
    if client.binding == "nonce" and not _repeats(token, nonce):
        right = "a provider that carries `nonce` through the device grant, or: inbond ca oidc set --binding single-use"
        raise Refused("the ID token is not bound to this machine's keys", where=client.issuer, right=right)
    return LoginProof(id_token=token)


def _repeats(token: str, nonce: str) -> bool:
    """Whether a token names our keys: to tell a person early; only the authority judges it."""
    try:
        return nonce.encode() in decode(token.split(".")[1], "ID token")
    except (InvalidIdentity, IndexError):
        return False


def _show_prompt(prompt: Prompt) -> None:
    note(f"Open {one_line(prompt.url)} and enter the code {one_line(prompt.code)}")
    if prompt.direct:
        note(f"or open {one_line(prompt.direct)}")
    note("Waiting for the login there ...")


def _account_proof(json: bool) -> LoginProof:
    """Password and code: asked without echo, or two lines of standard input."""
    if json:
        password, code = (line_in() for _ in range(2))
    elif sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, err=True)
        code = typer.prompt("Code of the authenticator", hide_input=True, err=True)
    else:
        right = "a terminal, or --json and both as lines on standard input"
        raise ConfigError("nobody is there to ask", where="password and code", right=right)
    if not password or not code.strip():
        raise ConfigError("password or code is empty", where="standard input", right="the password, then the code")
    return LoginProof(password=password, code=code.replace(" ", ""))
