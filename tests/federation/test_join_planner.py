"""Which join is planned: of those that can answer, one with no leak that an owner forbids, and the cheapest."""

from typing import Any

import pytest
from pydantic import ValidationError

from federation.planner import make_plan
from policies.contract import DataContract
from policies.errors import InvalidInput
from policies.explain import explain
from policies.plan import MAX_KEYS, JoinPlan, LeakKind, Plan, Role
from tests.federation.test_planner import decide
from tests.policies.samples import contract, membership, order, query_spec

ALL = ["set size bucket", "group counts", "intersection size", "intersection members"]
HIDDEN = ALL[:3]
JOINED = "orders o JOIN payments p ON o.order_id = p.order_id"
COUNT = f"SELECT o.country, COUNT(*) AS n, SUM(p.fee) AS fee FROM {JOINED} GROUP BY o.country"


def keyed(dataset: str, leaks: list[str], columns: dict[str, Any], **changes: Any) -> DataContract:
    key = {"as": "order-id", "counterparts": {"*": leaks}, "rows_per_key": changes.pop("rows_per_key", 1)}
    kind = {"type": "text", "class": "pseudonymous", "category": "order_ref"}
    own = {"order_id": {**kind, "uses": ["join"], "key": key}, **columns}
    return contract(dataset=dataset, schema_name=f"{dataset}/1", columns=own, minimum_parties=2, **changes)


def orders(leaks: list[str] = ALL, **changes: Any) -> DataContract:
    country = {"type": "text", "class": "public", "uses": ["group", "filter"], "domain": ["DE", "FR", "NO"]}
    customer = {"type": "int", "class": "pseudonymous", "category": "order_ref", "uses": ["aggregate"]}
    return keyed("orders", leaks, {"country": country, "customer": customer}, **changes)


def payments(leaks: list[str] = ALL, **changes: Any) -> DataContract:
    fee = {"type": "money", "class": "commercial", "uses": ["aggregate"], "bounds": [0, changes.pop("fee", 50)]}
    return keyed("payments", leaks, {"fee": fee}, **changes)


def plan(sql: str = COUNT, left: DataContract | None = None, right: DataContract | None = None, **fields: Any) -> Plan:
    """Two merchants with one firm."""
    merchant = {"orders": left or orders()}
    held = {"m1": merchant, "m2": merchant, "p1": {"payments": right or payments()}}
    return make_plan(order(query_spec(sql=sql, **fields)), held)


def joined(*arguments: Any, **fields: Any) -> JoinPlan:
    found = plan(*arguments, **fields).join
    assert found is not None
    return found


def test_the_fast_engine_is_planned_where_everybody_permits_it() -> None:
    found = joined()
    assert (found.engine, found.attributes, found.keys) == ("ot", 0, ("order-id",))


def test_an_owner_that_does_not_show_members_gets_a_hidden_join_or_the_attributes() -> None:
    assert joined(COUNT, orders(ALL), payments(HIDDEN)).engine == "ot"  # its own side then learns who matched
    assert joined(COUNT, orders(ALL), payments(HIDDEN)).attributes == 1
    assert joined(COUNT, orders(HIDDEN), payments(HIDDEN)).engine == "ec-hidden"


@pytest.mark.parametrize(("matching", "engine"), [("auto", "ot"), ("fast", "ot"), ("hidden", "ec-hidden")])
def test_the_author_may_ask_for_one_kind(matching: str, engine: str) -> None:
    assert joined(matching=matching).engine == engine


@pytest.mark.parametrize(("left", "right", "parts"), [(None, None, 1), (100_000, 9, 1), (9, 200_000, 3), (10**7, 9, 8)])
def test_large_matches_are_cut_into_parts(left: int | None, right: int | None, parts: int) -> None:
    held = orders(published_rows=left), payments(published_rows=right)
    assert joined(COUNT, *held, matching="fast").parts == parts
    assert joined(COUNT, *held, matching="hidden").parts == 1


