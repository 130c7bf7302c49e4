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
from federation.jobs import JobManager, Running
from federation.store import CoordinatorStore
from inbond.errors import InbondError, Refused
from inbond.messages import Reply
from inbond.node import Node, utc_now
from inbond.orders import sign_order
from policies.bundle import load_baseline
from policies.contract import load_contract
from policies.engine import Engine
from policies.errors import InvalidInput
from policies.job import JobOrder
from policies.job_state import FINAL_STATES
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.policies.samples import CONTRACT, query_spec
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
    monkeypatch.setattr(manager, "catalogues", lambda: entries)
    order, _ = _order(dataset="stock", sql="SELECT COUNT(*) FROM stock")
    with pytest.raises(InvalidInput, match="no party offers dataset `stock`; the datasets are orders, returns"):
        manager.plan(order)


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

    monkeypatch.setattr(manager, "plan", broken)
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

    monkeypatch.setattr(manager, "_keep_ok", full)
    done: Future[Reply] = Future()
    done.set_result(Reply("r" * 32, "ok"))
    answer: Future[Reply] = Future()
    plan: Any = SimpleNamespace(participants=[], digest=lambda: "0" * 64)
    running = Running(_order()[0], plan)
    request: Any = SimpleNamespace(step="train", round=1, id="r" * 32, body=())
    manager._keep("job", running, "p1", request, done, answer, 0.0)
    with pytest.raises(OSError, match="No space"):
        answer.result(1)
    assert "No space" not in running.complaint
