"""`inbond audit`: what the officer types, what it prints and how it exits."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.cli import app
from compliance.errors import ExportFailed, InvalidEntry, LogUnavailable
from tests.compliance.audit_fixtures import ORIGIN, signed_log


@pytest.fixture
def home(tmp_path: Path) -> Path:
    signed_log(tmp_path / "audit.db", 30)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def tamper(home: Path) -> None:
    with closing(sqlite3.connect(home / "audit.db")) as connection:
        connection.execute("UPDATE entries SET data = replace(CAST(data AS TEXT), 'permit', 'deny') WHERE number = 17")
        connection.commit()


def test_list_shows_the_newest_entries_within_80_columns(home: Path) -> None:
    result = run("list", "--home", home, "--last", 3)
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["#", "27", "28", "29"]
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_list_filters_and_prints_json(home: Path) -> None:
    assert json.loads(run("list", "--home", home, "--job", "job-2", "--json").stdout) == []
    found = json.loads(run("list", "--home", home, "--type", "decision", "--last", 2, "--json").stdout)
    assert [each["number"] for each in found] == [28, 29]
    assert found[0]["data"]["effect"] == "permit"


def test_show_prints_one_entry_in_full(home: Path) -> None:
    assert json.loads(run("show", 7, "--home", home, "--json").stdout)["subject"] == "plan:7"
    assert "GDPR 46(2)(c)" in run("show", 7, "--home", home).stdout
    assert isinstance(run("show", 30, "--home", home).exception, InvalidEntry)


def test_verify_says_verified_and_exits_0(home: Path) -> None:
    result = run("verify", "--home", home)
    assert result.exit_code == 0
    assert "verified" in result.stdout
    assert "compare it, or pass --key" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_verify_names_the_first_bad_entry_and_exits_5(home: Path) -> None:
    tamper(home)
    result = run("verify", "--home", home)
    assert result.exit_code == 5
    assert "entry 17 does not hash to its leaf" in " ".join(result.stdout.split())
    report = json.loads(run("verify", "--home", home, "--json").stdout)
    assert (report["ok"], report["first_bad"]) == (False, 17)


def test_export_writes_a_file_that_verifies_elsewhere(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "evidence.jsonl"
    assert json.loads(run("export", "--home", home, "--out", out, "--json").stdout)["entries"] == 30
    assert run("verify", out).exit_code == 0
    out.write_bytes(out.read_bytes().replace(b"plan:21", b"plan:12"))
    assert run("verify", out).exit_code == 5
    assert isinstance(run("export", "--home", home, "--out", out).exception, ExportFailed)


def test_verify_takes_the_key_the_party_published(home: Path) -> None:
    key = json.loads(run("verify", "--home", home, "--json").stdout)["vkey"]
    assert run("verify", "--home", home, "--key", key).exit_code == 0
    assert ORIGIN in key
    other = key[:-4] + "AAA="
    assert run("verify", "--home", home, "--key", other).exit_code != 0


def test_a_home_without_a_log_is_named(tmp_path: Path) -> None:
    for command in (["list"], ["show", "0"], ["verify"], ["export", "--out", tmp_path / "x"]):
        result = run(*command, "--home", tmp_path / "nowhere")
        assert isinstance(result.exception, LogUnavailable)
        assert "nowhere" in str(result.exception)
