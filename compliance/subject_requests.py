"""People's requests (access, erasure, ...): by when each is due, what was done for it, and how it was answered.

In the file of what people said (`compliance.subjects`), as private as that: of each person a keyed hash and a sealed
id. Of a copy of somebody's data the file and the evidence log have the digest, which tells nothing (the copy holds a
random value) and proves later which copy it was. `granted` is refused while what it promises was not done here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from compliance.errors import InvalidLawEntry
from compliance.subject_terms import subject_terms
from compliance.subjects import Act, SubjectRegistry, stands

MAX_NOTE = 300
GRANTED, REFUSED = "granted", "refused"
_LIST = """
SELECT r.number, r.kind, r.regime, r.received, r.due, e.outcome, COALESCE(e.note, ''),
       (SELECT c.digest FROM copies c WHERE c.request = r.number ORDER BY c.number DESC LIMIT 1)
FROM requests r LEFT JOIN request_ends e ON e.number = r.number WHERE ? IS NULL OR r.person = ?
ORDER BY e.number IS NOT NULL, r.due, r.number
"""


class Kind(StrEnum):
    """What a request asks for (GDPR Art. 15 to 21 and their like)."""

    ACCESS = "access"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    OBJECTION = "objection"
    PORTABILITY = "portability"


COPIED = frozenset({Kind.ACCESS, Kind.PORTABILITY})
"""The kinds that are answered with a copy (GDPR Art. 15(3), 20(1))."""
_SAID = {Kind.ERASURE: (Act.ERASE, "erase"), Kind.OBJECTION: (Act.OBJECT, "object")}
"""The kinds that a statement of the person answers, and the command that keeps it."""


@dataclass(frozen=True)
class Request:
    """A person's request; `outcome` and `note` are there once it is answered, `copy` once one was made (SHA-256)."""

    number: int
    kind: Kind
    regime: str
    received: datetime
    due: datetime
    outcome: str | None = None
    note: str = ""
    copy: str | None = None

    def overdue(self, now: datetime) -> bool:
        """Whether it should have been answered by `now` (aware) and was not."""
        return self.outcome is None and now > self.due

    def days_left(self, now: datetime) -> int | None:
        """Whole days from `now` to its last moment, below 0 where that is past; None once it is answered."""
        return None if self.outcome is not None else (self.due - now).days


