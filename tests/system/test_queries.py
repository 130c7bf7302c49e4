"""What SQL is answered through a whole consortium: the same as one database over all firms' rows would say."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from federation.client import Researcher
from inbond.errors import InbondError
from policies.errors import InvalidInput
from tests.system.world import FIRMS, PURPOSE

MINIMUM = 10
ASKED: dict[str, Any] = {"purpose": PURPOSE, "parties": list(FIRMS), "minimum_parties": 3}


@pytest.fixture(scope="module")
def firms(data: Path) -> duckdb.DuckDBPyConnection:
    """All rows of all firms in one place, which is what nobody has."""
    connection = duckdb.connect(":memory:")
    tables = " UNION ALL ".join(
        f"SELECT *, '{firm}' AS firm FROM '{data / firm / 'payments.parquet'}'" for firm in FIRMS
    )
    connection.execute(f"CREATE VIEW payments AS {tables}")
    return connection


def plain(firms: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = firms.sql(sql).to_arrow_table().to_pylist()
    return found


def test_expressions_classes_and_an_order_are_answered_as_by_one_database(
    rosa: Researcher, firms: duckdb.DuckDBPyConnection
) -> None:
    sql = """
      SELECT CASE WHEN customer_country = shop_country THEN 'home' ELSE 'abroad' END AS side,
             COUNT(*) AS n, SUM(amount_cents) / 100.0 AS total, ROUND(AVG(amount_cents), 1) AS mean,
             STDDEV_SAMP(amount_cents) AS spread, SUM(amount_cents) FILTER (WHERE amount_cents > {low}) AS large
      FROM payments WHERE t_seconds > 1000 GROUP BY side HAVING COUNT(*) >= 10 ORDER BY total DESC
    """
    answer = rosa.query(sql.format(low="$low"), parameters={"low": 2000}, **ASKED)
    theirs = plain(firms, sql.format(low=2000))
    assert [row["side"] for row in answer.rows] == [row["side"] for row in theirs]
    for ours, row in zip(answer.rows, theirs, strict=True):
        assert ours["n"] == row["n"]
        assert float(ours["total"]) == pytest.approx(float(row["total"]))
        assert (ours["mean"], ours["spread"]) == pytest.approx((row["mean"], row["spread"]))
        assert ours["large"] in {row["large"], None}


def test_distinct_values_and_extremes_come_from_counts_of_at_least_the_minimum_group(
    rosa: Researcher, firms: duckdb.DuckDBPyConnection
) -> None:
    sql = """
      SELECT COUNT(DISTINCT customer_country) AS lands, MIN(amount_cents) AS low, MEDIAN(amount_cents) AS half
      FROM payments
    """
    ((ours,), (row,)) = (rosa.query(sql, **ASKED).rows, plain(firms, sql))
    wide = 200_000 / 256
    assert 1 <= ours["lands"] <= row["lands"]
    assert ours["low"] == pytest.approx(row["low"], abs=wide)
    assert ours["half"] == pytest.approx(row["half"], abs=2 * wide)


def test_each_owner_joins_its_own_tables(rosa: Researcher, firms: duckdb.DuckDBPyConnection) -> None:
    sql = """
      SELECT a.customer_country AS land, COUNT(*) AS n, SUM(b.amount_cents) AS cents
      FROM {first} a JOIN {second} b ON {on} WHERE a.amount_cents > 150 AND b.fraud = 1
      GROUP BY a.customer_country ORDER BY land
    """
    equal = "a.customer_country = b.customer_country"
    answer = rosa.query(sql.format(first="payments", second='"open-payments"', on=equal), **ASKED)
    theirs = plain(firms, sql.format(first="payments", second="payments", on=f"{equal} AND a.firm = b.firm"))
    wanted = [(row["land"], row["n"], int(row["cents"])) for row in theirs if row["n"] >= MINIMUM]
    assert [(row["land"], row["n"], row["cents"]) for row in answer.rows] == wanted
    assert {table.dataset for one in answer.plan.participants for table in one.tables} == {"payments", "open-payments"}


def test_noise_covers_every_level_of_a_quantile(rosa: Researcher, firms: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT COUNT(*) AS n, MAX(customer_country) AS last FROM payments"
    answer = rosa.query(sql, privacy={"mechanism": "laplace", "epsilon": 5.0}, **ASKED)
    assert answer.plan.noise.epsilon == 5.0
    (row,) = plain(firms, sql)
    assert answer.rows == [] or abs(answer.rows[0]["n"] - row["n"]) < 200_000


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM payments", "rows never leave"),
        ("SELECT shop_id, COUNT(*) FROM payments GROUP BY shop_id", "no list of values"),
        ("SELECT COUNT(DISTINCT customer_id) FROM payments", "may not be used"),
        ('SELECT COUNT(*) FROM payments LEFT JOIN "open-payments" USING (tx_id)', "LEFT join"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(rosa: Researcher, sql: str, told: str) -> None:
    with pytest.raises((InbondError, InvalidInput), match=told):
        rosa.query(sql, **ASKED)
