"""How many people's data a party has sent abroad, durably: counted before a release, or the release does not happen.

The party's own file; nobody else reads it, and it names nobody (`compliance.counters_flow`). Each count is told to the
evidence log with the counters before and after.

Order of use: `reserve`, then release, then `commit` at the first byte released; `rollback` only where nothing left the
party. A crash in between leaves the reservation, and a reservation counts. The law is asked inside `reserve`, while the
file is held alone: of two releases that fit a band one by one, the second one is judged with the first one counted.
"""

import hmac
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from compliance.counters_flow import HEADINGS, Flow, facts_of_counts, key_check, period_of, since_of
from compliance.errors import InvalidLawEntry, LawStoreUnavailable
from compliance.law_store import LawStore, Tell
from policies.law.counters import year_of
from policies.law.derive import anniversary

FILE = "counters.db"
BUSY_SECONDS = 60.0  # a million people are written in about 15 seconds, while others wait
_RIGHT = "restore the file from its backup, or `inbond law begin-counters` and state what left (`inbond law sent`)"
_COUNT = """
SELECT (SELECT COALESCE(closed, 0) FROM accounts WHERE number = :account)
 + (SELECT COUNT(*) FROM seen WHERE account = :account AND last > :since)
 + (SELECT COUNT(DISTINCT p.person) FROM flow_accounts a
    JOIN flows f ON f.number = a.flow JOIN pending p ON p.flow = f.number
    WHERE a.account = :account AND f.day > :since AND NOT EXISTS
     (SELECT 1 FROM seen s WHERE s.account = :account AND s.person = p.person AND s.last > :since))
 + (SELECT COALESCE(SUM(a.unnamed), 0) FROM flow_accounts a JOIN flows f ON f.number = a.flow
    WHERE a.account = :account AND f.day > :since AND f.state != 'rolled_back')
"""
Facts = Mapping[str, Any]


class State(StrEnum):
    """What became of a flow."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Counted:
    """A flow that was counted; `before` and `after` are the exporter's counters as facts of the law."""

    key: str
    state: State
    before: Facts
    after: Facts


@dataclass(frozen=True)
class Standing:
    """A counter as it stands: people of `exporter` under `heading`, and how many flows await the end of their release.

    `period` is a year in Beijing, or None where the last twelve months count.
    """

    exporter: str
    heading: str
    period: int | None
    people: int
    reserved: int


class _Enough(Exception):
    """Ends a transaction that only looked."""


