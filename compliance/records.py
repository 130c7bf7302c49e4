"""A node's records of evidence, kept for good: added and ended, never changed; each act is in the evidence log.

The officer of the node sees them; the log keeps a record's name, kind and document digest. Whether a record holds on
a day is `policies.evidence`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compliance.errors import InvalidLawEntry
from compliance.law_store import LawStore
from policies.canonical import canonical
from policies.evidence import Evidence, id_of, payload_of, stored_evidence

_SELECT = "SELECT r.id, r.added, r.evidence, e.ended FROM records r LEFT JOIN record_ends e ON e.id = r.id"


@dataclass(frozen=True)
class Record:
    """A record as it is kept; `ended` is when its owner ended it before its time, or None."""

    id: str
    added: datetime
    evidence: Evidence
    ended: datetime | None = None


class RecordStore(LawStore):
    """Open with `RecordStore.open`."""

    def add(self, evidence: Evidence) -> Record:
        """Keep a record; the same one again is no change. Raises InvalidLawEntry for one that was ended."""
        payload, name = payload_of(evidence), id_of(evidence)
        with self._transaction() as base:
            known = self._find(name)
            if known is not None and known.ended is not None:
                raise InvalidLawEntry(
                    "this record was ended", where=f"record {name}", right="a record of a new document"
                )
            if known is not None:
                return known
            added = self._now()
            base.execute(
                "INSERT INTO records (id, added, evidence) VALUES (?, ?, ?)",
                (name, added.isoformat(), canonical(payload).decode()),
            )
            self._tell(
                f"record:{name}",
                {"event": "record added", "kind": evidence.kind, "document": evidence.document_sha256},
            )
        return Record(name, added, evidence)

    def expire(self, prefix: str) -> Record:
        """End the one record whose name begins with `prefix`, from now on; again is no change.

        Raises InvalidLawEntry where none or several do.
        """
        with self._transaction() as base:
            found = self._the_one(prefix)
            if found.ended is not None:
                return found
            ended = self._now()
            base.execute("INSERT INTO record_ends (id, ended) VALUES (?, ?)", (found.id, ended.isoformat()))
            self._tell(f"record:{found.id}", {"event": "record ended", "kind": found.evidence.kind})
        return Record(found.id, found.added, found.evidence, ended)

    def all(self) -> list[Record]:
        """Every record, ended or not, oldest first."""
        with self._reading() as base:
            return [_record(row) for row in base.execute(_SELECT + " ORDER BY r.number")]

    def standing(self) -> list[Evidence]:
        """What `facts_of` may rest on: the records that nobody ended."""
        return [record.evidence for record in self.all() if record.ended is None]

    def _find(self, name: str) -> Record | None:
        row = self._connection.execute(_SELECT + " WHERE r.id = ?", (name,)).fetchone()
        return None if row is None else _record(row)

    def _the_one(self, prefix: str) -> Record:
        rows = self._connection.execute(
            _SELECT + " WHERE substr(r.id, 1, ?) = ? LIMIT 2", (len(prefix), prefix)
        ).fetchall()
        if len(rows) != 1 or not prefix:
            what = "no record" if not rows else "more than one record"
            raise InvalidLawEntry(
                f"{what} is named so", where=f"record {prefix[:64]!r}", right="see `inbond record list`"
            )
        return _record(rows[0])


def standing_in(path: Path) -> list[Evidence]:
    """The records of a file that nobody ended, none where there is no file; raises LawStoreUnavailable."""
    if not path.exists():
        return []
    with RecordStore.read_only(path) as store:
        return store.standing()


def _record(row: tuple[str, str, str, str | None]) -> Record:
    name, added, evidence, ended = row
    return Record(
        name,
        datetime.fromisoformat(added),
        stored_evidence(json.loads(evidence)),
        None if ended is None else datetime.fromisoformat(ended),
    )
