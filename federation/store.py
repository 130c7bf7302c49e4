"""What the coordinator remembers across restarts: jobs, plans, verdicts, every party's reply, and the events of a job.

A restarted runner asks its questions again; what a party already answered comes from here, so no step runs twice.
"""

import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from federation import schema
from inbond.bodies import pack_body, read_body, unpack_body, write_body
from inbond.database import open_database, sqlite_url
from inbond.framing import INLINE
from inbond.messages import Buffer
from inbond.messages import size as octets_of

# Every reply passes here, so these statements are made once: building one costs three times what SQLite takes for it.
_KEEP = text(
    "INSERT INTO replies (request, job, party, step, round, status, reason, size, up, seconds, body)"
    " VALUES (:request, :job, :party, :step, :round, :status, :reason, :size, :up, :seconds, :body)"
)
_FIND = text("SELECT job, status, reason, size, body FROM replies WHERE request = :request")
_FORGET = text("UPDATE replies SET body = NULL WHERE job = :job")
_ADD_EVENT = text(
    "INSERT INTO events (job, number, time, body)"
    " VALUES (:job, (SELECT coalesce(max(number), 0) + 1 FROM events WHERE job = :job), :time, :body)"
    " RETURNING number"
)
_EVENTS = text("SELECT number, time, body FROM events WHERE job = :job AND number > :after ORDER BY number")


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the coordinator knows it."""

    id: str
    name: str
    kind: str
    owner: str
    token: str
    sum_key: bytes | None
    plan: str | None
    state: str
    reason: str
    created: float
    changed: float
    expires: float


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A party's reply to one request, its body in the parts it came in."""

    status: str
    reason: str
    body: Sequence[memoryview]


