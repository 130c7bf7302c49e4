"""What people said of the use of their data: consents, withdrawals, objections, erasures, per purpose.

The party's own file; nobody else reads it. It holds of each person a keyed hash (HMAC-SHA256, RFC 2104) by which it is
found and its id sealed under the node's key, so that whoever has the file alone learns how many said what and nothing
of whom. The id is kept after an erasure: without it nobody could keep the person out. The evidence log gets the hash.

A statement holds from the next read on. The latest one counts: consent after a withdrawal, a lift after an objection.
"""

import hashlib
import hmac
import os
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

from compliance.database import translated
from compliance.errors import InvalidLawEntry, LawStoreUnavailable
from compliance.law_store import LawStore, Tell

FILE = "subjects.db"
_PURPOSE = re.compile(r"dpv:[A-Z][A-Za-z]{1,62}")  # as contracts have them
EVERY = ""
"""In place of a purpose: all of them."""
KEY_BYTES = 32
HASH_BYTES = 16
MAX_ID = 256


class Act(StrEnum):
    """What a person, or the officer for a person, can say."""

    CONSENT = "consent"
    WITHDRAW = "withdraw"
    OBJECT = "object"
    ERASE = "erase"
    LIFT = "lift"


_FAMILIES = ((Act.CONSENT, Act.WITHDRAW), (Act.LIFT, Act.OBJECT), (Act.LIFT, Act.ERASE))
"""Of each pair the later statement counts: the first lets the data be read, the second does not."""
_LATEST = """
SELECT person, sealed, act FROM statements WHERE number IN (
  SELECT MAX(number) FROM statements
  WHERE act IN (?, ?) AND (purpose = '' OR purpose = ?) AND number <= ? GROUP BY person)
"""
_STANDS = """
SELECT 1 FROM statements AS said WHERE person = ? AND act = ? AND NOT EXISTS (
  SELECT 1 FROM statements AS later WHERE later.person = said.person AND later.number > said.number
  AND later.act = ? AND (later.purpose = '' OR later.purpose = said.purpose)) LIMIT 1
"""


@dataclass(frozen=True)
class Seal:
    """The node's keys for the file: `key` makes pseudonyms, `seal` and `unseal` hide ids and bring them back."""

    key: bytes
    seal: Callable[[bytes], bytes]
    unseal: Callable[[bytes], bytes]

    @property
    def check(self) -> bytes:
        """What tells the right key from any other, and nothing of it."""
        return hmac.new(self.key, b"statements of people", hashlib.sha256).digest()

    def pseudonym(self, person: str) -> bytes:
        """The hash under which a person is kept; raises InvalidLawEntry for no id."""
        if not person or len(person) > MAX_ID or not person.isprintable():
            right = f"1 to {MAX_ID} letters or digits"
            raise InvalidLawEntry("that is no id of a person", where="subject", right=right)
        return hmac.new(self.key, b"subject\0" + person.encode(), hashlib.sha256).digest()[:HASH_BYTES]


@dataclass(frozen=True)
class Statement:
    """One statement as it is kept."""

    number: int
    act: Act
    purpose: str
    at: datetime


