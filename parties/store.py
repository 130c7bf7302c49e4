"""What the agent remembers across restarts: admitted jobs, orders seen, and the reply to every request it answered.

The inbox is the party's half of "at least once, effect once": a request id is answered by one reply, for ever, and
the same id with another body is refused.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from inbond.bodies import read_body, write_body
from inbond.database import open_database, sqlite_url
from inbond.messages import Buffer, Status
from inbond.messages import size as octets_of
from parties import schema

LIVE = ("admitted", "running")


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
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.inbox).where(schema.inbox.c.request == request)).mappings().first()
        if row is None:
            return None
        body = [] if row["size"] == 0 else read_body(self._body(row["job"], request))
        return StoredReply(row["digest"], row["status"], row["reason"], body)

    def step_answered(self, job: str, step: str, round_: int) -> bool:
        """Whether a reply to this step and round of the job was ever given, under whatever request id."""
        columns = schema.inbox.c
        query = select(columns.request).where(columns.job == job, columns.step == step, columns.round == round_)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

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
        """Keep the reply before it is sent."""
        size = octets_of(body)
        if size:
            write_body(self._body(job, request), body)
        values = {"request": request, "job": job, "step": step, "round": round_, "digest": digest}
        values |= {"status": status, "reason": reason, "size": size, "time": time.time()}
        with self._engine.begin() as connection:
            connection.execute(insert(schema.inbox).values(**values))

    def forget_bodies(self, job: str) -> None:
        """Remove a finished job's bodies and checkpoints; what was decided and done stays in the log."""
        shutil.rmtree(self._home / "jobs" / job, ignore_errors=True)
        with self._engine.begin() as connection:
            connection.execute(update(schema.inbox).where(schema.inbox.c.job == job).values(size=0))

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()
