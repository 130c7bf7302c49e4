"""An approval is what a certificate of the consortium says it is: who, of which organisation, about which plan."""

from datetime import timedelta
from typing import Any

import pytest

from inbond.approvals import LONGEST, MAX_TOKEN_BYTES, count, open_approval, patience, question, sign_approval
from inbond.orders import sign_order
from policies.approval import APPROVAL_TYPE
from policies.approval_rule import ApprovalRule
from policies.envelope import make_claims, sign
from policies.errors import PolicyError
from policies.identity import Standing
from tests.policies.samples import train_spec
from tests.support.authority import Node, TestAuthority

AUTHORITY = TestAuthority("acme.example")
OLGA = AUTHORITY.node("user/olga", standing=Standing("shop", "officer"))
ROSA = AUTHORITY.node("user/rosa", standing=Standing("bank", "researcher"))
NOW, JOB, PLAN = AUTHORITY.now, "ab" * 16, "cd" * 32
RULES = {"orders of p1": ApprovalRule(other_organisation=True)}


def _token(by: Node = OLGA, **changes: Any) -> str:
    said: dict[str, Any] = {"job": JOB, "plan": PLAN, "decision": "approve", "now": NOW}
    return sign_approval(by.signer, **(said | changes))


def test_who_signed_and_what_that_person_is_come_from_the_certificate() -> None:
    given = open_approval(_token(), trust=AUTHORITY.trust, now=NOW)
    assert (given.by, given.approval.plan) == ("olga (officer of shop)", PLAN)
    nobody = open_approval(_token(AUTHORITY.node("user/victor")), trust=AUTHORITY.trust, now=NOW)
    assert nobody.by == "victor (no role of no organisation)"


def test_an_approval_outlives_its_certificate_but_not_its_own_end() -> None:
    token, later = _token(), NOW + timedelta(hours=60)
    assert open_approval(token, trust=AUTHORITY.trust, now=later).approval.job == JOB
    with pytest.raises(PolicyError, match=r"expired|another time"):
        open_approval(token, trust=AUTHORITY.trust, now=NOW + LONGEST + timedelta(hours=2))


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (_token(TestAuthority("acme.example").node("user/olga", standing=Standing("shop", "officer"))), "chain"),
        (_token(AUTHORITY.node("party/p1")), "may not approve"),
        (_token(lifetime=timedelta(seconds=1), now=NOW - timedelta(seconds=70)), "before|expired"),
        (_token(now=NOW + timedelta(hours=1)), "another time|future"),
        (
            sign(
                make_claims(OLGA.signer.spiffe_id, ["consortium"], NOW, LONGEST), typ=APPROVAL_TYPE, signer=OLGA.signer
            ),
            "job",
        ),
        (sign({}, typ=APPROVAL_TYPE, signer=OLGA.signer), "issuer"),
        ("a" * (MAX_TOKEN_BYTES + 1), "too long"),
        ("", "JWS"),
    ],
    ids=["stranger", "party", "old", "future", "no plan", "empty", "large", "nothing"],
)
def test_what_is_no_approval_of_this_consortium_is_refused(token: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        open_approval(token, trust=AUTHORITY.trust, now=NOW)


def test_a_reason_is_one_short_line() -> None:
    for bad in ("a\nb", "x" * 301):
        with pytest.raises(PolicyError):
            _token(decision="refuse", reason=bad)


def test_what_does_not_verify_is_told_and_not_counted() -> None:
    _, order = sign_order(
        train_spec(), ROSA.signer, nonce="0123456789abcdef", result_key=b"k" * 32, sum_key_digest=None, now=NOW
    )
    asked = question(order, job=JOB, plan=PLAN, trust=AUTHORITY.trust, now=NOW + timedelta(hours=60))
    assert (asked.submitter, asked.standing) == (str(ROSA.signer.spiffe_id), Standing("bank", "researcher"))
    assert count(RULES, [_token(), "junk"], asked, trust=AUTHORITY.trust).missing == ()
    leaver = TestAuthority.node(AUTHORITY, "user/otto", standing=Standing("port", "officer"))
    token = _token(leaver)
    assert count(RULES, [token], asked, trust=AUTHORITY.trust).missing == ()
    AUTHORITY.revoke(path="user/otto")
    found = count(RULES, [token], asked, trust=AUTHORITY.trust)
    assert len(found.missing) == 1
    assert "revoked by deny list" in found.uncounted[0]


def test_an_order_may_be_as_old_as_the_longest_rule_allows() -> None:
    assert patience({}) == timedelta()
    assert patience({"a": ApprovalRule(hours=2), "b": ApprovalRule(hours=5)}) == timedelta(hours=5)
