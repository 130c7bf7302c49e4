"""The append-only Merkle log of one node: what is acknowledged is on disk and pinned by the next checkpoint.

Whoever holds the signing key can append and sign; nobody can change or drop an entry below a checkpoint that
somebody else holds. Relies on one key per log and on the disk honouring fsync.

Appends are grouped without a thread of their own: the thread that gets the write lock commits everything that
waits, and the others find themselves done (docs/decisions/0003-audit-hot-path.md).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.audit.entry import FIRST_LINK, Entry, EntryType, next_link
from compliance.audit.store import TILE_LEVELS, AuditStore, Head, NewEntry, NewNode
from compliance.checkpoint import Checkpoint, open_checkpoint
from compliance.database import BUSY_SECONDS
from compliance.errors import (
    ComplianceError,
    InvalidEntry,
    InvalidNote,
    InvalidProof,
    LogTampered,
    LogUnavailable,
)
from compliance.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    perfect_subtrees,
    range_root,
)
from compliance.note import Note, VerifierKey, parse_note

TAIL = 256
"""Entries recomputed when a log is opened: a torn or edited end shows at once, `verify` reads the rest."""
GROUP_LIMIT = 4096
"""Most entries in one transaction, which bounds how long a waiting thread waits."""

_RESTORE = "the log as it was written: restore it and run `inbond audit verify`"


@dataclass(eq=False)
class _Waiting:
    """One caller's entries; afterwards either the number of the first or what went wrong."""

    entries: Sequence[tuple[Entry, bytes]]
    first: int | None = None
    error: ComplianceError | None = None