def test_a_plan_with_parts_that_no_engine_has_is_no_plan() -> None:
    for wrong in ({"engine": "ec-hidden", "parts": 2}, {"engine": "ot", "parts": 0}, {"engine": "ot", "parts": 17}):
        with pytest.raises(ValidationError, match="parts"):
            JoinPlan.model_validate({"attributes": 0, "keys": ["order-id"], **wrong})


def test_every_leak_names_who_learns_and_of_whom() -> None:
    leaks = [leak for leak in plan().leaks() if leak.who is Role.PARTY]
    members = next(leak for leak in leaks if leak.what is LeakKind.INTERSECTION_MEMBERS)
    assert (members.learners, members.owners) == (("m1", "m2"), ("p1",))
    counts = {(leak.learners, leak.owners) for leak in leaks if leak.what is LeakKind.GROUP_COUNTS}
    assert counts == {(("m1", "m2"), ("p1",)), (("p1",), ("m1", "m2"))}
    assert {one.name: one.side for one in plan().participants} == {"m1": 0, "m2": 0, "p1": 1}


def test_a_plan_with_no_permitted_join_is_made_all_the_same_for_the_policies_to_refuse() -> None:
    found = plan(COUNT, orders([]), payments([]))
    assert found.join is not None
    assert found.join.engine == "ot"


def test_sizes_that_contracts_publish_bound_the_sets_and_the_sums() -> None:
    sizes = joined(COUNT, orders(published_rows=1000), payments(published_rows=300), matching="fast")
    assert (sizes.largest, sizes.wide) == ((2000, 600), False)
    assert joined().largest == (MAX_KEYS, MAX_KEYS)
    assert joined(COUNT, orders(), payments(fee=10**6)).wide
    assert joined(COUNT, orders(published_rows=1000), payments(fee=10**6)).wide is False


def test_the_price_follows_engine_and_size() -> None:
    def price(matching: str, rows: int) -> float:
        found = plan(COUNT, orders(published_rows=rows), payments(published_rows=rows), matching=matching)
        return next(operator.seconds for operator in found.operators if operator.id == "join")

    assert price("fast", 10**6) < price("hidden", 10**6)
    assert price("fast", 10**5) < price("fast", 10**6)


def test_values_are_counted_once_only_by_one_owner_who_may_learn_who_matched() -> None:
    sql = f"SELECT COUNT(DISTINCT o.customer) AS n FROM {JOINED}"
    with pytest.raises(InvalidInput, match="several owners hold"):
        plan(sql)
    with pytest.raises(InvalidInput, match="must learn who matched"):
        plan(sql, matching="hidden")
    merchant, firm = {"orders": orders()}, {"payments": payments()}
    asked = order(query_spec(sql=sql, parties=["m1", "p1"]))
    found = make_plan(asked, {"m1": merchant, "m2": merchant, "p1": firm})
    assert found.join is not None
    assert (found.join.engine, found.join.attributes) == ("ot", 0)


def test_hidden_matching_has_a_limit_of_combinations() -> None:
    sql = f"SELECT COUNT(*) AS n, SUM(p.fee) AS fee FROM {JOINED}"
    both = plan(sql, orders(), payments(), matching="hidden").join
    assert both is not None
    assert both.attributes == 0  # the fees would be weights
    with pytest.raises(InvalidInput, match="combinations of groups and weights"):
        plan(COUNT, orders(rows_per_key=2000), payments(), matching="hidden")


PARTY = "spiffe://acme.example/party/"


def placed(*parties: str, country: str = "DE") -> list[dict[str, str]]:
    return [{"id": PARTY + name, "country": country} for name in parties]


@pytest.mark.parametrize(("readers", "answer"), [(("m1", "m2"), "attributes"), (("p1",), "values")])
def test_the_parties_of_one_side_read_the_answer_where_they_are_the_recipients(
    readers: tuple[str, ...], answer: str
) -> None:
    found = plan(recipients=placed(*readers))
    assert found.join is not None
    assert (found.join.answer, found.answered()) == (answer, readers)
    assert [step.name for step in found.steps][-2:] == ["query.release", "query.answer"]
    assert not [leak for leak in found.leaks() if leak.who is Role.RESEARCHER]
    exact = {reader.id for reader in found.readers if reader.object is LeakKind.EXACT_AGGREGATE}
    assert exact == {PARTY + name for name in readers}


