"""Finishing: arithmetic over released values, HAVING, ORDER BY and LIMIT, with NULL as DuckDB has it."""

from decimal import Decimal
from typing import Any

import duckdb
import pytest

from policies.errors import InvalidInput
from policies.query.finishing import Finish, Formula, Released, Sort
from tests.policies.query.asked import answer, compiled

N = Formula("number", lambda released: released.slots[0])
NAME = Formula("text", lambda released: released.group[0])


def finished(*rows: tuple[str, int | None], **clauses: Any) -> list[tuple[str, int | None]]:
    found = Finish((("name", NAME), ("n", N)), **clauses).rows([((name,), [n]) for name, n in rows])
    return [(row["name"], row["n"]) for row in found]


ROWS = (("a", 3), ("b", None), ("c", 1), ("d", 3))


def test_without_an_order_rows_are_in_the_order_of_the_groups() -> None:
    assert finished(*ROWS) == list(ROWS)


def test_order_is_stable_and_nulls_are_where_they_are_wanted() -> None:
    assert finished(*ROWS, order=(Sort(N, False, False),)) == [("c", 1), ("a", 3), ("d", 3), ("b", None)]
    assert finished(*ROWS, order=(Sort(N, True, True), Sort(NAME, True, False))) == [
        ("b", None),
        ("d", 3),
        ("a", 3),
        ("c", 1),
    ]


def test_a_limit_is_cut_after_the_order() -> None:
    assert finished(*ROWS, order=(Sort(NAME, True, False),), limit=2, offset=1) == [("c", 1), ("b", None)]
    assert finished(*ROWS, offset=3) == [("d", 3)]
    assert finished(*ROWS, limit=0) == []


def test_having_keeps_only_what_is_true() -> None:
    def large(released: Released) -> bool | None:
        return None if released.slots[0] is None else released.slots[0] > 2

    assert finished(*ROWS, having=Formula("bool", large)) == [("a", 3), ("d", 3)]


SQL = "SELECT {} AS v FROM orders"
VALUES = """
  (VALUES (10.10::DECIMAL(18,2), 1), (0.29, 2), (NULL, 1), (600.0, NULL), (7.0, 1), (7.0, 1)) AS t(amount, items)
"""


@pytest.mark.parametrize(
    "formula",
    [
        "SUM(amount) + 0.005",
        "SUM(amount) * SUM(items)",
        "SUM(amount) / SUM(items)",
        "100.0 * SUM(items) / COUNT(*)",
        "ROUND(SUM(amount), 1)",
        "ROUND(SUM(amount) * 1.05, 2)",
        "ROUND(AVG(amount), 2)",
        "ROUND(-SUM(amount) / 7, 3)",
        "SUM(items) // 4",
        "-SUM(items) // 4",
        "-SUM(items) % 4",
        "SUM(amount) % 7",
        "FLOOR(AVG(amount))",
        "CEIL(SUM(amount))",
        "SQRT(SUM(items))",
        "ABS(-SUM(amount))",
        "COALESCE(NULLIF(COUNT(*), 6), 99)",
        "CASE WHEN SUM(amount) > 600 THEN 'large' ELSE 'small' END",
        "CASE WHEN COUNT(*) BETWEEN 1 AND 5 THEN 1 WHEN COUNT(*) IN (6, 7) THEN 2 END",
        "SUM(items) IS NULL OR NOT COUNT(*) > 3",
        "CAST(SUM(amount) AS DOUBLE) / 3",
        "IF(COUNT(*) = 6 AND SUM(items) <> 6, TRUE, NULL)",
    ],
)
def test_arithmetic_is_that_of_duckdb(formula: str) -> None:
    ((ours,),) = ((row["v"],) for row in answer(SQL.format(formula)))
    with duckdb.connect(":memory:") as connection:
        found = connection.execute(f"SELECT {formula} FROM {VALUES}").fetchone()
    assert found is not None
    theirs = found[0]
    if isinstance(theirs, str | bool) or theirs is None:
        assert ours is theirs or ours == theirs
    else:
        assert float(ours) == pytest.approx(float(theirs))


def test_money_stays_exact() -> None:
    ((value,),) = ((row["v"],) for row in answer(SQL.format("SUM(amount) * 3 - 0.17")))
    assert value == Decimal("1873.00")
    assert isinstance(value, Decimal)


def test_a_division_by_zero_is_null() -> None:
    assert answer(SQL.format("SUM(items) / (COUNT(*) - 6)")) == [{"v": None}]
    assert answer(SQL.format("SUM(items) // (COUNT(*) - 6)")) == [{"v": None}]


def test_what_is_computed_from_a_hidden_value_is_null_and_left_out_by_having() -> None:
    sql = "SELECT country, COUNT(*) AS n, SUM(items) AS s, SUM(items) + 1 AS t FROM orders GROUP BY country"
    assert answer(sql, minimum=2) == [
        {"country": "DE", "n": 2, "s": 3, "t": 4},
        {"country": "FR", "n": 2, "s": None, "t": None},
    ]
    assert [row["country"] for row in answer(f"{sql} HAVING s > 0 ORDER BY n", minimum=2)] == ["DE"]
    assert [row["country"] for row in answer(f"{sql} ORDER BY s DESC", minimum=2)] == ["DE", "FR"]


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("SUM(amount) + 'a'", "does not go with number and text"),
        ("HISTOGRAM(items) = HISTOGRAM(items)", "does not go with map"),
        ("ROUND(SUM(amount), COUNT(*))", "the places are no small whole number"),
        ("ROUND(SUM(amount), 99)", "the places are no small whole number"),
        ("CAST(SUM(amount) AS VARCHAR)", "casts to another type"),
        ("CASE WHEN COUNT(*) THEN 1 END", "mixes kinds of values"),
        ("CASE WHEN COUNT(*) > 1 THEN 1 ELSE 'a' END", "mixes kinds of values"),
        ("RANDOM() * COUNT(*)", "is not answered"),
        ("GETENV('HOME') = MAX(country)", "is not answered"),
    ],
)
def test_what_is_no_arithmetic_of_released_values_is_refused(formula: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(SQL.format(formula))
    assert told in str(caught.value)
