"""Two exact questions: by how many of an owner's rows their released sets differ, compared in a real DuckDB."""

from typing import Any

import duckdb
import numpy as np
import pytest

from parties.connectors.pushdown import Pushdown, statement
from policies.query.comparing import ROWS, comparison, question_of
from policies.query.compiled import Compiled
from policies.query.differing import Released, close_pairs, differ_by_few
from tests.policies.query.asked import compiled

MINIMUM = 5
TABLE = """
  SELECT ['DE', 'FR', 'NO'][1 + i % 3] AS country, (i % 400)::DECIMAL(18,2) AS amount, 1 + i % 2 AS items,
         DATE '2026-01-01' + (i % 2)::INTEGER AS day, i % 4 = 0 AS paid, 'a' AS customer,
         TIMESTAMP '2026-01-01' + INTERVAL (i) MINUTE AS seen, i / 7.0 AS weight
  FROM range(90) AS numbers(i)
"""


@pytest.fixture(scope="module")
def base() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute(f"CREATE TABLE t0 AS {TABLE}")
    return connection


def released(base: duckdb.DuckDBPyConnection, sql: str) -> tuple[Compiled, Released]:
    """What one owner alone releases of a query."""
    query = compiled(sql)
    fragment = query.sides[0].fragment
    found = base.execute(fragment.sql, dict(fragment.parameters)).fetchall()
    values = list(zip(*found, strict=True)) or [()] * len(fragment.outputs)
    table = query.table(dict(zip(fragment.outputs, values, strict=True)))
    counts, hidden = table[:, list(query.counts)], query.suppressed(table, MINIMUM)[:, list(query.counts)]
    return query, Released(question_of(query, query.sides[0]), counts, hidden)


def too_close(base: duckdb.DuckDBPyConnection, earlier: str, later: str) -> bool:
    (_, old), (_, new) = released(base, earlier), released(base, later)
    pairs = close_pairs(new, old, MINIMUM)
    if not pairs:
        return False
    fragment = comparison(new.question, old.question)
    found = base.execute(fragment.sql, dict(fragment.parameters)).fetchall()
    result: dict[str, Any] = dict(zip(fragment.outputs, zip(*found, strict=True), strict=True))
    assert sum(result[ROWS]) <= 90, "every row is counted once at most"
    return differ_by_few(new, old, pairs, result, MINIMUM)


ALL = "SELECT COUNT(*), SUM(amount) FROM orders"
BY_COUNTRY = "SELECT country, COUNT(*), SUM(amount) FROM orders GROUP BY country"
WINDOW = "SELECT SUM(amount) FROM orders WHERE seen >= '2026-01-01 00:{low}:00' AND seen < '2026-01-01 00:{high}:00'"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (ALL, f"{ALL} WHERE amount <> 17"),
        (f"{ALL} WHERE amount <> 17", ALL),
        (ALL, f"{ALL} WHERE amount < 87"),
        (f"{ALL} WHERE amount > 9", "SELECT SUM(amount) FILTER (WHERE amount > 10) FROM orders"),
        (f"{ALL} WHERE amount > 9", "SELECT SUM(CASE WHEN amount > 10 THEN amount ELSE 0 END) FROM orders"),
        (BY_COUNTRY, BY_COUNTRY.replace("GROUP", "WHERE amount <> 17 GROUP")),
        (f"{ALL} WHERE country = 'DE'", BY_COUNTRY.replace("GROUP", "WHERE amount > 2 GROUP")),
        (WINDOW.format(low="00", high="30"), WINDOW.format(low="00", high="33")),
        (WINDOW.format(low="00", high="30"), WINDOW.format(low="02", high="32")),
        (ALL, "SELECT CASE WHEN amount < 3 THEN 'a' ELSE 'b' END AS c, COUNT(*) FROM orders GROUP BY c"),
        ("SELECT CASE WHEN amount < 3 THEN 'a' ELSE 'b' END AS c, COUNT(*) FROM orders GROUP BY c", BY_COUNTRY),
        (
            "SELECT country, CASE WHEN amount < 3 THEN 'a' ELSE 'b' END AS c, COUNT(*) FROM orders GROUP BY country, c",
            BY_COUNTRY,
        ),
    ],
)
def test_sets_that_differ_by_fewer_rows_than_the_minimum_are_found(
    base: duckdb.DuckDBPyConnection, earlier: str, later: str
) -> None:
    assert too_close(base, earlier, later)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (ALL, ALL),
        (ALL, BY_COUNTRY),
        (BY_COUNTRY, "SELECT items, COUNT(*) FROM orders GROUP BY items"),
        (BY_COUNTRY, "SELECT country, items, AVG(amount) FROM orders GROUP BY country, items"),
        (ALL, f"{ALL} WHERE amount < 85"),
        (f"{ALL} WHERE country = 'DE'", f"{ALL} WHERE country = 'FR'"),
        (WINDOW.format(low="00", high="30"), WINDOW.format(low="30", high="59")),
        (WINDOW.format(low="00", high="30"), WINDOW.format(low="05", high="30")),
        (BY_COUNTRY, f"{BY_COUNTRY} HAVING COUNT(*) > 3 ORDER BY country LIMIT 2"),
        ("SELECT MEDIAN(amount) FROM orders", "SELECT MEDIAN(amount), MAX(amount) FROM orders"),
    ],
)
def test_the_same_sets_and_sets_that_are_far_apart_are_let_through(
    base: duckdb.DuckDBPyConnection, earlier: str, later: str
) -> None:
    assert not too_close(base, earlier, later)


def test_what_is_compared_is_what_an_engine_lets_through(base: duckdb.DuckDBPyConnection) -> None:
    (_, old), (_, new) = released(base, ALL), released(base, f"{BY_COUNTRY.replace('GROUP', 'WHERE paid GROUP')}")
    fragment = comparison(new.question, old.question)
    push = Pushdown(fragment.sql, fragment.parameters, fragment.outputs)
    view = duckdb_view()
    found = base.execute(statement(push, {"t0": view}, 1000).sql("duckdb"), dict(fragment.parameters)).fetchall()
    assert sum(row[-1] for row in found) == 90


def duckdb_view() -> Any:
    import sqlglot

    return sqlglot.parse_one("SELECT * FROM t0", dialect="duckdb")


def test_joint_counts_that_are_far_apart_need_no_look_at_the_rows(base: duckdb.DuckDBPyConnection) -> None:
    _, one = released(base, ALL)
    other = Released(one.question, one.counts + MINIMUM, one.hidden)
    assert close_pairs(other, one, MINIMUM) == []
    assert len(close_pairs(Released(one.question, one.counts + 1, one.hidden), one, MINIMUM)) == 4, "two counts each"


def test_what_was_not_released_is_not_compared(base: duckdb.DuckDBPyConnection) -> None:
    _, one = released(base, BY_COUNTRY)
    assert close_pairs(one, Released(one.question, one.counts, np.ones_like(one.hidden)), MINIMUM) == []
