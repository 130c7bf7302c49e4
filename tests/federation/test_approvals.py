"""Jobs that wait at the coordinator: remembered, shown to those who may decide, and ended when nobody does."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.approvals import Approvals, approval_rules
from federation.planner import make_plan
from federation.store import CoordinatorStore, JobRow
from inbond.approvals import sign_approval
from inbond.errors import Refused
from inbond.node import Node, utc_now
from inbond.orders import sign_order
from policies.errors import PolicyError
from policies.identity import PeerIdentity, Standing, identify
from policies.job_state import JobState
from policies.plan import Plan
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.policies.samples import contract, query_spec
from tests.support.authority import Node as Certified
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority(CONSORTIUM)
ROSA = AUTHORITY.node("user/rosa", standing=Standing("bank", "researcher"))
OLGA = AUTHORITY.node("user/olga", standing=Standing("shop", "officer"))
HELD = {name: {"orders": contract(approval={"people": 1, "hours": 2})} for name in ("p1", "p2", "p3")}


@pytest.fixture
def approvals(tmp_path: Path) -> Iterator[Approvals]:
    node = Node.open(certified_home(AUTHORITY, "coordinator", "coordinator", tmp_path / "hub"))
    store = CoordinatorStore(tmp_path / "hub")
    yield Approvals(node, store)
    store.close()
    node.close()


def _waiting(approvals: Approvals) -> tuple[JobRow, Plan]:
    order, token = sign_order(
        query_spec(),
        ROSA.signer,
        nonce="0123456789abcdef",
        result_key=b"k" * 32,
        sum_key_digest="cd" * 32,
        now=utc_now(),
    )
    plan = make_plan(order, HELD, coordinator_country="DE")
    now, text = time.time(), plan.model_dump_json()
    row = JobRow(
        order.jti, "n", "query", order.iss, token, None, text, JobState.NEEDS_APPROVAL, "", now, now, order.exp
    )
    approvals._store.add_job(row)
    found = approvals.expect(row, plan, approval_rules(plan, HELD))
    assert found.missing == ("1 officer must approve (orders of p1, orders of p2, orders of p3)",)
    return row, plan


def _peer(node: Certified) -> PeerIdentity:
    return identify(node.signer.chain[0], AUTHORITY.trust, utc_now())


def _yes(row: JobRow, shown: Plan, by: Certified = OLGA, **changes: Any) -> str:
    said: dict[str, Any] = {"job": row.id, "plan": shown.digest(), "decision": "approve", "now": utc_now()}
    return sign_approval(by.signer, **(said | changes))


def test_who_asks_for_people_is_read_from_the_published_contracts(approvals: Approvals) -> None:
    _, plan = _waiting(approvals)
    assert set(approval_rules(plan, HELD)) == {"orders of p1", "orders of p2", "orders of p3"}
    assert approval_rules(plan, {name: {"orders": contract()} for name in HELD}) == {}
    assert set(approval_rules(plan, {"p2": HELD["p2"]})) == {"orders of p2"}


def test_one_approval_serves_all_owners_and_is_there_after_a_restart(approvals: Approvals) -> None:
    row, plan = _waiting(approvals)
    given = approvals.take(row, _yes(row, plan), _peer(OLGA))
    approvals._store.keep_approval(row.id, given.approval.iss, _yes(row, plan))
    again = Approvals(approvals._node, approvals._store)
    again.resume(row.id)
    assert again.waiting() == [row.id]
    assert again.tally(row).missing == ()


def test_a_job_waits_until_the_shortest_rule_ends(approvals: Approvals) -> None:
    row, _ = _waiting(approvals)
    assert approvals.expired(row.expires - 1) == []
    assert approvals.expired(row.expires) == [row.id], "its own deadline is an hour"
    approvals.over(row.id)
    assert approvals.expired(row.expires) == []
    approvals.resume("0" * 32)
    assert approvals.expired(0.0) == ["0" * 32], "a wait that was lost is over"


def test_only_who_may_decide_sees_the_job(approvals: Approvals) -> None:
    row, _ = _waiting(approvals)
    assert approvals.may_decide(row, _peer(OLGA))
    assert not approvals.may_decide(row, _peer(ROSA))
    assert not approvals.may_decide(row, _peer(AUTHORITY.node("user/victor")))
    assert not approvals.may_decide(replace(row, state=JobState.RUNNING), _peer(OLGA))


def test_what_does_not_count_is_not_taken(approvals: Approvals) -> None:
    row, plan = _waiting(approvals)
    omar = AUTHORITY.node("user/omar", standing=Standing("port", "officer"))
    bad = [
        (row, _yes(row, plan, omar), "somebody else's"),
        (row, _yes(row, plan, plan="0" * 64), "another plan"),
        (row, "junk", "JWS"),
        (replace(row, state=JobState.RUNNING), _yes(row, plan), "the job is running"),
        (None, _yes(row, plan), "nobody is asked about it"),
        (replace(row, id="0" * 32), _yes(row, plan), "nobody is asked about it"),
    ]
    for asked, token, told in bad:
        with pytest.raises((Refused, PolicyError), match=told):
            approvals.take(asked, token, _peer(OLGA))
    with pytest.raises(Refused, match="submitter may not approve"):
        approvals.take(row, _yes(row, plan, ROSA), _peer(ROSA))
