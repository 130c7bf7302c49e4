"""People who log in, between real processes: at a provider, with an account, and what the coordinator lets them do."""

import base64
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from compliance.audit.entry import EntryType
from examples.consortium import AUTHORITY, COORDINATOR, NAME, CommandFailed
from inbond.node import LOGIN_FILE
from policies.totp import STEP_S, code_of
from tests.support.provider import CLIENT, LocalProvider
from tests.system.world import World

ROSA = {"sub": "4711", "preferred_username": "rosa@bank.example", "org": "B.A.N.K.", "groups": ["staff", "inbond-r"]}
OTTO = {"sub": "4712", "preferred_username": "otto@bank.example", "org": "B.A.N.K.", "groups": ["staff"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: LocalProvider) -> Iterator[World]:
    """Authority and coordinator; the authority trusts the provider, and nobody was invited."""
    with World(tmp_path_factory.mktemp("login"), []) as running:
        running.make()
        running.launch(COORDINATOR)
        terms = ("--issuer", provider.issuer, "--client-id", CLIENT, "--user-suffix", "@bank.example")
        maps = (
            "--organisation-claim",
            "org",
            "--map-organisation",
            "B.A.N.K.=bank",
            "--map-role",
            "inbond-r=researcher",
        )
        running.cli("ca", "oidc", "set", *terms, *maps, "--role-claim", "groups", home=AUTHORITY)
        card = ("--out", str(running.root / "card.json"), "--coordinator", running.address)
        running.cli("ca", "card", *card, home=AUTHORITY)
        for name in ("rosa", "otto", "olga"):
            running.cli("user", "init", name, "--consortium", NAME, "--country", "GB", home=name)
        yield running


def _login(house: World, name: str, *arguments: str) -> Any:
    return house.json("login", "--card", str(house.root / "card.json"), *arguments, home=name)


def _code(account: dict[str, str], after: int = 0) -> tuple[str, int]:
    """The code of now, or of the step after `after`, which the authority takes already; and its step."""
    secret = base64.b32decode(parse_qs(urlsplit(account["otpauth"]).query)["secret"][0])
    step = max(int(time.time()) // STEP_S, after + 1)
    return code_of(secret, step), step


def _typed(house: World, name: str, password: str, code: str) -> tuple[int, bytes]:
    """`inbond login --account` at a real terminal where somebody types: exit code, and everything that it showed."""
    command = [sys.executable, "-m", "inbond", "login", "--account", name, "--home", str(house.home(name))]
    command += ["--card", str(house.root / "card.json")]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown = b""
        for prompt, line in ((b"Password: ", password), (b"authenticator: ", code)):
            while prompt not in shown:
                piece = _read(ours)
                assert piece, shown
                shown += piece
            os.write(ours, line.encode() + b"\n")
        while piece := _read(ours):
            shown += piece
        ended = process.wait(60)
    os.close(ours)
    return ended, shown


def _read(terminal: int) -> bytes:
    """What comes next; nothing when the other end was closed, which Linux makes an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_a_person_logs_in_at_the_provider_and_the_coordinator_knows_the_role(
    house: World, provider: LocalProvider
) -> None:
    provider.approve(ROSA)
    assert _login(house, "rosa")["id"] == f"spiffe://{NAME}/user/rosa"
    assert house.json("job", "list", home="rosa") == []
    decided = [one for one in house.entries(COORDINATOR) if one.type is EntryType.DECISION]
    assert "researcher" in json.dumps([one.data for one in decided])
    accepted = [one for one in house.entries(AUTHORITY) if one.data.get("event") == "login.accepted"]
    assert [(one.subject, one.data["organisation"]) for one in accepted] == [(f"spiffe://{NAME}/user/rosa", "bank")]
    own = [one.data["event"] for one in house.entries("rosa")]
    assert own == ["logged in"]


def test_a_person_without_a_role_there_is_refused_and_it_is_evidence(house: World, provider: LocalProvider) -> None:
    provider.approve(OTTO)
    with pytest.raises(CommandFailed, match="the login is refused") as caught:
        _login(house, "otto")
    assert caught.value.code == 3
    assert "Traceback" not in caught.value.stderr
    refused = [one for one in house.entries(AUTHORITY) if one.type is EntryType.REFUSAL]
    assert [one.data["reason"] for one in refused] == ["claim groups: maps to nothing"]
    assert "otto" not in str(refused), "a name that nobody has is not written down"
    house.verify(AUTHORITY)


def test_an_account_logs_in_at_a_terminal_that_shows_neither_password_nor_code(house: World) -> None:
    account = house.json("ca", "account", "add", "olga", "--organisation", "shop", "--role", "operator", home=AUTHORITY)
    code, step = _code(account)
    ended, shown = _typed(house, "olga", account["password"], code)
    assert ended == 0, shown
    assert b"Password" in shown
    assert account["password"].encode() not in shown
    assert code.encode() not in shown
    assert house.json("job", "list", home="olga") == []

    ended, shown = _typed(house, "olga", account["password"], code)
    assert ended == 3, "a code is good once"
    assert b"the login is refused" in shown
    ended, shown = _typed(house, "olga", account["password"], _code(account, after=step)[0])
    assert ended == 0, shown


def test_who_logged_in_and_is_invited_later_is_a_member_who_renews(house: World, provider: LocalProvider) -> None:
    provider.approve(ROSA)
    _login(house, "rosa")
    home: Path = house.home("rosa")
    assert (home / LOGIN_FILE).exists()
    invited = house.json("ca", "invite", "user/rosa", home=AUTHORITY)["invitation"]
    house.cli("user", "join", invited, home="rosa")
    assert not (home / LOGIN_FILE).exists()
    provider.approve(ROSA)
    with pytest.raises(CommandFailed, match="the login is refused"):
        _login(house, "rosa")
    assert house.json("job", "list", home="rosa") == []
    house.verify(AUTHORITY, COORDINATOR, "rosa")
