"""From a statement to a compiled query: names and uses first, then what can be answered, with its limits."""

from typing import Any

import numpy as np
import pytest

from policies.errors import InvalidInput
from policies.query.compiled import ROWS
from tests.policies.query.asked import column, compiled, run
from tests.policies.samples import SQL


def test_a_query_names_its_uses_its_conditions_and_its_outputs() -> None:
    query = compiled(SQL)
    assert query.outputs == ("country", "orders", "total")
    assert query.uses == (
        ("orders", "amount", "aggregate"),
        ("orders", "amount", "filter"),
        ("orders", "country", "group"),
    )
    assert query.pushed == (("orders", '"amount" > 5'),)
    assert query.keys == ()
    assert query.groups == (("DE",), ("FR",), ("NO",))


def test_the_condition_of_a_filter_is_shown_like_one_of_where() -> None:
    query = compiled("SELECT COUNT(*) FILTER (WHERE paid AND items > 1) AS n FROM orders")
    assert query.pushed == (("orders", '"paid"'), ("orders", '"items" > 1'))


def test_equal_counts_are_made_once_and_every_sum_has_its_governing_counts() -> None:
    query = compiled("SELECT SUM(amount) AS s, AVG(amount) AS a, COUNT(amount) AS n, COUNT(*) AS c FROM orders")
    kinds = [slot.kind for slot in query.slots]
    assert kinds == ["count", "count", "sum"]
    assert query.slots[2].governing == (ROWS, 1)
    assert query.counts == (0, 1)


def test_bounds_follow_what_one_row_can_add() -> None:
    slots = compiled("SELECT SUM(amount * 2) AS s, SUM(-amount) AS m, SUM(amount * amount) AS q FROM orders").slots
    bounds = [slot.bounds for slot in slots if slot.kind == "sum"]
    assert bounds == [(0, 100_000), (-50_000, 0), (0, 50_000**2)]
    assert slots[-1].scale == 4


def test_a_column_without_bounds_has_none() -> None:
    columns = {"x": column("int")}
    slot = compiled("SELECT SUM(x) AS s FROM orders", columns=columns).slots[-1]
    assert (slot.bounds, slot.largest) == (None, None)
    with pytest.raises(InvalidInput, match="noise on `SUM\\(x\\)` needs its bounds"):
        compiled("SELECT SUM(x) AS s FROM orders", columns=columns, noised=True)


def test_parties_that_read_another_query_agree_on_nothing() -> None:
    agreed = compiled(SQL).agreed()
    assert compiled(SQL.replace(",", " , ")).agreed() == agreed
    assert compiled(SQL.replace("> 5", "> 6")).agreed() != agreed
    assert compiled(SQL, noised=True).agreed() != agreed


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT SUM(amuont) FROM orders", "no column `amuont`; did you mean `amount`"),
        ("SELECT SUM(AMOUNT) FROM orders", "did you mean `amount`"),
        ("SELECT COUNT(*) FROM payments", "no dataset `payments` here; there are: orders"),
        ("SELECT COUNT(*) FROM order_", "did you mean `orders`"),
        ("SELECT COUNT(x.amount) FROM orders o", "no table is called `x` here; the tables are o"),
        ("SELECT SUM(weight) FROM orders", "is a float"),
        ("SELECT SUM(country) FROM orders", "may not be used to aggregate"),
        ("SELECT COUNT(seen) FROM orders", "may not be used to aggregate"),
        ("SELECT country, COUNT(*) FROM orders", "neither grouped by nor aggregated"),
        ("SELECT COUNT(*) FROM orders HAVING amount > 3", "neither grouped by nor aggregated"),
        ("SELECT COUNT(*) AS n FROM orders HAVING n", "is no condition"),
        ("SELECT COUNT(*) AS n FROM orders HAVING n > 'a'", "does not go with number and text"),
        ("SELECT COUNT(*) AS n FROM orders ORDER BY 2", "no position"),
        ("SELECT COUNT(*) AS n FROM orders ORDER BY amount", "neither grouped by nor aggregated"),
        ("SELECT HISTOGRAM(items) AS h FROM orders ORDER BY h", "have no order"),
        ("SELECT COUNT(*) AS n FROM orders GROUP BY SUM(amount)", "is an aggregate"),
        ("SELECT items > 1 AS country, COUNT(*) FROM orders GROUP BY country", "is an output and a column"),
    ],
)
def test_a_query_must_fit_the_contract(sql: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(sql)
    assert told in str(caught.value)
    assert caught.value.right


def test_groups_and_values_are_limited() -> None:
    wide: dict[str, Any] = {name: column("int", "group", domain=list(range(100))) for name in "abc"}
    with pytest.raises(InvalidInput, match="1000000 possible groups"):
        compiled("SELECT a, b, c, COUNT(*) FROM orders GROUP BY a, b, c", columns=wide)
    wide = {
        "a": column("int", "group", domain=list(range(4000))),
        "b": column("int", "aggregate", domain=list(range(4000))),
    }
    with pytest.raises(InvalidInput, match="the answer needs 4000 x "):
        compiled("SELECT a, COUNT(DISTINCT b) AS n FROM orders GROUP BY a", columns=wide)
    assert len(compiled("SELECT COUNT(DISTINCT b) AS n FROM orders", columns=wide).slots) == 4002


def test_a_fragment_gives_exact_cents_and_a_row_for_every_group() -> None:
    found = run("SELECT country, COUNT(*) AS n, SUM(amount) AS s FROM orders GROUP BY country")
    assert found.tolist() == [[2, 2, 1039], [2, 1, 60_000], [0, 0, 0]]


def test_with_noise_values_are_clamped_to_the_bounds_and_null_stays_null() -> None:
    found = run("SELECT country, AVG(amount) AS a FROM orders GROUP BY country", noised=True)
    assert found[1].tolist() == [2, 1, 50_000]


def test_without_groups_there_is_one_row_also_of_nothing() -> None:
    assert run("SELECT SUM(items) AS s FROM orders WHERE amount > 1000").tolist() == [[0, 0, 0]]
    assert run("SELECT SUM(items) AS s FROM orders").tolist() == [[6, 5, 6]]


def test_dates_and_booleans_group_by_the_spelling_of_the_domain() -> None:
    query = compiled("SELECT day, paid, COUNT(*) AS n FROM orders GROUP BY paid, day")
    found = dict(zip(query.groups, run(query.query.canonical_sql)[:, ROWS].tolist(), strict=True))
    assert found == {
        (True, "2026-01-01"): 4,
        (True, "2026-01-02"): 0,
        (False, "2026-01-01"): 0,
        (False, "2026-01-02"): 1,
    }


def test_hidden_cells_are_none_and_hidden_groups_absent() -> None:
    query = compiled("SELECT country, COUNT(*) AS n, SUM(amount) AS s FROM orders GROUP BY country")
    table = np.array([[30, 30, 100], [30, 4, 7], [4, 4, 9]], np.int64)
    hidden = query.suppressed(table, 5)
    assert hidden.tolist() == [[False, False, False], [False, True, True], [True, True, True]]
    rows = query.rows(np.where(hidden, 0, table), hidden)
    assert [(row["country"], row["n"], row["s"]) for row in rows] == [("DE", 30, 1), ("FR", 30, None)]
