"""`inbond login`: what a person sees, what is kept, one clear line for a mistake."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import Result
from typer.testing import CliRunner

from federation import accounts as module
from federation.card import Card, read_card
from federation.client import Researcher
from federation.login_cli import _trust, app
from inbond.config import AddressSection, load
from inbond.credentials import Credentials
from inbond.enrolment import utc_now
from inbond.errors import ConfigError, Refused
from inbond.member_cli import make_node
from inbond.node import LOGIN_FILE
from policies.certificates import to_pem
from policies.errors import InvalidInput
from policies.identity import Standing, identify
from policies.provider import Client
from policies.providers import SOLE
from policies.totp import code_of, step_at
from tests.support.authority import TestAuthority
from tests.support.logins import DOMAIN, PERSON, House, running_house
from tests.support.provider import CLIENT


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(module, "SCRYPT_COST", 2**10)
    with running_house(tmp_path) as running:
        yield running


@pytest.fixture
def card(house: House, tmp_path: Path) -> Path:
    """The card of the running authority."""
    made = Card(
        consortium=DOMAIN,
        ca=to_pem(house.authority.certificate).decode(),
        enrol_address=f"localhost:{house.serving.enrol_port}",
        authority_address=f"localhost:{house.serving.port}",
        coordinator_address="localhost:9",
        providers={"bank": Client(issuer=house.provider.issuer, client_id=CLIENT)},
    )
    made.save(tmp_path / "card.json")
    return tmp_path / "card.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A person's folder, as `inbond user init` leaves it."""
    make_node("user", "rosa", DOMAIN, "DE", tmp_path / "home", AddressSection(authority="", coordinator="", listen=""))
    return tmp_path / "home"


def _login(home: Path, *arguments: str, said: str = "") -> Result:
    return CliRunner().invoke(app, ["--home", str(home), *arguments], input=said)


def _code(secret_uri: str) -> str:
    secret = parse_qs(urlsplit(secret_uri).query)["secret"][0]
    return code_of(base64.b32decode(secret), step_at(utc_now()))


