"""Whose yes counts for which plan: never the submitter's, never for another plan, and nobody's twice."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from policies.approval import Approval, Given, Question, tally
from policies.approval_rule import ApprovalRule
from policies.errors import InvalidIdentity
from policies.identity import Standing
from tests.policies.samples import NOW, RESEARCHER, contract

JOB, PLAN = "ab" * 16, "cd" * 32
ROSA = Standing("bank", "researcher")
ASKED = Question(JOB, PLAN, RESEARCHER, ROSA, NOW)
OFFICER = Standing("shop", "officer")
TABLE = "orders of p1"


def given(name: str = "olga", standing: Standing = OFFICER, **changes: Any) -> Given:
    """An approval signed an hour before it is counted."""
    at = int(NOW.timestamp()) - 3600
    base: dict[str, Any] = {
        "job": JOB,
        "plan": PLAN,
        "decision": "approve",
        "iss": f"spiffe://acme.example/user/{name}",
        "aud": ["consortium"],
        "iat": at,
        "nbf": at,
        "exp": at + 7200,
        "jti": "0" * 32,
    }
    return Given(Approval.model_validate(base | changes), standing)


def _tally(*people: Given, asked: Question = ASKED, **rule: Any) -> Any:
    return tally({TABLE: ApprovalRule(**rule)}, people, asked)


def test_one_officer_is_enough_where_one_is_asked() -> None:
    found = _tally(given())
    assert (found.missing, found.lines, found.counted) == ((), (), ("spiffe://acme.example/user/olga",))


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (given("rosa"), "the submitter may not approve"),
        (given(standing=ROSA), "the certificate makes nobody an officer"),
        (given(standing=Standing()), "the certificate makes nobody an officer"),
        (given(standing=Standing("bank", "officer")), "bank is the submitter's own organisation"),
        (given(plan="ce" * 32), "it is for another plan"),
        (given(job="ef" * 16), "it is for another plan"),
        (given(exp=int(NOW.timestamp())), "it has expired"),
        (given(iat=int(NOW.timestamp()) - 72 * 3600), "it has expired"),
    ],
)
def test_what_does_not_count_is_told_in_one_line(one: Given, why: str) -> None:
    found = _tally(one, other_organisation=True)
    assert found.missing == (f"1 officer of another organisation than bank must approve ({TABLE})",)
    assert [line.endswith(f"does not count: {why}") for line in found.uncounted] == [True]
    assert found.counted == ()


def test_a_person_counts_once_and_two_are_two() -> None:
    again = given(jti="1" * 32)
    assert _tally(given(), again, people=2).missing == (f"1 more officer must approve ({TABLE})",)
    assert _tally(given(), given("omar"), people=2).missing == ()
    assert _tally(people=3).missing == (f"3 officers must approve ({TABLE})",)


def test_a_refusal_never_counts_as_an_approval() -> None:
    assert _tally(given(decision="refuse")).missing


def test_without_the_submitters_organisation_no_other_one_can_be_told() -> None:
    found = _tally(given(), asked=replace(ASKED, standing=Standing()), other_organisation=True)
    assert "names no organisation to differ from" in found.uncounted[0]
    assert found.missing == (f"1 officer of another organisation than the submitter must approve ({TABLE})",)


def test_every_owners_rule_must_be_met() -> None:
    rules = {"a of p1": ApprovalRule(), "b of p2": ApprovalRule(role="auditor")}
    assert tally(rules, [given()], ASKED).missing == ("1 auditor must approve (b of p2)",)
    assert tally(rules, [given(), given("ada", Standing("port", "auditor"))], ASKED).missing == ()


@pytest.mark.parametrize("rule", [{"people": 0}, {"people": 11}, {"role": "boss"}, {"hours": 0}, {"days": 3}])
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApprovalRule.model_validate(rule)


def test_a_contract_without_a_rule_keeps_its_digest_and_a_rule_changes_it() -> None:
    assert "approval" not in contract().published()
    asking = contract(approval={"people": 2})
    assert asking.published()["approval"] == {"people": 2, "role": "officer", "other_organisation": False, "hours": 72}
    assert len({contract().digest(), asking.digest(), contract(approval={}).digest()}) == 3


@pytest.mark.parametrize("said", [("Bank", ""), ("a" * 64, ""), ("", "officer"), ("bank", "boss")])
def test_a_standing_that_no_authority_gives_is_refused(said: tuple[str, str]) -> None:
    with pytest.raises(InvalidIdentity):
        Standing(*said)