class SubjectRequests(SubjectRegistry):
    """What people said, with their requests. Opened as `SubjectRegistry` is."""

    def receive(self, person: str, kind: Kind, regime: str, received: datetime) -> Request:
        """Keep a request, with the day by which it is to be answered. Raises InvalidLawEntry."""
        due, pseudonym = subject_terms().due(regime, received), self._seal.pseudonym(person)
        with self._transaction() as base:
            number = base.execute(
                "INSERT INTO requests (person, sealed, kind, regime, received, due) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(pseudonym, self._seal.seal(person.encode()), kind.value, regime),
                    *(received.isoformat(), due.isoformat()),
                ),
            ).lastrowid
            data = {"event": "request received", "kind": kind.value, "regime": regime, "due": due.isoformat()}
            self._tell(f"subject:{pseudonym.hex()}", data)
        return Request(int(number or 0), kind, regime, received, due)

    def asked(self, number: int, person: str) -> Request:
        """The open request `number` of `person` that a copy answers; raises InvalidLawEntry where it is none."""
        with self._reading() as base:
            _asked(base, number, self._seal.pseudonym(person))
        return self._numbered(number)

    @contextmanager
    def copied(self, person: str, digest: str, request: int | None = None) -> Iterator[None]:
        """Keep that a copy of a person's data was made, for an open `request` or none; `digest` is its SHA-256 in hex.

        The block puts the copy in its place: where that fails nothing is kept. Raises InvalidLawEntry.
        """
        pseudonym = self._seal.pseudonym(person)
        with self._transaction() as base:
            if request is not None:
                _asked(base, request, pseudonym)
            base.execute(
                "INSERT INTO copies (person, request, digest, at) VALUES (?, ?, ?, ?)",
                (pseudonym, request, digest, self._now().isoformat()),
            )
            about = {} if request is None else {"number": request}
            self._tell(f"subject:{pseudonym.hex()}", {"event": "copy made", "digest": digest, **about})
            yield

    def answer(self, number: int, outcome: str, note: str, *, given_otherwise: bool = False) -> Request:
        """End a request as `granted` or `refused`, with a note that names nobody. Raises InvalidLawEntry.

        Access and portability are granted once a copy was made for them, or `given_otherwise`, as the note says;
        erasure and objection once the person's statement is in force.
        """
        if outcome not in {GRANTED, REFUSED} or not 0 < len(note) <= MAX_NOTE or not note.isprintable():
            right = f"granted or refused, and a note of at most {MAX_NOTE} characters"
            raise InvalidLawEntry("that is no answer to a request", where=f"request {number}", right=right)
        with self._transaction() as base:
            person, kind = _open_one(base, number)
            if given_otherwise and (outcome != GRANTED or kind not in COPIED):
                right = "without that flag: it is for access and portability that are granted"
                raise InvalidLawEntry("no copy is given here", where=f"request {number}", right=right)
            given = {"given": "otherwise"} if given_otherwise else {}
            if outcome == GRANTED and not given_otherwise:
                given = _done(base, number, person, kind)
            base.execute(
                "INSERT INTO request_ends (number, outcome, note, at) VALUES (?, ?, ?, ?)",
                (number, outcome, note, self._now().isoformat()),
            )
            self._tell(f"subject:{person.hex()}", {"event": f"request {outcome}", "number": number, **given})
        return self._numbered(number)

    def requests(self, person: str | None = None) -> list[Request]:
        """Every request, or those of one person: the most urgent open one first, then those that are answered."""
        pseudonym = None if person is None else self._seal.pseudonym(person)
        with self._reading() as base:
            rows = base.execute(_LIST, (pseudonym, pseudonym)).fetchall()
        return [
            Request(number, Kind(kind), regime, datetime.fromisoformat(received), datetime.fromisoformat(due), *rest)
            for number, kind, regime, received, due, *rest in rows
        ]

    def _numbered(self, number: int) -> Request:
        return next(one for one in self.requests() if one.number == number)


def _open_one(base: sqlite3.Connection, number: int) -> tuple[bytes, Kind]:
    """Whose an open request is, and what it asks for."""
    row = base.execute("SELECT person, kind FROM requests WHERE number = ?", (number,)).fetchone()
    if row is None or base.execute("SELECT 1 FROM request_ends WHERE number = ?", (number,)).fetchone():
        what = "no such request" if row is None else "it is answered already"
        raise InvalidLawEntry(what, where=f"request {number}", right="see `inbond subject requests`")
    return row[0], Kind(row[1])


def _asked(base: sqlite3.Connection, number: int, person: bytes) -> None:
    whose, kind = _open_one(base, number)
    if whose != person:
        right = "the id of the person who made it"
        raise InvalidLawEntry("it is another person's", where=f"request {number}", right=right)
    if kind not in COPIED:
        right = "a request for access or portability"
        raise InvalidLawEntry(f"it asks for {kind.value}, not for a copy", where=f"request {number}", right=right)


def _done(base: sqlite3.Connection, number: int, person: bytes, kind: Kind) -> dict[str, str]:
    """What was done for a request that is to be granted, for the log; raises InvalidLawEntry where nothing was."""
    if kind in COPIED:
        sql = "SELECT digest FROM copies WHERE request = ? ORDER BY number DESC LIMIT 1"
        row = base.execute(sql, (number,)).fetchone()
        if row is None:
            right = f"`inbond subject copy ID --out FOLDER --request {number}` first, or --given-otherwise and say how"
            raise InvalidLawEntry("no copy was made for it", where=f"request {number}", right=right)
        return {"given": f"copy {row[0]}"}
    if kind in _SAID:
        act, command = _SAID[kind]
        if not stands(base, person, act):
            what, right = f"no {kind.value} of this person is in force here", f"`inbond subject {command} ID` first"
            raise InvalidLawEntry(what, where=f"request {number}", right=right)
    return {}
