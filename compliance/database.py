"""A node's SQLite file that survives a power cut: WAL, synchronous=FULL, schema kept current by Alembic.

Relies on the disk honouring fsync. The file is readable by its owner alone. Every failure becomes the error
the caller names: a log or ledger that cannot be written must stop the step that needs it.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from compliance.errors import ComplianceError

HEADS = {
    "agreements": "agreements_0001",
    "audit": "audit_0001",
    "budget": "budget_0002",
    "counters": "counters_0001",
    "duties": "duties_0001",
    "law": "law_0001",
    "past": "past_0001",
    "subjects": "subjects_0002",
}
"""Newest revision of each schema under compliance/migrations."""
BUSY_SECONDS = 5.0
"""How long a writer waits for another process before it gives up."""

_REMEDY = "free disk space, write permission on the folder, and no other process holding it"


@contextmanager
def translated(path: Path, unavailable: type[ComplianceError]) -> Iterator[None]:
    """Turn SQLite's and the file system's errors into `unavailable`, naming the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise unavailable(str(error) or type(error).__name__, where=str(path), right=_REMEDY) from error


def open_database(
    path: Path, schema: str, unavailable: type[ComplianceError], *, busy_seconds: float = BUSY_SECONDS
) -> sqlite3.Connection:
    """Open (creating and migrating as needed) a durable database for writing; transactions are explicit.

    Raises `unavailable` where the file cannot be made, is no database, or is locked for `busy_seconds`.
    """
    with translated(path, unavailable):
        if not path.exists():
            path.touch(mode=0o600)
        _migrate(path, schema, busy_seconds)
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            _use_wal(connection, busy_seconds)
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _use_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Turn on WAL, which the file remembers; SQLite does not wait for other openers by itself here."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def open_read_only(path: Path, schema: str, unavailable: type[ComplianceError]) -> sqlite3.Connection:
    """Open an existing database without the ability to change it; raises `unavailable` where it cannot."""
    with translated(path, unavailable):
        if not path.is_file():
            raise unavailable("there is no such file", where=str(path), right=f"the {schema} file of a node")
        connection = _connect_read_only(path)
        revision = _revision(connection)
        if revision == HEADS[schema]:
            return connection
        connection.close()
        raise unavailable(
            f"its {schema} schema is at {revision}",
            where=str(path),
            right=f"{HEADS[schema]}: start the node once",
        )


def _connect_read_only(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        # A WAL file on a read-only medium can be read only with the promise that nobody writes it.
        connection = sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return connection


def _revision(connection: sqlite3.Connection) -> str | None:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return None if row is None else str(row[0])


def _migrate(path: Path, schema: str, busy_seconds: float) -> None:
    with closing(sqlite3.connect(path, timeout=busy_seconds)) as connection:
        if _revision(connection) == HEADS[schema]:
            return
    from compliance.migrations import upgrade  # noqa: PLC0415 - Alembic costs 0.4 s, paid only for a change

    upgrade(path, schema, busy_seconds)
