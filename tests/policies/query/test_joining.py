"""Tables of the same owners, and of two: sides, keys, and what may not be joined."""

from typing import Any

import pytest

from policies.contract import PublishedContract
from policies.errors import InvalidInput
from policies.query.compiled import Compiled
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer
from tests.policies.query.asked import KEY, column, table

ORDERS = table(
    "orders",
    order_id=column("text", "join", "filter", "aggregate", key=KEY),
    mail=column("text", "join", key=KEY | {"as": "email"}),
    amount=column("money", bounds=[0, 100]),
    country=column("text", "group", "filter", domain=["DE", "FR"]),
    number=column("int", "filter"),
)
LINES = table("lines", order_id=column("text", "filter"), price=column("money"), number=column("int"))
PAYMENTS = table(
    "payments",
    order_ref=column("text", "join", key=KEY),
    mail=column("text", "join", key=KEY | {"as": "email"}),
    fee=column("money", bounds=[-5, 5]),
    method=column("text", "group", "filter", domain=["card", "bank"]),
    late=column("bool"),
)
CATALOGUE = {
    "orders": Offer(ORDERS, ("m1", "m2")),
    "lines": Offer(LINES, ("m1", "m2")),
    "payments": Offer(PAYMENTS, ("f1", "f2", "f3")),
}
JOINED = "orders o JOIN payments p ON o.order_id = p.order_ref"


def compiled(sql: str, **other: Offer) -> Compiled:
    return compile_query(parse(sql), CATALOGUE | other)


def test_tables_of_the_same_owners_are_one_side_and_one_fragment() -> None:
    query = compiled("SELECT COUNT(*) FROM orders JOIN lines USING (order_id) WHERE price > 3")
    (side,) = query.sides
    assert (side.datasets, side.owners) == (("orders", "lines"), ("m1", "m2"))
    assert side.fragment.relations == {"t0": ("orders", ("order_id",)), "t1": ("lines", ("order_id", "price"))}
    assert ("orders", "order_id", "join") in query.uses
    assert ("lines", "order_id", "filter") in query.uses


def test_tables_of_two_groups_of_owners_are_two_sides_joined_on_declared_keys() -> None:
    query = compiled(f"SELECT method, country, COUNT(*) FROM {JOINED} WHERE country = 'DE' AND late GROUP BY 1, 2")
    left, right = query.sides
    assert (left.owners, right.owners, query.keys) == (("m1", "m2"), ("f1", "f2", "f3"), ("order-id",))
    assert list(left.fragment.outputs) == ["key_0", "g_0", "v_0"]
    assert set(right.fragment.parameters.values()) == {"card", "bank"}
    assert query.pushed == (("orders", "\"country\" = 'DE'"), ("payments", '"late"'))
    assert query.groups == (("DE", "card"), ("DE", "bank"), ("FR", "card"), ("FR", "bank"))
    assert query.shape == (4, 1)


def test_a_slot_pairs_what_each_side_adds_up() -> None:
    query = compiled(f"SELECT SUM(amount) AS a, SUM(fee) AS f, SUM(amount * fee) AS b FROM {JOINED}")
    left, right = query.sides
    kinds = [
        (slot.kind, left.columns[slot.columns[0] or 0].kind, right.columns[slot.columns[1] or 0].kind, slot.bounds)
        for slot in query.slots
        if slot.kind == "sum"
    ]
    assert kinds == [
        ("sum", "sum", "count", (0, 10_000)),
        ("sum", "count", "sum", (-500, 500)),
        ("sum", "sum", "sum", (-5_000_000, 5_000_000)),
    ]


def test_every_condition_goes_to_the_side_it_reads() -> None:
    query = compiled(f"SELECT SUM(fee) FILTER (WHERE late AND country = 'DE') AS s FROM {JOINED}")
    left, right = query.sides
    slot = next(slot for slot in query.slots if slot.kind == "sum")
    assert left.columns[slot.columns[0] or 0].kind == "count"
    assert "country" in left.fragment.sql
    assert "country" not in right.fragment.sql


def test_a_key_has_no_null_and_several_keys_are_allowed() -> None:
    query = compiled("SELECT COUNT(*) FROM orders o JOIN payments p ON o.order_id = p.order_ref AND o.mail = p.mail")
    assert query.keys == ("order-id", "email")
    assert query.sides[1].fragment.named("key_") == ["key_0", "key_1"]
    assert query.sides[0].fragment.sql.count("IS NULL") == 2


def test_values_without_a_domain_are_counted_once_by_the_side_that_has_them() -> None:
    query = compiled(f"SELECT country, COUNT(DISTINCT o.order_id) AS n FROM {JOINED} GROUP BY country")
    slot = query.slots[-1]
    assert (slot.kind, slot.distinct, slot.columns) == ("distinct", (0, "d_0"), (None, None))
    assert query.sides[0].fragment.named("d_") == ["d_0"]
    assert len(slot.governing) == 2


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("orders, payments", "no key joins the two owners' tables"),
        ("orders o JOIN payments p ON o.order_id > p.order_ref", "mixes columns of two owners"),
        (f"{JOINED} WHERE o.amount > p.fee", "mixes columns of two owners"),
        (f"{JOINED} WHERE o.country = 'DE' OR p.late", "mixes columns of two owners"),
        ("orders o JOIN payments p ON o.country = p.method", "is no join key"),
        ("orders o JOIN payments p ON o.order_id = p.mail", "is compared as order-id and `mail` as email"),
        ("orders o JOIN payments p ON o.number = p.mail", "compares int with text"),
        ("orders, lines", "are not joined to each other"),
        (
            "orders o JOIN payments p ON o.order_id = p.order_ref JOIN lines l ON l.order_id = p.order_ref",
            "is no join key",
        ),
        ("orders o JOIN lines l ON l.order_id = o.order_id JOIN lines k ON k.price = l.price", "joined to itself"),
    ],
)
def test_what_is_no_join_on_keys_is_refused(sql: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(f"SELECT COUNT(*) FROM {sql}")
    assert told in str(caught.value)
    assert caught.value.right


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("SUM(amount + fee) AS s", "other than by a product"),
        ("SUM(CASE WHEN late THEN amount ELSE 0 END) AS s", "other than by a product"),
        ("SUM(amount) FILTER (WHERE late OR amount > 3) AS s", "mixes columns of two owners"),
        ("COUNT(DISTINCT o.order_id) FILTER (WHERE late) AS s", "needs a domain"),
        ("amount > fee AS g, COUNT(*)", "mixes columns of two owners"),
    ],
)
def test_what_mixes_two_owners_rows_is_refused(output: str, told: str) -> None:
    group = " GROUP BY g" if " AS g" in output else ""
    with pytest.raises(InvalidInput) as caught:
        compiled(f"SELECT {output} FROM {JOINED}{group}")
    assert told in str(caught.value)


def offer(contract: PublishedContract, *owners: str) -> Any:
    return Offer(contract, owners)


def test_a_party_stands_on_one_side_and_there_are_two() -> None:
    with pytest.raises(InvalidInput, match="`m1` has both"):
        compiled(f"SELECT COUNT(*) FROM {JOINED}", payments=offer(PAYMENTS, "m1", "f1"))
    three = f"SELECT COUNT(*) FROM {JOINED} JOIN lines l ON l.order_id = o.order_id"
    with pytest.raises(InvalidInput, match="3 groups of owners"):
        compiled(three, lines=offer(LINES, "x1", "x2"))
