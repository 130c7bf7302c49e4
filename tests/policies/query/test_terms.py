"""Row expressions: exact, bounded, and bound to the rows that carry each conditional part."""

import pytest

from policies.errors import InvalidInput
from policies.query.compiled import Slot
from tests.policies.query.asked import answer, column, compiled

COLUMNS = {
    "flag": column("int", domain=[0, 1]),
    "who": column("text", domain=["a", "b", "c"]),
    "x": column("int", bounds=[-3, 10]),
    "price": column("money", bounds=[0, 5]),
    "ok": column("bool"),
}


def sum_of(expression: str) -> tuple[Slot, int]:
    """The slot of a sum, and how many counts govern it."""
    query = compiled(f"SELECT SUM({expression}) AS s FROM orders", columns=COLUMNS)
    slot = next(slot for slot in query.slots if slot.kind == "sum")
    return slot, len(slot.governing)


@pytest.mark.parametrize(
    ("expression", "bounds", "scale"),
    [
        ("x", (-3, 10), 0),
        ("price", (0, 500), 2),
        ("x + price", (-300, 1500), 2),
        ("x - 1", (-4, 9), 0),
        ("3 - x", (-7, 6), 0),
        ("-x", (-10, 3), 0),
        ("x * x", (-30, 100), 0),
        ("ABS(x)", (0, 10), 0),
        ("0.25 * x", (-75, 250), 2),
        ("price * 1.5", (0, 7500), 3),
        ("ok", (0, 1), 0),
        ("CASE WHEN ok THEN x ELSE 100 END", (-3, 100), 0),
        ("CASE WHEN ok THEN 7 END", (0, 7), 0),
        ("COALESCE(x, 20)", (-3, 20), 0),
        ("CAST(x AS BIGINT)", (-3, 10), 0),
    ],
)
def test_bounds_and_units_follow_from_the_expression(expression: str, bounds: tuple[int, int], scale: int) -> None:
    slot, _ = sum_of(expression)
    assert (slot.bounds, slot.scale) == (bounds, scale)


@pytest.mark.parametrize(
    ("expression", "governing"),
    [
        ("x", 2),  # all rows, and those that know x
        ("5", 1),
        ("flag", 3),  # the rows whose flag is set, too
        ("ok", 3),
        ("CASE WHEN who = 'a' THEN x ELSE 0 END", 3),
        ("CASE WHEN who = 'a' THEN 1 WHEN who = 'b' THEN 2 ELSE 3 END", 4),
        ("CASE who WHEN 'a' THEN 1 ELSE 0 END", 2),
        ("COALESCE(x, 0)", 2),
        ("COALESCE(x, 5)", 3),
        ("IF(ok, price, 0)", 3),
        ("2 * flag", 3),
    ],
)
def test_every_conditional_part_governs_its_sum(expression: str, governing: int) -> None:
    assert sum_of(expression)[1] == governing


def test_equal_conditions_share_their_count() -> None:
    sql = (
        "SELECT SUM(CASE WHEN who = 'a' THEN 1 ELSE 0 END) AS s, COUNT(*) FILTER (WHERE who = 'a') AS n,"
        " COUNT(CASE WHEN who = 'a' THEN 1 END) AS c FROM orders"
    )
    assert len(compiled(sql, columns=COLUMNS).counts) == 2


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("x / 2", "divides within a row"),
        ("x % 2", "divides within a row"),
        ("x * who", "which is text"),
        ("SQRT(x)", "no exact number"),
        ("CASE WHEN ok THEN NULL END", "NULL for every row"),
        ("CASE WHEN ok THEN CASE WHEN flag = 1 THEN 1 ELSE 0 END ELSE 0 END", "condition inside a CASE"),
        ("flag * ok", "multiplies two conditions"),
        ("COALESCE(x, price)", "no literal to fall back to"),
        ("CAST(price AS BIGINT)", "would round"),
        ("x * 0.000001 * 0.0001", "too large"),
        ("price * price * price * price * price", "too large"),
    ],
)
def test_what_is_not_exact_is_refused(expression: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sum_of(expression)
    assert told in str(caught.value)


def test_a_sum_over_one_customer_is_hidden_however_many_rows_are_in_the_group() -> None:
    sql = "SELECT SUM(CASE WHEN country = 'FR' THEN 1 ELSE 0 END) AS few, COUNT(*) AS n FROM orders"
    assert answer(sql, minimum=3) == [{"few": None, "n": 6}]
    assert answer(sql, minimum=2) == [{"few": 2, "n": 6}]
