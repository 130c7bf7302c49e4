"""The ledger of duties: kept once, durably, told to the log or not kept; never changed; unreadable is an error."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compliance.duties import DutyLedger
from compliance.errors import LawStoreUnavailable, LogUnavailable
from policies.law.duties import LaterDuty, Owed

DAY = date(2026, 11, 20)
Told = list[tuple[str, Mapping[str, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "duties.db"


def duty(recipient: str = "p2", what: str = "exact aggregate", every_years: int | None = None) -> LaterDuty:
    return LaterDuty(
        "OBL_JP_RECORD", "record of the provision", ("tia", "tool"), "p1", recipient, "DE", "orders", what, "aggregate",
        DAY, date(2026, 11, 23), every_years,
    )  # fmt: skip


def ledger(path: Path, told: Told) -> DutyLedger:
    return DutyLedger.open(path, lambda subject, data: told.append((subject, data)))


def test_what_is_kept_is_there_after_a_restart_once_and_in_the_log(path: Path) -> None:
    told: Told = []
    with ledger(path, told) as duties:
        assert duties.keep("1", [duty(), duty("p3")]) == 2
        assert duties.keep("1", [duty(), duty("p3")]) == 0
    with DutyLedger.read_only(path) as reader:
        assert reader.all() == [Owed("1", duty()), Owed("1", duty("p3"))]
    ((subject, data),) = told
    assert (subject, data["event"], data["job"]) == ("duties", "duties arose", "1")
    assert data["duties"][1] == {"obligation": "OBL_JP_RECORD", "recipient": "p3", "due": "2026-11-23"}


def test_what_recurs_is_kept_for_its_first_job_and_the_rest_for_each(path: Path) -> None:
    told: Told = []
    with ledger(path, told) as duties:
        assert duties.keep("1", [duty(every_years=1), duty()]) == 2
        assert duties.keep("2", [duty(every_years=1), duty()]) == 1
        assert duties.keep("3", [duty(every_years=1)]) == 0
        assert [one.job for one in duties.all()] == ["1", "1", "2"]
    assert len(told) == 2, "what is known already is not told again"


def test_the_duties_towards_some_recipients_are_found(path: Path) -> None:
    with ledger(path, []) as duties:
        duties.keep("1", [duty("p3"), duty("p2"), duty("p4")])
        assert [one.duty.recipient for one in duties.between("p1", ["p2", "p3", "p2"])] == ["p3", "p2"]
        assert duties.between("p9", ["p2"]) == []


def test_what_the_log_does_not_take_is_not_kept(path: Path) -> None:
    def full(_subject: str, _data: Mapping[str, Any]) -> None:
        raise LogUnavailable("disk full")

    with DutyLedger.open(path, full) as duties, pytest.raises(LogUnavailable):
        duties.keep("1", [duty()])
    with DutyLedger.read_only(path) as reader:
        assert reader.all() == []


def test_the_file_lets_nobody_change_or_drop_a_duty(path: Path) -> None:
    with ledger(path, []) as duties:
        duties.keep("1", [duty()])
    with closing(sqlite3.connect(path)) as base:
        for change in ("DELETE FROM duties", "UPDATE duties SET job = '2'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                base.execute(change)


def test_a_file_or_a_duty_that_cannot_be_read_is_an_error(path: Path) -> None:
    with ledger(path, []) as duties:
        duties.keep("1", [duty()])
    with closing(sqlite3.connect(path)) as base:
        base.execute("INSERT INTO duties VALUES (9, 'n', '2', 'OBL_X', 'p1', 'p2', '{\"code\": 1}')")
        base.commit()
    with DutyLedger.read_only(path) as reader, pytest.raises(LawStoreUnavailable, match="a duty of job 2"):
        reader.all()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(LawStoreUnavailable):
        DutyLedger.read_only(path)
