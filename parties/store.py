"""What the agent remembers across restarts: admitted jobs, orders seen, and the reply to every request it answered.

The inbox is the party's half of "at least once, effect once": a request id is answered by one reply, for ever, and
the same id with another body is refused.
"""

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from inbond.bodies import pack_body, read_body, unpack_body, write_body
from inbond.database import open_database, sqlite_url
from inbond.framing import INLINE
from inbond.messages import Buffer, Status
from inbond.messages import size as octets_of
from parties import schema

LIVE = ("admitted", "running")

# Every step passes through the inbox, and it is read and written without SQLAlchemy, which takes ten times what SQLite
# itself takes for a row.
_KEEP = (
    "INSERT INTO inbox (request, job, step, round, digest, status, reason, size, body, time)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND = "SELECT job, digest, status, reason, size, body FROM inbox WHERE request = ?"
_FIND_STEP = "SELECT 1 FROM inbox WHERE job = ? AND step = ? AND round = ? LIMIT 1"
_FORGET = "UPDATE inbox SET size = 0, body = NULL WHERE job = ?"


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as this party knows it; `secrets` is encrypted under the node's key."""

    id: str
    token: str
    plan: str
    verdict: str
    state: str
    secrets: bytes
    created: float
    expires: float
    summary: str


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The one reply to a request: `digest` is that of the request's body, `body` the reply's parts."""

    digest: str
    status: Status
    reason: str
    body: Sequence[memoryview]


class PartyStore:
    """The agent's state in `home`: `state.db`, and one folder per job for bodies and checkpoints."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._engine = open_database(sqlite_url(home / "state.db"), Path(__file__).parent / "migrations")
        self._held = self._engine.raw_connection()  # of the inbox alone, one thread at a time
        self._inbox: sqlite3.Connection = self._held.driver_connection  # type: ignore[assignment]
        self._turn = threading.Lock()

    def folder(self, job: str) -> Path:
        """The job's own folder, made when missing."""
        path = self._home / "jobs" / job
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def _body(self, job: str, request: str) -> Path:
        return self._home / "jobs" / job / request

    def first_sight(self, issuer: str, jti: str, expires: float) -> bool:
        """Note an order's identity; False when it was seen before (a replay), also before a restart."""
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(schema.orders_seen).where(schema.orders_seen.c.expires < time.time()))
                connection.execute(insert(schema.orders_seen).values(issuer=issuer, jti=jti, expires=expires))
        except IntegrityError:
            return False
        return True

    def admit(self, job: JobRow) -> None:
        """Keep a job this party has decided on."""
        values = {name: getattr(job, name) for name in JobRow.__slots__}
        with self._engine.begin() as connection:
            connection.execute(insert(schema.jobs).values(**values))

    def job(self, job: str) -> JobRow | None:
        """The job, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job)).mappings().first()
        return JobRow(**row) if row else None

    def jobs(self, states: Sequence[str] = ()) -> list[JobRow]:
        """All jobs, newest first, or those in `states`."""
        query = select(schema.jobs).order_by(schema.jobs.c.created.desc())
        if states:
            query = query.where(schema.jobs.c.state.in_(states))
        with self._engine.connect() as connection:
            return [JobRow(**row) for row in connection.execute(query).mappings()]

    def change(self, job: str, **values: Any) -> None:
        """Set columns of a job."""
        with self._engine.begin() as connection:
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == job).values(**values))

    def summarise(self, job: str, facts: Mapping[str, Any]) -> None:
        """Add to the owner's summary of a job."""
        row = self.job(job)
        if row is not None:
            self.change(job, summary=json.dumps({**json.loads(row.summary), **facts}))

    def answered(self, request: str) -> StoredReply | None:
        """The reply once given to this request, or None."""
        row = self._found(_FIND, request)
        if row is None:
            return None
        job, digest, status, reason, size, packed = row
        return StoredReply(digest, status, reason, self._kept_body(job, request, size, packed))

    def _kept_body(self, job: str, request: str, size: int, packed: bytes | None) -> Sequence[memoryview]:
        if packed is not None:
            return unpack_body(packed, str(self._home / "state.db"))
        return read_body(self._body(job, request)) if size else []

    def step_answered(self, job: str, step: str, round_: int) -> bool:
        """Whether a reply to this step and round of the job was ever given, under whatever request id."""
        return self._found(_FIND_STEP, job, step, round_) is not None

    def answer(
        self,
        request: str,
        job: str,
        step: str,
        round_: int,
        digest: str,
        status: str,
        reason: str,
        body: Sequence[Buffer],
    ) -> None:
        """Keep the reply before it is sent: a small body in its row, a large one in a file of its own."""
        size = octets_of(body)
        if size > INLINE:
            write_body(self._body(job, request), body)
        packed = pack_body(body) if body and size <= INLINE else None
        values = (request, job, step, round_, digest, status, reason, size, packed, time.time())
        with self._turn, self._inbox:
            self._inbox.execute(_KEEP, values)

    def forget_bodies(self, job: str) -> None:
        """Remove a finished job's bodies and checkpoints; what was decided and done stays in the log."""
        shutil.rmtree(self._home / "jobs" / job, ignore_errors=True)
        with self._turn, self._inbox:
            self._inbox.execute(_FORGET, (job,))

    def close(self) -> None:
        """Release the database."""
        with self._turn:
            self._held.close()
        self._engine.dispose()

    def _found(self, query: str, *values: str | int) -> tuple[Any, ...] | None:
        with self._turn:
            row: tuple[Any, ...] | None = self._inbox.execute(query, values).fetchone()
        return row
