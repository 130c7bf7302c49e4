"""`inbond ca oidc|account|card|release`: what the operator says about logins, and one clear line for a mistake."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from federation import accounts as module
from federation.ca_cli import app as ca
from federation.card import read_card
from federation.oidc import read_providers
from policies.provider import Client
from policies.providers import SOLE
from tests.support.logins import DOMAIN
from tests.support.provider import CLIENT, LocalProvider


def _ca(home: Path, *arguments: str, said: str = "") -> Any:
    done = CliRunner().invoke(ca, [*arguments, "--home", str(home), "--json"], input=said)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return json.loads(done.stdout)


SET = ("oidc", "set", "--client-id", CLIENT, "--role-claim", "groups", "--organisation", "bank")


def test_the_operator_sets_checks_shows_and_removes_a_provider(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    _ca(home, "init", DOMAIN)
    with LocalProvider() as provider:
        groups = ("--map-role", "cn=a,dc=b=researcher", "--map-role", "g2=officer")
        _ca(home, *SET, "--issuer", provider.issuer, *groups)
        assert read_providers(home).providers[SOLE].roles == {"cn=a,dc=b": "researcher", "g2": "officer"}
        assert _ca(home, "oidc", "show")["issuer"] == provider.issuer
        assert _ca(home, "oidc", "check")["keys"] == ["RS256 (RS256)", "ES256 (ES256)", "EdDSA (EdDSA)"]
        card = _ca(home, "card", "--out", str(tmp_path / "card.json"), "--coordinator", "localhost:8440")
        read = read_card(tmp_path / "card.json")
        assert (read.fingerprint, read.coordinator_address) == (card["fingerprint"], "localhost:8440")
        assert read.providers == {SOLE: Client(issuer=provider.issuer, client_id=CLIENT)}
        _ca(home, "oidc", "remove")
    assert read_providers(home).providers == {}
    assert CliRunner().invoke(ca, ["oidc", "show", "--home", str(home)]).exception
    _ca(home, "card", "--out", str(tmp_path / "card.json"))
    assert read_card(tmp_path / "card.json").providers == {}


def test_the_operator_keeps_several_providers_apart(tmp_path: Path) -> None:
    home, out = tmp_path / "ca", str(tmp_path / "card.json")
    _ca(home, "init", DOMAIN)
    fund = ("oidc", "set", "fund", "--issuer", "https://id.fund.example", "--client-id", "i", "--role-claim", "roles")
    open_to_all = (*fund, "--organisation-claim", "org", "--home", str(home))
    with LocalProvider() as provider:
        _ca(home, SET[0], SET[1], "bank", *SET[2:], "--issuer", provider.issuer, "--country", "DE")
        refused = CliRunner().invoke(ca, list(open_to_all)).exception
        assert "fund may speak for any organisation" in str(refused)
        assert list(read_providers(home).providers) == ["bank"]
        again = ["oidc", "set", "staff", *SET[2:], "--issuer", provider.issuer, "--home", str(home)]
        assert "under two names" in str(CliRunner().invoke(ca, again).exception)
        places = ("--country-claim", "address.country", "--map-country", "Deutschland=DE")
        _ca(home, *fund, "--organisation-claim", "org", "--map-organisation", "F=fund", *places)
        assert [(row["name"], row["speaks_for"], row["country"]) for row in _ca(home, "oidc", "list")] == [
            ("bank", ["bank"], "DE"),
            ("fund", ["fund"], "claim address.country"),
        ]
        assert _ca(home, "oidc", "check", "bank")["provider"] == "bank"
        assert _ca(home, "oidc", "show", "fund")["countries"] == {"Deutschland": "DE"}
        assert _ca(home, "card", "--out", out)["providers"] == {
            "bank": provider.issuer,
            "fund": "https://id.fund.example",
        }
        assert list(read_card(tmp_path / "card.json").providers) == ["bank", "fund"]
        for command in ("show", "check", "remove"):
            error = CliRunner().invoke(ca, ["oidc", command, "--home", str(home)]).exception
            assert "several providers; one of: bank, fund" in str(error)
        _ca(home, "oidc", "remove", "bank")
    assert _ca(home, "oidc", "show")["name"] == "fund"
    _ca(home, "oidc", "remove")
    assert _ca(home, "oidc", "list") == []


def test_the_list_of_providers_fits_a_terminal(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    _ca(home, "init", DOMAIN)
    issuer = "https://login.a-bank-with-a-long-name.example/realms/staff-of-all-countries"
    _ca(home, *SET, "--issuer", issuer, "--country-claim", "address.country")
    shown = CliRunner().invoke(ca, ["oidc", "list", "--home", str(home)]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "bank" in shown


def test_the_operator_adds_lists_and_removes_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCRYPT_COST", 2**10)
    home = tmp_path / "ca"
    _ca(home, "init", DOMAIN)
    standing = ("--organisation", "bank", "--role", "officer")
    made = _ca(home, "account", "add", "rosa", *standing, "--country", "GB")
    assert made["otpauth"].startswith("otpauth://totp/acme.test:rosa?")
    assert len(made["password"]) >= 20
    asked = _ca(home, "account", "add", "olga", *standing, "--ask-password", said="a long password\n")
    assert "password" not in asked
    rows = _ca(home, "account", "list")
    assert [(row["name"], row["role"], row["country"], row["locked_until"]) for row in rows] == [
        ("olga", "officer", "", ""),
        ("rosa", "officer", "GB", ""),
    ]
    _ca(home, "account", "remove", "olga")
    _ca(home, "release", "user/rosa")
    assert [row["name"] for row in _ca(home, "account", "list")] == ["rosa"]


def test_the_secret_of_a_new_account_stands_on_one_line(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    _ca(home, "init", DOMAIN)
    standing = ("--organisation", "bank", "--role", "officer", "--home", str(home))
    shown = CliRunner().invoke(ca, ["account", "add", "rosa", *standing]).stdout.splitlines()
    assert any(line.startswith("otpauth: otpauth://") and line.endswith("period=30") for line in shown)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*SET, "--issuer", "http://login.bank.example"), "not an address to trust"),
        ((*SET, "--issuer", "https://x.example", "--organisation-claim", "org"), "one of them"),
        ((*SET, "--issuer", "https://x.example", "--map-role", "king"), "VALUE=NAME"),
        ((*SET, "--issuer", "https://x.example", "--map-role", "a=king"), "roles"),
        ((*SET, "--issuer", "https://x.example", "--map-role", "a=officer", "--map-role", "a=auditor"), "given twice"),
        ((*SET, "--issuer", "https://x.example", "--binding", "none"), "binding"),
        (("oidc", "check"), "inbond ca oidc set"),
        (("oidc", "remove"), "inbond ca oidc set"),
        (("account", "add", "Rosa", "--organisation", "bank", "--role", "officer"), "not a SPIFFE ID"),
        (("account", "add", "rosa", "--organisation", "bank", "--role", "king"), "not a role"),
        (
            ("account", "add", "rosa", "--organisation", "b", "--role", "officer", "--country", "Ruritania"),
            "not a country",
        ),
        ((*SET, "--issuer", "https://x.example", "--country", "Germany"), "not a country"),
        ((*SET, "--issuer", "https://x.example", "--map-country", "Germany=DE"), "country_claim"),
        (("oidc", "set", "My Bank", *SET[2:], "--issuer", "https://x.example"), "My Bank"),
        (("account", "add", "rosa", "--organisation", "", "--role", ""), "without a role"),
        (("account", "add", "rosa", "--organisation", "b", "--role", "officer", "--ask-password"), "nobody is there"),
        (("account", "remove", "rosa"), "no such account"),
        (("release", "party/p1"), "no person's name"),
        (("card", "--out", "card.json", "--coordinator", "https://x"), "not an address"),
    ],
)
def test_the_operators_mistake_is_one_line_and_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _ca(tmp_path / "ca", "init", DOMAIN)
    done = CliRunner().invoke(ca, [*arguments, "--home", str(tmp_path / "ca")])
    assert told in str(done.exception)
    assert ";" in str(done.exception), "it says what would be right"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca"]
    assert read_providers(tmp_path / "ca").providers == {}
