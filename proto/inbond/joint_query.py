"""What parties and researcher must agree on in a joint query: the order of groups and columns, and what is released.

A table here is groups x columns of int64: `rows`, then per aggregate `count_i` (values that are not null) and, for
sums and averages, `sum_i` (in cents for money).
"""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inbond.roster import Roster
from policies.contract import CENTS, ColumnType, PublishedContract
from policies.plan import Plan
from policies.sql import JointQuery, fragment, parse_query
from protocols.params import PUBLIC_4096
from protocols.secure_sum import SumSpec

Table = NDArray[np.int64]


@dataclass(frozen=True)
class QueryLayout:
    """One query over one kind of table."""

    query: JointQuery
    groups: tuple[tuple[Any, ...], ...]
    columns: tuple[str, ...]
    money: frozenset[str]

    @classmethod
    def of(cls, sql: str, contract: PublishedContract, *, noised: bool) -> "QueryLayout":
        """The layout of `sql` over the contract's kind of table; raises InvalidInput."""
        query = parse_query(sql, "job: sql")
        piece = fragment(query, contract, noised=noised)
        money = frozenset(name for name, column in contract.columns.items() if column.type is ColumnType.MONEY)
        return cls(query, piece.groups, piece.columns, money)

    @property
    def shape(self) -> tuple[int, int]:
        """Groups, columns."""
        return len(self.groups), len(self.columns)

    @property
    def counts(self) -> list[int]:
        """Positions of the columns that count."""
        return [index for index, name in enumerate(self.columns) if not name.startswith("sum_")]

    def agreed(self) -> bytes:
        """The query, its groups and columns as bytes: part of every sum's description."""
        return json.dumps([self.query.canonical_sql, self.groups, self.columns], default=str).encode()

    def suppressed(self, table: Table, minimum: int) -> NDArray[np.bool_]:
        """Which cells of the joint `table` may not be released: true where suppressed.

        A group of fewer than `minimum` rows goes whole; so does each sum or average over fewer than `minimum`
        values that are not null, with the count that would tell.
        """
        position = {name: index for index, name in enumerate(self.columns)}
        governing = [position[name.replace("sum_", "count_")] for name in self.columns]
        small: NDArray[np.bool_] = table < minimum
        return small[:, governing] | small[:, [position["rows"]]]

    def release_spec(self, job: str, plan: Plan, roster: Roster, hidden: NDArray[np.bool_]) -> SumSpec:
        """The sum that is released under the researcher's key, bound to which cells are `hidden`."""
        context = hashlib.sha256(self.agreed() + hidden.tobytes()).digest()
        return SumSpec(
            job=job,
            plan_digest=bytes.fromhex(plan.digest()),
            step="release",
            round=0,
            attempt=0,
            parties=roster.names,
            keys=dict(roster.keys),
            reals=0,
            clip=1.0,
            exact=self.shape[0] * self.shape[1],
            params=PUBLIC_4096.name,
            context=context,
        )

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """The answer as rows, names as in the SELECT; a suppressed value is None, a suppressed group is left out.

        A released group's own cells are never zero in their governing count, so a zero count means suppressed.
        """
        position = {name: index for index, name in enumerate(self.columns)}
        answer = []
        for key, values in zip(self.groups, table.tolist(), strict=True):
            if values[position["rows"]] == 0:
                continue
            row: dict[str, Any] = dict(zip(self.query.groups, key, strict=True))
            for index, aggregate in enumerate(self.query.aggregates):
                row[aggregate.name] = self._value(index, values, position)
            answer.append({name: row[name] for name in self.query.outputs})
        return answer

    def _value(self, index: int, values: list[int], position: dict[str, int]) -> Any:
        aggregate = self.query.aggregates[index]
        if aggregate.column is None:
            return values[position["rows"]]
        count = values[position[f"count_{index}"]]
        if aggregate.function == "count" or count == 0:
            return count or None
        total = values[position[f"sum_{index}"]]
        scale = CENTS if aggregate.column in self.money else 1
        if aggregate.function == "sum":
            return Decimal(total) / scale if scale != 1 else total
        return float(Decimal(total) / (scale * count))
