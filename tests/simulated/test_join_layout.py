"""A query over two sides, laid out as joins of pairs: in the clear, each placement gives the joint table."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inbond.joined_query import JoinLayout, Rows
from policies.plan import JoinPlan
from policies.query.compiled import Keyed
from protocols.join.terms import JoinTerms
from protocols.psi.items import Keys
from tests.simulated.market import CONTRACTS, Market

JOINED = "orders o JOIN payments p ON o.order_id = p.order_ref"
QUERIES = (
    f"SELECT COUNT(*) AS n, SUM(p.fee) AS s FROM {JOINED}",
    f"SELECT o.country, p.method, COUNT(*) AS n, SUM(o.amount) AS s, AVG(p.tries) AS a FROM {JOINED} GROUP BY 1, 2",
    f"SELECT p.method, SUM(o.amount * p.tries) AS s, COUNT(*) FILTER (WHERE o.paid) AS n FROM {JOINED} GROUP BY 1",
    f"SELECT o.items, VAR_POP(p.fee) AS v, SUM(o.points) AS s FROM {JOINED} WHERE p.late GROUP BY o.items",
)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.make()


def layout_of(market: Market, sql: str, attributes: int) -> JoinLayout:
    query = market.compiled(sql)
    join = JoinPlan.model_validate({"engine": "ot", "attributes": attributes, "keys": query.keys})
    return JoinLayout(query, join, CONTRACTS)


def in_the_clear(layout: JoinLayout, left: Rows, right: Rows) -> NDArray[np.int64]:
    """What the shares of one pair add up to."""
    keys, columns = layout.value_columns(right)
    at = {item: index for index, item in enumerate(_items(keys))}
    cells = np.zeros((1, layout.attribute.size, len(layout.outputs)), np.int64)
    for item, group, weights in zip(_items(left.keys), left.groups, left.values, strict=True):
        if item in at:
            cells[0, group] += [weights[one] * columns[at[item], other] for one, other in layout.outputs]
    table: NDArray[np.int64] = layout.placed(cells.view(np.uint64)).view(np.int64)[0]
    return table


def _items(keys: Keys) -> list[bytes]:
    """The item of each row."""
    found: list[bytes] = keys.items.take(keys.rows).to_pylist()
    return found


@pytest.mark.parametrize("attributes", [0, 1])
@pytest.mark.parametrize("sql", QUERIES)
def test_either_side_may_hold_the_attributes(market: Market, sql: str, attributes: int) -> None:
    layout = layout_of(market, sql, attributes)
    layout.check()
    parts = [[layout.gather(side.keyed(found)) for found in market.run(side)] for side in layout.query.sides]
    total = sum(in_the_clear(layout, a, b) for a in parts[attributes] for b in parts[1 - attributes])
    np.testing.assert_array_equal(total, market.joint(layout.query))


def test_values_are_counted_once_by_the_side_that_has_them(market: Market) -> None:
    layout = layout_of(market, f"SELECT o.country, COUNT(DISTINCT o.customer) AS n FROM {JOINED} GROUP BY 1", 0)
    (found, *_), firms = (market.run(side) for side in layout.query.sides)
    keyed = layout.attribute.keyed(found)
    rows = layout.gather(keyed)
    there = {item for one in firms for item in _items(layout.gather(layout.value.keyed(one)).keys)}
    counted = layout.count_once(keyed, rows.of, np.array([item in there for item in _items(rows.keys)]))
    one_merchant = market.connection.sql(
        "SELECT o.country, COUNT(DISTINCT o.customer) AS n FROM orders_m1 o JOIN payments p ON o.order_id = p.order_ref"
        " WHERE o.country IS NOT NULL GROUP BY 1"
    ).fetchall()
    labels = [cell[0] for cell in layout.attribute.groups]
    assert {label: int(n) for label, n in zip(labels, counted[:, layout.counted[0]], strict=True) if n} == {
        country: n for country, n in one_merchant if n
    }


def test_rows_without_a_key_or_of_nobody_count_nothing(market: Market) -> None:
    layout = layout_of(market, f"SELECT COUNT(DISTINCT o.customer) AS n FROM {JOINED}", 0)
    groups, values = np.zeros(2, np.int64), np.ones((2, len(layout.attribute.columns)), np.int64)
    keyed = Keyed((["", "  "],), groups, values, (["u", "v"],))
    rows = layout.gather(keyed)
    assert (_items(rows.keys), rows.of.tolist()) == ([], [-1, -1])
    assert not layout.count_once(keyed, rows.of, np.zeros(0, np.bool_)).any()


def test_rows_of_one_key_and_group_are_added(market: Market) -> None:
    layout = layout_of(market, QUERIES[0], 0)
    width = len(layout.attribute.columns)
    keyed = Keyed((["m1-7", " M1-7", "m1-8"],), np.zeros(3, np.int64), np.full((3, width), 2, np.int64), ())
    rows = layout.gather(keyed)
    assert rows.of.tolist() == [0, 0, 1]
    assert rows.values[:, 0].tolist() == [4, 2]


def test_the_terms_are_those_of_the_plan(market: Market) -> None:
    layout = layout_of(market, QUERIES[1], 1)
    terms = layout.terms(bytes(32), pairs=9, minimum=10)
    assert isinstance(terms, JoinTerms)
    assert (terms.groups, len(terms.outputs), terms.minimum) == (3, 4 * len(layout.products), 1)
    assert terms.right == 4 * len(layout.value.columns)


def test_a_group_that_was_left_out_is_left_out_with_every_group_of_the_other_side(market: Market) -> None:
    marked = {side: layout_of(market, QUERIES[1], side).joint_groups([1]).reshape(4, 3) for side in (0, 1)}
    assert marked[0].tolist() == [[0] * 3, [1] * 3, [0] * 3, [0] * 3]
    assert marked[1].tolist() == [[0, 1, 0]] * 4
