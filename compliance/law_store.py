"""The file that a node's lawfulness rests on (its records of evidence): one writer at a time, durable on leaving.

The owner's own file; nobody else reads it. What happens in it is told to the evidence log inside the transaction: where
the log cannot take the entry, nothing is kept. A crash between the two leaves an entry about something that is not
kept, which permits nothing.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from compliance.database import BUSY_SECONDS, open_database, open_read_only, translated
from compliance.errors import LawStoreUnavailable

FILE = "law.db"
Tell = Callable[[str, Mapping[str, Any]], None]
"""Appends (subject, data) to the evidence log; raises where it cannot."""


def _tell_nobody(_subject: str, _data: Mapping[str, Any]) -> None:
    raise LawStoreUnavailable("nothing can be changed without an evidence log", right="open the store with its log")


class LawStore:
    """Base of what is kept in the file; safe for any number of threads and processes."""

    SCHEMA: ClassVar[str] = "law"

    def __init__(self, path: Path, connection: sqlite3.Connection, tell: Tell, clock: Callable[[], datetime]) -> None:
        self._path, self._connection, self._tell, self._clock = path, connection, tell, clock
        self._lock = threading.Lock()
        with translated(path, LawStoreUnavailable):
            self._inode = path.stat().st_ino

    @classmethod
    def open(
        cls,
        path: Path,
        tell: Tell,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open or create the file; raises LawStoreUnavailable where it cannot be used."""
        connection = open_database(path, cls.SCHEMA, LawStoreUnavailable, busy_seconds=busy_seconds)
        return cls(path, connection, tell, clock)

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Open an existing file for looking only; raises LawStoreUnavailable where there is none."""
        connection = open_read_only(path, cls.SCHEMA, LawStoreUnavailable)
        return cls(path, connection, _tell_nobody, lambda: datetime.now(UTC))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was kept stays kept."""
        with self._lock:
            self._connection.close()

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file alone, across threads and processes; durable on leaving, or nothing changed."""
        with self._reading() as base:
            # SQLite goes on writing to a file that was deleted: such a change would be durable nowhere.
            if self._path.stat().st_ino != self._inode:
                raise OSError("the file was replaced while in use")
            base.execute("BEGIN IMMEDIATE")
            try:
                yield base
                base.execute("COMMIT")
            except BaseException:
                if base.in_transaction:
                    base.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path, LawStoreUnavailable):
            yield self._connection
