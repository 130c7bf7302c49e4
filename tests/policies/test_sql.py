"""Joint queries: what is recognised, what is refused and why, and what a party runs."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contract import Use
from policies.errors import InvalidInput
from policies.sql import check_against, fragment, parse_query
from tests.policies.samples import SQL, contract

ROWS = """
  SELECT * FROM (VALUES
    ('DE', 10.10, 1, DATE '2026-01-01', true), ('DE', 0.29, 2, DATE '2026-01-02', false),
    ('FR', NULL, 1, DATE '2026-01-01', true), ('FR', 600.0, NULL, NULL, NULL),
    ('XX', 7.0, 1, DATE '2026-01-01', true), (NULL, 7.0, 1, DATE '2026-01-01', true)
  ) AS source(country, amount, items, day, paid)
"""


def run(sql: str, *, noised: bool = False) -> dict[tuple[object, ...], tuple[int, ...]]:
    """Run the fragment of `sql` on ROWS in a real DuckDB; by group key."""
    piece = fragment(parse_query(sql), contract(), noised=noised)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE VIEW source AS {ROWS}")
        rows = connection.execute(piece.sql, piece.parameters).fetchall()
    return dict(zip(piece.groups, piece.align(rows), strict=True))


def test_a_query_is_recognised_with_its_uses_and_outputs() -> None:
    query = parse_query(SQL)
    assert (query.dataset, query.groups) == ("orders", ("country",))
    assert query.outputs == ("country", "orders", "total")
    assert set(query.uses) == {("country", Use.GROUP), ("amount", Use.AGGREGATE), ("amount", Use.FILTER)}
    assert parse_query(query.canonical_sql).canonical_sql == query.canonical_sql


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM orders", "rows never leave"),
        ("SELECT country FROM orders", "rows never leave"),
        ("SELECT country FROM orders GROUP BY country", "rows never leave"),
        ("SELECT DISTINCT country FROM orders", "SELECT DISTINCT returns rows"),
        ("SELECT COUNT(*) FROM orders o JOIN other ON true", "joins"),
        ("SELECT COUNT(*) FROM orders, other", "joins"),
        ("SELECT COUNT(*) FROM orders o", "`alias`"),
        ("SELECT COUNT(*) FROM (SELECT * FROM orders)", "no subqueries"),
        ("SELECT COUNT(*) FROM read_csv('secrets.csv')", "FROM"),
        ("SELECT COUNT(*) FROM db.orders", "`db`"),
        ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM x", "WITH"),
        ("SELECT COUNT(*) FROM orders UNION SELECT 1", "UNION"),
        ("SELECT COUNT(*) FROM orders; DROP TABLE orders", "2 statements"),
        ("DROP TABLE orders", "DROP"),
        ("COPY orders TO 'x'", ""),
        ("ATTACH 'x.db'", ""),
        ("SELECT COUNT(*) FROM orders -- hidden", "comments"),
        ("SELECT COUNT(*) /* hidden */ FROM orders", "comments"),
        ("SELECT COUNT(*) FROM orders HAVING COUNT(*) > 1", "HAVING"),
        ("SELECT COUNT(*) FROM orders ORDER BY 1", "ORDER BY"),
        ("SELECT COUNT(*) FROM orders LIMIT 1", "LIMIT"),
        ("SELECT COUNT(*) FROM orders OFFSET 1", "OFFSET"),
        ("SELECT COUNT(*) FROM orders QUALIFY 1", "QUALIFY"),
        ("SELECT COUNT(*) FROM orders USING SAMPLE 1", ""),
        ("SELECT COUNT(DISTINCT country) FROM orders", "DISTINCT"),
        ("SELECT SUM(amount) OVER () FROM orders", "not answered"),
        ("SELECT COUNT(*) FILTER (WHERE amount > 1) FROM orders", "not answered"),
        ("SELECT SUM(amount * 2) FROM orders", "other than a column"),
        ("SELECT MAX(amount) FROM orders", "not answered"),
        ("SELECT SUM(amount) + 1 FROM orders", "not answered"),
        ("SELECT SUM(orders.amount) FROM orders", "qualified"),
        ("SELECT COUNT(*), COUNT(*) FROM orders", "two outputs are called `count`"),
        ('SELECT COUNT(*) AS "a b" FROM orders', "is not plain"),
        ("SELECT country, COUNT(*) FROM orders", "GROUP BY does not match"),
        ("SELECT COUNT(*) FROM orders GROUP BY country", "GROUP BY does not match"),
        ("SELECT country, COUNT(*) FROM orders GROUP BY 1", "GROUP BY holds"),
        ("SELECT country, COUNT(*) FROM orders GROUP BY ALL", ""),
        ("SELECT country, COUNT(*) FROM orders GROUP BY ROLLUP (country)", ""),
        ("SELECT COUNT(*) FROM orders WHERE amount > items", "does not compare"),
        ("SELECT COUNT(*) FROM orders WHERE 1 = 1", "does not compare"),
        ("SELECT COUNT(*) FROM orders WHERE paid", "does not compare"),
        ("SELECT COUNT(*) FROM orders WHERE amount IN (SELECT 1)", ""),
        ("SELECT COUNT(*) FROM orders WHERE lower(country) = 'de'", "does not compare"),
        ("SELECT COUNT(*) FROM orders WHERE country LIKE 'a' ESCAPE 'b'", ""),
        ("SELECT COUNT(*) FROM orders WHERE EXISTS (SELECT 1)", ""),
        ("SELECT COUNT(*) FROM orders WHERE country = getenv('HOME')", "does not compare"),
        ("SELECT COUNT(*) FROM orders WHERE items IS NOT DISTINCT FROM 3", ""),
        ("", "statement"),
        ("not sql at all (", ""),
        ("SELECT COUNT(*) FROM orders WHERE " + "(" * 1000 + "items = 1" + ")" * 1000, ""),
        ("SELECT COUNT(*) FROM orders WHERE " + "NOT " * 900 + "items = 1", "nested too deeply"),
        ("SELECT COUNT(*) FROM orders WHERE items IN (" + "1," * 2000 + "1)", "too long"),
        ("x" * 10_000, "too long"),
    ],
)
def test_what_is_not_a_joint_query_is_refused_in_one_line(sql: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_query(sql)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.right


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT SUM(amuont) FROM orders", "no column `amuont`; did you mean `amount`"),
        ("SELECT SUM(AMOUNT) FROM orders", "did you mean `amount`"),
        ("SELECT COUNT(*) FROM payments", "the contract is for `orders`"),
        ("SELECT SUM(weight) FROM orders", "is a float"),
        ("SELECT SUM(country) FROM orders", "may not be used to aggregate"),
        ("SELECT amount, COUNT(*) FROM orders GROUP BY amount", "no list of values"),
        ("SELECT COUNT(*) FROM orders WHERE items = 'x'", "items` is int and is compared with 'x'"),
        ("SELECT COUNT(*) FROM orders WHERE items = TRUE", "compare it with a number"),
        ("SELECT COUNT(*) FROM orders WHERE country = 3", "compare it with text"),
        ("SELECT COUNT(*) FROM orders WHERE day > '2026-02-30'", "compare it with a date"),
        ("SELECT COUNT(*) FROM orders WHERE day > DATE '01.02.2026'", "compare it with a date"),
        ("SELECT COUNT(*) FROM orders WHERE seen > 'noon'", "compare it with a time"),
        ("SELECT COUNT(*) FROM orders WHERE paid > TRUE", "has no order"),
        ("SELECT COUNT(*) FROM orders WHERE amount LIKE '1%'", "LIKE on `amount`"),
    ],
)
def test_a_query_must_fit_the_contract(sql: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_against(parse_query(sql), contract())
    assert told in str(caught.value)


def test_a_fragment_gives_exact_cents_and_a_row_for_every_group_of_the_domain() -> None:
    found = run("SELECT country, COUNT(*) AS n, COUNT(amount) AS c, SUM(amount) AS s FROM orders GROUP BY country")
    assert found == {("DE",): (2, 2, 2, 1039), ("FR",): (2, 1, 1, 60_000), ("NO",): (0, 0, 0, 0)}


def test_with_noise_values_are_clamped_to_the_bounds_and_null_stays_null() -> None:
    found = run("SELECT country, AVG(amount) AS a FROM orders GROUP BY country", noised=True)
    assert found[("FR",)] == (2, 1, 50_000)


def test_without_groups_there_is_one_row() -> None:
    assert run("SELECT SUM(items) AS s FROM orders WHERE amount > 1000") == {(): (0, 0, 0)}
    assert run("SELECT SUM(items) AS s FROM orders") == {(): (6, 5, 6)}


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("amount > 5", 4),
        ("amount > 5 AND country = 'DE' OR NOT items = 1", 2),
        ("5 < amount", 4),
        ("amount BETWEEN 0.29 AND 7", 3),
        ("country IN ('DE', 'FR')", 4),
        ("country LIKE 'D%'", 2),
        ("country IS NULL", 1),
        ("NOT country IS NULL", 5),
        ("day = '2026-01-01'", 4),
        ("day >= DATE '2026-01-02'", 1),
        ("paid = FALSE", 1),
        ("amount > -1", 5),
        ("(country = 'DE' OR country = 'FR') AND (items = 1)", 2),
        ("country = 'x'' OR 1=1 --'", 0),
    ],
)
def test_conditions_mean_what_they_mean_in_duckdb(condition: str, rows: int) -> None:
    sql = f"SELECT COUNT(*) AS n FROM orders WHERE {condition}"
    if "--" in condition:
        with pytest.raises(InvalidInput, match="comments"):
            run(sql)
    else:
        assert run(sql) == {(): (rows,)}


def test_no_literal_of_the_author_is_in_the_sql_that_runs() -> None:
    piece = fragment(parse_query("SELECT COUNT(*) AS n FROM orders WHERE country = 'it''s' AND items > 77"), contract())
    assert "it" not in piece.sql.replace("items", "")
    assert "77" not in piece.sql
    assert set(piece.parameters.values()) == {"it's", 77}


def test_dates_and_booleans_group_by_the_spelling_of_the_domain() -> None:
    found = run("SELECT day, paid, COUNT(*) AS n FROM orders GROUP BY paid, day")
    assert found[("2026-01-01", True)] == (4,)
    assert found[("2026-01-02", False)] == (1,)


def test_groups_are_limited() -> None:
    wide = {name: {"type": "int", "class": "public", "uses": ["group"], "domain": list(range(100))} for name in "abc"}
    with pytest.raises(InvalidInput, match="1000000 possible groups"):
        fragment(parse_query("SELECT a, b, c, COUNT(*) FROM orders GROUP BY a, b, c"), contract(columns=wide))


def test_noise_needs_bounds() -> None:
    columns = {"x": {"type": "int", "class": "public", "uses": ["aggregate"]}}
    with pytest.raises(InvalidInput, match="needs its bounds"):
        fragment(parse_query("SELECT SUM(x) FROM orders"), contract(columns=columns), noised=True)


WORDS = (
    *(
        "SELECT",
        "COUNT(*)",
        "SUM(amount)",
        "FROM",
        "orders",
        "WHERE",
        "(",
        ")",
        "country",
        "=",
        "'DE'",
        "AND",
    ),
    *("NOT", "GROUP BY", ",", "*", "NULL", "IN", "BETWEEN", "1", "-", "AS", "x", ";", "IS", "LIKE"),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_any_words_are_a_query_or_an_error(words: list[str]) -> None:
    try:
        query = parse_query(" ".join(words))
        assert query.aggregates
    except InvalidInput:
        return