class CoordinatorStore:
    """The coordinator's state in `home`, or at `url` where PostgreSQL is asked for."""

    def __init__(self, home: Path, url: str = "") -> None:
        self._home = home
        # One writer at a time: SQLite lets the second one sleep, and two events may not take one number.
        self._writing = threading.Lock()
        self._engine = open_database(url or sqlite_url(home / "state.db"), Path(__file__).parent / "migrations")

    def folder(self, job: str) -> Path:
        """The job's own folder, made when missing."""
        path = self._home / "jobs" / job
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def _body(self, job: str, request: str) -> Path:
        return self._home / "jobs" / job / request

    def keep_catalogue(self, party: str, token: str) -> None:
        """Keep a party's newest signed catalogue."""
        with self._engine.begin() as connection:
            connection.execute(delete(schema.parties).where(schema.parties.c.name == party))
            connection.execute(insert(schema.parties).values(name=party, catalogue=token, seen=time.time()))

    def catalogues(self) -> dict[str, str]:
        """Party name -> its signed catalogue."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(schema.parties.c.name, schema.parties.c.catalogue)).all()
        return {row.name: row.catalogue for row in rows}

    def first_sight(self, issuer: str, jti: str, expires: float) -> bool:
        """Note an order's identity; False when it was seen before (a replay), also before a restart."""
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(schema.orders_seen).where(schema.orders_seen.c.expires < time.time()))
                connection.execute(insert(schema.orders_seen).values(issuer=issuer, jti=jti, expires=expires))
        except IntegrityError:
            return False
        return True

    def add_job(self, job: JobRow) -> None:
        """Keep a new job."""
        with self._engine.begin() as connection:
            connection.execute(insert(schema.jobs).values({name: getattr(job, name) for name in JobRow.__slots__}))

    def job(self, job: str) -> JobRow | None:
        """The job, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job)).mappings().first()
        return JobRow(**row) if row else None

    def state(self, job: str) -> str:
        """The state of a job, empty for one that is not known."""
        with self._engine.connect() as connection:
            return connection.execute(select(schema.jobs.c.state).where(schema.jobs.c.id == job)).scalar() or ""

    def jobs(self, *, owner: str = "", states: Sequence[str] = (), limit: int = 200) -> list[JobRow]:
        """Jobs, newest first."""
        query = select(schema.jobs).order_by(schema.jobs.c.created.desc()).limit(limit)
        if owner:
            query = query.where(schema.jobs.c.owner == owner)
        if states:
            query = query.where(schema.jobs.c.state.in_(states))
        with self._engine.connect() as connection:
            return [JobRow(**row) for row in connection.execute(query).mappings()]

    def change(self, job: str, **values: Any) -> None:
        """Set columns of a job."""
        with self._engine.begin() as connection:
            values["changed"] = time.time()
            connection.execute(update(schema.jobs).where(schema.jobs.c.id == job).values(**values))

    def keep_verdict(self, job: str, party: str, token: str) -> None:
        """Keep a party's newest signed verdict (an interrupted admission is asked again)."""
        mine = (schema.verdicts.c.job == job, schema.verdicts.c.party == party)
        with self._engine.begin() as connection:
            connection.execute(delete(schema.verdicts).where(*mine))
            connection.execute(insert(schema.verdicts).values(job=job, party=party, token=token))

    def verdicts(self, job: str) -> dict[str, str]:
        """Party -> its signed verdict."""
        query = select(schema.verdicts.c.party, schema.verdicts.c.token).where(schema.verdicts.c.job == job)
        with self._engine.connect() as connection:
            return {row.party: row.token for row in connection.execute(query)}

    def keep_wait(self, job: str, until: float, rules: str) -> None:
        """Note until when a job waits for people, and under which rules (JSON)."""
        with self._engine.begin() as connection:
            connection.execute(delete(schema.waits).where(schema.waits.c.job == job))
            connection.execute(insert(schema.waits).values(job=job, until=until, rules=rules))

    def wait(self, job: str) -> tuple[float, str] | None:
        """Until when a job waits for people and its rules; None for one that never waited."""
        query = select(schema.waits.c.until, schema.waits.c.rules).where(schema.waits.c.job == job)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return (row.until, row.rules) if row else None

    def keep_approval(self, job: str, person: str, token: str) -> None:
        """Keep a person's newest signed approval of a job."""
        mine = (schema.approvals.c.job == job, schema.approvals.c.person == person)
        with self._engine.begin() as connection:
            connection.execute(delete(schema.approvals).where(*mine))
            connection.execute(insert(schema.approvals).values(job=job, person=person, token=token))

    def approvals(self, job: str) -> list[str]:
        """The signed approvals of a job."""
        query = (
            select(schema.approvals.c.token).where(schema.approvals.c.job == job).order_by(schema.approvals.c.person)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def reply(self, request: str) -> KeptReply | None:
        """The reply a party gave to this request; None where there is none, or its body was not kept."""
        with self._engine.connect() as connection:
            row = connection.execute(_FIND, {"request": request}).first()
        if row is None or (row.size > INLINE and not self._body(row.job, request).exists()):
            return None
        return KeptReply(row.status, row.reason, self._kept_body(row.job, request, row.size, row.body))

    def _kept_body(self, job: str, request: str, size: int, packed: bytes | None) -> Sequence[memoryview]:
        if packed is not None:
            return unpack_body(packed, str(self._home / "state.db"))
        return read_body(self._body(job, request)) if size else []

    def replied(self, job: str) -> set[str]:
        """The requests of a job that were answered."""
        query = select(schema.replies.c.request).where(schema.replies.c.job == job)
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def keep_reply(
        self, request: str, job: str, facts: Mapping[str, Any], body: Sequence[Buffer], *, whole: bool = True
    ) -> bool:
        """Keep a reply before the runner sees it; `facts` are party, step, round, status, reason, up, seconds.

        A small body is kept in the reply's row, a large one in a file of its own, unless `whole` is false: the party
        keeps its replies too, and gives this one again when it is asked again.
        A reply that is kept already stays as it is, for a party gives one reply to a request; then False.
        """
        size = octets_of(body)
        if size > INLINE and whole:
            write_body(self._body(job, request), body)
        small = pack_body(body) if body and size <= INLINE else None
        try:
            with self._writing, self._engine.begin() as connection:
                connection.execute(_KEEP, {**facts, "request": request, "job": job, "size": size, "body": small})
        except IntegrityError:
            if request not in self.replied(job):
                raise
            return False
        return True

    def costs(self, job: str) -> dict[str, float]:
        """Bytes up (from the coordinator to parties), bytes down and the number of requests of a job."""
        columns = func.count(), func.sum(schema.replies.c.up), func.sum(schema.replies.c.size)
        with self._engine.connect() as connection:
            count, up, down = connection.execute(select(*columns).where(schema.replies.c.job == job)).one()
        return {"requests": count, "bytes_to_parties": up or 0, "bytes_from_parties": down or 0}

    def add_event(self, job: str, body: Mapping[str, Any]) -> int:
        """Append an event for whoever watches the job; returns its number."""
        values = {"job": job, "time": time.time(), "body": json.dumps(body)}
        with self._writing, self._engine.begin() as connection:
            return int(connection.execute(_ADD_EVENT, values).scalar_one())

    def events(self, job: str, after: int = 0) -> list[tuple[int, float, dict[str, Any]]]:
        """(number, time, body) of a job's events after `after`."""
        with self._engine.connect() as connection:
            rows = connection.execute(_EVENTS, {"job": job, "after": after}).all()
        return [(number, at, json.loads(body)) for number, at, body in rows]

    def forget_bodies(self, job: str) -> None:
        """Remove an ended job's intermediate bodies; `result` and what the job cost stay."""
        folder = self._home / "jobs" / job
        for path in folder.glob("*"):
            if path.name != "result" and path.is_file():
                path.unlink(missing_ok=True)
        with self._writing, self._engine.begin() as connection:
            connection.execute(_FORGET, {"job": job})

    def drop(self, job: str) -> None:
        """Remove the folder of a job that never ran."""
        shutil.rmtree(self._home / "jobs" / job, ignore_errors=True)

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()
