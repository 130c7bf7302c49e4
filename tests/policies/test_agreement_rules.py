"""An agreement covers what it names and nothing else; each term has its rule, and no rule can be dropped unnoticed."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from federation.planner import make_plan
from policies.agreement_rules import Share, covers, shares_of
from policies.contract import DataContract
from policies.engine import DEFAULT_DENY
from policies.errors import InvalidInput
from policies.plan import LeakKind, Plan, Reader
from policies.request import Decision
from tests.federation.test_join_planner import orders, payments
from tests.federation.test_join_planner import plan as join_plan
from tests.policies.samples import contract, order
from tests.policies.test_agreement import agreement

DAY = date(2026, 6, 15)
SHARE = Share(
    "m1",
    "p1",
    "orders",
    "dpv:FraudPreventionAndDetection",
    LeakKind.GROUP_COUNTS,
    "spiffe://acme.example/user/rosa",
    "GB",
)


def decided(*changes: dict[str, Any], today: date = DAY, used: int = 0) -> Decision:
    shares = [replace(SHARE, **one) for one in changes or ({},)]
    return covers(agreement(), shares, today=today, used=used)


def test_what_the_terms_name_is_covered_by_the_link_of_the_party() -> None:
    found = decided()
    assert found.permitted
    assert found.determining == (f"agreement/{agreement().id}/p1",)
    assert "every side has signed" in found.reasons[0].text


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"dataset": "customers"}, "agreement-dataset"),
        ({"owner": "p1"}, "agreement-dataset"),  # the other party has no table of this name in it
        ({"purpose": "dpv:Marketing"}, "agreement-purpose"),
        ({"leak": LeakKind.INTERSECTION_MEMBERS}, "agreement-leak"),
        ({"country": "US"}, "agreement-country"),
        ({"reader": "spiffe://acme.example/user/bo"}, "agreement-recipient"),
    ],
)
def test_each_term_has_its_rule(changes: dict[str, Any], rule: str) -> None:
    found = decided(changes)
    assert not found.permitted
    assert found.determining == (rule,)
    assert found.reasons[0].remedy


@pytest.mark.parametrize(
    ("today", "covered"),
    [(date(2026, 5, 31), False), (date(2026, 6, 1), True), (date(2026, 12, 31), True), (date(2027, 1, 1), False)],
)
def test_it_holds_from_its_first_to_its_last_day(today: date, covered: bool) -> None:
    found = decided(today=today)
    assert found.permitted is covered
    assert covered or found.determining == ("agreement-days",)


@pytest.mark.parametrize(("used", "covered"), [(2, True), (3, False), (4, False)])
def test_it_is_used_as_often_as_was_agreed(used: int, covered: bool) -> None:
    found = decided(used=used)
    assert found.permitted is covered
    assert covered or found.determining == ("agreement-uses",)


def test_nothing_is_covered_with_somebody_who_is_no_party() -> None:
    found = decided({"counterpart": "p2"})
    assert not found.permitted
    assert found.reasons[0].policy_id == DEFAULT_DENY


def test_of_several_things_all_must_be_covered_and_nothing_asked_is_denied() -> None:
    assert decided({}, {"dataset": "order_payments", "owner": "p1", "counterpart": "m1"}).permitted
    assert not decided({}, {"country": "US"}).permitted
    assert not covers(agreement(), [], today=DAY, used=0).permitted


def test_a_link_is_good_for_one_agreement() -> None:
    mine, other = agreement(), agreement(parties=["m1", "p1", "p2"])
    share = replace(SHARE, counterpart="p2")
    assert covers(other, [share], today=DAY, used=0).permitted
    assert not covers(mine, [share], today=DAY, used=0).permitted
    assert covers(mine, [SHARE], today=DAY, used=0).fingerprint != covers(other, [SHARE], today=DAY, used=0).fingerprint


def planned(parties: int = 3, **changes: Any) -> tuple[Plan, list[DataContract]]:
    """A query of some parties whose contracts ask for an agreement, and the contracts of `p1`."""
    held = contract(**({"agreement": "required"} | changes))
    made = make_plan(order(), {f"p{number}": {"orders": held} for number in range(1, parties + 1)})
    return made, [held]


P1 = "spiffe://acme.example/party/p1"


def test_what_a_plan_makes_known_to_every_reader_but_the_owner_is_asked_with_every_other_party() -> None:
    plan, held = planned()
    found = shares_of(plan, P1, held)
    assert {(one.owner, one.dataset, one.purpose, one.country) for one in found} == {
        ("p1", "orders", "dpv:FraudPreventionAndDetection", "DE")
    }
    told = {(one.reader.rsplit("/", 1)[-1], one.leak.value, one.counterpart) for one in found}
    assert len(found) == len(told)
    assert told == {
        (reader, leak, other)
        for reader, leak in (
            ("p2", "group counts"),
            ("p3", "group counts"),
            ("rosa", "group counts"),
            ("rosa", "exact aggregate"),
        )
        for other in ("p2", "p3")
    }


def test_only_the_owner_itself_needs_no_agreement_and_not_who_bears_its_name() -> None:
    plan, held = planned()
    named = Reader(id="spiffe://acme.example/user/p1", country="DE", object=LeakKind.GROUP_COUNTS)
    other = plan.model_copy(update={"readers": (*plan.readers, named)})
    assert {one.reader for one in shares_of(other, P1, held)} - {one.reader for one in shares_of(plan, P1, held)} == {
        named.id
    }


def test_where_no_contract_asks_or_not_for_these_readers_nothing_is_asked() -> None:
    for rule in (None, {"recipients": ["p9", "spiffe://other.example/*/*"]}):
        plan, held = planned(agreement=rule)
        assert shares_of(plan, P1, held) == ()


def test_a_job_of_more_parties_than_an_agreement_may_have_cannot_be_agreed_on() -> None:
    plan, held = planned(parties=16)
    assert {one.counterpart for one in shares_of(plan, P1, held)} == {f"p{number}" for number in range(2, 17)}
    for count in (1, 17):
        plan, held = planned(parties=count)
        with pytest.raises(InvalidInput, match=f"this job has {count}"):
            shares_of(plan, P1, held)


def test_of_a_join_an_owner_is_asked_what_becomes_known_of_its_own_table() -> None:
    merchants, firm = orders(agreement="required"), payments(agreement="required")
    plan = join_plan(left=merchants, right=firm)
    asked = {
        name: shares_of(plan, f"spiffe://acme.example/party/{name}", held)
        for name, held in (("m1", [merchants]), ("p1", [firm]))
    }
    told = {name: {(one.reader.rsplit("/", 1)[-1], one.leak) for one in found} for name, found in asked.items()}
    members = {(name, LeakKind.INTERSECTION_MEMBERS) for name in ("m1", "m2")}
    assert members <= told["p1"]
    assert not any(leak is LeakKind.INTERSECTION_MEMBERS for _, leak in told["m1"])
    assert ("p1", LeakKind.SET_SIZE_BUCKET) in told["m1"]
