"""Groups: every cell is known from contract, literals or calendar."""

from typing import Any

import pytest

from policies.contract import Cell
from policies.errors import InvalidInput
from tests.policies.query.asked import column, compiled

COLUMNS: dict[str, Any] = {
    "when": column("datetime"),
    "day": column("date", "filter", "group", domain=["2026-01-31", "2026-02-01", "2027-05-05"]),
    "x": column("int", bounds=[-7, 12]),
    "n": column("int", bounds=[0, 12]),
    "price": column("money", bounds=[0, 10]),
    "who": column("text", "filter"),
    "secret": column("date", "aggregate"),
}
YEAR = "\"when\" >= '2026-01-15' AND \"when\" < '2026-04-01'"


def cells(group: str, where: str = "") -> list[Cell]:
    sql = f"SELECT {group} AS g, COUNT(*) AS c FROM orders{' WHERE ' + where if where else ''} GROUP BY g"
    return [cell for (cell,) in compiled(sql, columns=COLUMNS).groups]


@pytest.mark.parametrize(
    ("group", "where", "found"),
    [
        ("DATE_TRUNC('month', \"when\")", YEAR, ["2026-01-01", "2026-02-01", "2026-03-01"]),
        ("DATE_TRUNC('quarter', \"when\")", YEAR, ["2026-01-01"]),
        ("DATE_TRUNC('year', day)", "", ["2026-01-01", "2027-01-01"]),
        (
            "DATE_TRUNC('week', \"when\")",
            "\"when\" BETWEEN '2026-01-01' AND '2026-01-05'",
            ["2025-12-29", "2026-01-05"],
        ),
        ("DATE_TRUNC('day', \"when\")", "\"when\" = '2026-01-05 07:30:00'", ["2026-01-05"]),
        (
            "DATE_TRUNC('hour', \"when\")",
            "\"when\" > '2026-01-05 07:30:00' AND \"when\" < '2026-01-05 09:00:00'",
            ["2026-01-05 07:00:00", "2026-01-05 08:00:00"],
        ),
        ("YEAR(day)", "", [2026, 2027]),
        ('EXTRACT(MONTH FROM "when")', "", list(range(1, 13))),
        ("DAY(day)", "", list(range(1, 32))),
        ("FLOOR(x / 5)", "", [-2, -1, 0, 1, 2]),
        ("FLOOR(x / 5) * 5", "", [-10, -5, 0, 5, 10]),
        ("CAST(FLOOR(x / 10) AS INTEGER)", "", [-1, 0, 1]),
        ("n // 5", "", [0, 1, 2]),
        ("FLOOR(price / 2.5)", "", [0, 1, 2, 3, 4]),
        ("CASE WHEN x > 3 THEN 'b' WHEN n > 3 THEN 'a' ELSE 'b' END", "", ["b", "a"]),
        ("CASE x WHEN 3 THEN 1 ELSE 0 END", "", [1, 0]),
        ("x > 3", "", [False, True]),
        ("who LIKE 'a%' AND x > 1", "", [False, True]),
    ],
)
def test_the_cells_are_known_without_a_row(group: str, where: str, found: list[Cell]) -> None:
    assert cells(group, where) == found


@pytest.mark.parametrize(
    ("group", "where", "told"),
    [
        ("who", "", "has no list of values"),
        ("UPPER(who)", "", "has no list of values"),
        ("DATE_TRUNC('month', \"when\")", "\"when\" > '2026-01-01'", "no known first and last value"),
        ("DATE_TRUNC('month', \"when\")", "\"when\" > '2026-01-01' OR x > 1", "no known first and last value"),
        ("DATE_TRUNC('minute', \"when\")", YEAR, "the unit is not answered"),
        ("DATE_TRUNC('hour', \"when\")", "\"when\" BETWEEN '2020-01-01' AND '2027-01-01'", "values; 1 to 4096"),
        ("DATE_TRUNC('day', \"when\")", "\"when\" > '2027-01-01' AND \"when\" < '2026-01-01'", "has no values"),
        ("DATE_TRUNC('day', who)", "", "is not of a date column"),
        ("MONTH(secret)", "", "may not be used to group or filter"),
        ('EXTRACT(EPOCH FROM "when")', "", "is not answered"),
        ("x // 5", "", "rounds towards zero"),
        ("FLOOR(price / 0.001)", "", "cuts finer than"),
        ("FLOOR(price / 0)", "", "has no list of values"),
        ("FLOOR(x / n)", "", "has no list of values"),
        ("FLOOR(x)", "", "has no list of values"),
        ("CASE WHEN x > 3 THEN 'a' END", "", "leaves rows in no group"),
        ("CASE WHEN x > 3 THEN 'a' ELSE 1 END", "", "mixes kinds of labels"),
        ("CASE WHEN x > 3 THEN who ELSE 'a' END", "", "a label that is no literal"),
    ],
)
def test_what_rows_would_have_to_tell_is_refused(group: str, where: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cells(group, where)
    assert told in str(caught.value)
    assert caught.value.right
