"""The facts of every transfer that this party let happen, so that another set of rules can be asked about them.

The party's own file: facts of transfers (places, kinds, tools, counts of persons), no data. The decisions themselves
are in the evidence log.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from compliance.law_store import LawStore
from policies.law.scenario import Scenario

FILE = "past.db"
SHORT = 12


class PastTransfers(LawStore):
    """Open with `PastTransfers.open`; for looking only, `read_only`."""

    SCHEMA: ClassVar[str] = "past"

    def keep(self, job: str, transfers: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Keep the (in words, facts) of a job's transfers, equal facts once. Raises LawStoreUnavailable."""
        now = self._now().isoformat()
        texts = [(about[:200], json.dumps(dict(facts), sort_keys=True, default=str)) for about, facts in transfers]
        rows = [(job, about, facts, now) for about, facts in texts]
        with self._transaction() as base:
            base.executemany("INSERT OR IGNORE INTO judged (job, about, facts, at) VALUES (?, ?, ?, ?)", rows)

    def scenarios(self) -> tuple[Scenario, ...]:
        """Every transfer as a case without an expectation, oldest first."""
        with self._reading() as base:
            rows = base.execute("SELECT number, job, about, facts FROM judged ORDER BY number").fetchall()
        return tuple(
            Scenario(id=f"{job[:SHORT]}/{number}", title=about, facts=json.loads(facts))
            for number, job, about, facts in rows
        )
