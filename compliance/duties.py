"""What a party's admitted jobs left to be done, durably: obligations whose evidence falls due after the release.

The party's own file: jobs, obligations, recipients, tables and days, no data. Whether a duty is settled is not in it:
the records of evidence say so (`policies.law.duties`). Each duty is told to the evidence log when it arises.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import date
from typing import Any, ClassVar

from compliance.audit.entry import fitting
from compliance.errors import LawStoreUnavailable
from compliance.law_store import LawStore
from policies.law.duties import LaterDuty, Owed

FILE = "duties.db"
_DAYS = ("arose", "due")


class DutyLedger(LawStore):
    """Open with `DutyLedger.open`; for looking only, `read_only`."""

    SCHEMA: ClassVar[str] = "duties"

    def keep(self, job: str, duties: Iterable[LaterDuty]) -> int:
        """Keep what `job` leaves behind; returns how many are new. The same again, or one that recurs and is kept
        already, is no change. Raises LawStoreUnavailable.
        """
        with self._transaction():
            new = [duty for duty in duties if self._insert(job, duty)]
            if new:
                lines = [{"obligation": one.code, "recipient": one.recipient, "due": str(one.due)} for one in new]
                self._tell("duties", {"event": "duties arose", "job": job, "duties": fitting(lines)})
        return len(new)

    def all(self) -> list[Owed]:
        """Every duty, oldest first."""
        with self._reading() as base:
            return [_owed(*row) for row in base.execute("SELECT job, duty FROM duties ORDER BY number")]

    def between(self, exporter: str, recipients: Iterable[str]) -> list[Owed]:
        """The duties of `exporter` towards these recipients, oldest first."""
        found: list[tuple[int, str, str]] = []
        with self._reading() as base:
            for name in set(recipients):
                found += base.execute(
                    "SELECT number, job, duty FROM duties WHERE exporter = ? AND recipient = ?", (exporter, name)
                ).fetchall()
        return [_owed(job, duty) for _, job, duty in sorted(found)]

    def _insert(self, job: str, duty: LaterDuty) -> bool:
        done = self._connection.execute(
            "INSERT OR IGNORE INTO duties (name, job, code, exporter, recipient, duty) VALUES (?, ?, ?, ?, ?, ?)",
            (duty.name(job), job, duty.code, duty.exporter, duty.recipient, _text(duty)),
        )
        return done.rowcount == 1


def _text(duty: LaterDuty) -> str:
    return json.dumps(asdict(duty), ensure_ascii=False, sort_keys=True, default=str)


def _owed(job: str, text: str) -> Owed:
    try:
        said: Mapping[str, Any] = json.loads(text)
        values = {one.name: said[one.name] for one in fields(LaterDuty)}
        days = {name: date.fromisoformat(values[name]) for name in _DAYS}
        return Owed(job, LaterDuty(**{**values, **days, "proved_by": tuple(values["proved_by"])}))
    except (ValueError, KeyError, TypeError) as error:
        what = f"a duty of job {job} cannot be read"
        raise LawStoreUnavailable(what, where=FILE, right="restore the file from its backup") from error
