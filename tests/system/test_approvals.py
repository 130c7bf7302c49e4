"""Jobs that need people, between real processes: who may say yes to which plan, and what happens until then."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.consortium import AUTHORITY, COORDINATOR, CommandFailed, Member
from federation.client import Researcher
from inbond.answers import Answer
from inbond.approvals import sign_approval
from inbond.errors import InbondError, Refused
from inbond.node import utc_now
from inbond.v1 import control_pb2 as wire
from policies.errors import PolicyError
from policies.job import JobSpec
from tests.system.world import FIRMS, PURPOSE, Followed, World, contracts, eventually, member

PEOPLE = {
    "rosa": ("bank", "researcher"),
    "bert": ("bank", "officer"),
    "olga": ("shop", "officer"),
    "omar": ("port", "officer"),
    "otto": ("port", "officer"),
    "vera": ("shop", "researcher"),
    "oscar": ("port", "operator"),
    "anna": ("port", "auditor"),
}
FOREIGN = "approval: {people: 1, role: officer, other_organisation: true}\n"
TWO = "approval: {people: 2, hours: 2}\n"
ONE_SQL = "SELECT customer_country, COUNT(*) AS n FROM payments GROUP BY customer_country"
TWO_SQL = 'SELECT customer_country, COUNT(*) AS n FROM "open-payments" GROUP BY customer_country'


def _firm(name: str, data: Path) -> Member:
    """A firm whose `payments` ask for an officer of another organisation, and `open-payments` for two officers."""
    texts = contracts(name)
    asking = {
        "payments.yaml": texts["payments.yaml"] + FOREIGN,
        "open-payments.yaml": texts["open-payments.yaml"] + TWO,
    }
    return Member(name, member(name, data).country, asking, {"payments.parquet": data / name / "payments.parquet"})


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[World]:
    """Three firms that ask for people, a researcher and officers of three organisations."""
    people = [Member(name, "GB", user=True, standing=standing) for name, standing in PEOPLE.items()]
    victor = Member("victor", "GB", user=True)
    with World(tmp_path_factory.mktemp("people"), [*people, victor, *(_firm(name, data) for name in FIRMS)]) as running:
        running.make()
        running.launch(COORDINATOR)
        for name in FIRMS:
            running.launch(name)
        running.wait_connected()
        yield running


def _query(person: Researcher, sql: str, **fields: Any) -> JobSpec:
    return person.query_spec(sql, **{"purpose": PURPOSE, "minimum_parties": 3, "deadline_s": 300, **fields})


@pytest.fixture
def rosa(asking: World) -> Iterator[Researcher]:
    asking.wait_links()
    with asking.researcher() as researcher:
        yield researcher


def _waiting(person: Researcher, sql: str, **fields: Any) -> Followed:
    """A submitted job that waits for people."""
    followed = Followed(person, _query(person, sql, **fields))
    followed.until(lambda event: event["event"] == "waits")
    return followed


def _said_no(asking: World, who: str, job: str) -> str:
    """What `who` is told who tries to approve."""
    with asking.researcher(who) as person, asking.researcher("omar") as officer:
        found = next(one for one in officer.proposed() if one.order.jti == job)
        with pytest.raises(Refused) as caught:
            person.decide(found, "approve")
    return str(caught.value)


def test_a_job_waits_says_for_whom_and_runs_when_an_officer_of_another_organisation_signed(
    asking: World, rosa: Researcher
) -> None:
    explained = rosa.explain(_query(rosa, ONE_SQL))
    assert explained.permitted
    assert "Waits for people: 1 officer of another organisation than bank must approve" in str(explained.verdicts)
    followed = _waiting(rosa, ONE_SQL)
    status = asking.json("job", "status", followed.job, home="rosa")
    assert status["state"] == "needs-approval"
    assert "1 officer of another organisation than bank must approve (payments of p1, payments" in status["reason"]
    assert asking.json("job", "list", home="rosa")[0]["state"] == "needs-approval"
    assert not [one for party in FIRMS for one in asking.entries(party, followed.job) if one.data.get("binding")]

    seen = next(one for one in asking.json("approvals", home="olga") if one["job"] == followed.job)
    assert (seen["submitter"], seen["purpose"], bool(seen["leaks"])) == ("rosa", PURPOSE, True)
    shown = asking.cli("approve", followed.job[:12], "--yes", home="olga")
    assert "learns" in shown, "the plan's leaks were shown"
    followed.state("finished")
    assert isinstance(rosa.result(followed.job), Answer)
    olga = "spiffe://" + seen["recipients"][0].split("//")[1].split("/")[0] + "/user/olga"
    for party in FIRMS:
        admitted = [one for one in asking.entries(party, followed.job) if one.data.get("binding")]
        assert [one.data["approved_by"] for one in admitted] == [[olga]], "each party counted for itself"
    said = [one for one in asking.entries(COORDINATOR, followed.job) if one.data.get("event") == "approve"]
    assert [(one.subject, one.data["by"]) for one in said] == [(olga, "olga (officer of shop)")]
    asking.verify()


def test_who_may_not_approve_is_told_why_and_sees_no_plan(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, ONE_SQL)
    assert "bank is the submitter's own organisation" in _said_no(asking, "bert", followed.job)
    assert "the certificate makes nobody an officer" in _said_no(asking, "vera", followed.job)
    assert "the certificate makes nobody an officer" in _said_no(asking, "victor", followed.job)
    assert "the submitter may not approve" in _said_no(asking, "rosa", followed.job)
    for who in ("bert", "vera", "victor", "rosa"):
        assert asking.json("approvals", home=who) == []
    with pytest.raises(CommandFailed, match="no job that waits for you"):
        asking.cli("approve", followed.job, "--yes", home="bert")
    with pytest.raises(CommandFailed, match="nobody is there to ask"):
        asking.cli("approve", followed.job, home="olga")
    assert rosa.status(followed.job).state == "needs-approval"
    rosa.cancel(followed.job)
    followed.state("cancelled")


def test_an_officer_orders_no_job_and_a_member_without_a_role_does(asking: World) -> None:
    asking.wait_links()
    with asking.researcher("bert") as bert, pytest.raises(Refused, match="only researchers order jobs"):
        bert.submit(_query(bert, TWO_SQL))
    with asking.researcher("victor") as victor:
        followed = _waiting(victor, TWO_SQL)
        victor.cancel(followed.job)


def test_an_operator_cancels_an_auditor_reads_and_neither_follows(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, ONE_SQL)
    for who in ("oscar", "anna"):
        assert followed.job in {one["job"] for one in asking.json("job", "list", home=who)}
        with pytest.raises(
            CommandFailed, match="auditors of all" if who == "oscar" else "only the researcher who ordered"
        ):
            asking.cli("job", "watch", followed.job, home=who)
        with asking.researcher(who) as person, pytest.raises(Refused, match="only the researcher who ordered a job"):
            next(person.watch(followed.job))
    assert asking.json("job", "status", followed.job, home="anna")["parties"] == list(FIRMS)
    with pytest.raises(CommandFailed, match="researchers read the plans of their own jobs, auditors of all"):
        asking.cli("job", "status", followed.job, home="oscar")
    with pytest.raises(CommandFailed, match="researchers cancel their own jobs, operators all"):
        asking.cli("job", "cancel", followed.job, home="anna")
    with pytest.raises(CommandFailed, match="researchers list their own jobs"):
        asking.cli("job", "list", home="olga")
    asking.cli("job", "cancel", followed.job, home="oscar")
    assert followed.state("cancelled")["reason"] == "cancelled by oscar (operator)"
    calls = [one for one in asking.entries(COORDINATOR, followed.job) if "call" in one.data]
    said = {(one.subject.rsplit("/", 1)[-1], one.data["call"], one.data["effect"]) for one in calls}
    assert {("oscar", "cancel", "permit"), ("anna", "cancel", "deny"), ("anna", "status", "permit")} <= said


def test_an_approval_of_another_plan_altered_or_too_old_does_not_count(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, ONE_SQL)
    with asking.researcher("olga") as olga:
        plan = next(one for one in olga.proposed() if one.order.jti == followed.job).plan.digest()
        good: dict[str, Any] = {"job": followed.job, "plan": plan, "decision": "approve", "now": utc_now()}

        def sent(token: str) -> str:
            with pytest.raises((InbondError, PolicyError)) as caught:
                olga._call(olga._stub.Decide, wire.DecideRequest(job=followed.job, approval=token))
            assert "\n" not in str(caught.value)
            return str(caught.value)

        signer = olga.node.signer()
        assert "another plan" in sent(sign_approval(signer, **{**good, "plan": "0" * 64}))
        assert "another plan" in sent(sign_approval(signer, **{**good, "job": "f" * 32}))
        old = utc_now() - timedelta(minutes=10)
        assert "certificate not valid before" in sent(sign_approval(signer, **{**good, "now": old}))
        short = {**good, "lifetime": timedelta(seconds=1), "now": utc_now() - timedelta(seconds=30)}
        assert "expired" in sent(sign_approval(signer, **short))
        head, _, signature = sign_approval(signer, **good).split(".")
        other = sign_approval(signer, **{**good, "decision": "refuse"}).split(".")[1]
        assert "signature does not verify" in sent(f"{head}.{other}.{signature}")
        with asking.researcher("omar") as omar:
            assert "somebody else's" in sent(sign_approval(omar.node.signer(), **good))
    assert rosa.status(followed.job).state == "needs-approval"
    rosa.cancel(followed.job)


def test_a_refusal_ends_the_job_with_its_reason(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, ONE_SQL)
    told = asking.json("refuse", followed.job, "--reason", "ask for fewer countries", home="omar")
    assert told["state"] == "refused"
    reason = followed.state("refused")["reason"]
    assert reason == "refused by omar (officer of port): ask for fewer countries"
    assert any(one.data.get("reason") == reason for one in asking.entries(COORDINATOR, followed.job))
    with pytest.raises(CommandFailed, match="no job that waits for you"):
        asking.cli("approve", followed.job, "--yes", home="olga")


def test_two_must_approve_and_a_killed_coordinator_remembers_the_first(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, TWO_SQL)
    asking.cli("approve", followed.job, "--yes", home="olga")
    asking.cli("approve", followed.job, "--yes", home="olga")  # counts once
    assert "1 more officer must approve" in rosa.status(followed.job).reason
    asking.kill(COORDINATOR)
    asking.restart(COORDINATOR)
    status = json.loads(asking.cli("job", "status", followed.job, "--json", home="rosa"))
    assert status["state"] == "needs-approval"
    assert "1 more officer must approve" in status["reason"]
    asking.cli("approve", followed.job, "--yes", home="omar")
    followed.state("finished")


def test_nobody_in_time_is_a_refusal(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, ONE_SQL, deadline_s=12)
    reason = followed.state("refused", 30)["reason"]
    assert reason.startswith("not approved in time: 1 officer of another organisation")


def test_an_approval_of_somebody_revoked_since_does_not_count(asking: World, rosa: Researcher) -> None:
    followed = _waiting(rosa, TWO_SQL)
    asking.cli("approve", followed.job, "--yes", home="otto")
    asking.command("ca", "revoke", "user/otto", "--reason", "left", home=AUTHORITY)

    def noticed() -> bool:
        return "revoked by deny list" in rosa.status(followed.job).reason

    eventually(noticed, "the revocation did not arrive", 60)
    reason = rosa.status(followed.job).reason
    assert reason.startswith("2 officers must approve"), reason
    with pytest.raises((InbondError, CommandFailed)):
        asking.cli("approve", followed.job, "--yes", home="otto")
    for who in ("olga", "omar"):
        asking.cli("approve", followed.job, "--yes", home=who)
    followed.state("finished")
