"""The door: every request is decided on, run once and recorded; nothing a peer sends makes it raise or talk."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.audit.entry import EntryType
from compliance.audit.log import AuditLog
from compliance.errors import BudgetExceeded, LogUnavailable
from inbond import codec
from inbond.messages import Reply, Request
from inbond.records import settings as record
from inbond.records import texts, vectors
from inbond.tokens import payload_of
from parties.catalogue import CATALOGUE_TYPE
from parties.door import FAILED
from parties.early import NotYet
from policies.envelope import verify
from protocols.errors import PeerViolation
from tests.bad_input.homes import Party, roster_reply

SECRET = "row 17: Ana Example, 12.50"


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    made = Party.make(tmp_path_factory.mktemp("door") / "p1")
    yield made
    made.close()


def _said(reply: Reply) -> str:
    return reply.reason + " ".join(bytes(part).decode("latin-1") for part in reply.body)


def _last(party: Party) -> tuple[EntryType, str]:
    entry = party.entries()[-1]
    return entry.type, str(entry.data.get("reason", ""))


def test_the_catalogue_is_signed_by_the_party_and_names_no_source(party: Party) -> None:
    reply = party.door.handle(party.request("", "catalogue", ""))
    token = texts(codec.decode(reply.body), "catalogue", "token")[0]
    signed = verify(token, typ=CATALOGUE_TYPE, trust=party.authority.trust, now=party.authority.now)
    assert signed.issuer.name == "p1"
    assert "orders.parquet" not in str(payload_of(token))


def test_an_admitted_step_runs_once_is_recorded_and_answered_again_the_same(party: Party) -> None:
    job, plan = party.admitted()
    ran: list[int] = []

    def start(round_: int, content: RecordDict) -> RecordDict:
        ran.append(round_)
        return roster_reply(round_, content)

    party.jobs.script = {"query.start": start}
    first = party.step(job, plan)
    again = party.step(job, plan)
    assert (first.status, again.status) == ("ok", "ok")
    assert b"".join(map(bytes, first.body)) == b"".join(map(bytes, again.body))
    assert ran == [0]
    entry = party.entries()[-1]
    assert (entry.type, entry.job, entry.data["step"]) == (EntryType.STEP, job, "query.start")


def test_a_request_id_used_for_another_body_is_refused(party: Party) -> None:
    job, plan = party.admitted()
    party.jobs.script = {"query.start": roster_reply}
    assert party.step(job, plan).status == "ok"
    other = party.step(job, plan, body=codec.encode(vectors(x=np.zeros(1))))
    assert other.status == "refused"
    assert _last(party)[0] is EntryType.REFUSAL


def test_a_step_is_not_done_a_second_time_under_another_request(party: Party) -> None:
    job, plan = party.admitted()
    party.jobs.script = {"query.start": roster_reply}
    assert party.step(job, plan).status == "ok"
    assert party.step(job, plan, attempt=1).status == "refused"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"job": "0" * 32}, "refused"),
        ({"plan_digest": "0" * 64}, "failed"),
        ({"step": "train"}, "failed"),
        ({"round": 7}, "failed"),
        ({"kind": "format-disk"}, "refused"),
    ],
)
def test_a_message_outside_the_verdict_is_turned_away_with_evidence(
    party: Party, change: dict[str, object], status: str
) -> None:
    job, plan = party.admitted()
    before = len(party.entries())
    request = party.request(job, "step", plan, step="query.start", body=codec.encode(RecordDict()))
    reply = party.door.handle(replace(request, **change))  # type: ignore[arg-type]  # one field of several types
    assert (reply.status, reply.body) == (status, ())
    assert len(party.entries()) == before + 1
    assert _last(party)[0] is EntryType.REFUSAL


def test_a_replayed_order_is_refused_by_a_signed_verdict(party: Party) -> None:
    order, token = party.order()
    assert party.admit(order, token).status == "ok"
    plan = party.plan(order)
    again = party.request(order.jti, "admit", plan.digest(), attempt=1)
    body = record(order=[token], plan=[plan.model_dump_json()], contracts=[], sum_key=b"the researcher's public key")
    reply = party.door.handle(replace(again, body=codec.encode(RecordDict({"admit": body}))))
    verdict = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    assert verdict["effect"] == "deny"
    assert "replayed order" in str(verdict["reasons"])


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        KeyError(SECRET),
        OSError(28, SECRET),
        RecursionError(SECRET),
        MemoryError(SECRET),
        PeerViolation(SECRET),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET),
        BudgetExceeded(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_step_raises_the_peer_hears_a_fixed_sentence_and_the_owner_the_reason(
    party: Party, error: Exception
) -> None:
    job, plan = party.admitted()

    def broken(_round: int, _content: RecordDict) -> RecordDict:
        raise error

    party.jobs.script = {"query.start": broken}
    reply = party.step(job, plan)
    assert reply.reason in {FAILED, "the privacy budget does not cover this release"}
    assert SECRET not in _said(reply)
    assert SECRET in _last(party)[1]


def test_an_error_that_may_not_stand_in_a_log_is_evidence_all_the_same(party: Party) -> None:
    job, plan = party.admitted()

    def broken(_round: int, _content: RecordDict) -> RecordDict:
        raise ValueError("ana@example.com \udc80")

    party.jobs.script = {"query.start": broken}
    before = len(party.entries())
    assert party.step(job, plan).reason == FAILED
    assert len(party.entries()) == before + 1
    assert _last(party) == (EntryType.REFUSAL, "not fit for a log")


def test_a_violation_ends_the_job_so_that_nobody_tries_again_under_one_key(party: Party) -> None:
    job, plan = party.admitted()

    def broken(_round: int, _content: RecordDict) -> RecordDict:
        raise PeerViolation("the sum does not open")

    party.jobs.script = {"query.start": broken}
    party.step(job, plan)
    row = party.store.job(job)
    assert row is not None
    assert row.state == "failed"
    assert party.step(job, plan, attempt=1).status == "refused"


def test_what_the_plan_does_not_promise_does_not_leave(party: Party) -> None:
    job, plan = party.admitted()

    def talkative(round_: int, content: RecordDict) -> RecordDict:
        reply = roster_reply(round_, content)
        reply["rows"] = record(row=SECRET)
        return reply

    party.jobs.script = {"query.start": talkative}
    reply = party.step(job, plan)
    assert (reply.status, reply.reason) == ("failed", FAILED)
    assert "egress guard" in _last(party)[1]


def test_a_step_that_cannot_be_recorded_is_not_answered_and_goes_on_when_the_log_can(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, plan = party.admitted()
    party.jobs.script = {"query.start": roster_reply}
    before = len(party.entries())

    def full(_log: AuditLog, _entry: object) -> int:
        raise LogUnavailable("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append", full)
        reply = party.step(job, plan)
        assert (reply.status, reply.reason, reply.body) == ("failed", FAILED, ())
    assert len(party.entries()) == before
    assert party.store.answered(party.request(job, "step", plan, step="query.start").id) is None
    assert party.step(job, plan).status == "ok"


def test_a_cancel_under_a_running_step_answers_at_once_and_the_step_releases_nothing(party: Party) -> None:
    job, plan = party.admitted()
    entered, leave = threading.Event(), threading.Event()

    def slow(round_: int, content: RecordDict) -> RecordDict:
        entered.set()
        assert leave.wait(20)
        return roster_reply(round_, content)

    party.jobs.script = {"query.start": slow}
    replies: list[Reply] = []
    step = threading.Thread(target=lambda: replies.append(party.step(job, plan)))
    step.start()
    assert entered.wait(20)
    assert party.door.handle(party.request(job, "cancel", plan)).status == "ok"  # while the step holds the job
    leave.set()
    step.join(20)
    assert (replies[0].status, replies[0].body) == ("refused", ())
    assert not (party.home / "jobs" / job).exists()


@pytest.mark.parametrize("kind", ["cancel", "close"])
def test_a_step_before_its_turn_waits_and_is_refused_when_the_job_ends(party: Party, kind: str) -> None:
    party.jobs.script = {"query.start": roster_reply}
    job, plan = party.admitted()
    back: list[Request] = []
    party.door.early.again = back.append
    party.jobs.get(job).steps.due = lambda step, round_: round_ == 0  # type: ignore[method-assign]
    for round_ in (1, 2):
        with pytest.raises(NotYet):
            party.step(job, plan, round_=round_)
    assert back == []
    assert party.step(job, plan).status == "ok"
    assert [request.round for request in back] == [1, 2], "another step is through: they are looked at once more"
    for request in list(back):
        with pytest.raises(NotYet):
            party.door.handle(request)
    back.clear()
    assert party.door.handle(party.request(job, kind, plan)).status == "ok"
    assert [party.door.handle(request).status for request in back] == ["refused", "refused"]


def test_a_revoked_owner_gets_no_further_step(tmp_path: Path) -> None:
    party = Party.make(tmp_path / "p1")
    job, plan = party.admitted()
    party.authority.revoke(path="user/rosa")
    party.node._credentials = party.node.credentials.with_denied(party.authority.denied)
    reply = party.step(job, plan)
    party.close()
    assert (reply.status, reply.reason) == ("refused", "the job's owner is no longer trusted")


kinds = st.sampled_from(["catalogue", "explain", "admit", "step", "cancel", "close", "", "x" * 256])
words = st.text(max_size=40) | st.sampled_from(["query.start", "train", "../../etc/passwd", "\ud800", "a@b.example"])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_body_and_no_header_makes_the_door_raise_or_say_why(party: Party, data: st.DataObject) -> None:
    job, plan = _standing(party)
    party.jobs.script = {"query.start": roster_reply}
    good = codec.encode(RecordDict({"admit": record(order=["x"], plan=["{}"], contracts=[], sum_key=b"k")}))
    head = bytearray(good[0])
    for _ in range(data.draw(st.integers(0, 6))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    body = data.draw(st.just([bytes(head)]) | st.lists(st.binary(max_size=60), max_size=3))
    request = Request(
        id=data.draw(st.text("0123456789abcdef", min_size=32, max_size=32)),
        job=data.draw(st.just(job) | words),
        kind=data.draw(kinds.filter(lambda kind: kind not in {"cancel", "close"})),
        step=data.draw(words),
        round=data.draw(st.integers(0, 2**32 - 1)),
        attempt=0,
        plan_digest=data.draw(st.just(plan) | words),
        expires=0.0,
        body=body,
    )
    before = len(party.entries())
    reply = party.door.handle(request)
    if reply.status == "ok":
        first = (request.kind, request.job, request.step, request.plan_digest) == ("step", job, "query.start", plan)
        assert request.kind == "catalogue" or first
        return
    assert not reply.body
    assert len(party.entries()) > before
    for drawn in (request.step, request.job):
        assert len(drawn) < 4 or drawn == job or drawn not in reply.reason


def _standing(party: Party) -> tuple[str, str]:
    """One admitted job for all examples."""
    for row in party.store.jobs(("admitted", "running")):
        live = party.jobs.get(row.id)
        return row.id, live.context.plan.digest()
    return party.admitted()


def test_evidence_of_the_whole_file_verifies(party: Party, tmp_path: Path) -> None:
    from compliance.audit.verify import verify as check

    party.node.sign_checkpoint()
    report = check(party.home / "audit.db")
    assert report.ok, report.problem
