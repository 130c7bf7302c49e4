"""A node's breaches and their clocks: opened, each duty done or found not to apply, closed; never changed.

The officer of the node sees them; the evidence log keeps each act with its deadlines. What happened is told in the
officer's own words, which must name nobody.
"""

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, NamedTuple

from compliance.breach_terms import Clock, Terms, built_in_terms, clocks_of
from compliance.errors import InvalidLawEntry
from compliance.law_store import LawStore

CLOSED = "closed"
SKEW = timedelta(minutes=5)
MOST_WORDS = 500
ClockState = Literal["done", "not needed", "running", "waits", "OVERDUE"]


class Said(NamedTuple):
    """What is said of a breach when it is opened: regimes it falls under, flags, people concerned (or None), words."""

    regimes: tuple[str, ...]
    flags: frozenset[str]
    people: int | None
    what: str


@dataclass(frozen=True)
class Act:
    """A duty that was done at a time, or that does not apply (`needed` False), with a reference or a reason."""

    duty: str
    at: datetime
    said: str
    needed: bool = True


@dataclass(frozen=True)
class Breach:
    """A breach as it stands; `acts` by duty, `closed` when it was."""

    number: int
    opened: datetime
    aware: datetime
    said: Said
    acts: tuple[Act, ...] = ()
    closed: datetime | None = None

    def clocks(self, terms: Terms | None = None) -> tuple[Clock, ...]:
        """Its clocks, first the most urgent."""
        done = {act.duty: act.at for act in self.acts}
        found = (
            clock
            for regime in self.said.regimes
            for clock in clocks_of(terms or built_in_terms(), regime, self.aware, self.said.flags, done)
        )
        return tuple(sorted(found, key=lambda clock: (clock.due, clock.name)))

    def state(self, clock: Clock, now: datetime) -> ClockState:
        """How a clock stands."""
        act = next((one for one in self.acts if one.duty == clock.name), None)
        if act is not None:
            return "done" if act.needed else "not needed"
        return "OVERDUE" if now > clock.due else "waits" if clock.waits else "running"


class BreachStore(LawStore):
    """In the file of the counters; open with `BreachStore.open`, for looking only with `read_only`."""

    SCHEMA: ClassVar[str] = "counters"

    def open_breach(self, aware: datetime, said: Said) -> Breach:
        """Start the clocks of a breach of which the node became aware at `aware` (aware of its zone).

        Raises InvalidLawEntry for no or an unknown regime or flag, no or too many words, or a time that lies ahead.
        """
        now = self._now()
        if aware > now + SKEW:
            raise _invalid("the time of awareness lies ahead", "when somebody became aware of it")
        if not said.regimes or not 0 < len(said.what) <= MOST_WORDS:
            raise _invalid(
                "no regime is named, or no words or too many", f"1 to {MOST_WORDS} characters, naming nobody"
            )
        if said.people is not None and said.people < 0:
            raise _invalid("the number of people is negative", "how many are concerned, about")
        clocks = Breach(0, now, aware, said).clocks()
        with self._transaction() as base:
            number = base.execute(
                "INSERT INTO breaches (opened, aware, said) VALUES (?, ?, ?)",
                (now.isoformat(), aware.astimezone(UTC).isoformat(), _text(said)),
            ).lastrowid
            due = {clock.name: clock.due.isoformat() for clock in clocks}
            data = {"event": "breach opened", "aware": aware.astimezone(UTC).isoformat(), "due": due}
            self._tell(f"breach:{number}", data)
            return self._breach(base, int(number or 0))

    def act(self, number: int, duty: str, said: str, *, at: datetime | None = None, needed: bool = True) -> Breach:
        """Say that a duty was done (with a reference), or that it does not apply (with a reason).

        Raises InvalidLawEntry for an unknown breach or duty, one that was done already, no words, a closed breach.
        """
        with self._transaction() as base:
            breach, now = self._breach(base, number), self._now()
            when = now if at is None else at
            self._check(breach, duty, said, when, now)
            self._insert(base, number, Act(duty, when, said, needed))
            event = "breach duty done" if needed else "breach duty not needed"
            self._tell(f"breach:{number}", {"event": event, "duty": duty, "at": when.astimezone(UTC).isoformat()})
            return self._breach(base, number)

    def close_breach(self, number: int, said: str) -> Breach:
        """Close a breach with a finding; raises InvalidLawEntry while a clock still runs."""
        with self._transaction() as base:
            breach, now = self._breach(base, number), self._now()
            acted = {act.duty for act in breach.acts}
            left = [clock.name for clock in breach.clocks() if clock.name not in acted]
            if left or breach.closed is not None:
                what = f"{left[0]} is not done" if left else "it is closed already"
                raise _invalid(what, f"`inbond law breach done {number} DUTY`, or `not-needed`", number)
            self._insert(base, number, Act(CLOSED, now, _words(said)))
            self._tell(f"breach:{number}", {"event": "breach closed"})
            return self._breach(base, number)

    def all(self) -> list[Breach]:
        """Every breach, oldest first."""
        with self._reading() as base:
            numbers = base.execute("SELECT number FROM breaches ORDER BY number").fetchall()
            return [self._breach(base, number) for (number,) in numbers]

    @staticmethod
    def _check(breach: Breach, duty: str, said: str, at: datetime, now: datetime) -> None:
        names = [clock.name for clock in breach.clocks()]
        if breach.closed is not None:
            raise _invalid("it is closed", "open a new one", breach.number)
        if duty not in names:
            raise _invalid(f"{duty[:60]!r} is none of its duties", f"one of {', '.join(names)}", breach.number)
        if any(act.duty == duty for act in breach.acts):
            raise _invalid(f"{duty} is done already", "another duty", breach.number)
        if not breach.aware <= at <= now + SKEW:
            raise _invalid("that is not between awareness and now", "when it was done", breach.number)
        _words(said)

    @staticmethod
    def _insert(base: sqlite3.Connection, number: int, act: Act) -> None:
        base.execute(
            "INSERT INTO breach_acts (breach, act, at, said, needed) VALUES (?, ?, ?, ?, ?)",
            (number, act.duty, act.at.astimezone(UTC).isoformat(), act.said, act.needed),
        )

    @staticmethod
    def _breach(base: sqlite3.Connection, number: int) -> Breach:
        row = base.execute("SELECT opened, aware, said FROM breaches WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise _invalid("there is no such breach", "see `inbond law breach list`", number)
        rows = base.execute(
            "SELECT act, at, said, needed FROM breach_acts WHERE breach = ? ORDER BY number", (number,)
        ).fetchall()
        acts = [Act(act, datetime.fromisoformat(at), said, bool(needed)) for act, at, said, needed in rows]
        opened, aware = (datetime.fromisoformat(text) for text in row[:2])
        closed = next((act.at for act in acts if act.duty == CLOSED), None)
        duties = tuple(act for act in acts if act.duty != CLOSED)
        return Breach(number, opened, aware, _said(row[2]), duties, closed)


def _text(said: Said) -> str:
    return json.dumps([said.regimes, sorted(said.flags), said.people, said.what], ensure_ascii=False)


def _said(text: str) -> Said:
    regimes, flags, people, what = json.loads(text)
    return Said(tuple(regimes), frozenset(flags), people, what)


def _words(said: str) -> str:
    if not 0 < len(said) <= MOST_WORDS:
        raise _invalid("no words or too many", f"1 to {MOST_WORDS} characters, naming nobody")
    return said


def _invalid(what: str, right: str, number: int | None = None) -> InvalidLawEntry:
    return InvalidLawEntry(what, where="breach" if number is None else f"breach {number}", right=right)
