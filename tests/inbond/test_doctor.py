"""`inbond doctor` names every broken part of a node, says what to mend, and never breaks itself."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from inbond.cli import main
from inbond.doctor import Finding, examine
from tests.bad_input.homes import CONSORTIUM, certified_home, furnish
from tests.policies.samples import CONTRACT
from tests.support.authority import TestAuthority


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")
    furnish(made)
    return made


def _found(home: Path) -> dict[str, Finding]:
    return {one.what: one for one in examine(home)}


def test_a_sound_node_is_well_but_for_a_coordinator_that_is_away(home: Path) -> None:
    ill = [name for name, one in _found(home).items() if not one.well]
    assert ill == ["coordinator"]
    assert "Connection refused" in _found(home)["coordinator"].says


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 40], ids=["empty", "garbage"])
@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("inbond.toml", "configuration"),
        ("keys/unlock.key", "keys and certificates"),
        ("certs/credentials.json", "keys and certificates"),
        ("audit.db", "evidence log"),
        ("policies/own.cedar", "policies"),
    ],
)
def test_a_damaged_part_is_named_with_its_file(home: Path, file: str, what: str, content: bytes) -> None:
    (home / file).parent.mkdir(exist_ok=True)
    (home / file).write_bytes(content)
    finding = _found(home)[what]
    harmless = file == "policies/own.cedar" and not content
    assert finding.well is harmless
    assert harmless or ";" in finding.says, finding.says


def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    old = timedelta(hours=20)
    home = certified_home(
        TestAuthority(CONSORTIUM), "user", "rosa", tmp_path / "r", age=old, lifetime=timedelta(hours=1)
    )
    finding = _found(home)["keys and certificates"]
    assert not finding.well
    assert "expired" in finding.says


@pytest.mark.parametrize("address", ["", "nowhere", "host:port", "host:99999", "host:-1", ":", "\u2603:1"])
def test_an_address_that_is_none_is_told_and_not_stumbled_over(
    home: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("INBOND_ADDRESS_COORDINATOR", address)
    assert not _found(home)["coordinator"].well


def test_an_empty_folder_gets_the_command_that_makes_a_node(tmp_path: Path) -> None:
    assert "inbond party|coordinator|user init" in _found(tmp_path)["configuration"].says


def test_the_command_exits_with_2_and_prints_json(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["inbond", "doctor", "--home", str(home), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert {row["what"] for row in json.loads(said.out)} >= {"python", "disk", "configuration", "evidence log"}
    assert said.err == ""


@pytest.mark.parametrize(
    ("attested", "contract", "told"),
    [
        ("", "DE", "DE, as this node claims; its certificate names no country"),
        ("DE", "DE", "DE, as the authority attests"),
        ("FR", "DE", "claims DE, and the authority attests FR"),
        ("DE", "FR", "orders.yaml: claims jurisdiction FR, and the authority attests DE"),
    ],
)
def test_a_country_that_the_authority_does_not_attest_is_told(
    tmp_path: Path, attested: str, contract: str, told: str
) -> None:
    home = certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1", country=attested)
    furnish(home, CONTRACT.replace("jurisdiction: DE", f"jurisdiction: {contract}"))
    finding = _found(home)["country"]
    assert told in finding.says
    assert finding.well is (attested in {"", contract} and attested != "FR")
