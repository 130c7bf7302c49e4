"""Joint queries whose fragments every engine must answer alike, over the sample contract's table."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from parties.connectors.base import Limits, Relation, connector, relation
from parties.connectors.pushdown import Pushdown
from policies.contract import Source
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer
from tests.policies.samples import contract

SEEN = "seen >= '2026-01-01' AND seen < '2026-03-01'"
CLASSES = "CASE WHEN amount < 15 THEN 'small' ELSE 'large' END"
QUERIES = [
    "SELECT COUNT(*) FROM orders",
    "SELECT country, COUNT(*), SUM(amount), AVG(items) FROM orders GROUP BY country",
    "SELECT day, paid, SUM(amount) AS s FROM orders GROUP BY day, paid",
    "SELECT items, AVG(amount) AS m FROM orders WHERE weight > 0.5 AND amount > 0.02 GROUP BY items",
    "SELECT COUNT(*) FROM orders WHERE seen >= '2026-01-01 10:00:00' AND NOT country = 'FR'",
    "SELECT COUNT(*) FROM orders WHERE country LIKE 'D%' OR country ILIKE 'f_' OR amount BETWEEN 0.01 AND 0.02",
    "SELECT COUNT(*) FROM orders WHERE paid = TRUE AND day = '2026-01-01' AND customer IN ('a', 'c')",
    "SELECT COUNT(*) FROM orders WHERE weight > 0.5 AND items IS NOT NULL AND country <> 'it''s'",
    "SELECT VAR_SAMP(amount) AS v, SUM(amount * items) AS s, SUM(2 * amount - 0.5) AS h FROM orders",
    "SELECT SUM(CASE WHEN paid THEN amount ELSE 1 END) AS s, COUNT_IF(items > 1 AND paid) AS n FROM orders",
    "SELECT MIN(amount) AS a, MAX(items) AS b, MEDIAN(items) AS c, COUNT(DISTINCT country) AS d FROM orders",
    "SELECT MIN(day) AS a, MAX(customer) AS b, COUNT(DISTINCT day) AS c FROM orders GROUP BY country",
    f"SELECT DATE_TRUNC('month', seen) AS m, COUNT(*) FROM orders WHERE {SEEN} GROUP BY m",
    f"SELECT DATE_TRUNC('hour', seen) AS h, COUNT(*) FROM orders WHERE {SEEN} AND seen < '2026-01-02' GROUP BY h",
    "SELECT MONTH(day) AS m, YEAR(day) AS y, COUNT(*) FROM orders GROUP BY 1, 2",
    f"SELECT {CLASSES} AS c, COUNT(*) FROM orders GROUP BY c",
    "SELECT FLOOR(amount / 25) * 25 AS b, COUNT(*), SUM(items) FROM orders GROUP BY b",
    "SELECT items // 2 AS b, amount > 15 AS c, COUNT(*) FROM orders GROUP BY b, c",
]


def answered(sql: str, source: Source, folder: Path, *, noised: bool = False) -> tuple[tuple[int, ...], ...]:
    """The fragment's groups x slots, as a party would report them."""
    owned = contract(source=source)
    query = compile_query(parse(sql), {"orders": Offer(owned, ("p1",))}, noised=noised)
    fragment = query.sides[0].fragment
    relations: dict[str, Relation] = {
        name: relation(owned, columns) for name, (_, columns) in fragment.relations.items()
    }
    push = Pushdown(fragment.sql, fragment.parameters, fragment.outputs)
    found = connector(source.kind).run(relations, push, folder, Limits(seconds=60))
    table = query.table({name: found[name].to_pylist() for name in found.column_names})
    return tuple(tuple(row) for row in table.tolist())


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
