"""An entry alone, proven: what was altered, or is of another log or place, is not believed."""

from pathlib import Path
from typing import Any

import pytest

from compliance.audit.proof import prove, read_proof
from compliance.errors import InvalidProof
from compliance.note import VerifierKey
from tests.compliance.audit_fixtures import KEY, ORIGIN, OTHER_KEY, entry, open_log

VKEY = VerifierKey.of(ORIGIN, KEY)


@pytest.fixture
def proof(tmp_path: Path) -> dict[str, Any]:
    with open_log(tmp_path / "audit.db") as log:
        log.append_many([entry(number) for number in range(21)])
        return prove(log, 13, entry(13))


def test_an_entry_is_proven_under_the_newest_checkpoint(proof: dict[str, Any]) -> None:
    found = read_proof(proof, VKEY)
    assert (found.number, found.entry, found.checkpoint.size) == (13, entry(13), 21)


@pytest.mark.parametrize("size", [1, 2, 16, 17])
def test_every_entry_of_a_log_is_proven(tmp_path: Path, size: int) -> None:
    with open_log(tmp_path / "audit.db") as log:
        log.append_many([entry(number) for number in range(size)])
        for number in range(size):
            assert read_proof(prove(log, number, entry(number)), VKEY).entry == entry(number)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 12},
        {"number": 21},
        {"number": -1},
        {"number": True},
        {"number": "13"},
        {"entry": entry(12).to_bytes().decode()},
        {"entry": "\ud800"},
        {"entry": 7},
        {"path": []},
        {"path": "none"},
        {"path": ["AA=="] * 99},
        {"path": [7]},
        {"checkpoint": "none"},
        {"checkpoint": None},
        {"more": 1},
    ],
    ids=str,
)
def test_anything_else_is_refused(proof: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        read_proof(proof | change, VKEY)


def test_another_logs_key_and_no_proof_at_all_are_refused(proof: dict[str, Any]) -> None:
    for key in (VerifierKey.of(ORIGIN, OTHER_KEY), VerifierKey.of("inbond.example/audit/other", KEY)):
        with pytest.raises(InvalidProof, match="not proven"):
            read_proof(proof, key)
    nothings: list[object] = [None, [], "proof", {}]
    for nothing in nothings:
        with pytest.raises(InvalidProof, match="malformed"):
            read_proof(nothing, VKEY)