@pytest.mark.parametrize("readers", [("m1",), ("m1", "m2", "p1"), ("m9",)])
def test_other_parties_than_one_whole_side_are_refused(readers: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"job: recipients: .* read by all parties of one side.*m1, m2 or p1, or"):
        plan(recipients=placed(*readers))


def test_a_party_reads_where_its_tables_are() -> None:
    with pytest.raises(InvalidInput, match=r"`p1` is not in FR; \{id: spiffe://acme.example/party/p1, country: DE\}"):
        plan(recipients=placed("p1", country="FR"))


@pytest.mark.parametrize("answer", ["researcher", "attributes"])
def test_a_plan_that_places_the_answer_elsewhere_than_ordered_is_bound_to_nothing(answer: str) -> None:
    """A coordinator cannot turn an answer over to others than those its author signed for."""
    ordered = order(query_spec(sql=COUNT, recipients=placed("p1")))
    other = plan(recipients=placed("m1", "m2")) if answer == "attributes" else plan()
    moved = other.model_copy(update={"job": ordered.digest()})
    members, held = membership(parties=frozenset({"m1", "m2", "p1"})), {"orders": orders()}
    as_ordered, moved_there = (
        decide(ordered, made, payments(), membership=members, contracts=held)
        for made in (plan(recipients=placed("p1")), moved)
    )
    assert as_ordered.permitted
    assert moved_there.determining == ("binding",)


def refusal(plan_: Plan, held: DataContract, dataset: str, other: DataContract, **fields: Any) -> tuple[str, ...]:
    """What p1 or m1 says, in sentences."""
    ordered = order(query_spec(sql=COUNT, **fields))
    decision = decide(
        ordered,
        plan_.model_copy(update={"job": ordered.digest()}),
        held,
        "p1" if dataset == "payments" else "m1",
        membership=membership(parties=frozenset({"m1", "m2", "p1"})),
        contracts={other.dataset: other},
    )
    assert not decision.permitted
    return explain(decision)


def test_a_refused_join_is_traced_from_what_was_asked_to_the_grant_that_is_missing() -> None:
    silent = payments(HIDDEN[:2])
    told = refusal(plan(COUNT, orders(HIDDEN), silent, matching="fast"), silent, "payments", orders(), matching="fast")
    by_rule = {rule: one for one in told for rule in ("join-leak", "output-kind", "readable-object") if rule in one}
    assert set(by_rule.values()) == set(told)
    path = "in the join on `order_id` for `o.country`, `COUNT(*) AS n`, `SUM(p.fee) AS fee`"
    assert "m1, m2 learn intersection members: which of its own keys" in by_rule["join-leak"]
    assert path in by_rule["join-leak"]
    grant = "p1 can grant m1, m2 `intersection members` under `columns: order_id: key: counterparts`"
    assert f"{grant}, or ask with `matching: auto`" in by_rule["join-leak"]
    granted = payments([*HIDDEN[:2], "intersection members"])
    passing = plan(COUNT, orders(HIDDEN), granted, matching="fast")
    assert decide(
        order(query_spec(sql=COUNT, matching="fast")),
        passing,
        granted,
        membership=membership(parties=frozenset({"m1", "m2", "p1"})),
        contracts={"orders": orders()},
    ).permitted


def test_a_column_that_may_not_be_used_so_is_traced_to_the_parts_that_read_it() -> None:
    sql = "SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer"
    kind = {"type": "text", "class": "pseudonymous", "category": "order_ref"}
    pointing = {**kind, "uses": ["group"], "domain": ["a", "b"]}
    held = contract(columns={"customer": pointing})
    ordered = order(query_spec(sql=sql))
    made = make_plan(ordered, {name: {"orders": held} for name in ("p1", "p2", "p3")})
    (told,) = explain(decide(ordered, made, held))
    assert "column `customer`, use group, read by `customer`, `GROUP BY customer`" in told
    assert "group by a public, operational or commercial column, or leave out `customer`, `GROUP BY customer`" in told
