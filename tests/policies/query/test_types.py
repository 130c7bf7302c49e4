"""What an answer's values are is known from the statement alone, and every value is of that type."""

from decimal import Decimal
from typing import Any

import pytest

from policies.query.finishing import ValueType
from tests.policies.query.asked import answer, compiled, run

INT, MONEY, FLOAT, TEXT, BOOL = (
    ValueType("number", 0),
    ValueType("number", 2),
    ValueType("number", None),
    ValueType("text"),
    ValueType("bool"),
)
TYPES = {
    "COUNT(*)": INT,
    "COUNT(DISTINCT country)": INT,
    "SUM(items)": INT,
    "SUM(amount)": MONEY,
    "SUM(amount * 0.5)": ValueType("number", 3),
    "AVG(items)": FLOAT,
    "STDDEV(amount)": FLOAT,
    "MIN(items)": INT,
    "MAX(amount)": MONEY,
    "MIN(country)": TEXT,
    "MAX(paid)": BOOL,
    "MAX(day)": TEXT,
    "MEDIAN(items)": FLOAT,
    "QUANTILE_DISC(amount, 0.5)": MONEY,
    "HISTOGRAM(country)": ValueType("map", 0, "text"),
    "HISTOGRAM(amount)": ValueType("map", 2, "number"),
    "HISTOGRAM(paid)": ValueType("map", 0, "bool"),
    "SUM(amount) + SUM(items)": MONEY,
    "SUM(amount) * SUM(amount)": ValueType("number", 4),
    "SUM(amount) * 1.25": ValueType("number", 4),
    "SUM(amount) / COUNT(*)": FLOAT,
    "SUM(items) // 2": INT,
    "SUM(amount) % 3": MONEY,
    "ROUND(SUM(amount), 1)": ValueType("number", 1),
    "ROUND(SUM(amount), 4)": MONEY,
    "ROUND(SUM(amount), -1)": INT,
    "ROUND(AVG(amount), 2)": FLOAT,
    "FLOOR(SUM(amount))": INT,
    "-ABS(SUM(amount))": MONEY,
    "SQRT(COUNT(*))": FLOAT,
    "CAST(COUNT(*) AS DOUBLE)": FLOAT,
    "COALESCE(SUM(amount), 0)": MONEY,
    "NULLIF(COUNT(*), 3)": INT,
    "CASE WHEN COUNT(*) > 3 THEN SUM(items) ELSE AVG(items) END": FLOAT,
    "CASE WHEN COUNT(*) > 3 THEN 'many' END": TEXT,
    "COUNT(*) > 3": BOOL,
    "NULL": ValueType(None),
    "2.50": ValueType("number", 1),
}
CASES = list(TYPES.items())


@pytest.mark.parametrize(("sql", "wanted"), CASES, ids=TYPES)
def test_a_column_has_the_type_of_its_expression(sql: str, wanted: ValueType) -> None:
    query = compiled(f"SELECT {sql} AS v, COUNT(*) AS n FROM orders")
    assert query.finish.types == (wanted, INT)


@pytest.mark.parametrize(("sql", "wanted"), CASES, ids=TYPES)
def test_every_value_is_of_the_type_that_was_told(sql: str, wanted: ValueType) -> None:
    (row,) = answer(f"SELECT {sql} AS v, COUNT(*) AS n FROM orders")
    assert row["v"] is None or _is(row["v"], wanted)


def test_what_is_grouped_by_has_a_type_too() -> None:
    query = compiled("SELECT country, items, paid, day, COUNT(*) AS n FROM orders GROUP BY country, items, paid, day")
    assert query.finish.types == (TEXT, INT, BOOL, TEXT, INT)


def test_types_do_not_depend_on_rows() -> None:
    sql = "SELECT country, SUM(amount) AS total FROM orders WHERE items > 100 GROUP BY country"
    assert not run(sql).any()
    assert compiled(sql).finish.types == (TEXT, MONEY)


def _is(value: Any, wanted: ValueType) -> bool:
    """Whether `value` can be put exactly into a column of that type."""
    if wanted.kind == "map":
        return all(_is(key, ValueType(wanted.labels, wanted.scale)) for key in value)
    if wanted.kind != "number":
        return type(value) is {"text": str, "bool": bool}[str(wanted.kind)]
    if wanted.scale is None:
        return isinstance(value, float | int)
    return isinstance(value, int | Decimal) and Decimal(value) == round(Decimal(value), wanted.scale)
