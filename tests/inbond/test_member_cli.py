"""Making and joining a node: for the one that is meant, all or nothing."""

import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from inbond.config import AddressSection, load
from inbond.enrolment import Invitation
from inbond.errors import ConfigError, Unreachable
from inbond.member_cli import (
    Role,
    _remember_addresses,
    join_consortium,
    load_role,
    log_to_stderr,
    make_node,
    read_invitation,
)
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
NOWHERE = "localhost:9"
EMPTY = AddressSection(authority="", coordinator="", listen="")


def _invitation(path: str) -> Invitation:
    until = datetime.now(UTC) + timedelta(hours=1)
    return Invitation(AUTHORITY.id(path), NOWHERE, NOWHERE, AUTHORITY.certificate, until, b"s" * 32, NOWHERE)


def _made(home: Path, role: Role = "party", name: str = "p1") -> Path:
    make_node(role, name, "acme.example", "DE", home, EMPTY)
    return home


@pytest.mark.parametrize(
    ("name", "consortium", "country", "key"),
    [
        ("P 1", "acme.example", "DE", "name"),
        ("p1", "Acme!", "DE", "consortium"),
        ("p1", "acme.example", "de", "country"),
    ],
)
def test_a_bad_name_makes_no_folder(tmp_path: Path, name: str, consortium: str, country: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"party init: key {key} is wrong"):
        make_node("party", name, consortium, country, tmp_path / "home", EMPTY)
    assert not (tmp_path / "home").exists()


def test_keys_are_made_for_their_owner_only_and_never_made_twice(tmp_path: Path) -> None:
    home = _made(tmp_path / "p1")
    assert (home / "keys").stat().st_mode & 0o77 == 0
    before = sorted((path.name, path.read_bytes()) for path in (home / "keys").iterdir())
    with pytest.raises(ConfigError, match="a node is already here"):
        _made(home)
    assert sorted((path.name, path.read_bytes()) for path in (home / "keys").iterdir()) == before


@pytest.mark.parametrize("path", ["party/p2", "user/p1", "coordinator"])
def test_an_invitation_for_somebody_else_is_not_used(tmp_path: Path, path: str) -> None:
    home = _made(tmp_path / "p1")
    with pytest.raises(ConfigError, match=f"the invitation is for spiffe://acme.example/{path}; one for"):
        join_consortium(home, "party", str(_invitation(path)))
    assert not (home / "certs").exists()


def test_an_authority_that_is_away_leaves_the_node_as_it_was(tmp_path: Path) -> None:
    home = _made(tmp_path / "p1")
    before = (home / "inbond.toml").read_bytes()
    with pytest.raises(Unreachable):
        join_consortium(home, "party", str(_invitation("party/p1")))
    assert (home / "inbond.toml").read_bytes() == before
    assert not (home / "audit.db").exists()


def test_the_addresses_of_the_invitation_are_kept_and_the_environments_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _made(tmp_path / "p1")
    monkeypatch.setenv("INBOND_LIMITS_STEP_SECONDS", "7")
    _remember_addresses(home, load(home), _invitation("party/p1"))
    kept = load(home, {})
    assert (kept.address.authority, kept.address.coordinator, kept.limits.step_seconds) == (NOWHERE, NOWHERE, 600)


def test_another_roles_command_is_told_whose_node_it_is(tmp_path: Path) -> None:
    home = _made(tmp_path / "rosa", "user", "rosa")
    with pytest.raises(ConfigError, match=r"this is a user's node; inbond user \.\.\., or the --home of a party"):
        load_role(home, "party")


def test_an_invitation_comes_as_text_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "invitation").write_text("inbond1.abc\n")
    assert read_invitation("inbond1.abc") == read_invitation(f"@{tmp_path / 'invitation'}")
    with pytest.raises(ConfigError, match="a file with an invitation"):
        read_invitation(f"@{tmp_path / 'nowhere'}")


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    log_to_stderr(json=True)
    structlog.get_logger("test").error("a line", reason="x")
    structlog.reset_defaults()
