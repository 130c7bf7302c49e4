"""A node's standing parts: it fails closed, and its upkeep outlives what goes wrong in it."""

import threading
from pathlib import Path

import pytest

from compliance.audit.entry import EntryType
from inbond.errors import ConfigError, Unreachable
from inbond.member_cli import life_of
from inbond.node import Node, Upkeep, extra_policies
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.support.authority import TestAuthority


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")


def test_a_node_opens_and_its_evidence_names_it(home: Path) -> None:
    node = Node.open(home)
    node.record(EntryType.NODE, data={"event": "started"})
    assert node.audit is not None
    assert [entry.node for _, entry in node.audit.entries()] == ["spiffe://acme.example/party/p1"]
    node.close()


def test_a_node_without_its_log_takes_no_step(home: Path) -> None:
    with pytest.raises(ConfigError, match="keeps no evidence log"):
        Node.open(home, audit=False).record(EntryType.NODE)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_keys_that_others_may_read_are_not_used(home: Path, mode: int) -> None:
    (home / "keys").chmod(mode)
    with pytest.raises(ConfigError, match="open to others"):
        Node.open(home)


def test_upkeep_goes_on_after_whatever_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOND_LIFE_DENYLIST_SECONDS", "0.2")
    node = Node.open(home)
    failures = iter([OSError(28, "No space left on device"), RuntimeError("?"), Unreachable("away")])
    again = threading.Event()

    def refresh() -> bool:
        error = next(failures, None)
        if error is None:
            again.set()
            return False
        raise error

    monkeypatch.setattr(node, "refresh_denied", refresh)
    tidied = threading.Event()
    upkeep = Upkeep(node, tidy=tidied.set)
    upkeep.start()
    assert again.wait(20)
    assert tidied.wait(20)
    upkeep.stop()
    upkeep.join(5)
    node.close()


def test_a_policy_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"own\.cedar: is not text"):
        extra_policies(tmp_path)


def test_a_sign_of_life_of_a_process_that_is_gone_is_no_life(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text('{"pid": 4194304, "state": "connected"}')
    assert not life_of(tmp_path, "agent.json")["running"]
    assert life_of(tmp_path, "none.json") == {"state": "never started", "running": False}
