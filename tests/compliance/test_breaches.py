"""Breaches: opened with their clocks, done duty by duty, closed when nothing runs; never changed, each act logged."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.breaches import Breach, BreachStore, Said
from compliance.errors import InvalidLawEntry, LogUnavailable

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
LOST = Said(("gdpr", "lgpd"), frozenset({"high_risk"}), 1200, "a laptop with order exports was lost")
Told = list[tuple[str, Mapping[str, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.db"


def store(path: Path, told: Told, now: datetime = NOW) -> BreachStore:
    return BreachStore.open(path, lambda subject, data: told.append((subject, data)), clock=lambda: now)


def states(breach: Breach, now: datetime = NOW) -> dict[str, str]:
    return {clock.name: breach.state(clock, now) for clock in breach.clocks()}


def test_a_breach_opens_the_clocks_of_every_regime_and_survives_a_restart(path: Path) -> None:
    told: Told = []
    with store(path, told) as breaches:
        opened = breaches.open_breach(NOW - timedelta(hours=2), LOST)
    with BreachStore.read_only(path) as reader:
        assert reader.all() == [opened]
    assert states(opened) == {
        "gdpr.authority": "running",
        "gdpr.people": "running",
        "lgpd.authority": "running",
        "lgpd.people": "running",
        "lgpd.detail": "waits",
    }
    assert told[0][0] == "breach:1"
    assert told[0][1]["due"]["gdpr.authority"] == "2026-11-23T13:30:00+00:00"
    assert "laptop" not in str(told)


def test_a_clock_that_ran_out_is_overdue(path: Path) -> None:
    with store(path, []) as breaches:
        opened = breaches.open_breach(NOW, LOST)
    last = NOW + timedelta(hours=72)
    assert states(opened, last)["gdpr.authority"] == "running"
    assert states(opened, last + timedelta(seconds=1))["gdpr.authority"] == "OVERDUE"


def test_duties_are_done_once_and_a_breach_closes_when_none_runs(path: Path) -> None:
    told: Told = []
    with store(path, told) as breaches:
        breaches.open_breach(NOW - timedelta(hours=1), LOST)
        found = breaches.act(1, "gdpr.authority", "not needed: but filed as LfDI 2026-77", at=NOW)
        assert states(found)["gdpr.authority"] == "done"
        with pytest.raises(InvalidLawEntry, match="done already"):
            breaches.act(1, "gdpr.authority", "again")
        with pytest.raises(InvalidLawEntry, match=r"gdpr\.people is not done"):
            breaches.close_breach(1, "found")
        for duty in ("gdpr.people", "lgpd.authority", "lgpd.people", "lgpd.detail"):
            found = breaches.act(1, duty, "the disk was encrypted", needed=False)
        assert set(states(found).values()) == {"done", "not needed"}
        closed = breaches.close_breach(1, "nothing was read")
        assert closed.closed == NOW
        with pytest.raises(InvalidLawEntry, match="closed"):
            breaches.act(1, "gdpr.people", "again")
        with pytest.raises(InvalidLawEntry, match="closed already"):
            breaches.close_breach(1, "again")
    events = [data["event"] for _, data in told]
    assert events == ["breach opened", "breach duty done", *["breach duty not needed"] * 4, "breach closed"]


@pytest.mark.parametrize(
    ("aware", "said", "what"),
    [
        (NOW + timedelta(hours=1), LOST, "lies ahead"),
        (NOW, LOST._replace(regimes=()), "no regime"),
        (NOW, LOST._replace(regimes=("atlantis",)), "atlantis"),
        (NOW, LOST._replace(flags=frozenset({"dragons"})), "dragons"),
        (NOW, LOST._replace(what=""), "no words"),
        (NOW, LOST._replace(what="x" * 501), "too many"),
        (NOW, LOST._replace(people=-1), "negative"),
    ],
)
def test_a_breach_that_makes_no_sense_is_not_opened(path: Path, aware: datetime, said: Said, what: str) -> None:
    with store(path, []) as breaches:
        with pytest.raises(InvalidLawEntry, match=what):
            breaches.open_breach(aware, said)
        assert breaches.all() == []


def test_an_act_that_makes_no_sense_is_not_kept(path: Path) -> None:
    with store(path, []) as breaches:
        breaches.open_breach(NOW, LOST)
        for duty, said, at, what in (
            ("pipl.people", "x", NOW, "none of its duties"),
            ("gdpr.people", "", NOW, "no words"),
            ("gdpr.people", "x", NOW - timedelta(seconds=1), "between awareness and now"),
            ("gdpr.people", "x", NOW + timedelta(hours=1), "between awareness and now"),
        ):
            with pytest.raises(InvalidLawEntry, match=what):
                breaches.act(1, duty, said, at=at)
        with pytest.raises(InvalidLawEntry, match="no such breach"):
            breaches.act(2, "gdpr.people", "x")
        assert breaches.all()[0].acts == ()


def test_what_the_log_cannot_take_is_not_kept(path: Path) -> None:
    def full(_subject: str, _data: Mapping[str, Any]) -> None:
        raise LogUnavailable("disk full")

    with BreachStore.open(path, full) as breaches:
        with pytest.raises(LogUnavailable):
            breaches.open_breach(NOW, LOST)
        assert breaches.all() == []


@pytest.mark.parametrize("table", ["breaches", "breach_acts"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET said = 'x'"])
def test_the_file_itself_refuses_changes(path: Path, table: str, statement: str) -> None:
    with store(path, []) as breaches:
        breaches.open_breach(NOW, LOST)
        breaches.act(1, "gdpr.people", "told")
    with closing(sqlite3.connect(path)) as base, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        base.execute(statement.format(table))
