"""A state database opens at its newest schema, durable, or says in one line why not."""

import sqlite3
from pathlib import Path

import pytest

import parties
from inbond.database import open_database, sqlite_url
from inbond.errors import InbondError

MIGRATIONS = Path(parties.__file__).parent / "migrations"


def test_a_new_file_is_brought_to_the_newest_schema_and_opens_again(tmp_path: Path) -> None:
    for _ in range(2):
        engine = open_database(sqlite_url(tmp_path / "state.db"), MIGRATIONS)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM jobs").scalar() == 0
        engine.dispose()


def test_what_cannot_be_opened_is_told_in_one_line_and_left_as_it_was(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all" * 100)
    for path in (garbage, tmp_path / "no" / "folder" / "x.db", tmp_path):
        with pytest.raises(InbondError, match="cannot be opened") as caught:
            open_database(sqlite_url(path), MIGRATIONS)
        assert "\n" not in str(caught.value)
        assert caught.value.right
    assert garbage.read_bytes() == b"not a database at all" * 100


def test_a_schema_from_the_future_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_database(sqlite_url(path), MIGRATIONS).dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(InbondError, match="cannot be opened"):
        open_database(sqlite_url(path), MIGRATIONS)
