"""`inbond record`: what the officer adds is listed and in the evidence log; what is wrong is one line that says so."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.audit.store import AuditStore
from inbond.cli import EXIT_INPUT, exit_code
from inbond.node import Node
from parties.record_cli import app
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.support.authority import TestAuthority

DOCUMENT = b"Standard contract, signed"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "record.json")


def written(path: Path, **changes: Any) -> Path:
    fields = {
        "kind": "tool",
        "mechanism": "cn_sc_filed",
        "number": "Shanghai 2026-114",
        "issuer": "CAC Shanghai",
        "exporter": "p1",
        "recipients": ["p2"],
        "valid_from": str(TODAY - timedelta(days=1)),
        "valid_until": str(TODAY + timedelta(days=1)),
        "document_sha256": hashlib.sha256(DOCUMENT).hexdigest(),
    }
    path.write_text(json.dumps(fields | changes))
    return path


def run(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)])


def answer(home: Path, *arguments: object) -> Any:
    found = run(home, *arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.output)


def states(home: Path) -> list[str]:
    return [row["state"] for row in answer(home, "list")]


def events(home: Path) -> list[str]:
    """What happened, by name; the decisions on commands are not in it."""
    node = Node.open(home)
    assert node.audit is not None
    found = [str(entry.data["event"]) for _, entry in node.audit.entries() if "event" in entry.data]
    node.close()
    return found


def test_a_record_is_added_listed_and_ended(home: Path, file: Path) -> None:
    assert states(home) == []
    added = answer(home, "add", file)
    assert (added["state"], added["what"], added["recipients"]) == ("holds", "cn_sc_filed", ["p2"])
    assert answer(home, "add", file) == added
    assert answer(home, "list") == [added]
    assert answer(home, "expire", added["id"][:8])["state"] == "ended"
    assert states(home) == ["ended"]
    assert events(home) == ["record added", "record ended"]
    decisions = 3
    assert AuditStore.read_only(home / "audit.db").count() == 2 + decisions


def test_a_record_outside_its_days_is_shown_so(home: Path, tmp_path: Path) -> None:
    early, late = str(TODAY - timedelta(days=9)), str(TODAY + timedelta(days=9))
    answer(home, "add", written(tmp_path / "old.json", valid_from=early, valid_until=early))
    answer(home, "add", written(tmp_path / "new.json", valid_from=late, valid_until=late))
    assert states(home) == ["expired", "not yet"]


def test_tables_fit_80_columns(home: Path, file: Path) -> None:
    for found in (run(home, "list"), run(home, "add", file), run(home, "list")):
        assert found.exit_code == 0, found.output
        assert max(map(len, found.output.splitlines())) <= 80


def test_the_document_must_be_the_one_that_is_stated(home: Path, file: Path, tmp_path: Path) -> None:
    document = tmp_path / "contract.pdf"
    document.write_bytes(DOCUMENT + b" in part")
    refused(run(home, "add", file, "--document", document), "its SHA-256 is")
    assert states(home) == []
    document.write_bytes(DOCUMENT)
    assert answer(home, "add", file, "--document", document)["state"] == "holds"


def test_wrong_input_is_one_line_and_exit_2(home: Path, file: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    refused(run(home, "add", absent), "absent: ")
    refused(run(home, "add", file, "--document", absent), "the recorded document")
    refused(run(home, "add", written(tmp_path / "x.json", mechanism="handshake")), "`mechanism`")
    refused(run(home, "expire", "abc"), "see `inbond record list`")
    refused(run(tmp_path, "list"), str(tmp_path))
    refused(run(certified_home(TestAuthority(CONSORTIUM), "user", "ana", tmp_path / "ana"), "list"), "user's node")
    assert states(home) == []


def refused(found: Result, what: str) -> None:
    assert isinstance(found.exception, Exception), found.output
    assert exit_code(found.exception) == EXIT_INPUT
    assert what in str(found.exception)
    assert "\n" not in str(found.exception)


def test_several_records_are_kept_together_or_none_is(home: Path, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.json"), written(tmp_path / "b.json", number="Shanghai 2026-115")
    bad = written(tmp_path / "c.json", mechanism="handshake")
    refused = run(home, "add", first, bad)
    assert refused.exit_code != 0
    assert states(home) == []
    assert len(answer(home, "add", first, second)) == 2
    assert states(home) == ["holds", "holds"]
    alone = run(home, "add", first, second, "--document", tmp_path / "a.json")
    assert "one document and several records" in str(alone.exception)