def test_a_login_at_the_provider_makes_the_folder_ready_and_later_ones_need_no_card(
    house: House, home: Path, card: Path
) -> None:
    house.provider.approve(PERSON)
    first = _login(home, "--card", str(card), "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["id"] == f"spiffe://{DOMAIN}/user/rosa"
    assert f"{house.provider.issuer}/page and enter the code WDJB-MJHT" in first.stderr.replace("\n", " ")
    credentials = Credentials.load(home / "certs")
    assert identify(credentials.tls_chain_pem, credentials.trust, utc_now()).standing == Standing("bank", "researcher")
    assert load(home, {}).address.coordinator == "localhost:9"
    house.provider.approve(PERSON)
    assert _login(home, "--json").exit_code == 0
    assert Credentials.load(home / "certs").tls_chain_pem != credentials.tls_chain_pem
    with Researcher.open(home) as person:
        assert person.node.credentials.spiffe_id.name == "rosa"


def test_a_login_that_has_ended_says_so_and_is_not_renewed(
    house: House, home: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.provider.approve(PERSON)
    _login(home, "--card", str(card))
    ended = Credentials.load(home / "certs").not_after
    monkeypatch.setattr("inbond.node.utc_now", lambda: ended)
    monkeypatch.setattr("federation.client.utc_now", lambda: ended)
    with pytest.raises(Refused, match=f"has expired.*inbond login --home {home}"):
        Researcher.open(home)


def test_an_account_is_asked_by_two_lines_and_neither_is_shown_or_kept(house: House, home: Path, card: Path) -> None:
    made = house.accounts.add("rosa", Standing("bank", "auditor"))
    said = f"{made.password}\n{_code(made.uri)}\n"
    done = _login(home, "--card", str(card), "--account", "rosa", "--json", said=said)
    assert done.exit_code == 0, done.output
    assert made.password not in done.output
    assert all(made.password.encode() not in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_at_a_terminal_both_are_asked_without_echo(
    house: House, home: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = house.accounts.add("rosa", Standing("bank", "auditor"))
    asked: list[dict[str, Any]] = []

    def prompt(text: str, **how: Any) -> str:
        asked.append({"text": text, **how})
        return made.password if text == "Password" else _code(made.uri)

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    assert _login(home, "--card", str(card), "--account", "rosa").exit_code == 0
    assert [one["hide_input"] for one in asked] == [True, True]


def test_a_refused_account_is_told_what_may_help_and_nothing_more(house: House, home: Path, card: Path) -> None:
    error = _login(home, "--card", str(card), "--account", "rosa", "--json", said="wrong\n000000\n").exception
    assert isinstance(error, Refused)
    assert error.what == "the login is refused"
    assert "wait 15 minutes" in error.right
    assert not (home / "certs").exists()
    assert not (home / LOGIN_FILE).exists()


def test_a_token_that_the_provider_did_not_bind_is_not_even_sent(house: House, home: Path, card: Path) -> None:
    house.provider.echoes_nonce = False
    house.provider.approve(PERSON)
    error = _login(home, "--card", str(card)).exception
    assert isinstance(error, Refused)
    assert "--binding single-use" in str(error)
    assert house.named("login.refused") == []


def test_a_person_whose_claims_are_anothers_is_refused(house: House, home: Path, card: Path) -> None:
    house.provider.approve({**PERSON, "preferred_username": "olga"})
    error = _login(home, "--card", str(card)).exception
    assert isinstance(error, Refused)
    assert "evidence log" in error.right
    assert "another's name" in house.named("login.refused")[0]["reason"]


def test_nobody_shows_a_password_to_an_authority_that_the_card_does_not_pin(
    house: House, home: Path, card: Path, tmp_path: Path
) -> None:
    made = house.accounts.add("rosa", Standing("bank", "auditor"))
    other = to_pem(TestAuthority(DOMAIN).certificate).decode()
    read_card(card).model_copy(update={"ca": other}).save(tmp_path / "lure.json")
    said = f"{made.password}\n{_code(made.uri)}\n"
    error = _login(home, "--card", str(tmp_path / "lure.json"), "--account", "rosa", "--json", said=said).exception
    assert "does not answer" in str(error)
    assert house.named("login.refused") == []


def test_a_card_of_before_a_rotation_still_leads_to_the_authority(house: House, home: Path, card: Path) -> None:
    house.provider.approve(PERSON)
    _login(home, "--card", str(card))
    following = house.authority.rotate()
    house.provider.approve(PERSON)
    assert _login(home).exit_code == 0
    assert _trust(read_card(card), home).authorities == (house.authority.certificate, following)


def test_a_card_of_before_there_were_several_providers_is_read(house: House, home: Path, card: Path) -> None:
    value = json.loads(card.read_text())
    value["provider"] = value.pop("providers")["bank"]
    card.write_text(json.dumps(value))
    house.provider.approve(PERSON)
    assert _login(home, "--card", str(card)).exit_code == 0
    assert list(read_card(home / LOGIN_FILE).providers) == [SOLE]


def test_of_several_providers_a_person_names_one(house: House, home: Path, card: Path) -> None:
    bank = read_card(card).providers["bank"]
    fund = bank.model_copy(update={"issuer": "https://id.fund.example"})
    read_card(card).model_copy(update={"providers": {"fund": fund, "bank": bank}}).save(card)
    for arguments, told in (((), "several providers; one of: bank, fund"), (("--provider", "shop"), "no provider")):
        error = _login(home, "--card", str(card), *arguments).exception
        assert isinstance(error, InvalidInput)
        assert told in str(error)
        assert not (home / LOGIN_FILE).exists()
    house.provider.approve(PERSON)
    assert _login(home, "--card", str(card), "--provider", "bank").exit_code == 0


def test_a_country_that_the_authority_does_not_attest_is_one_line_and_keeps_nothing(
    house: House, home: Path, card: Path
) -> None:
    house.trust(country="GB")
    house.provider.approve(PERSON)
    error = _login(home, "--card", str(card)).exception
    assert isinstance(error, ConfigError)
    assert "claims DE, and the authority attests GB" in str(error)
    assert not (home / "certs").exists()
    assert not (home / LOGIN_FILE).exists()


def test_an_accounts_country_is_attested(house: House, home: Path, card: Path) -> None:
    made = house.accounts.add("rosa", Standing("bank", "auditor", "DE"))
    said = f"{made.password}\n{_code(made.uri)}\n"
    assert _login(home, "--card", str(card), "--account", "rosa", "--json", said=said).exit_code == 0
    assert Credentials.load(home / "certs").standing == Standing("bank", "auditor", "DE")


Spoil = Callable[[Path, Path], list[str]]
MISTAKES: dict[str, tuple[Spoil, str]] = {
    "no card": (lambda _home, _card: [], "--card FILE"),
    "no such card": (lambda home, _card: ["--card", str(home / "nowhere")], "cannot be read"),
    "a folder": (lambda home, _card: ["--card", str(home)], "cannot be read"),
    "another's account": (lambda _home, card: ["--card", str(card), "--account", "olga"], "another's account"),
    "both ways": (
        lambda _home, card: ["--card", str(card), "--account", "rosa", "--provider", "x"],
        "two ways to log in",
    ),
    "nobody to ask": (lambda _home, card: ["--card", str(card), "--account", "rosa"], "nobody is there to ask"),
    "nothing said": (lambda _home, card: ["--card", str(card), "--account", "rosa", "--json"], "is empty"),
}


@pytest.mark.parametrize(("spoil", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(
    house: House, home: Path, card: Path, spoil: Spoil, told: str
) -> None:
    before = sorted(path.name for path in home.iterdir())
    error = _login(home, *spoil(home, card)).exception
    assert isinstance(error, ConfigError)
    assert told in str(error)
    assert sorted(path.name for path in home.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ca": "x"}, "not the consortium's"),
        ({"consortium": "other.test"}, "not the consortium's"),
        ({"enrol_address": "https://x"}, "enrol_address"),
        ({"coordinator_address": "nowhere"}, "coordinator_address"),
        ({"providers": {"bank": {"issuer": "http://evil.example", "client_id": "x"}}}, "not an address to trust"),
        ({"providers": {"No Name": {"issuer": "https://x.example", "client_id": "x"}}}, "No Name"),
        ({"extra": 1}, "not known"),
    ],
)
def test_a_damaged_card_is_refused(home: Path, card: Path, change: dict[str, Any], told: str) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    error = _login(home, "--card", str(card)).exception
    assert isinstance(error, InvalidInput)
    assert told in str(error)


def test_a_card_of_another_consortium_is_refused(tmp_path: Path, card: Path) -> None:
    make_node(
        "user", "rosa", "other.test", "DE", tmp_path / "o", AddressSection(authority="", coordinator="", listen="")
    )
    error = _login(tmp_path / "o", "--card", str(card)).exception
    assert isinstance(error, ConfigError)
    assert "another consortium" in str(error)
