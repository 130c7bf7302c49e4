"""Reading a statement: what is recognised, and what is refused before anything is looked up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.errors import InvalidInput
from policies.query.reading import MAX_CANONICAL_CHARACTERS, parse


def test_a_statement_is_read_with_its_tables_outputs_and_clauses() -> None:
    query = parse(
        "SELECT o.country AS land, COUNT(*) n FROM orders o JOIN lines USING (id) WHERE a > 1 AND (b = 2 AND c)"
        " GROUP BY land HAVING COUNT(*) > 3 ORDER BY n DESC NULLS FIRST LIMIT 5 OFFSET 2"
    )
    assert query.datasets == ("orders", "lines")
    assert [table.alias for table in query.tables] == ["o", "lines"]
    assert [output.name for output in query.outputs] == ["land", "n"]
    assert len(query.conjuncts) == 4  # the key, and three of WHERE
    assert (query.limit, query.offset, query.order[0].descending, query.order[0].nulls_first) == (5, 2, True, True)


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("COUNT(*)", "count"),
        ("SUM(amount)", "sum_amount"),
        ("COUNT(DISTINCT country)", "count_distinct_country"),
        ("SUM(amount) FILTER (WHERE paid)", "sum_amount"),
        ("histogram(items)", "histogram_items"),
        ("SUM(amount) / COUNT(*) AS mean", "mean"),
    ],
)
def test_an_output_has_the_name_its_author_would_say(sql: str, name: str) -> None:
    assert parse(f"SELECT {sql} FROM orders").outputs[0].name == name


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM orders", "rows never leave"),
        ("SELECT orders.* FROM orders", "rows never leave"),
        ("SELECT country FROM orders", "rows never leave"),
        ("SELECT country FROM orders GROUP BY country", "rows never leave"),
        ("SELECT DISTINCT country FROM orders", "SELECT DISTINCT returns rows"),
        ("SELECT COUNT(*)", "no table is named"),
        ("SELECT COUNT(*) FROM a LEFT JOIN b ON a.x = b.x", "LEFT join would tell which rows have no partner"),
        ("SELECT COUNT(*) FROM a FULL JOIN b ON a.x = b.x", "FULL join"),
        ("SELECT COUNT(*) FROM a SEMI JOIN b ON a.x = b.x", "join is not answered"),
        ("SELECT COUNT(*) FROM a NATURAL JOIN b", "NATURAL join is not answered"),
        ("SELECT COUNT(*) FROM a ASOF JOIN b ON a.x >= b.x", "ASOF join is not answered"),
        ("SELECT COUNT(*) FROM a JOIN a ON a.x = a.x", "joined to itself"),
        ("SELECT COUNT(*) FROM a x JOIN b x ON x.a = x.b", "two tables are called `x`"),
        ("SELECT COUNT(*) FROM a JOIN b USING (x) JOIN c USING (x)", "USING after two tables"),
        ("SELECT COUNT(*) FROM (SELECT * FROM orders)", "subqueries"),
        ("SELECT COUNT(*) FROM read_csv('secrets.csv')", "FROM"),
        ("SELECT COUNT(*) FROM db.orders", "`db`"),
        ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM x", "subqueries"),
        ("SELECT COUNT(*) FROM orders UNION SELECT 1", "UNION is not answered"),
        ("SELECT COUNT(*) FROM orders EXCEPT SELECT 1", "EXCEPT is not answered"),
        ("SELECT COUNT(*) FROM orders; DROP TABLE orders", "2 statements"),
        ("DROP TABLE orders", "a DROP statement"),
        ("COPY orders TO 'x'", "COPY"),
        ("ATTACH 'x.db'", "ATTACH"),
        ("SELECT COUNT(*) FROM orders -- hidden", "comments"),
        ("SELECT COUNT(*) /* hidden */ FROM orders", "comments"),
        ("SELECT COUNT(*) FROM orders QUALIFY 1", "QUALIFY"),
        ("SELECT COUNT(*) FROM orders USING SAMPLE 1", "sampl"),
        ("SELECT SUM(amount) OVER () AS s FROM orders", "window function"),
        ("SELECT COUNT(*) FROM orders WHERE EXISTS (SELECT 1)", "subqueries"),
        ("SELECT COUNT(*) FROM orders WHERE amount IN (SELECT 1)", "subqueries"),
        ("SELECT COUNT(*), COUNT(*) FROM orders", "two outputs are called `count`"),
        ("SELECT SUM(a) + 1 FROM orders", "has no name"),
        ('SELECT COUNT(*) AS "a b" FROM orders', "is not plain"),
        ("SELECT COUNT(*) FROM orders GROUP BY 7", "no position of an output"),
        ("SELECT COUNT(*) FROM orders ORDER BY ALL", "ORDER BY"),
        ("SELECT COUNT(*) FROM orders LIMIT 10 PERCENT", ""),
        ("SELECT COUNT(*) FROM orders LIMIT -1", "is not a whole number"),
        ("SELECT COUNT(*) FROM orders LIMIT 99999999999", "too large"),
        ("SELECT COUNT(*) FROM orders WHERE a = $x", "parameter `$x` has no value"),
        ("", "statement"),
        ("not sql at all (", ""),
        ("SELECT COUNT(*) FROM orders WHERE " + "(" * 1000 + "items = 1" + ")" * 1000, ""),
        ("SELECT COUNT(*) FROM orders WHERE " + "NOT " * 900 + "items = 1", "nested too deeply"),
        ("SELECT COUNT(*) FROM orders WHERE items IN (" + "1," * 2000 + "1)", "too long"),
        ("x" * 10_000, "too long"),
    ],
)
def test_what_is_no_joint_query_is_refused_in_one_line_with_a_form_that_is(sql: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(sql)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.right


def test_parameters_become_literals_of_one_spelling() -> None:
    sql = "SELECT COUNT(*) FROM orders WHERE a = $text AND b > $low AND c = $flag"
    query = parse(sql, parameters={"text": "it's", "low": -1.5, "flag": True})
    assert query.canonical_sql.endswith("""WHERE "a" = 'it''s' AND "b" > -1.5 AND "c" = TRUE""")
    assert parse(query.canonical_sql).canonical_sql == query.canonical_sql


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 2000])
def test_a_parameter_that_is_no_literal_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="can be bound"):
        parse("SELECT COUNT(*) FROM orders WHERE a = $x", parameters={"x": value})  # type: ignore[dict-item]


def test_a_parameter_that_the_statement_does_not_use_is_refused() -> None:
    with pytest.raises(InvalidInput, match="`\\$y` is not in the statement"):
        parse("SELECT COUNT(*) FROM orders", parameters={"y": 1})


def test_a_statement_that_its_parameters_make_too_long_is_refused() -> None:
    names = [f"p{index}" for index in range(MAX_CANONICAL_CHARACTERS // 1000 + 1)]
    sql = f"SELECT COUNT(*) FROM orders WHERE a IN ({', '.join(f'${name}' for name in names)})"
    with pytest.raises(InvalidInput, match="characters with its parameters"):
        parse(sql, parameters=dict.fromkeys(names, "x" * 1000))


WORDS = (
    *("SELECT", "COUNT(*)", "SUM(amount)", "FROM", "orders", "WHERE", "(", ")", "country", "=", "'DE'", "AND", "JOIN"),
    *(
        "NOT",
        "GROUP BY",
        ",",
        "*",
        "NULL",
        "IN",
        "BETWEEN",
        "1",
        "-",
        "AS",
        "x",
        ";",
        "IS",
        "LIKE",
        "$p",
        "CASE",
        "END",
    ),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_any_words_are_a_query_or_an_error(words: list[str]) -> None:
    try:
        query = parse(" ".join(words))
    except InvalidInput:
        return
    assert query.outputs
