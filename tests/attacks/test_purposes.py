"""Attack 24, purpose laundering, on agreements: what was agreed for one purpose and reader serves no other."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from compliance.agreements import FILE, AgreementStore
from compliance.audit.entry import EntryType
from federation.planner import make_plan
from inbond import codec
from inbond.node import utc_now
from inbond.records import texts
from inbond.tokens import payload_of
from parties.telling import telling
from policies.agreement import SignedAgreement, sign_agreement
from policies.errors import InvalidIdentity
from policies.job import JobOrder
from policies.plan import LeakKind, Plan
from tests.bad_input.homes import CONSORTIUM, Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, contract, query_spec
from tests.support.agreements import NAMES, RULE, agree, terms, used
from tests.support.authority import Node, TestAuthority

FRAUD, MARKETING = "dpv:FraudPreventionAndDetection", "dpv:Marketing"
BOTH = CONTRACT.replace(f"purposes: [{FRAUD}]", f"purposes: [{FRAUD}, {MARKETING}]") + RULE
EVERYBODY = {"countries": ["DE"], "ids": ["*"]}


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    """Party p1, whose contract allows both purposes to anybody in the country, where an agreement covers it."""
    home, authority = tmp_path / "p1", TestAuthority(CONSORTIUM)
    certified_home(authority, "party", "p1", home)
    furnish(home, BOTH)
    prove(home)
    made = Party.open(authority, home, authority.node("user/rosa"))
    yield made
    made.close()


def planned(party: Party, by: str = "rosa", **spec: Any) -> tuple[JobOrder, str, Plan]:
    who: Node = party.authority.node(f"user/{by}")
    recipients = [{"id": str(who.credentials.spiffe_id), "country": "DE"}]
    order, token = party.order(query_spec(**({"recipients": recipients} | spec)), by=who)
    held = {name: {"orders": contract(purposes=[FRAUD, MARKETING], agreement="required")} for name in NAMES}
    return order, token, make_plan(order, held, coordinator_country="DE")


def decided(party: Party, order: JobOrder, token: str, plan: Plan) -> dict[str, Any]:
    reply = party.admit(order, token, plan=plan)
    assert reply.status == "ok", reply.reason
    found: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    return found


def refused(party: Party, order: JobOrder, token: str, plan: Plan, rule: str = "") -> None:
    """It is denied, by `rule`, nothing is admitted, and the log says why."""
    said = decided(party, order, token, plan)
    assert (said["effect"], said["steps"], party.store.job(order.jti)) == ("deny", [], None)
    assert not rule or f"[{rule}" in " ".join(said["reasons"])
    entry = party.entries()[-1]
    assert (entry.type, entry.job, entry.data["reasons"]) == (EntryType.REFUSAL, order.jti, said["reasons"])


def test_what_was_agreed_for_fraud_is_not_computed_for_marketing(party: Party) -> None:
    fraud = agree(party, recipients=EVERYBODY)
    refused(party, *planned(party, purpose=MARKETING), rule="agreement-purpose")
    assert party.entries()[-1].data["agreements_lacking"] == [{"agreement": fraud.id, "lacks": ["agreement-purpose"]}]
    assert used(party, fraud) == []
    both = agree(party, name="both", purposes=[FRAUD, MARKETING], recipients=EVERYBODY)
    order, token, plan = planned(party, purpose=MARKETING)
    assert decided(party, order, token, plan)["effect"] == "permit", "it was for want of an agreement alone"
    assert used(party, both) == [(order.jti, "committed")]


def test_what_was_agreed_for_fraud_is_not_told_to_a_reader_of_marketing(party: Party) -> None:
    agree(party, recipients={"countries": ["DE"], "ids": ["rosa", "spiffe://acme.example/party/*"]})
    assert decided(party, *planned(party))["effect"] == "permit"
    refused(party, *planned(party, by="p4"), rule="agreement-recipient")  # who has all other papers
    agree(party, name="wider", recipients=EVERYBODY)
    assert decided(party, *planned(party, by="p4"))["effect"] == "permit"


def test_a_person_who_is_called_like_the_owner_is_not_the_owner(party: Party) -> None:
    agree(party, recipients={"countries": ["DE"], "ids": ["spiffe://acme.example/party/*"]})
    refused(party, *planned(party, by="p1"), rule="agreement-recipient")


HALVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "leaks": ({"leaks": ["group counts"]}, {"leaks": ["exact aggregate"]}),
    "readers": (
        {"recipients": {"countries": ["DE"], "ids": ["rosa"]}},
        {"recipients": {"countries": ["DE"], "ids": ["p*"]}},
    ),
    "parties": ({"parties": ["p1", "p2"]}, {"parties": ["p1", "p3"]}),
    "purpose and tables": ({"purposes": [MARKETING]}, {"datasets": {"p2": ["orders"]}}),
}


@pytest.mark.parametrize("name", HALVES)
def test_two_agreements_that_together_would_cover_a_job_do_not(party: Party, name: str) -> None:
    halves = [
        agree(party, signers=tuple(half.get("parties", NAMES)), **half, name=f"half-{number}")
        for number, half in enumerate(HALVES[name])
    ]
    refused(party, *planned(party), rule="agreement-")
    assert [used(party, half) for half in halves] == [[], []]
    agree(party, name="whole")
    assert decided(party, *planned(party))["effect"] == "permit"


def test_a_purpose_that_is_changed_in_the_file_after_signing_was_signed_by_nobody(party: Party) -> None:
    agree(party)
    with closing(sqlite3.connect(party.home / FILE)) as base, base:
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            base.execute(f"DROP TRIGGER {name}")
        base.execute("UPDATE agreements SET agreement = replace(agreement, ?, ?)", (FRAUD, MARKETING))
    refused(party, *planned(party, purpose=MARKETING), rule="agreement-signed")
    refused(party, *planned(party), rule="agreement-signed")


def test_a_purpose_that_is_changed_on_the_way_or_by_one_side_alone_is_not_agreed(party: Party) -> None:
    made, wider = terms(), terms(purposes=[FRAUD, MARKETING])
    signers = [party.authority.node(f"party/{name}").signer for name in ("p2", "p3")]
    old = tuple(sign_agreement(made, "agree", signer, utc_now()) for signer in signers)
    own = sign_agreement(wider, "agree", party.node.signer(), utc_now())
    with AgreementStore.open(party.home / FILE, telling(party.node)) as store:
        for tokens in (old, (own, *old)):
            with pytest.raises(InvalidIdentity, match="other terms"):
                store.take(SignedAgreement(agreement=wider, signatures=tokens), party.node.trust)
        assert store.all(party.node.trust) == []
        store.take(SignedAgreement(agreement=wider, signatures=(own,)), party.node.trust)
    refused(party, *planned(party, purpose=MARKETING), rule="agreement-signed")


def _purpose(plan: Plan) -> Plan:
    return plan.model_copy(update={"purpose": FRAUD})


def _unread(plan: Plan) -> Plan:
    """As if the researcher read no more than counts."""
    kept = tuple(one for one in plan.readers if one.object is not LeakKind.EXACT_AGGREGATE)
    return plan.model_copy(update={"readers": kept})


def _of_others(plan: Plan) -> Plan:
    """As if everything that becomes known were about p2's table."""
    text = json.loads(plan.model_dump_json())
    for operator in text["operators"]:
        for leak in operator["leaks"]:
            leak["owners"] = ["p2"]
    return Plan.model_validate(text)