class AuditLog:
    """Open with `AuditLog.open`; safe to use from any number of threads, and closes as a context manager."""

    def __init__(
        self,
        store: AuditStore,
        reader: AuditStore,
        head: Head,
        key: Ed25519PrivateKey,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._reader = store, reader
        self._head = head
        self._key, self._clock = key, clock
        self._waiting: deque[_Waiting] = deque()
        self._write = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        origin: str,
        key: Ed25519PrivateKey,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open or start the log of `origin` (for example inbond.example/audit/acme) signed by `key`.

        Raises LogUnavailable where the file cannot be used; LogTampered where its last entries do not hash
        to its frontier, it is shorter than or differs from its last signed checkpoint, or it is the log of
        another origin or key.
        """
        verifier = VerifierKey.of(origin, key)
        store = AuditStore.open(path, busy_seconds=busy_seconds)
        try:
            head = _start_or_check(store, verifier)
            reader = AuditStore.read_only(path)
        except BaseException:
            store.close()
            raise
        return cls(store, reader, head, key, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; later appends raise LogUnavailable."""
        with self._write:
            if not self._closed:
                self._closed = True
                self._reader.close()
                self._store.close()

    @property
    def origin(self) -> str:
        """The log's name, as in its checkpoints."""
        return self._head.origin

    @property
    def vkey(self) -> str:
        """The verifier key to hand to whoever checks this log."""
        return self._head.vkey

    @property
    def size(self) -> int:
        """Number of durable entries."""
        return self._head.frontier.size

    @property
    def root(self) -> bytes:
        """Merkle root over the durable entries (32 bytes)."""
        return self._head.frontier.root()

    def append(self, entry: Entry) -> int:
        """Add one entry and return its number, once it is on disk.

        Raises InvalidEntry where it cannot be written, LogUnavailable where the log cannot take it (then
        nothing of it is kept and the step that needed it must not happen).
        """
        return self.append_many([entry]).start

    def append_many(self, entries: Sequence[Entry]) -> range:
        """Add entries in order, all or none, in one durable transaction; return their numbers."""
        waiting = _Waiting([(entry, entry.to_bytes()) for entry in entries])
        if not waiting.entries:
            return range(self.size, self.size)
        self._waiting.append(waiting)
        with self._write:
            while waiting.first is None and waiting.error is None:
                self._commit_group()
        if waiting.error is not None:
            raise _copy(waiting.error)
        first = waiting.first or 0
        return range(first, first + len(waiting.entries))

    def checkpoint(self) -> Note:
        """Sign the log as it is now, keep the note, and return it; the same size gives the same note.

        Raises LogTampered rather than sign a second root for a size, LogUnavailable where it cannot be kept.
        """
        with self._write, self._store.transaction():
            self._require_open()
            self._head = head = self._current_head()
            known = self._store.checkpoint_at(head.frontier.size)
            if known is not None:
                _check_checkpoint(self._store, head, VerifierKey.of(head.origin, self._key), known)
                return parse_note(known.encode())
            checkpoint = Checkpoint(head.origin, head.frontier.size, head.frontier.root())
            note = checkpoint.sign(self._key)
            stamp = self._clock().astimezone(UTC).isoformat()
            self._store.put_checkpoint(checkpoint.size, checkpoint.root, str(note), stamp)
        return note

    def entries(
        self,
        start: int = 0,
        end: int | None = None,
        *,
        entry_type: EntryType | None = None,
        job: str | None = None,
    ) -> Iterator[tuple[int, Entry]]:
        """Yield (number, entry) of the durable entries [start, end), of one type or job where given.

        Raises LogTampered at an entry that is not what was appended.
        """
        last = self.size if end is None else min(end, self.size)
        return read_entries(self._reader, start, last, entry_type=entry_type, job=job)

    def inclusion_proof(self, number: int, size: int | None = None) -> list[bytes]:
        """Proof for `merkle.verify_inclusion` that entry `number` is in the log of `size` (now: all)."""
        return inclusion_proof(number, self._within(size), self._reader.node)

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof for `merkle.verify_consistency` that the first `old` entries begin the log of `new`."""
        return consistency_proof(old, self._within(new), self._reader.node)

    def _within(self, size: int | None) -> int:
        known = self.size
        if size is not None and not 0 <= size <= known:
            raise InvalidProof(f"the log has no size {size}", where=str(self._store.path), right=f"0 to {known}")
        return known if size is None else size

    def _commit_group(self) -> None:
        """Write everything that waits in one transaction and tell each caller; the write lock is held."""
        group: list[_Waiting] = []
        count = 0
        while self._waiting and count < GROUP_LIMIT:
            group.append(self._waiting.popleft())
            count += len(group[-1].entries)
        first: int | None = None
        error: ComplianceError | None = None
        try:
            first = self._write_entries([pair for waiting in group for pair in waiting.entries])
        except ComplianceError as caught:
            error = caught
        finally:
            _settle(group, first, error)

    def _write_entries(self, entries: Sequence[tuple[Entry, bytes]]) -> int:
        """Append in one transaction; return the first number."""
        self._require_open()
        with self._store.transaction():
            head = self._head
            grown, rows, nodes = _grow(head, entries)
            if not self._store.advance(head.frontier.size, grown.frontier, rows, nodes):
                # Another process appended since; under this lock it cannot happen twice.
                head = self._current_head()
                grown, rows, nodes = _grow(head, entries)
                self._store.advance(head.frontier.size, grown.frontier, rows, nodes)
        self._head = grown
        return head.frontier.size

    def _current_head(self) -> Head:
        """Read the head from the file, which may have grown since but not shrunk or changed."""
        head, known = self._store.head(), self._head.frontier
        if head is None or head.frontier.size < known.size:
            raise _tampered(self._store.path, "the log became shorter while in use")
        if head.frontier.size == known.size and head.frontier.to_bytes() != known.to_bytes():
            raise _tampered(self._store.path, "the log's head changed without an entry")
        return head

    def _require_open(self) -> None:
        if self._closed:
            raise _unavailable(self._store.path, "the log is closed")


def read_entries(
    store: AuditStore, start: int, end: int, *, entry_type: str | None = None, job: str | None = None
) -> Iterator[tuple[int, Entry]]:
    """Yield (number, entry) from a store; raises LogTampered at bytes that are no entry or do not hash."""
    for row in store.rows(start, end, entry_type=entry_type, job=job):
        try:
            entry = Entry.from_bytes(row.data)
        except InvalidEntry as error:
            raise _tampered(store.path, f"entry {row.number}: {error.what}", row.number) from error
        if leaf_hash(row.data) != row.leaf:
            raise _tampered(store.path, f"entry {row.number} does not hash to its leaf", row.number)
        yield row.number, entry


def _grow(head: Head, entries: Sequence[tuple[Entry, bytes]]) -> tuple[Head, list[NewEntry], list[NewNode]]:
    """Return the head after appending, the rows to write, and the tree nodes to keep."""
    frontier, link = head.frontier.copy(), head.link
    rows: list[NewEntry] = []
    nodes: list[NewNode] = []
    for entry, data in entries:
        number, leaf = frontier.size, leaf_hash(data)
        link = next_link(link, leaf)
        rows.append((number, entry.type.value, entry.job, data, leaf, link))
        completed = frontier.append(leaf)
        if len(completed) >= TILE_LEVELS:  # one entry in sixteen
            kept = range(TILE_LEVELS, len(completed) + 1, TILE_LEVELS)
            nodes += [(level, number >> level, completed[level - 1]) for level in kept]
    return Head(head.origin, head.vkey, frontier, link), rows, nodes


def _settle(group: Sequence[_Waiting], first: int | None, error: ComplianceError | None) -> None:
    """Tell each caller its first number, or why there is none (no error at all: the leader was killed)."""
    for waiting in group:
        if first is None:
            waiting.error = error or LogUnavailable("the append was interrupted", right="append it again")
        else:
            waiting.first = first
            first += len(waiting.entries)


def _start_or_check(store: AuditStore, verifier: VerifierKey) -> Head:
    """Write the head of a new log, or check the end of an existing one; one snapshot."""
    with store.transaction():
        head = _read_head(store)
        if head is None:
            head = Head(verifier.name, str(verifier), Frontier(), FIRST_LINK)
            store.start(head.origin, head.vkey, head.link)
        if (head.origin, head.vkey) != (verifier.name, str(verifier)):
            raise _tampered(store.path, f"this is the log of {head.origin}, or of another key")
        _check_tail(store, head)
        note = store.last_checkpoint()
        if note is not None:
            _check_checkpoint(store, head, verifier, note)
    return head


def _read_head(store: AuditStore) -> Head | None:
    try:
        return store.head()
    except InvalidProof as error:
        raise _tampered(store.path, "the stored frontier does not fit the size") from error


def _check_tail(store: AuditStore, head: Head) -> None:
    """Check the number of entries, the last of them, their links, and that they lead to the frontier."""
    size = head.frontier.size
    if store.count() != size:
        raise _tampered(store.path, f"{store.count()} entries are kept of {size}")
    link = None
    for row in store.rows(max(0, size - TAIL), size):
        leaf = leaf_hash(row.data)
        if leaf != row.leaf or (link is not None and next_link(link, leaf) != row.link):
            raise _tampered(store.path, f"entry {row.number} was changed", row.number)
        link = row.link
    if (link or FIRST_LINK) != head.link:
        raise _tampered(store.path, "the head does not follow from the last entry")
    nodes = b"".join(store.node(level, number) for level, number in perfect_subtrees(0, size))
    if nodes != head.frontier.to_bytes():
        raise _tampered(store.path, "the stored frontier does not match the entries")


def _check_checkpoint(store: AuditStore, head: Head, verifier: VerifierKey, note: str) -> None:
    """Check that the log still contains what its own signature promised."""
    try:
        signed = open_checkpoint(note.encode(), verifier)
    except InvalidNote as error:
        raise _tampered(store.path, f"the last checkpoint: {error.what}") from error
    if signed.size > head.frontier.size:
        raise _tampered(
            store.path,
            f"{head.frontier.size} entries remain of {signed.size} that were signed",
            head.frontier.size,
        )
    if range_root(0, signed.size, store.node) != signed.root:
        raise _tampered(store.path, f"the first {signed.size} entries are not those that were signed")


def _copy(error: ComplianceError) -> ComplianceError:
    """Return the group's error for one more thread: an exception carries one thread's traceback."""
    copy = type(error)(error.what, where=error.where, right=error.right)
    copy.__cause__ = error
    return copy


def _unavailable(path: Path, what: str) -> LogUnavailable:
    return LogUnavailable(what, where=str(path), right="open the log, then append again")


def _tampered(path: Path, what: str, index: int | None = None) -> LogTampered:
    return LogTampered(what, where=str(path), right=_RESTORE, index=index)
