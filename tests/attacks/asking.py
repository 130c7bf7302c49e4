"""One party with a budget, asked as a researcher would; the other parties' rows are what the test says."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from federation.planner import make_plan
from parties.answering import QueryJob
from policies.contract import load_contract
from tests.bad_input.homes import CONSORTIUM, Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, query_spec
from tests.support.authority import TestAuthority

Table = NDArray[np.int64]
ROWS = 90
START = datetime(2026, 1, 1)  # noqa: DTZ001 - a column without a zone
BUDGET = "budget: {epsilon: 2, delta: 0}\nmax_rows_per_subject: 1\n"


def write_rows(home: Path, rows: int = ROWS, amounts: list[str] | None = None) -> None:
    """The party's table: each row a minute after the one before, three countries in turn."""
    numbers = range(rows)
    table: dict[str, list[Any]] = {
        "country": [("DE", "FR", "NO")[number % 3] for number in numbers],
        "amount": amounts or [f"{number}.00" for number in numbers],
        "customer": ["a"] * rows,
        "items": [1 + number % 2 for number in numbers],
        "paid": [number % 4 == 0 for number in numbers],
        "day": ["2026-01-01"] * rows,
        "seen": [str(START + timedelta(minutes=number)) for number in numbers],
        "weight": [0.5] * rows,
    }
    pq.write_table(pa.table(table), home / "orders.parquet")


@dataclass
class Asked:
    """A party `p1` whose contract is `text`, and every job's `QueryJob` by the SQL."""

    party: Party
    text: str = CONTRACT + BUDGET
    parties: tuple[str, ...] = ("p1", "p2", "p3")
    _open: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, home: Path, text: str = CONTRACT + BUDGET) -> "Asked":
        """A new consortium with this party."""
        authority = TestAuthority(CONSORTIUM)
        certified_home(authority, "party", "p1", home)
        furnish(home, text)
        prove(home)
        write_rows(home)
        made = cls(Party.open(authority, home, authority.node("user/rosa")), text)
        made.register()
        return made

    def register(self) -> None:
        """Budgets as the agent sets them when it starts."""
        from parties.sources import register_budgets

        register_budgets(self.party.budget, self.party.door._catalogue.contracts.values(), self.party.home)

    def restart(self, text: str | None = None) -> None:
        """Stop the party and start it again, perhaps with another contract."""
        if text is not None:
            self.text = text
            (self.party.home / "contracts" / "orders.yaml").write_text(text, "utf-8")
        self.party.close()
        self.party = Party.open(self.party.authority, self.party.home, self.party.researcher)
        self.register()

    def job(self, sql: str, epsilon: float | None = None) -> QueryJob:
        """An admitted job; raises AssertionError with the party's reasons when it is not."""
        for job in self._open:
            self.party.jobs.end(job, "closed")
        contract = load_contract(self.text, "orders.yaml")
        privacy = {} if epsilon is None else {"privacy": {"mechanism": "laplace", "epsilon": epsilon}}
        order, token = self.party.order(query_spec(sql=sql, dataset=contract.dataset, **privacy))
        published = {name: {contract.dataset: contract} for name in self.parties}
        plan = make_plan(order, published, coordinator_country="DE")
        reply = self.party.admit(order, token, plan=plan)
        assert self.party.store.job(order.jti) is not None, self.party.entries()[-1].data["reasons"]
        assert reply.status == "ok"
        self._open = [order.jti]
        return QueryJob(self.party.jobs.get(order.jti).context)

    def noised(self, sql: str, epsilon: float) -> Table:
        """(groups, slots) this party's part of a release with noise. Raises BudgetExceeded."""
        return self.job(sql, epsilon)._own_table()

    def exact(self, sql: str, others: int = 0) -> Table:
        """(groups, slots) the joint table; the others have `others` rows in every group. Raises RefusedError."""
        job = self.job(sql)
        table = job._own_table()
        job.keep(table)
        joint = table.copy()
        joint[:, list(job.query.counts)] += others
        job._admit_exact(joint, job.query.suppressed(joint, job.context.plan.minimum_group))
        return joint
