"""Joint queries whose fragments every engine must answer alike, over the sample contract's table."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from parties.connectors.base import Limits, Relation, connector, relation
from parties.connectors.joint import pushdown_of
from policies.contract import Source
from policies.sql import fragment, parse_query
from tests.policies.samples import contract

QUERIES = [
    "SELECT COUNT(*) FROM orders",
    "SELECT country, COUNT(*), SUM(amount), AVG(items) FROM orders GROUP BY country",
    "SELECT day, paid, SUM(amount) AS s FROM orders GROUP BY day, paid",
    "SELECT items, AVG(amount) AS m FROM orders WHERE weight > 0.5 AND amount > 0.02 GROUP BY items",
    "SELECT COUNT(*) FROM orders WHERE seen >= '2026-01-01 10:00:00' AND NOT country = 'FR'",
    "SELECT COUNT(*) FROM orders WHERE country LIKE 'D%' OR country ILIKE 'f_' OR amount BETWEEN 0.01 AND 0.02",
    "SELECT COUNT(*) FROM orders WHERE paid = TRUE AND day = '2026-01-01' AND customer IN ('a', 'c')",
    "SELECT COUNT(*) FROM orders WHERE weight > 0.5 AND items IS NOT NULL AND country <> 'it''s'",
]


def answered(sql: str, source: Source, folder: Path, *, noised: bool = False) -> tuple[tuple[int, ...], ...]:
    """The fragment's groups x columns, as a party would report them."""
    owned = contract(source=source)
    query = parse_query(sql)
    piece = fragment(query, owned, noised=noised)
    wanted: Relation = relation(owned, list(dict.fromkeys(name for name, _ in query.uses)))
    found = connector(source.kind).run({"source": wanted}, pushdown_of(piece, query, owned), folder, Limits(seconds=60))
    return piece.align(tuple(row.values()) for row in found.to_pylist())


def orders(rows: int = 40) -> pa.Table:
    """The sample contract's table, with NULLs, and groups that are absent."""
    table: dict[str, list[Any]] = {
        "country": ["DE", "FR", None, "DE", "\u00d6"],
        "amount": ["10.00", "20.50", "0.01", "499.99", None],
        "customer": ["a", "b", "a", "c", "a"],
        "items": [1, 2, 1, None, 9],
        "paid": [True, False, True, None, True],
        "day": ["2026-01-01", "2026-01-02", None, "2026-01-02", "2026-01-01"],
        "seen": ["2026-01-01 10:00:00", None, "2026-01-01 09:59:59.999999", "2026-02-01 00:00:00", None],
        "weight": [0.5, 1.5, 2.5, 3.5, None],
    }  # fmt: skip
    return pa.table({name: (values * rows)[:rows] for name, values in table.items()})
