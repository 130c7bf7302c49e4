"""SQL's aggregates: what they are made of, and those that only some columns allow."""

from decimal import Decimal
from typing import Any

import pytest

from policies.errors import InvalidInput
from tests.policies.query.asked import answer, column, compiled

COLUMNS: dict[str, Any] = {
    "code": column("text"),
    "kind": column("text", domain=["b", "a", "c"]),
    "small": column("int", bounds=[1, 4]),
    "large": column("int", bounds=[0, 100_000]),
    "price": column("money", bounds=[0, 1000]),
    "rate": column("float", bounds=[0, 1]),
    "free": column("int"),
}


def slots(aggregate: str) -> int:
    return len(compiled(f"SELECT {aggregate} AS v FROM orders", columns=COLUMNS).slots)


@pytest.mark.parametrize(
    ("aggregate", "count"),
    [
        ("COUNT(*)", 1),
        ("COUNT(1)", 1),
        ("COUNT(code)", 2),
        ("COUNT(DISTINCT kind)", 1 + 1 + 3),
        ("SUM(small)", 1 + 1 + 1),
        ("AVG(small)", 1 + 1 + 1),
        ("MEAN(small)", 1 + 1 + 1),
        ("STDDEV(price)", 1 + 1 + 2),
        ("MIN(small)", 1 + 1 + 6),  # two halves, four values
        ("MAX(kind)", 1 + 1 + 4),
        ("MEDIAN(large)", 1 + 1 + 2 * 256 - 2),
        ("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY small)", 1 + 1 + 6),
        ("APPROX_QUANTILE(small, 0.5)", 1 + 1 + 6),
        ("HISTOGRAM(small)", 1 + 1 + 4),
        ("COUNT_IF(small > 2)", 2),
    ],
)
def test_an_aggregate_is_made_of_sums_over_owners(aggregate: str, count: int) -> None:
    assert slots(aggregate) == count


@pytest.mark.parametrize(
    ("aggregate", "told"),
    [
        ("COUNT(DISTINCT code)", "no list of values and no bounds"),
        ("COUNT(DISTINCT price)", "possible values"),
        ("COUNT(DISTINCT small + 1)", "something other than a column"),
        ("COUNT(small, kind)", "is not answered"),
        ("SUM(DISTINCT small)", "COUNT(DISTINCT column)"),
        ("AVG(kind)", "which is text"),
        ("MIN(code)", "no list of values and no bounds"),
        ("MIN(free)", "no list of values and no bounds"),
        ("MAX(rate)", "no list of values and no bounds"),
        ("MIN(small * 2)", "something other than a column"),
        ("MIN(small, 3)", "is not answered"),
        ("MEDIAN(kind)", "QUANTILE_DISC"),
        ("QUANTILE_CONT(small, 1.5)", "has no fraction"),
        ("QUANTILE_CONT(small, [0.1, 0.9])", "has no fraction"),
        ("MODE(kind)", "is not answered"),
        ("STRING_AGG(code, ',')", "is not answered"),
        ("ARRAY_AGG(code)", "is not answered"),
        ("ANY_VALUE(code)", "is not answered"),
        ("ARG_MAX(code, small)", "is not answered"),
        ("SUM(small ORDER BY small)", "is not answered"),
    ],
)
def test_what_would_need_rows_is_refused(aggregate: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        slots(aggregate)
    assert told in str(caught.value)
    assert caught.value.right


def test_the_levels_of_a_tree_split_a_budget_not_its_bins() -> None:
    query = compiled("SELECT MEDIAN(large) AS m FROM orders", columns=COLUMNS)
    assert (query.families, len(query.slots)) == (1 + 1 + 8, 512)


def test_a_distinct_count_is_of_values_that_enough_rows_carry() -> None:
    sql = "SELECT COUNT(DISTINCT country) AS n, MAX(country) AS last, HISTOGRAM(country) AS h FROM orders"
    assert answer(sql) == [{"n": 2, "last": "FR", "h": {"DE": 2, "FR": 2}}]


def test_a_filter_narrows_every_kind_of_aggregate() -> None:
    sql = (
        "SELECT COUNT(*) FILTER (WHERE paid) AS n, SUM(amount) FILTER (WHERE paid) AS s,"
        " COUNT(DISTINCT country) FILTER (WHERE paid) AS d, MAX(items) FILTER (WHERE NOT paid) AS m FROM orders"
    )
    assert answer(sql) == [{"n": 4, "s": Decimal("24.10"), "d": 2, "m": 2}]
