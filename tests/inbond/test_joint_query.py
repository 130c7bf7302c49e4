"""A joint query's layout: which cells may be released, and an answer that is exact and the same for everybody."""

from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from inbond.joint_query import QueryLayout, Table
from policies.sql import fragment, parse_query
from tests.policies.samples import contract

SQL = "SELECT country, COUNT(*) AS n, SUM(amount) AS total, AVG(items) AS mean, COUNT(items) AS given FROM orders"
GROUPED = f"{SQL} GROUP BY country"
MINIMUM = 5

amounts = st.none() | st.decimals(0, 500, places=2)
row = st.tuples(st.sampled_from(["DE", "FR", "NO"]), amounts, st.none() | st.integers(0, 9))
tables = st.lists(row, max_size=40)


def _layout() -> QueryLayout:
    return QueryLayout.of(GROUPED, contract(), noised=False)


def _run(rows: list[tuple[Any, ...]]) -> pa.Table:
    """The rows as the connector would give them."""
    types = [("country", pa.string()), ("amount", pa.decimal128(18, 2)), ("items", pa.int64())]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    arrays = [pa.array(list(values), kind) for values, (_, kind) in zip(columns, types, strict=True)]
    return pa.table(dict(zip((name for name, _ in types), arrays, strict=True)))


def _party(rows: list[tuple[Any, ...]]) -> Table:
    """One party's table of group values, by the very fragment that its worker runs."""
    piece = fragment(parse_query(GROUPED, "sql"), contract())
    with duckdb.connect(":memory:") as connection:
        connection.register("source", _run(rows))
        found = connection.execute(piece.sql, piece.parameters).fetchall()
    return np.array(piece.align(found), np.int64)


@settings(max_examples=20, deadline=None)
@given(st.lists(tables, min_size=1, max_size=3))
def test_the_joint_answer_is_what_one_database_says_of_all_rows(parts: list[list[tuple[Any, ...]]]) -> None:
    layout = _layout()
    joint = sum((_party(rows) for rows in parts), np.zeros(layout.shape, np.int64))
    hidden = layout.suppressed(joint, MINIMUM)
    answer = layout.rows(np.where(hidden, 0, joint))
    with duckdb.connect(":memory:") as connection:
        connection.register("orders", _run([one for rows in parts for one in rows]))
        plain = connection.execute(
            "SELECT country, COUNT(*), SUM(amount), COUNT(amount), AVG(items), COUNT(items) FROM orders"
            f" GROUP BY country HAVING COUNT(*) >= {MINIMUM} ORDER BY country"
        ).fetchall()
    expected = [
        {
            "country": country,
            "n": count,
            "total": total if amounts_given >= MINIMUM else None,
            "mean": mean if items_given >= MINIMUM else None,
            "given": items_given if items_given >= MINIMUM else None,
        }
        for country, count, total, amounts_given, mean, items_given in plain
    ]
    assert [{**one, "mean": one["mean"]} for one in answer] == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=15, max_size=15), st.integers(1, 10))
def test_the_researcher_finds_the_same_cells_hidden_from_what_was_released(counts: list[int], minimum: int) -> None:
    layout = _layout()
    joint = np.zeros(layout.shape, np.int64)
    position = {name: index for index, name in enumerate(layout.columns)}
    for group in range(layout.shape[0]):
        rows = counts[group * 5]
        joint[group, position["rows"]] = rows
        for offset, index in enumerate((1, 2, 3)):
            held = min(rows, counts[group * 5 + 1 + offset])
            joint[group, position[f"count_{index}"]] = held
            if f"sum_{index}" in position:
                joint[group, position[f"sum_{index}"]] = held * 17
    hidden = layout.suppressed(joint, minimum)
    released = np.where(hidden, 0, joint)
    np.testing.assert_array_equal(layout.suppressed(released, minimum), hidden)


def test_a_group_under_the_minimum_vanishes_whole_and_one_at_the_minimum_stays() -> None:
    layout = _layout()
    few, enough = [("DE", Decimal(1), 1)] * 4, [("FR", Decimal(2), 2)] * 5
    joint = _party(few + enough)
    hidden = layout.suppressed(joint, MINIMUM)
    assert hidden[0].all()
    assert not hidden[1].any()
    assert layout.rows(np.where(hidden, 0, joint)) == [
        {"country": "FR", "n": 5, "total": Decimal(10), "mean": 2.0, "given": 5}
    ]


def test_a_sum_over_too_few_values_vanishes_with_the_count_that_would_tell() -> None:
    layout = _layout()
    joint = _party([("DE", Decimal(7), 3)] * 4 + [("DE", None, 3)] * 4)
    released = np.where(layout.suppressed(joint, MINIMUM), 0, joint)
    position = {name: index for index, name in enumerate(layout.columns)}
    assert (released[0, position["count_1"]], released[0, position["sum_1"]]) == (0, 0)
    assert layout.rows(released) == [{"country": "DE", "n": 8, "total": None, "mean": 3.0, "given": 8}]


def test_a_sum_that_is_zero_or_negative_is_released_all_the_same() -> None:
    layout = _layout()
    joint = _party([("DE", Decimal(0), 0)] * MINIMUM)
    released = np.where(layout.suppressed(joint, MINIMUM), 0, joint)
    assert layout.rows(released)[0]["total"] == 0
    joint[0, layout.columns.index("sum_1")] = -3
    assert not layout.suppressed(joint, MINIMUM)[0].any(), "a sum is never compared with the minimum"


def test_parties_who_read_another_query_agree_on_nothing() -> None:
    other = QueryLayout.of(GROUPED.replace("AVG", "SUM"), contract(), noised=False)
    assert other.agreed() != _layout().agreed()
    assert _layout().agreed() == QueryLayout.of(GROUPED.replace(",", " , "), contract(), noised=False).agreed()