class CounterLedger(LawStore):
    """Made by `begin`, opened with `open_with`; for looking only, `read_only`."""

    SCHEMA: ClassVar[str] = "counters"
    _key: bytes = b""

    @classmethod
    def begin(cls, path: Path, tell: Tell, key: bytes, *, clock: Callable[[], datetime] | None = None) -> Self:
        """New counters under `key`, all at nothing; raises InvalidLawEntry where there are some."""
        check = key_check(key)
        ledger = cls.open(path, tell, clock=clock or _utc)
        try:
            with ledger._transaction() as base:
                if base.execute("SELECT 1 FROM ledger").fetchone() is not None:
                    raise InvalidLawEntry("there are counters already", where=str(path), right="go on with them")
                base.execute("INSERT INTO ledger (number, key_check) VALUES (1, ?)", (check,))
                ledger._tell("counters", {"event": "counters begun"})
        except BaseException:
            ledger.close()
            raise
        ledger._key = key
        return ledger

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Existing counters, to look at; raises LawStoreUnavailable."""
        if not path.is_file():
            raise LawStoreUnavailable("there are no counters", where=str(path), right=_RIGHT)
        return super().read_only(path)

    @classmethod
    def open_with(
        cls,
        path: Path,
        tell: Tell,
        key: bytes,
        *,
        clock: Callable[[], datetime] | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Existing counters; raises LawStoreUnavailable unless they were begun under `key`."""
        if not path.is_file():
            raise LawStoreUnavailable("there are no counters", where=str(path), right=_RIGHT)
        ledger = cls.open(path, tell, clock=clock or _utc, busy_seconds=busy_seconds)
        try:
            ledger._use(key)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _use(self, key: bytes) -> None:
        with self._reading() as base:
            row = base.execute("SELECT key_check FROM ledger").fetchone()
        if row is None or not hmac.compare_digest(row[0], key_check(key)):
            what = "there are no counters" if row is None else "the counters are not this node's"
            raise LawStoreUnavailable(what, where=str(self._path), right=_RIGHT)
        self._key = key

    # --- counting ---

    def reserve(self, flow: Flow, lawful: Callable[[Facts], None] | None = None) -> Counted:
        """Count a flow before it happens; the same key returns the same count, counted once.

        `lawful` is given the facts with this flow in them, and raises where they forbid it: then nothing is counted.
        Raises InvalidLawEntry for a key that was used for another flow or rolled back, LawStoreUnavailable where the
        count cannot be made durable.
        """
        persons = flow.checked().persons(self._key)
        with self._transaction() as base:
            known = self._known(flow, persons)
            if known is not None:
                facts = self._facts(flow.exporter, self._now())
                return Counted(flow.key, known, facts, facts)
            found = self._add(base, flow, persons)
            if lawful is not None:
                lawful(found.after)
            self._tell(f"counter:{flow.key}", _told("people counted", flow.job, found))
        return found

    def preview(self, flow: Flow) -> Facts:
        """The facts as they would be with this flow; nothing is counted."""
        persons, found = flow.checked().persons(self._key), None
        with suppress(_Enough), self._transaction() as base:
            if self._known(flow, persons) is None:
                found = self._add(base, flow, persons).after
            raise _Enough
        return self.facts(flow.exporter) if found is None else found

    def commit(self, key: str) -> State:
        """Say that something was released; again is no change. Raises InvalidLawEntry if it was rolled back."""
        return self._settle(key, State.COMMITTED)

    def rollback(self, key: str) -> State:
        """Take a count back, only where provably nothing left the party; again is no change.

        Raises InvalidLawEntry where it was committed.
        """
        return self._settle(key, State.ROLLED_BACK)

    # --- questions ---

    def facts(self, exporter: str, at: datetime | None = None) -> Facts:
        """What the counters of an exporter tell the law at a time (aware; now, if left out)."""
        with self._reading():
            return self._facts(exporter, at or self._now())

    def standing(self) -> list[Standing]:
        """Every counter as it stands, by exporter and heading; those of past years too."""
        now = self._now()
        with self._reading() as base:
            rows = base.execute("SELECT number, exporter, heading, period FROM accounts").fetchall()
            found = [
                Standing(exporter, heading, period or None, self._count(number, heading, now), self._reserved(number))
                for number, exporter, heading, period in rows
            ]
        return sorted(found, key=lambda one: (one.exporter, HEADINGS.index(one.heading), one.period or 0))

    # --- inside a transaction ---

    def _known(self, flow: Flow, persons: list[bytes]) -> State | None:
        row = self._connection.execute("SELECT digest, state FROM flows WHERE key = ?", (flow.key,)).fetchone()
        if row is None:
            return None
        if row[0] != flow.digest(persons) or State(row[1]) is State.ROLLED_BACK:
            raise InvalidLawEntry(
                "the key was used for another flow, or rolled back", where="counters", right="one key for one release"
            )
        return State(row[1])

    def _add(self, base: sqlite3.Connection, flow: Flow, persons: list[bytes]) -> Counted:
        now = self._now()
        before = self._facts(flow.exporter, now)
        self._forget(base, now)
        number = base.execute(
            "INSERT INTO flows (key, job, exporter, digest, at, day, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(flow.key, flow.job, flow.exporter, flow.digest(persons)),
                *(now.isoformat(), now.date().toordinal(), State.RESERVED.value),
            ),
        ).lastrowid
        for heading in sorted(flow.headings):
            account = self._account(base, flow.exporter, heading, period_of(heading, now))
            self._enter(base, account, int(number or 0), flow.unnamed)
        base.executemany("INSERT INTO pending (flow, person) VALUES (?, ?)", ((number, one) for one in persons))
        return Counted(flow.key, State.RESERVED, before, self._facts(flow.exporter, now))

    def _settle(self, key: str, state: State) -> State:
        with self._transaction() as base:
            row = base.execute("SELECT number, job, exporter, state FROM flows WHERE key = ?", (key,)).fetchone()
            if row is None:
                raise InvalidLawEntry("no flow was counted under this key", where="counters", right="reserve it first")
            number, job, exporter, was = row
            if State(was) is state:
                return state
            if State(was) is not State.RESERVED:
                raise InvalidLawEntry(f"the flow is already {was}", where="counters", right="one that is reserved")
            now = self._now()
            before = self._facts(exporter, now)
            if state is State.COMMITTED:
                self._keep(base, number, exporter, now)
            base.execute("DELETE FROM pending WHERE flow = ?", (number,))
            base.execute("UPDATE flows SET state = ? WHERE number = ?", (state.value, number))
            found = Counted(key, state, before, self._facts(exporter, now))
            self._tell(f"counter:{key}", _told(f"count {state.value.replace('_', ' ')}", job, found))
        return state

    def _keep(self, base: sqlite3.Connection, flow: int, exporter: str, now: datetime) -> None:
        """Enter a flow's people for good: in the year it was reserved for, and in that of its release."""
        rows = base.execute(
            "SELECT a.number, a.heading, a.period, x.unnamed FROM flow_accounts x"
            " JOIN accounts a ON a.number = x.account WHERE x.flow = ?",
            (flow,),
        ).fetchall()
        for account, heading, period, unnamed in rows:
            into = {account}
            if period != period_of(heading, now):
                into.add(self._account(base, exporter, heading, period_of(heading, now)))
            for one in into:
                if one != account:
                    self._enter(base, one, flow, unnamed)
                base.execute(
                    "INSERT INTO seen (account, person, last) SELECT ?, person, ? FROM pending WHERE flow = ?"
                    " ON CONFLICT (account, person) DO UPDATE SET last = MAX(last, excluded.last)",
                    (one, now.date().toordinal(), flow),
                )
        base.execute("UPDATE flows SET day = MAX(day, ?) WHERE number = ?", (now.date().toordinal(), flow))

    def _forget(self, base: sqlite3.Connection, now: datetime) -> None:
        """Drop the hashes of people who count no more; of a year that is over, its total stays."""
        over = base.execute(
            "SELECT number FROM accounts WHERE closed IS NULL AND period BETWEEN 1 AND ?", (year_of(now) - 2,)
        ).fetchall()
        for (account,) in over:  # not last year's: a release at New Year may still be settled
            base.execute(
                "UPDATE accounts SET closed = (SELECT COUNT(*) FROM seen WHERE account = number) WHERE number = ?",
                (account,),
            )
            base.execute("DELETE FROM seen WHERE account = ?", (account,))
        sliding = "SELECT number FROM accounts WHERE period = 0"
        before = anniversary(_day(now), -1).toordinal()
        base.execute(f"DELETE FROM seen WHERE account IN ({sliding}) AND last <= ?", (before,))  # noqa: S608 - fixed text

    @staticmethod
    def _enter(base: sqlite3.Connection, account: int, flow: int, unnamed: int) -> None:
        base.execute("INSERT INTO flow_accounts (account, flow, unnamed) VALUES (?, ?, ?)", (account, flow, unnamed))

    @staticmethod
    def _account(base: sqlite3.Connection, exporter: str, heading: str, period: int) -> int:
        base.execute(
            "INSERT OR IGNORE INTO accounts (exporter, heading, period) VALUES (?, ?, ?)", (exporter, heading, period)
        )
        row = base.execute(
            "SELECT number FROM accounts WHERE exporter = ? AND heading = ? AND period = ?", (exporter, heading, period)
        ).fetchone()
        return int(row[0])

    def _facts(self, exporter: str, at: datetime) -> Facts:
        rows = self._connection.execute(
            "SELECT number, heading, period FROM accounts WHERE exporter = ?", (exporter,)
        ).fetchall()
        counted: Iterable[tuple[str, int]] = (
            (heading, self._count(number, heading, at))
            for number, heading, period in rows
            if period == period_of(heading, at)
        )
        return facts_of_counts(dict(counted))

    def _count(self, account: int, heading: str, at: datetime) -> int:
        since = since_of(heading, _day(at))
        return int(self._connection.execute(_COUNT, {"account": account, "since": since}).fetchone()[0])

    def _reserved(self, account: int) -> int:
        row = self._connection.execute(
            "SELECT COUNT(*) FROM flow_accounts a JOIN flows f ON f.number = a.flow"
            " WHERE a.account = ? AND f.state = 'reserved'",
            (account,),
        ).fetchone()
        return int(row[0])


def _told(event: str, job: str, found: Counted) -> dict[str, Any]:
    """What the log keeps of a count: counters before and after, as the obligation OBL_CN_COUNTER asks."""
    return {"event": event, "job": job, "before": dict(found.before), "after": dict(found.after)}


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _utc() -> datetime:
    return datetime.now(UTC)
