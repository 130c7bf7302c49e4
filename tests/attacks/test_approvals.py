"""Attacks 12, 13, 14, 24 and 27 on human approval: a coordinator cannot make a party run what nobody approved."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flwr.app import RecordDict

from compliance.audit.entry import EntryType
from federation.planner import make_plan
from inbond import codec
from inbond.approvals import sign_approval
from inbond.messages import Reply
from inbond.node import utc_now
from inbond.records import settings, texts
from inbond.tokens import payload_of
from policies.approval import APPROVAL_TYPE
from policies.envelope import sign
from policies.identity import Standing
from policies.job import JobOrder
from policies.plan import Plan
from tests.bad_input import homes
from tests.bad_input.homes import CONSORTIUM, Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, RESEARCHER, contract, query_spec
from tests.support.authority import Node, TestAuthority

RULE = {"people": 1, "other_organisation": True}
OFFICER = Standing("shop", "officer")


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """Party p1, whose contract asks for an officer of another organisation than the submitter's."""
    home, authority = tmp_path_factory.mktemp("people") / "p1", TestAuthority(CONSORTIUM)
    certified_home(authority, "party", "p1", home)
    furnish(home, CONTRACT + "approval: {people: 1, other_organisation: true}\n")
    prove(home)
    made = Party.open(authority, home, authority.node("user/rosa", standing=Standing("bank", "researcher")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def olga(party: Party) -> Node:
    return party.authority.node("user/olga", standing=OFFICER)


def _planned(party: Party, **spec: Any) -> tuple[JobOrder, str, Plan]:
    order, token = party.order(query_spec(**spec))
    held = {name: {"orders": contract(approval=RULE)} for name in ("p1", "p2", "p3")}
    return order, token, make_plan(order, held, coordinator_country="DE")


def _yes(by: Node, order: JobOrder, shown: Plan, **changes: Any) -> str:
    said: dict[str, Any] = {"job": order.jti, "plan": shown.digest(), "decision": "approve", "now": utc_now()}
    return sign_approval(by.signer, **(said | changes))


def _admit(party: Party, order: JobOrder, token: str, plan: Plan, approvals: list[str], kind: str = "admit") -> Reply:
    facts: Any = {"order": [token], "plan": [plan.model_dump_json()], "contracts": [], "sum_key": homes.SUM_KEY}
    content = RecordDict({"admit": settings(**facts), "people": settings(approvals=approvals)})
    return party.door.handle(party.request(order.jti, kind, plan.digest(), body=codec.encode(content)))


def _verdict(reply: Reply) -> dict[str, Any]:
    assert reply.status == "ok", reply.reason
    verdict: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    return verdict


def test_an_approved_job_is_admitted_and_the_log_says_by_whom(party: Party, olga: Node) -> None:
    order, token, plan = _planned(party)
    assert _verdict(_admit(party, order, token, plan, [_yes(olga, order, plan)]))["effect"] == "permit"
    entry = party.entries()[-1]
    assert (entry.type, entry.data["approved_by"]) == (EntryType.ADMISSION, [str(olga.signer.spiffe_id)])


def test_an_explanation_says_what_is_missing_and_binds_nobody(party: Party) -> None:
    order, token, plan = _planned(party)
    verdict = _verdict(_admit(party, order, token, plan, [], kind="explain"))
    assert verdict["effect"] == "permit"
    assert "1 officer of another organisation than bank must approve" in verdict["reasons"][-1]
    assert party.store.job(order.jti) is None


Forged = Callable[[Party, Node, JobOrder, Plan], list[str]]
FORGERIES: dict[str, tuple[Forged, str]] = {
    "27 none": (lambda *_: [], "must approve"),
    "27 junk": (lambda *_: ["junk", ""], "not JWS compact"),
    "13 refusal sold as approval": (
        lambda _p, olga, order, plan: [_yes(olga, order, plan, decision="refuse")],
        "must approve",
    ),
    "13 no certificate of this consortium": (
        lambda _p, _o, order, plan: [_yes(TestAuthority(CONSORTIUM).node("user/olga", standing=OFFICER), order, plan)],
        "does not chain",
    ),
    "13 another kind of token": (
        lambda _p, olga, order, plan: [
            sign(payload_of(_yes(olga, order, plan)), typ="inbond-job+jws", signer=olga.signer)
        ],
        "another type",
    ),
    "14 another consortium's officer": (
        lambda _p, _o, order, plan: [
            _yes(TestAuthority("other.example").node("user/olga", standing=OFFICER), order, plan)
        ],
        "of trust domain other.example",
    ),
    "14 for another audience": (
        lambda _p, olga, order, plan: [
            sign(payload_of(_yes(olga, order, plan)) | {"aud": ["other"]}, typ=APPROVAL_TYPE, signer=olga.signer)
        ],
        "for somebody else",
    ),
    "12 of another plan": (lambda _p, olga, order, plan: [_yes(olga, order, plan, plan="0" * 64)], "another plan"),
    "12 of another job": (lambda _p, olga, order, plan: [_yes(olga, order, plan, job="f" * 32)], "another plan"),
    "the submitter, an officer of another organisation by now": (
        lambda party, _o, order, plan: [_yes(party.authority.node("user/rosa", standing=OFFICER), order, plan)],
        "submitter may not",
    ),
    "own organisation": (
        lambda party, _o, order, plan: [
            _yes(party.authority.node("user/bert", standing=Standing("bank", "officer")), order, plan)
        ],
        "own organisation",
    ),
    "no officer": (
        lambda party, _o, order, plan: [_yes(party.authority.node("user/vic"), order, plan)],
        "makes nobody an officer",
    ),
    "a party": (
        lambda party, _o, order, plan: [_yes(party.authority.node("party/p2"), order, plan)],
        "may not approve",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_without_an_approval_that_counts_the_party_refuses_and_says_why(party: Party, olga: Node, name: str) -> None:
    forge, told = FORGERIES[name]
    order, token, plan = _planned(party)
    verdict = _verdict(_admit(party, order, token, plan, forge(party, olga, order, plan)))
    assert (verdict["effect"], verdict["steps"], party.store.job(order.jti)) == ("deny", [], None)
    assert told in " ".join(verdict["reasons"])
    assert all("\n" not in line for line in verdict["reasons"])
    assert party.entries()[-1].type is EntryType.REFUSAL
    assert party.entries()[-1].data["approved_by"] == []


def test_attack_24_an_approval_for_one_purpose_is_none_for_another(party: Party, olga: Node) -> None:
    """The whole order is bound into the plan: whatever of it changes, and if it is ordered again, is another plan."""
    approved, _, shown = _planned(party)
    yes = _yes(olga, approved, shown)
    for change in (
        {},
        {"recipients": [{"id": RESEARCHER, "country": "FR"}]},
        {"sql": "SELECT COUNT(*) AS n FROM orders"},
    ):
        order, token, plan = _planned(party, **change)
        verdict = _verdict(_admit(party, order, token, plan, [yes]))
        assert verdict["effect"] == "deny"
        assert "another plan" in " ".join(verdict["reasons"])


def test_attack_24_a_plan_without_the_rule_is_not_the_contracts(party: Party) -> None:
    """A coordinator that plans as if nobody had to approve binds another contract than the party's."""
    order, token = party.order()
    verdict = _verdict(_admit(party, order, token, party.plan(order), []))
    assert verdict["effect"] == "deny"


def test_an_officer_who_was_revoked_since_does_not_count(party: Party) -> None:
    otto = party.authority.node("user/otto", standing=Standing("port", "officer"))
    order, token, plan = _planned(party)
    yes = _yes(otto, order, plan)
    trust = party.node.trust
    object.__setattr__(party.node.credentials, "trust", party.authority.revoke(path="user/otto"))
    try:
        verdict = _verdict(_admit(party, order, token, plan, [yes]))
    finally:
        object.__setattr__(party.node.credentials, "trust", trust)
    assert verdict["effect"] == "deny"
    assert "revoked by deny list" in " ".join(verdict["reasons"])