class SubjectRegistry(LawStore):
    """Opened with `open_with`; for looking only, `look`."""

    SCHEMA: ClassVar[str] = "subjects"
    _seal: Seal

    @classmethod
    def open_with(cls, path: Path, tell: Tell, seal: Seal) -> Self:
        """Open or begin the file; raises LawStoreUnavailable where it is not this node's."""
        if not path.exists():
            cls._begin(path, seal)
        registry = cls.open(path, tell)
        registry._seal = seal
        try:
            registry._belongs()
        except BaseException:
            registry.close()
            raise
        return registry

    @classmethod
    def _begin(cls, path: Path, seal: Seal) -> None:
        """Make the file aside and put it in its place whole: a job that runs reads none or all of it."""
        with translated(path, LawStoreUnavailable), TemporaryDirectory(dir=path.parent, prefix=".subjects-") as folder:
            made = Path(folder) / path.name
            with cls.open(made, lambda _subject, _data: None) as registry, registry._transaction() as base:
                base.execute("INSERT INTO registry (number, key_check) VALUES (1, ?)", (seal.check,))
            with suppress(FileExistsError):  # somebody else was first
                os.link(made, path)

    @classmethod
    def look(cls, path: Path, seal: Seal) -> Self:
        """Open an existing file for looking only; raises LawStoreUnavailable where there is none."""
        registry = cls.read_only(path)
        registry._seal = seal
        try:
            registry._belongs()
        except BaseException:
            registry.close()
            raise
        return registry

    def _belongs(self) -> None:
        with self._reading() as base:
            row = base.execute("SELECT key_check FROM registry").fetchone()
        if row is None or not hmac.compare_digest(row[0], self._seal.check):
            right = "the file and the keys of one node"
            raise LawStoreUnavailable("the registry of people is not this node's", where=str(self._path), right=right)

    # --- statements ---

    def say(self, act: Act, people: Sequence[str], purpose: str = EVERY) -> int:
        """Keep a statement of each of `people`, all or none, and say so in the evidence log; how many are kept.

        To say the last thing again is no change. Raises InvalidLawEntry.
        """
        if act is Act.ERASE and purpose != EVERY:
            raise InvalidLawEntry("erasure is for every purpose", where="subject", right="leave the purpose out")
        if purpose != EVERY and not _PURPOSE.fullmatch(purpose):  # a misspelt one would be honoured nowhere
            right = "a W3C DPV term such as dpv:Marketing, or none for every purpose"
            raise InvalidLawEntry(f"{purpose[:60]!r} is no purpose", where="subject", right=right)
        found = {self._seal.pseudonym(one): one for one in people}
        kept = 0
        with self._transaction() as base:
            for person, text in found.items():
                if _last(base, person) == (act, purpose):
                    continue
                base.execute(
                    "INSERT INTO statements (person, sealed, act, purpose, at) VALUES (?, ?, ?, ?, ?)",
                    (person, self._seal.seal(text.encode()), act.value, purpose, self._now().isoformat()),
                )
                kept += 1
                data = {"event": f"subject: {act.value}", "purpose": purpose or "every"}
                self._tell(f"subject:{person.hex()}", data)
        return kept

    def of(self, person: str) -> list[Statement]:
        """Everything that is kept of a person, oldest first."""
        with self._reading() as base:
            rows = base.execute(
                "SELECT number, act, purpose, at FROM statements WHERE person = ? ORDER BY number",
                (self._seal.pseudonym(person),),
            ).fetchall()
        return [Statement(number, Act(act), purpose, datetime.fromisoformat(at)) for number, act, purpose, at in rows]

    def revision(self) -> int:
        """What grows with every statement."""
        with self._reading() as base:
            return int(base.execute("SELECT COALESCE(MAX(number), 0) FROM statements").fetchone()[0])

    def withheld(self, purpose: str, revision: int | None = None) -> list[str]:
        """The ids of the people whose data may not be read for `purpose`, as of a `revision` or now."""
        found: dict[bytes, bytes] = {}
        for allows, forbids in _FAMILIES:
            about = EVERY if forbids is Act.ERASE else purpose
            latest = self._latest(allows, forbids, about, revision)
            found |= {person: sealed for person, (sealed, act) in latest.items() if act is forbids}
        return [self._seal.unseal(sealed).decode() for sealed in found.values()]

    def consenting(self, purpose: str) -> list[str]:
        """The ids of the people who consent to `purpose` now, and neither objected nor were erased."""
        out = set(self.withheld(purpose))
        latest = self._latest(Act.CONSENT, Act.WITHDRAW, purpose, None)
        said = (self._seal.unseal(sealed).decode() for sealed, act in latest.values() if act is Act.CONSENT)
        return [one for one in said if one not in out]

    def keeps_out(self, person: str, purpose: str, revision: int) -> bool:
        """Whether a person was withheld from `purpose` as of `revision`."""
        return person in self.withheld(purpose, revision)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many statements of each act and purpose there are."""
        with self._reading() as base:
            rows = base.execute("SELECT act, purpose, COUNT(*) FROM statements GROUP BY act, purpose ORDER BY 1, 2")
            return {(act, purpose): number for act, purpose, number in rows}

    def _latest(
        self, allows: Act, forbids: Act, purpose: str, revision: int | None
    ) -> Mapping[bytes, tuple[bytes, Act]]:
        with self._reading() as base:
            most = 2**62 if revision is None else revision
            rows = base.execute(_LATEST, (allows.value, forbids.value, purpose, most)).fetchall()
        return {person: (sealed, Act(act)) for person, sealed, act in rows}


def _last(base: sqlite3.Connection, person: bytes) -> tuple[str, str] | None:
    """What a person said last, about which purpose."""
    sql = "SELECT act, purpose FROM statements WHERE person = ? ORDER BY number DESC LIMIT 1"
    row = base.execute(sql, (person,)).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def stands(base: sqlite3.Connection, person: bytes, act: Act) -> bool:
    """Whether a person's objection (of any purpose) or erasure is in force: said, and not lifted since."""
    return base.execute(_STANDS, (person, act.value, Act.LIFT.value)).fetchone() is not None
