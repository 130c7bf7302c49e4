"""An agreement covers what it names and nothing else; each term has its rule, and no rule can be dropped unnoticed."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from policies.agreement_rules import Share, covers
from policies.engine import DEFAULT_DENY
from policies.plan import LeakKind
from policies.request import Decision
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
