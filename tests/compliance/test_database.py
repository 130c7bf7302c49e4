"""Opening a node's database: created, migrated, durable, also when two processes do it at once."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from compliance.database import HEADS, open_database, open_read_only
from compliance.errors import LogUnavailable
from compliance.migrations import script_directory


@pytest.mark.parametrize("schema", sorted(HEADS))
def test_the_named_head_is_the_newest_revision(schema: str) -> None:
    assert script_directory(schema).get_heads() == [HEADS[schema]]


@pytest.mark.parametrize("schema", sorted(HEADS))
def test_a_new_file_gets_the_schema_and_full_durability(tmp_path: Path, schema: str) -> None:
    with closing(open_database(tmp_path / "new.db", schema, LogUnavailable)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEADS[schema],)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_openers_that_race_for_a_new_file_all_get_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(open_database, tmp_path / "new.db", "audit", LogUnavailable) for _ in range(6)]
        for future in futures:
            future.result().close()


def test_a_reader_refuses_a_file_of_another_schema(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
    with pytest.raises(LogUnavailable, match="schema is at None"):
        open_read_only(tmp_path / "old.db", "audit", LogUnavailable)
