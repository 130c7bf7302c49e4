"""Where the log is kept: SQL over one SQLite file, no rule of its own beyond "all or nothing".

Leaf hashes live beside their entries; of the interior nodes only every fourth level is kept, so an append
costs a sixteenth of a row more and any node is at most sixteen reads and fifteen hashes away.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from compliance.database import BUSY_SECONDS, open_database, open_read_only, translated
from compliance.errors import LogTampered, LogUnavailable
from compliance.merkle import Frontier, node_hash

TILE_LEVELS = 4
"""Distance between kept levels: 2^4 hashes are one short range scan."""
ROOM = 6 << 20
"""Bytes that `_make_room` writes: SQLite's page cache holds 2 MiB of them back, and its WAL begins anew at 4 MiB."""
PAGE = 512
"""Rows read at a time, so that a long listing holds no lock and no memory."""

# SQLite keeps any type in any column: a row edited by hand must come out as bytes, that then do not hash.
_SELECT_PAGE = """
    SELECT number, CAST(data AS BLOB), CAST(leaf AS BLOB), CAST(link AS BLOB) FROM entries
    WHERE number >= :start AND number < :end
    AND (:type IS NULL OR type = :type) AND (:job IS NULL OR job = :job)
    ORDER BY number LIMIT :page
"""
_SELECT_LEAVES = """
    SELECT CAST(leaf AS BLOB) FROM entries WHERE number >= :first AND number < :last ORDER BY number
"""
_SELECT_NODES = """
    SELECT CAST(hash AS BLOB) FROM nodes
    WHERE level = :level AND number >= :first AND number < :last ORDER BY number
"""


@dataclass(frozen=True)
class Head:
    """The log's end: who it is, how many entries, the tree's frontier and the last link (32 bytes)."""

    origin: str
    vkey: str
    frontier: Frontier
    link: bytes


class Row(NamedTuple):
    """One kept entry: its number, exact bytes, leaf hash and link (32 bytes each)."""

    number: int
    data: bytes
    leaf: bytes
    link: bytes


NewEntry = tuple[int, str, str | None, bytes, bytes, bytes]
"""What one append writes: number, type, job, data, leaf, link."""

NewNode = tuple[int, int, bytes]
"""An interior node completed by an append: level, number, hash."""


class AuditStore:
    """The tables of one audit.db; every method raises LogUnavailable where the file cannot serve it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        with translated(path, LogUnavailable):
            self._inode = path.stat().st_ino

    @classmethod
    def open(cls, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> Self:
        """Open for writing, creating the file where it is missing."""
        connection = open_database(path, "audit", LogUnavailable, busy_seconds=busy_seconds)
        _make_room(connection)
        return cls(path, connection)

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Open an existing log for reading beside its writer."""
        return cls(path, open_read_only(path, "audit", LogUnavailable))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is durable on leaving, or nothing of it is there."""
        with translated(self.path, LogUnavailable):
            self._require_same_file()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _require_same_file(self) -> None:
        # SQLite goes on writing to a file that was deleted: those entries would be durable nowhere.
        if self.path.stat().st_ino != self._inode:
            raise OSError("the file was replaced while in use")

    def start(self, origin: str, vkey: str, link: bytes) -> None:
        """Write the head of an empty log."""
        self._connection.execute("INSERT INTO head VALUES (1, ?, ?, 0, x'', ?)", (origin, vkey, link))

    def head(self) -> Head | None:
        """Return the end of the log, None before `start`."""
        rows = self._rows(
            "SELECT origin, vkey, CAST(size AS INTEGER), CAST(frontier AS BLOB), CAST(link AS BLOB) FROM head"
        )
        if not rows:
            return None
        origin, vkey, size, frontier, link = rows[0]
        return Head(origin, vkey, Frontier.from_bytes(size, frontier), link)

    def advance(self, old_size: int, frontier: Frontier, entries: Sequence[NewEntry], nodes: Sequence[NewNode]) -> bool:
        """Append inside a transaction; False, and nothing done, where another writer was here since."""
        moved = self._connection.execute(
            "UPDATE head SET size = ?, frontier = ?, link = ? WHERE size = ?",
            (frontier.size, frontier.to_bytes(), entries[-1][-1], old_size),
        )
        if moved.rowcount != 1:
            return False
        self._connection.executemany(
            "INSERT INTO entries (number, type, job, data, leaf, link) VALUES (?, ?, ?, ?, ?, ?)",
            entries,
        )
        if nodes:
            self._connection.executemany(
                "INSERT INTO nodes (level, number, hash) VALUES (?, ?, ?)",
                nodes,
            )
        return True

    def rows(self, start: int, end: int, *, entry_type: str | None = None, job: str | None = None) -> Iterator[Row]:
        """Yield the entries [start, end) in order, only those of a type or job where one is given."""
        wanted = {"end": end, "type": entry_type, "job": job, "page": PAGE}
        while page := [Row(*row) for row in self._rows(_SELECT_PAGE, {**wanted, "start": start})]:
            yield from page
            start = page[-1].number + 1

    def start_of_last(self, count: int, *, entry_type: str | None = None, job: str | None = None) -> int:
        """Return the number at which the last `count` matching entries start; 0 where there are fewer."""
        found = self._rows(
            "SELECT number FROM entries "
            "WHERE (:type IS NULL OR type = :type) AND (:job IS NULL OR job = :job) "
            "ORDER BY number DESC LIMIT 1 OFFSET :skip",
            {"type": entry_type, "job": job, "skip": count - 1},
        )
        return int(found[0][0]) if found else 0

    def count(self) -> int:
        """Return the number of rows kept."""
        return int(self._rows("SELECT count(*) FROM entries")[0][0])

    def node(self, level: int, number: int) -> bytes:
        """Return the hash of a whole subtree; raises LogTampered where the rows it needs are missing."""
        base = level - level % TILE_LEVELS
        first, last = number << (level - base), (number + 1) << (level - base)
        rows = self._rows(_SELECT_NODES if base else _SELECT_LEAVES, {"first": first, "last": last, "level": base})
        if len(rows) != last - first:
            raise LogTampered(
                "entries or tree nodes are missing",
                where=str(self.path),
                right="the log as it was written: restore it",
                index=number << level,
            )
        hashes = [bytes(row[0]) for row in rows]
        while len(hashes) > 1:
            hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]

    def put_checkpoint(self, size: int, root: bytes, note: str, time: str) -> None:
        """Keep a signed checkpoint, inside a transaction."""
        self._connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", (size, root, note, time))

    def last_checkpoint(self) -> str | None:
        """Return the newest signed checkpoint, None where none was ever made."""
        rows = self._rows("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return str(rows[0][0]) if rows else None

    def checkpoint_at(self, size: int) -> str | None:
        """Return the checkpoint signed at `size`, if any."""
        rows = self._rows("SELECT note FROM checkpoints WHERE size = ?", (size,))
        return str(rows[0][0]) if rows else None

    def _rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        with translated(self.path, LogUnavailable):
            return self._connection.execute(query, values).fetchall()


def _make_room(connection: sqlite3.Connection) -> None:
    """Grow the WAL file to its full length, by a transaction that is rolled back.

    An fsync takes a third less time where the file does not grow; without this, a node's first 450 entries pay for it.
    """
    with contextlib.suppress(sqlite3.Error):  # a disk without room is slower, and no reason to keep no log
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("CREATE TABLE room (room BLOB)")
            connection.execute("INSERT INTO room VALUES (zeroblob(?))", (ROOM,))
        finally:
            connection.execute("ROLLBACK")
