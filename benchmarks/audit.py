"""Durable appends of the audit log, beside a bare SQLite insert (the floor) and pymerkle's SqliteTree.

Relies on the disk's fsync: compare numbers of one run only.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.row import Row
from compliance.audit import AuditLog, Entry, EntryType

GROUP = 100
GOAL_SINGLE = ">= 4,500"
GOAL_GROUP = ">= 80,000"
GOAL_PROOF = "<= 1"


def run(singles: int = 2_000, groups: int = 300, folder: Path | None = None) -> list[Row]:
    """Measure appends per second, one by one and in groups of 100, and the time of an inclusion proof.

    `folder` decides which disk is measured; by default the system's temporary one.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        floor = _floor(here / "floor.db", singles, groups)
        ours = _ours(here / "audit.db", singles, groups)
        peer, note = _pymerkle(here / "pymerkle.db", singles)
        return [
            _row("append_per_s", ours[0], "plain SQLite WAL FULL", floor[0], GOAL_SINGLE),
            _row("append_group100_per_s", ours[1], "plain SQLite WAL FULL", floor[1], GOAL_GROUP),
            _row("append_per_s", ours[0], "pymerkle SqliteTree", peer, GOAL_SINGLE, note=note),
            Row("inclusion_proof_ms", "ms", ours[2], "none", None, None, GOAL_PROOF, f"at {ours[3]:,} entries"),
        ]


def _row(metric: str, ours: float, peer: str, value: float | None, goal: str, *, note: str = "") -> Row:
    return Row(metric, "entries/s", ours, peer, value, ours / value if value else None, goal, note)


def _rate(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _entry(number: int) -> Entry:
    """Return an entry of the size of a decision, about 300 bytes."""
    return Entry(
        type=EntryType.DECISION,
        time=datetime.now(UTC),
        node="spiffe://acme.example/party/warehouse-eu",
        job=f"job-{number // 100:012d}",
        subject=f"plan:{number}",
        data={"effect": "permit", "plan": "0" * 64, "policies": ["base-1", "gdpr-46"]},
    )


def _ours(path: Path, singles: int, groups: int) -> tuple[float, float, float, int]:
    with AuditLog.open(path, "inbond.example/audit/bench", Ed25519PrivateKey.generate()) as log:
        entries = [_entry(number) for number in range(groups * GROUP)]
        batches = [entries[start : start + GROUP] for start in range(0, len(entries), GROUP)]
        one = _rate(singles, lambda: [log.append(entry) for entry in entries[:singles]])
        many = _rate(len(entries), lambda: [log.append_many(batch) for batch in batches])
        proofs = range(0, log.size, max(1, log.size // 100))
        per_second = _rate(len(proofs), lambda: [log.inclusion_proof(number) for number in proofs])
        return one, many, 1_000 / per_second, log.size


def _floor(path: Path, singles: int, groups: int) -> tuple[float, float]:
    """Insert the same bytes with no hashing, no index and no tree."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY, data BLOB)")
    data = _entry(0).to_bytes()

    def insert(count: int, times: int) -> None:
        for _ in range(times):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO entries (data) VALUES (?)", [(data,)] * count)
            connection.execute("COMMIT")

    one = _rate(singles, lambda: insert(1, singles))
    many = _rate(groups * GROUP, lambda: insert(GROUP, groups))
    connection.close()
    return one, many


def _pymerkle(path: Path, singles: int) -> tuple[float | None, str]:
    try:
        from pymerkle import SqliteTree
    except ImportError:
        return None, "to compare: pip install pymerkle"
    with SqliteTree(str(path)) as tree:
        data = _entry(0).to_bytes()
        return _rate(singles, lambda: [tree.append_entry(data) for _ in range(singles)]), ""
