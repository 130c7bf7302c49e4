"""One sample table and what a query over it compiles to, or gives when its fragment runs in a real DuckDB."""

from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from policies.contract import PublishedContract
from policies.query.compiled import Compiled
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer, Scope
from tests.policies.samples import contract

ROWS = """
  SELECT * FROM (VALUES
    ('DE', 10.10::DECIMAL(18,2), 1, DATE '2026-01-01', true), ('DE', 0.29, 2, DATE '2026-01-02', false),
    ('FR', NULL, 1, DATE '2026-01-01', true), ('FR', 600.0, NULL, NULL, NULL),
    ('XX', 7.0, 1, DATE '2026-01-01', true), (NULL, 7.0, 1, DATE '2026-01-01', true)
  ) AS source(country, amount, items, day, paid)
"""
KEY = {"as": "order-id", "counterparts": {"*": []}}


def column(kind: str, *uses: str, **more: Any) -> dict[str, Any]:
    """A column of a contract, as its owner writes it."""
    return {"type": kind, "class": "operational", "uses": uses or ("aggregate", "filter"), **more}


def table(dataset: str, **columns: dict[str, Any]) -> PublishedContract:
    """The sample contract for another table."""
    return contract(dataset=dataset, columns=columns)


def compiled(sql: str, *, noised: bool = False, parameters: dict[str, Any] | None = None, **changes: Any) -> Compiled:
    """The query over the sample table of three parties."""
    catalogue = {"orders": Offer(contract(**changes), ("p1", "p2", "p3"))}
    return compile_query(parse(sql, parameters=parameters), catalogue, noised=noised)


def scope(sql: str = "SELECT COUNT(*) FROM orders", **changes: Any) -> Scope:
    """The names of a statement over the sample table."""
    return Scope(parse(sql), {"orders": Offer(contract(**changes), ("p1",))})


def run(sql: str, *, noised: bool = False) -> NDArray[np.int64]:
    """Groups x slots of the fragment of `sql` over ROWS."""
    query = compiled(sql, noised=noised)
    fragment = query.sides[0].fragment
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE VIEW t0 AS {ROWS}")
        found = connection.execute(fragment.sql, dict(fragment.parameters)).fetchall()
    values = list(zip(*found, strict=True)) or [()] * len(fragment.outputs)
    return query.table(dict(zip(fragment.outputs, values, strict=True)))


def answer(sql: str, minimum: int = 1) -> list[dict[str, Any]]:
    """The answer of one owner alone."""
    query, found = compiled(sql), run(sql)
    hidden = query.suppressed(found, minimum)
    return query.rows(np.where(hidden, 0, found), hidden)
