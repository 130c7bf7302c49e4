"""Requests at the command line: the overdue first, days left, a code for monitoring, and answers that were done."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inbond.node import utc_now
from parties.subject_cli import app
from tests.bad_input.homes import Party
from tests.parties.test_withheld import run, said


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made = Party.make(tmp_path / "p1")
    yield made
    made.close()


def _asked(party: Party, person: str, kind: str, days_ago: int = 0, regime: str = "pdpa") -> int:
    """A request of so many days ago; PDPA gives 30 days."""
    received = (utc_now() - timedelta(days=days_ago)).isoformat()
    number: int = said(party, "request", person, "--kind", kind, "--regime", regime, "--received", received)["request"]
    return number


def test_requests_have_a_day_and_an_answer(party: Party) -> None:
    made = said(party, "request", "a", "--kind", "access", "--regime", "gdpr", "--received", "2026-01-31T12:00+00:00")
    assert (made["due"], made["state"], made["copy"]) == ("2026-02-28T22:59+00:00", "overdue", None)
    assert made["days_left"] < 0
    refused = run(party, "answer", made["request"], "granted", "--say", "copy sent")
    assert "no copy was made for it" in str(refused.exception)
    done = said(party, "answer", made["request"], "granted", "--say", "copy sent by post", "--given-otherwise")
    assert (done["state"], done["days_left"]) == ("granted", None)
    assert [one["state"] for one in said(party, "requests")] == ["granted"]
    assert "answered already" in str(run(party, "answer", made["request"], "granted", "--say", "x").exception)
    for bad in ("soon", "2026-01-31T12:00", "9999-12-31T23:00+00:00", "0001-01-01T00:00+14:00"):
        refused = run(party, "request", "a", "--kind", "access", "--regime", "gdpr", "--received", bad)
        assert f"--received: {bad!r} is no time with a zone" in str(refused.exception)
    terms = json.loads(CliRunner().invoke(app, ["terms", "--json"]).output)
    assert {one["regime"] for one in terms} >= {"gdpr", "pipl", "ccpa", "lgpd"}
    assert said(party, "counts") == []


def test_the_overdue_are_first_and_monitoring_learns_of_them(party: Party) -> None:
    assert run(party, "requests", "--overdue").exit_code == 0, "no registry, no request"
    fresh, late = _asked(party, "a", "access", 1), _asked(party, "b", "erasure", 40)
    later, answered = _asked(party, "c", "objection", 50), _asked(party, "d", "access", 60)
    said(party, "answer", answered, "refused", "--say", "nobody knows who asked")
    rows = said(party, "requests")
    assert [one["request"] for one in rows] == [later, late, fresh, answered]
    assert [one["state"] for one in rows] == ["overdue", "overdue", "open", "refused"]
    assert rows[0]["days_left"] < rows[1]["days_left"] < 0 < rows[2]["days_left"] <= 30
    assert rows[3]["days_left"] is None
    found = run(party, "requests", "--overdue", "--json")
    assert found.exit_code == 5
    assert [one["request"] for one in json.loads(found.output)] == [later, late]
    shown = run(party, "requests").output
    assert "days left" in shown
    assert max(map(len, shown.splitlines())) <= 80
    for number in (late, later):
        said(party, "answer", number, "refused", "--say", "manifestly unfounded")
    nothing = run(party, "requests", "--overdue")
    assert (nothing.exit_code, nothing.output.strip()) == (0, "no request is overdue")


@pytest.mark.parametrize(("kind", "act"), [("erasure", "erase"), ("objection", "object")])
def test_what_is_granted_was_done_by_its_command(party: Party, kind: str, act: str) -> None:
    number = _asked(party, "a", kind)
    refused = run(party, "answer", number, "granted", "--say", "done")
    assert f"no {kind} of this person is in force here; `inbond subject {act} ID` first" in str(refused.exception)
    assert said(party, "requests")[0]["state"] == "open"
    said(party, act, "a")
    assert said(party, "answer", number, "granted", "--say", "done")["state"] == "granted"
