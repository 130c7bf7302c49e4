"""A party's data-sharing agreements: terms, what each side signed, how often they were used; kept, never changed.

The party's own file. What the file says is not believed: every signature is verified again whenever an agreement is
read, under the trust of that moment, so terms that were altered in it, or a signer who was put on the deny list, leave
an agreement without a signature. The evidence log keeps each act by the agreement's digest.

Order of use: `use` before anything is shared, then `commit`; `rollback` only where provably nothing was shared. A use
that a crash left open counts.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from compliance.errors import InvalidLawEntry, LawStoreUnavailable, NotAgreed
from compliance.law_store import LawStore
from policies.agreement import Act, Agreement, SignedAgreement, signatory
from policies.agreement_rules import Share, covers
from policies.canonical import canonical, digest
from policies.errors import InvalidIdentity
from policies.identity import TrustStore
from policies.request import Decision

FILE = "agreements.db"
_TABLES: dict[Act, str] = {"agree": "signatures", "revoke": "revocations"}
_EVENTS: dict[Act, str] = {"agree": "agreement signed", "revoke": "agreement revoked"}


class Standing(StrEnum):
    """How an agreement stands on a day."""

    PROPOSED = "proposed"
    AHEAD = "ahead"
    HOLDS = "holds"
    USED_UP = "used up"
    OVER = "over"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Kept:
    """An agreement as it is kept: who has signed it and who has ended it (verified just now), and its uses."""

    signed: SignedAgreement
    added: datetime
    agreed: frozenset[str]
    ended: frozenset[str]
    used: int

    @property
    def agreement(self) -> Agreement:
        """The terms."""
        return self.signed.agreement

    def standing(self, now: datetime) -> Standing:
        """How it stands at a time (aware)."""
        terms, today = self.agreement, now.date()
        if self.ended:
            return Standing.REVOKED
        if self.agreed != terms.parties:
            return Standing.PROPOSED
        if not terms.first_day <= today <= terms.last_day:
            return Standing.AHEAD if today < terms.first_day else Standing.OVER
        return Standing.HOLDS if self.used < terms.uses else Standing.USED_UP


@dataclass(frozen=True)
class Use:
    """One use of an agreement, counted; `left` uses remain."""

    agreement: str
    key: str
    left: int
    decision: Decision


@dataclass(frozen=True)
class Taken:
    """A use as it is kept: by which job (its key), when, and whether it is open, committed or rolled_back."""

    key: str
    at: datetime
    state: str


@dataclass(frozen=True)
class Compared:
    """An agreement beside what a job would make known; no `decision` where a side has not signed or has ended it."""

    kept: Kept
    standing: Standing
    decision: Decision | None

    @property
    def covers(self) -> bool:
        """Whether it covers all of it, today, with a use left."""
        return self.decision is not None and self.decision.permitted

    @property
    def cause(self) -> str:
        """Why it does not, for those who keep it."""
        name = self.kept.agreement.name
        if self.decision is None:
            return f"{name} is {self.standing}"
        first = self.decision.reasons[0]
        return f"{name}: {first.text} ({first.about})"


class AgreementStore(LawStore):
    """Open with `AgreementStore.open`, for looking only with `read_only`."""

    SCHEMA: ClassVar[str] = "agreements"

    # --- terms and signatures ---

    def take(self, found: SignedAgreement, trust: TrustStore) -> Kept:
        """Keep terms, and what of the signatures and revocations with them is new; the same again is no change.

        Raises InvalidIdentity, keeping nothing, where one of them is not a party's word on these terms.
        """
        terms, now = found.agreement, self._now()
        words: list[tuple[Act, str]] = [("agree", token) for token in found.signatures]
        words += [("revoke", token) for token in found.revocations]
        said = [(act, signatory(token, terms, act, trust=trust, now=now), token) for act, token in words]
        with self._transaction() as base:
            self._add(base, terms, now)
            for act, party, token in said:
                self._say(base, terms.id, act, party, token, now)
            return self._kept(base, terms.id, trust, now)

    def all(self, trust: TrustStore) -> list[Kept]:
        """Every agreement, oldest first."""
        now = self._now()
        with self._reading() as base:
            names = base.execute("SELECT id FROM agreements ORDER BY number").fetchall()
            return [self._kept(base, name, trust, now) for (name,) in names]

    def one(self, prefix: str, trust: TrustStore) -> Kept:
        """The one agreement whose id begins with `prefix`; raises InvalidLawEntry where none or several do."""
        found = [one for one in self.all(trust) if prefix and one.agreement.id.startswith(prefix)]
        if len(found) != 1:
            what = "more than one agreement" if found else "no agreement"
            where, right = f"agreement {prefix[:64]!r}", "see `inbond agreement list`"
            raise InvalidLawEntry(f"{what} is named so", where=where, right=right)
        return found[0]

    # --- uses ---

    def compare(self, shares: Sequence[Share], trust: TrustStore, *, key: str | None = None) -> list[Compared]:
        """Every agreement beside `shares`, oldest first; counts nothing. With a `key`, only the one used under it.

        Raises InvalidLawEntry for a key that was used for something else or rolled back.
        """
        with self._reading() as base:
            known = None if key is None else self._known(base, key, _asked(shares))
            return [] if key is not None and known is None else self._compared(base, shares, trust, known)

    def uses_of(self, agreement: str) -> list[Taken]:
        """The uses of an agreement (its id), newest first."""
        with self._reading() as base:
            rows = base.execute(
                "SELECT u.key, u.at, COALESCE(e.state, 'open') FROM uses u LEFT JOIN use_ends e ON e.use = u.number"
                " WHERE u.id = ? ORDER BY u.number DESC",
                (agreement,),
            ).fetchall()
        return [Taken(key, datetime.fromisoformat(at), state) for key, at, state in rows]

    def use(self, key: str, shares: Sequence[Share], trust: TrustStore) -> Use:
        """Count one use of the first agreement that covers all of `shares`; durable on return.

        The same key for the same shares is the same use, as long as the agreement stands. Raises NotAgreed where no
        agreement covers them all, InvalidLawEntry for a key that was used for something else or rolled back.
        """
        with self._transaction() as base:
            known = self._known(base, key, _asked(shares))
            kept, decision = _first(self._compared(base, shares, trust, known))
            if known is None:
                self._count(base, kept.agreement.id, key, _asked(shares), self._now())
            left = kept.agreement.uses - kept.used - (known is None)
            return Use(kept.agreement.id, key, left, decision)

    def commit(self, key: str) -> None:
        """Say that something was shared; again is no change. Raises InvalidLawEntry if it was rolled back."""
        self._end(key, "committed")

    def rollback(self, key: str) -> None:
        """Take a use back, only where provably nothing was shared; raises InvalidLawEntry where it was committed."""
        self._end(key, "rolled_back")

    # --- inside a transaction ---

    def _add(self, base: sqlite3.Connection, terms: Agreement, now: datetime) -> None:
        if base.execute("SELECT 1 FROM agreements WHERE id = ?", (terms.id,)).fetchone() is not None:
            return
        base.execute(
            "INSERT INTO agreements (id, added, agreement) VALUES (?, ?, ?)",
            (terms.id, now.isoformat(), canonical(terms.payload()).decode()),
        )
        self._tell(f"agreement:{terms.id}", {"event": "agreement kept", "terms": terms.digest()})

    def _say(self, base: sqlite3.Connection, name: str, act: Act, party: str, token: str, now: datetime) -> None:
        changed = base.execute(
            f"INSERT OR IGNORE INTO {_TABLES[act]} (id, signer, at, token) VALUES (?, ?, ?, ?)",  # noqa: S608 - fixed
            (name, party, now.isoformat(), token),
        ).rowcount
        if changed:
            self._tell(f"agreement:{name}", {"event": _EVENTS[act], "by": party})

    def _kept(self, base: sqlite3.Connection, name: str, trust: TrustStore, now: datetime) -> Kept:
        added, text = base.execute("SELECT added, agreement FROM agreements WHERE id = ?", (name,)).fetchone()
        try:
            terms, when = Agreement.model_validate(json.loads(text)), datetime.fromisoformat(added)
        except (ValueError, TypeError) as error:
            right = "the file as it was, from a copy"
            raise LawStoreUnavailable("an agreement cannot be read", where=str(self._path), right=right) from error
        tokens = base.execute("SELECT token FROM signatures WHERE id = ? ORDER BY number", (name,)).fetchall()
        agreed = {party: token for (token,) in tokens if (party := _party(token, terms, trust, now)) is not None}
        # Whoever has ended it has ended it, also where that signature is not believed any more.
        ended = dict(base.execute("SELECT signer, token FROM revocations WHERE id = ? ORDER BY number DESC", (name,)))
        (used,) = base.execute(
            "SELECT COUNT(*) FROM uses u LEFT JOIN use_ends e ON e.use = u.number"
            " WHERE u.id = ? AND COALESCE(e.state, '') != 'rolled_back'",
            (name,),
        ).fetchone()
        signed = SignedAgreement(agreement=terms, signatures=tuple(agreed.values()), revocations=tuple(ended.values()))
        return Kept(signed, when, frozenset(agreed), frozenset(ended), int(used))

    def _compared(
        self, base: sqlite3.Connection, shares: Sequence[Share], trust: TrustStore, only: str | None
    ) -> list[Compared]:
        """Every agreement beside `shares`, or the `only` one, among whose uses is the one that is asked about."""
        now = self._now()
        names = base.execute("SELECT id FROM agreements ORDER BY number").fetchall()
        held = [self._kept(base, name, trust, now) for (name,) in names if only in {None, name}]
        return [_beside(kept, shares, now, counted=only is not None) for kept in held]

    @staticmethod
    def _known(base: sqlite3.Connection, key: str, asked: str) -> str | None:
        """The agreement that is used under a key already."""
        row = base.execute(
            "SELECT u.id, u.asked, e.state FROM uses u LEFT JOIN use_ends e ON e.use = u.number WHERE u.key = ?", (key,)
        ).fetchone()
        if row is not None and (row[1] != asked or row[2] == "rolled_back"):
            raise InvalidLawEntry(
                "the key was used for something else, or rolled back", where="agreements", right="one key for one job"
            )
        return None if row is None else str(row[0])

    def _count(self, base: sqlite3.Connection, name: str, key: str, asked: str, now: datetime) -> None:
        base.execute("INSERT INTO uses (id, key, asked, at) VALUES (?, ?, ?, ?)", (name, key, asked, now.isoformat()))
        self._tell(f"agreement:{name}", {"event": "agreement used", "key": key, "asked": asked})

    def _end(self, key: str, state: str) -> None:
        with self._transaction() as base:
            row = base.execute(
                "SELECT u.number, u.id, e.state FROM uses u LEFT JOIN use_ends e ON e.use = u.number WHERE u.key = ?",
                (key,),
            ).fetchone()
            if row is None or row[2] not in {None, state}:
                what = "nothing was used under this key" if row is None else f"the use is already {row[2]}"
                raise InvalidLawEntry(what, where="agreements", right="the key of a use that is open")
            if row[2] is None:
                base.execute(
                    "INSERT INTO use_ends (use, state, at) VALUES (?, ?, ?)", (row[0], state, self._now().isoformat())
                )
                event = f"agreement use {state.replace('_', ' ')}"
                self._tell(f"agreement:{row[1]}", {"event": event, "key": key})


def _party(token: str, terms: Agreement, trust: TrustStore, now: datetime) -> str | None:
    """Who agreed to the terms by this token, or None where it is not believed."""
    try:
        return signatory(token, terms, "agree", trust=trust, now=now)
    except InvalidIdentity:
        return None


def _asked(shares: Sequence[Share]) -> str:
    return digest([asdict(share) for share in shares])


def _beside(kept: Kept, shares: Sequence[Share], now: datetime, *, counted: bool) -> Compared:
    """An agreement beside what is asked; `counted` when this very use is among those counted already."""
    standing = kept.standing(now)
    if standing in {Standing.PROPOSED, Standing.REVOKED}:
        return Compared(kept, standing, None)
    decision = covers(kept.agreement, shares, today=now.date(), used=kept.used - counted)
    return Compared(kept, standing, decision)


def _first(compared: Sequence[Compared]) -> tuple[Kept, Decision]:
    """The first agreement that covers it all; raises NotAgreed with what each lacks."""
    for one in compared:
        if one.decision is not None and one.decision.permitted:
            return one.kept, one.decision
    what = "; ".join(one.cause for one in compared) or "there is no agreement"
    raise NotAgreed(what, where="agreements", right="an agreement on it, signed by every side")