@pytest.mark.parametrize(
    ("forge", "purpose", "told"),
    [
        (_purpose, MARKETING, "[binding]"),
        (_unread, FRAUD, "[binding]"),
        (_of_others, FRAUD, "narrows who learns what"),
    ],
)
def test_a_coordinator_that_plans_for_less_than_happens_gets_no_permit_and_no_use(
    party: Party, forge: Callable[[Plan], Plan], purpose: str, told: str
) -> None:
    made = agree(party, leaks=["group counts"] if forge is _unread else ["group counts", "exact aggregate"])
    order, token, plan = planned(party, purpose=purpose)
    said = decided(party, order, token, forge(plan))
    assert (said["effect"], used(party, made)) == ("deny", [])
    assert told in " ".join(said["reasons"]), said["reasons"]


def test_an_order_whose_purpose_is_changed_after_admission_is_another_order(party: Party) -> None:
    """The permit is of one plan: a step that comes under another plan's digest is refused, and takes no use."""
    made = agree(party)
    order, token, plan = planned(party)
    assert decided(party, order, token, plan)["effect"] == "permit"
    other = plan.model_copy(update={"purpose": MARKETING})
    assert party.step(order.jti, other.digest()).status != "ok"
    assert used(party, made) == [(order.jti, "committed")]
