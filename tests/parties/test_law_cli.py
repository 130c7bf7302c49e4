"""`inbond law` of a party: counters are begun, stated and shown; clocks of a breach are opened, done and closed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from compliance.counters import FILE
from compliance.counters_flow import Flow
from inbond.cli import EXIT_INPUT, exit_code
from inbond.node import Node
from parties.counting import opened_counters
from parties.law_cli import app
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.parties.test_record_cli import events
from tests.support.authority import TestAuthority


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return certified_home(TestAuthority(CONSORTIUM), "party", "p1", tmp_path / "p1")


def run(home: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home)])


def answer(home: Path, *arguments: object) -> Any:
    found = run(home, *arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.output)


def test_counters_are_begun_stated_and_shown(home: Path) -> None:
    assert run(home, "begin-counters").exit_code == 0
    assert answer(home, "counters") == []
    assert answer(home, "sent", "cn:sensitive", 12)["after"]["cn_ytd_sens"] == 12
    answer(home, "sent", "us:financial", 7)
    rows = answer(home, "counters")
    assert [(row["heading"], row["people"]) for row in rows] == [("cn:sensitive", 12), ("us:financial", 7)]
    assert rows[1]["period"] is None
    assert rows[0]["exporter"] == "p1"
    assert events(home) == ["counters begun", *["people counted", "count committed"] * 2]


def test_a_transfer_made_elsewhere_counts_each_person_once_and_once_a_reference(home: Path, tmp_path: Path) -> None:
    run(home, "begin-counters")
    people = tmp_path / "people.txt"
    people.write_text("ana\nbo\n\nana\n")
    stated = ("sent", "cn:ordinary", "--ids", people, "--reference", "2026-03/mailing")
    assert answer(home, *stated)["after"]["cn_ytd_nonsens"] == 2
    assert answer(home, *stated)["after"]["cn_ytd_nonsens"] == 2
    people.write_text("bo\nchen\n")
    refused(run(home, *stated), "one key for one release")
    assert answer(home, *stated[:-1], "2026-04/mailing")["after"]["cn_ytd_nonsens"] == 3
    assert events(home) == ["counters begun", *["people counted", "count committed"] * 2]


def test_a_flow_that_awaits_its_release_is_shown(home: Path) -> None:
    run(home, "begin-counters")
    node = Node.open(home)
    with opened_counters(node) as ledger:
        ledger.reserve(Flow("1", "job-1", "p1", frozenset({"cn:ordinary"}), [b"ana"]))
    node.close()
    assert [(row["people"], row["reserved"]) for row in answer(home, "counters")] == [(1, 1)]
    shown = run(home, "counters").output
    assert "cn:ordinary" in shown
    assert "ana" not in shown


def test_counters_that_were_lost_are_not_taken_for_new_ones(home: Path) -> None:
    run(home, "begin-counters")
    answer(home, "sent", "cn:sensitive", 12)
    (home / FILE).unlink()
    refused(run(home, "sent", "cn:sensitive", 1), "`inbond law begin-counters`")
    refused(run(home, "counters"), "there are no counters")


def test_a_breach_is_opened_done_and_closed(home: Path) -> None:
    assert answer(home, "breach", "list") == []
    opened = answer(home, "breach", "open", "a laptop was lost", "--flag", "high_risk", "--people", 1200)
    assert (opened["regimes"], opened["state"]) == (["gdpr"], "open")
    assert [clock["state"] for clock in opened["clocks"]] == ["running", "running"]
    answer(home, "breach", "done", 1, "gdpr.authority", "--say", "LfDI 2026-77")
    answer(home, "breach", "not-needed", 1, "gdpr.people", "--say", "the disk was encrypted")
    closed = answer(home, "breach", "close", 1, "--say", "nothing was read")
    assert closed["state"] == "closed"
    assert answer(home, "breach", "list") == [closed] == [answer(home, "breach", "show", 1)]


def test_regimes_and_the_time_of_awareness_can_be_said(home: Path) -> None:
    arguments = ("--regime", "pipl", "--regime", "lgpd", "--aware", "2026-01-31T09:30+01:00", "--flag", "significant")
    opened = answer(home, "breach", "open", "exports were copied", *arguments)
    assert opened["aware"] == "2026-01-31 08:30Z"
    first = opened["clocks"][0]
    assert (first["duty"], first["due"], first["state"]) == ("pipl.incident", "2026-01-31 12:30Z", "OVERDUE")


def test_wrong_input_is_one_line_and_exit_2(home: Path) -> None:
    refused(run(home, "counters"), "there are no counters")
    refused(run(home, "sent", "cn:ordinary", 1), "`inbond law begin-counters`")
    run(home, "begin-counters")
    refused(run(home, "begin-counters"), "go on with them")
    refused(run(home, "sent", "cn:nothing", 1), "cn:ordinary")
    refused(run(home, "sent", "cn:ordinary"), "a number, or --ids FILE")
    refused(run(home, "sent", "cn:ordinary", 1, "--ids", home / "none.txt"), "a number, or --ids FILE")
    refused(run(home, "sent", "cn:ordinary", 1, "--reference", "two words"), "letters, digits")
    refused(run(home, "breach", "open", "x", "--aware", "yesterday"), "2026-11-26T09:30+01:00")
    refused(run(home, "breach", "open", "x", "--regime", "atlantis"), "one of gdpr")
    refused(run(home, "breach", "show", 9), "see `inbond law breach list`")
    assert answer(home, "breach", "list") == []


def test_tables_fit_80_columns(home: Path) -> None:
    run(home, "begin-counters")
    answer(home, "sent", "us:covered_ids", 10**9)
    answer(home, "breach", "open", "exports of orders were copied to a place that nobody knows", "--regime", "lgpd")
    for words in (["counters"], ["breach", "list"], ["breach", "show", "1"]):
        assert max(map(len, run(home, *words).output.splitlines())) <= 80
    assert max(map(len, CliRunner().invoke(app, ["breach", "flags"]).output.splitlines())) <= 80


def test_the_questions_of_the_law_are_in_the_same_group() -> None:
    found = CliRunner().invoke(app, ["regimes", "--json"])
    assert found.exit_code == 0
    assert len(json.loads(found.output)["regimes"]) >= 10


def refused(found: Result, what: str) -> None:
    assert isinstance(found.exception, Exception), found.output
    assert exit_code(found.exception) == EXIT_INPUT
    assert what in str(found.exception)
    assert "\n" not in str(found.exception)
