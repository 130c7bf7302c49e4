"""Records are kept for good: added once, ended once, never changed, and each act is in the evidence log or undone."""

import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from compliance.errors import InvalidLawEntry, LawStoreUnavailable, LogUnavailable
from compliance.records import RecordStore
from tests.compliance.audit_fixtures import NOON
from tests.policies.test_evidence import PIPIA, SCC, SHA, record

Told = list[tuple[str, Mapping[str, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "law.db"


def store(path: Path, told: Told) -> RecordStore:
    return RecordStore.open(path, lambda subject, data: told.append((subject, data)), clock=lambda: NOON)


def test_a_record_is_there_after_the_file_is_opened_again(path: Path) -> None:
    told: Told = []
    with store(path, told) as records:
        added = records.add(record(SCC))
    with RecordStore.read_only(path) as reader:
        assert reader.all() == [added]
        assert reader.standing() == [record(SCC)]
    assert told == [(f"record:{added.id}", {"event": "record added", "kind": "tool", "document": SHA})]


def test_the_same_record_is_kept_and_told_once(path: Path) -> None:
    told: Told = []
    with store(path, told) as records, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: records.add(record(SCC)), range(50)))
        assert found == records.all() * 50
    assert len(told) == 1


def test_an_ended_record_stays_listed_and_supports_nothing(path: Path) -> None:
    told: Told = []
    with store(path, told) as records:
        first, second = records.add(record(SCC)), records.add(record(PIPIA))
        ended = records.expire(first.id[:6])
        assert ended.ended == NOON
        assert records.expire(first.id) == ended
        assert records.all() == [ended, second]
        assert records.standing() == [record(PIPIA)]
        with pytest.raises(InvalidLawEntry, match="was ended"):
            records.add(record(SCC))
    assert [data["event"] for _, data in told] == ["record added", "record added", "record ended"]


@pytest.mark.parametrize("prefix", ["", "zz", "%", "_"])
def test_what_names_no_single_record_ends_none(path: Path, prefix: str) -> None:
    with store(path, []) as records:
        records.add(record(SCC))
        with pytest.raises(InvalidLawEntry, match="see `inbond record list`"):
            records.expire(prefix)
        assert len(records.standing()) == 1


def test_what_the_log_cannot_take_is_not_kept(path: Path) -> None:
    def full(_subject: str, _data: Mapping[str, Any]) -> None:
        raise LogUnavailable("disk full")

    with store(path, []) as records:
        name = records.add(record(SCC)).id
    with RecordStore.open(path, full) as records:
        with pytest.raises(LogUnavailable):
            records.add(record(PIPIA))
        with pytest.raises(LogUnavailable):
            records.expire(name)
        assert records.standing() == [record(SCC)]


@pytest.mark.parametrize("table", ["records", "record_ends"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET id = 'x'"])
def test_the_file_itself_refuses_changes(path: Path, table: str, statement: str) -> None:
    with store(path, []) as records:
        records.expire(records.add(record(SCC)).id)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement.format(table))


def test_a_file_that_is_missing_replaced_or_for_reading_takes_nothing(path: Path) -> None:
    with pytest.raises(LawStoreUnavailable, match="no such file"):
        RecordStore.read_only(path)
    with store(path, []) as records:
        path.unlink()
        path.touch()
        with pytest.raises(LawStoreUnavailable, match="replaced"):
            records.add(record(SCC))


def test_a_reader_cannot_add(path: Path) -> None:
    store(path, []).close()
    with RecordStore.read_only(path) as reader, pytest.raises(LawStoreUnavailable):
        reader.add(record(SCC))
