"""The job manager: an order is taken once, every end has a reason, and one failing job never stops the watch."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compliance.audit.entry import EntryType
from compliance.errors import LogUnavailable
from federation.catalogue import PartyEntry
from federation.jobs import JobManager
from federation.steps import Running
from federation.store import CoordinatorStore
from inbond.approvals import sign_approval
from inbond.errors import InbondError, Refused
from inbond.messages import Reply
from inbond.node import Node, utc_now
from inbond.orders import sign_order
from policies.bundle import load_baseline
from policies.contract import load_contract
from policies.engine import Engine
from policies.errors import InvalidInput
from policies.identity import Standing, identify
from policies.job import JobOrder
from policies.job_state import FINAL_STATES
from policies.plan import load_plan
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.policies.samples import CONTRACT, contract, query_spec
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority(CONSORTIUM)
ROSA = AUTHORITY.node("user/rosa")


class Hub:
    """A hub to which nobody is connected."""

    def connected(self) -> dict[str, object]:
        return {}

    def request(self, party: str, request: object) -> "Future[Reply]":
        raise InbondError(f"{party} is away")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[JobManager]:
    node = Node.open(certified_home(AUTHORITY, "coordinator", "coordinator", tmp_path / "hub"))
    store = CoordinatorStore(tmp_path / "hub")
    hub: Any = Hub()
    made = JobManager(node, store, hub, Engine(load_baseline()))
    yield made
    made.close()
    made._jobs.shutdown(wait=True)
    store.close()
    node.close()


def _order(**changes: Any) -> tuple[JobOrder, str]:
    key, nonce = b"k" * 32, "0123456789abcdef"
    return sign_order(
        query_spec(**changes), ROSA.signer, nonce=nonce, result_key=key, sum_key_digest="cd" * 32, now=utc_now()
    )


def _ended(manager: JobManager, job: str) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        row = manager._store.job(job)
        if row is not None and row.state in FINAL_STATES and manager.ended(job):
            return manager._store.job(job)
        time.sleep(0.02)
    raise AssertionError("the job never ended")


def test_a_job_that_nobody_can_answer_is_refused_with_the_reason(manager: JobManager) -> None:
    order, token = _order()
    manager.submit(token, order, b"")
    row = _ended(manager, order.jti)
    assert (row.state, "no party offers dataset" in row.reason) == ("refused", True)
    states = [body["state"] for _, _, body in manager._store.events(order.jti) if body["event"] == "state"]
    assert (states[0], states[-1]) == ("submitted", "refused")


def test_an_unknown_dataset_is_refused_with_those_that_there_are(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = load_contract(CONTRACT, "orders.yaml")
    entries = {"p1": PartyEntry("p1", "DE", {"orders": contract, "returns": contract})}
    monkeypatch.setattr(manager.verdicts, "catalogues", lambda: entries)
    order, _ = _order(dataset="stock", sql="SELECT COUNT(*) FROM stock")
    with pytest.raises(InvalidInput, match="no party offers dataset `stock`; the datasets are orders, returns"):
        manager.verdicts.plan(order)


def test_a_full_log_keeps_a_job_from_running_but_not_from_being_stopped(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, token = _order()
    record = manager._node.record

    def full_after_the_first(kind: EntryType, **facts: Any) -> None:
        if facts["data"]["event"] != "submitted":
            raise LogUnavailable("the disk is full", where="audit.db")
        record(kind, **facts)

    monkeypatch.setattr(manager._node, "record", full_after_the_first)
    manager.submit(token, order, b"")
    assert _ended(manager, order.jti).state in {"refused", "failed"}


def test_a_replayed_order_is_refused(manager: JobManager) -> None:
    order, token = _order()
    manager.submit(token, order, b"")
    with pytest.raises(Refused, match="seen before"):
        manager.submit(token, order, b"")
    _ended(manager, order.jti)


def test_an_order_of_somebody_else_is_not_taken(manager: JobManager) -> None:
    with pytest.raises(Refused, match="somebody else's"):
        manager.open(_order()[1], "spiffe://acme.example/user/eve")


def test_a_job_that_ended_is_not_ended_again(manager: JobManager) -> None:
    order, token = _order()
    manager.submit(token, order, b"")
    _ended(manager, order.jti)
    with pytest.raises(Exception, match=r"refused|ended|cancel"):
        manager.cancel(order.jti)


def test_an_error_that_nobody_thought_of_ends_the_job_without_its_words(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_order: object) -> None:
        raise ZeroDivisionError("row 17")

    monkeypatch.setattr(manager.verdicts, "plan", broken)
    order, token = _order()
    manager.submit(token, order, b"")
    row = _ended(manager, order.jti)
    assert row.state == "failed"
    assert "ZeroDivisionError" in row.reason
    assert "row 17" not in row.reason


def test_the_watch_over_absent_parties_survives_a_log_that_is_full(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = threading.Event()
    calls: list[str] = []

    def broken(job: str, *_: object) -> None:
        calls.append(job)
        if len(calls) > 1:
            again.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manager, "_note_presence", broken)
    plan: Any = SimpleNamespace(participants=[SimpleNamespace(name="p1")], digest=lambda: "0" * 64)
    manager._running["job"] = Running(_order()[0], plan)
    assert again.wait(10)
    manager._running.clear()


def test_a_reply_that_cannot_be_kept_fails_the_step_and_does_not_hang_it(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manager._steps, "_keep_ok", full)
    done: Future[Reply] = Future()
    done.set_result(Reply("r" * 32, "ok"))
    answer: Future[Reply] = Future()
    plan: Any = SimpleNamespace(participants=[], digest=lambda: "0" * 64)
    running = Running(_order()[0], plan)
    request: Any = SimpleNamespace(step="train", round=1, id="r" * 32, body=())
    manager._steps._keep("job", running, "p1", request, done, answer, 0.0)
    with pytest.raises(OSError, match="No space"):
        answer.result(1)
    assert "No space" not in running.complaint


# people

OLGA = AUTHORITY.node("user/olga", standing=Standing("shop", "officer"))
ASKING = {"p1": PartyEntry("p1", "DE", {"orders": contract(approval={"people": 1})})} | {
    name: PartyEntry(name, "DE", {"orders": contract()}) for name in ("p2", "p3")
}


@pytest.fixture
def waiting(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> tuple[JobManager, str]:
    """A job that waits for an officer: every party would take part."""
    monkeypatch.setattr(manager.verdicts, "catalogues", lambda: ASKING)
    monkeypatch.setattr(manager.verdicts, "ask", lambda *_, **__: {})
    order, token = _order()
    manager.submit(token, order, b"")
    deadline = time.monotonic() + 20
    while "must approve" not in manager._row(order.jti).reason:
        assert time.monotonic() < deadline, manager._row(order.jti)
        time.sleep(0.02)
    return manager, order.jti


def _says(manager: JobManager, job: str, decision: Any, reason: str = "") -> None:
    plan = load_plan(manager._row(job).plan or "").digest()
    token = sign_approval(OLGA.signer, job=job, plan=plan, decision=decision, now=utc_now(), reason=reason)
    manager.approve(job, token, identify(OLGA.signer.chain[0], AUTHORITY.trust, utc_now()))


def test_a_job_waits_for_people_says_for_whom_and_goes_on(
    waiting: tuple[JobManager, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, job = waiting
    row = manager._row(job)
    assert (row.state, row.reason.split(";")[0]) == ("needs-approval", "1 officer must approve (orders of p1)")
    ran = threading.Event()
    monkeypatch.setattr(manager, "_execute", lambda *_: ran.set())
    _says(manager, job, "approve")
    assert ran.wait(10)
    assert manager._row(job).state == "running"
    assert manager.approvals.waiting() == []


def test_a_waiting_job_is_refused_cancelled_or_runs_out_of_time(
    waiting: tuple[JobManager, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, job = waiting
    manager.resume()
    assert manager._row(job).state == "needs-approval", "a start of the coordinator changes nothing"
    monkeypatch.setattr(manager.approvals, "expired", lambda _now: [job])
    row = _ended(manager, job)
    assert (row.state, row.reason.split(":")[0]) == ("refused", "not approved in time")


def test_a_refusal_gives_its_reason_and_leaves_nothing_waiting(waiting: tuple[JobManager, str]) -> None:
    manager, job = waiting
    _says(manager, job, "refuse", "too many columns")
    assert manager._row(job).reason == "refused by olga (officer of shop): too many columns"
    assert manager.approvals.waiting() == []
    with pytest.raises(Refused, match="the job is refused"):
        _says(manager, job, "approve")


def test_an_approval_that_cannot_be_recorded_is_not_taken(
    waiting: tuple[JobManager, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, job = waiting

    def full(*_: object, **__: object) -> None:
        raise LogUnavailable("the disk is full", where="audit.db")

    with monkeypatch.context() as patched:
        patched.setattr(manager._node, "record", full)
        with pytest.raises(LogUnavailable):
            _says(manager, job, "approve")
    assert (manager._row(job).state, manager._store.approvals(job)) == ("needs-approval", [])
    manager.cancel(job)
    assert manager._row(job).state == "cancelled"
