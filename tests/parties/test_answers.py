"""Answers that a party reads: kept whole under the node's key, and shown like any other answer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from inbond.errors import ConfigError, InbondError
from parties.answers import Answers, KeptAnswer
from parties.cli import app
from tests.bad_input.homes import Party
from tests.inbond.test_answers import EMPTY, FULL, made

ASKER = "spiffe://acme.example/user/rosa"
AT = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
FIRST, SECOND = "ab" * 16, "ac" * 16


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made_party = Party.make(tmp_path / "p1")
    yield made_party
    made_party.close()


@pytest.fixture
def shelf(party: Party) -> Answers:
    return Answers(party.home, party.node.keystore)


def run(party: Party, *arguments: str) -> str:
    found = CliRunner().invoke(app, ["answers", *arguments, "--home", str(party.home)])
    assert found.exit_code == 0, found.output
    assert "--json" in arguments or all(len(line) <= 80 for line in found.output.splitlines())
    return found.output


def test_an_answer_comes_back_as_it_was_put_away(shelf: Answers) -> None:
    kept = KeptAnswer(made(FULL, EMPTY), ASKER, AT)
    shelf.put(kept)
    assert shelf.find(FIRST[:4]) == kept
    assert shelf.all() == [kept]


def test_it_is_sealed_and_belongs_to_its_job(party: Party, shelf: Answers) -> None:
    shelf.put(KeptAnswer(made(FULL), ASKER, AT))
    (path,) = (party.home / "answers").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert b"country" not in path.read_bytes()
    path.rename(path.with_name(f"{SECOND}.sealed"))
    with pytest.raises(ConfigError, match=f"answer of {SECOND}"):
        shelf.find(SECOND)


def test_list_and_show_and_a_file(party: Party, shelf: Answers, tmp_path: Path) -> None:
    assert run(party, "list") == "no answers\n"
    assert json.loads(run(party, "list", "--json")) == []
    shelf.put(KeptAnswer(made(FULL), ASKER, AT))
    shelf.put(KeptAnswer(replace(made(FULL), job=SECOND), ASKER, AT + timedelta(hours=1)))
    assert [row["job"] for row in json.loads(run(party, "list", "--json"))] == [SECOND, FIRST]
    assert SECOND[:12] in run(party, "list")
    shown: dict[str, Any] = json.loads(run(party, "show", "ab", "--json"))
    assert (shown["job"], shown["suppressed"], shown["rows"][0]["n"]) == (FIRST, 1, FULL["n"])
    run(party, "show", "ab", "--out", str(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "a.parquet").equals(made(FULL).to_arrow())


@pytest.mark.parametrize(
    ("prefix", "told"), [("ff", "no answer here"), ("a", "2 answers here"), ("*", "no answer here")]
)
def test_a_job_without_an_answer_here_or_with_more_than_one_is_told(shelf: Answers, prefix: str, told: str) -> None:
    shelf.put(KeptAnswer(made(FULL), ASKER, AT))
    shelf.put(KeptAnswer(replace(made(FULL), job=SECOND), ASKER, AT))
    with pytest.raises(InbondError, match=told):
        shelf.find(prefix)
