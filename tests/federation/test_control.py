"""The coordinator's service: challenges are good once, callers see their own jobs, and errors say nothing inside."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from compliance.errors import LogUnavailable
from federation.control import MAX_NONCES_EACH, MAX_SUM_KEY, Control, Nonces
from federation.gate import Gate
from federation.store import CoordinatorStore, JobRow
from inbond import tls
from inbond.errors import InbondError, Refused
from inbond.v1 import control_pb2 as wire
from policies.bundle import load_baseline
from policies.engine import Engine
from tests.policies.samples import person

JOB = "ab" * 16
SECRET = "INSERT INTO jobs VALUES ('secret')"
ENGINE = Engine(load_baseline())
ROSA = person("rosa")
EVE = "spiffe://acme.example/user/eve"


class Aborted(Exception):
    """The call ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details


class Call:
    """A call's context."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)

    def is_active(self) -> bool:
        return True


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """The service for caller `rosa`, over a real store."""
    store = CoordinatorStore(tmp_path)
    store.add_job(JobRow(JOB, "mine", "query", str(ROSA.spiffe_id), "t", None, None, "submitted", "", 1, 1, 2e9))
    store.add_job(JobRow("cd" * 16, "hers", "query", EVE, "t", None, None, "submitted", "", 1, 1, 2e9))
    monkeypatch.setattr(tls, "authorise", lambda *_, **__: ROSA)
    node = cast("Any", SimpleNamespace(trust=None, name="coordinator", record=lambda *_, **__: None))
    jobs = SimpleNamespace(result_path=lambda job: tmp_path / job, cancel=pytest.fail)
    yield Control(node, store, cast("Any", jobs), cast("Any", None), Gate(node, ENGINE))
    store.close()


def _call(act: Any, *arguments: Any) -> Any:
    return act(*arguments, cast("grpc.ServicerContext", Call()))


def test_a_challenge_is_good_once_and_for_its_caller() -> None:
    nonces = Nonces()
    nonce = nonces.give("rosa")
    with pytest.raises(Refused):
        nonces.take(nonce, "eve")
    with pytest.raises(Refused):
        nonces.take(nonce, "rosa")  # used up by the attempt
    fresh = nonces.give("rosa")
    nonces.take(fresh, "rosa")
    with pytest.raises(Refused, match="answers no open challenge"):
        nonces.take(fresh, "rosa")


def test_nobody_can_use_up_everybodys_challenges() -> None:
    nonces = Nonces()
    for _ in range(MAX_NONCES_EACH):
        nonces.give("eve")
    with pytest.raises(Refused, match="too many"):
        nonces.give("eve")
    nonces.give("rosa")


def test_a_caller_sees_own_jobs_only(control: Control) -> None:
    listed = _call(control.List, wire.ListRequest())
    assert [view.name for view in listed.jobs] == ["mine"]
    assert _call(control.Status, wire.JobRequest(job=JOB)).name == "mine"
    for method in (control.Status, control.Cancel):
        for job in ("cd" * 16, "", "x" * 5000, "../../etc"):
            with pytest.raises(Aborted) as caught:
                _call(method, wire.JobRequest(job=job))
            assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "of yours" in caught.value.details
            assert len(caught.value.details) < 300


def _as(monkeypatch: pytest.MonkeyPatch, name: str, office: str) -> None:
    monkeypatch.setattr(tls, "authorise", lambda *_, **__: person(name, office))


@pytest.mark.parametrize("office", ["operator", "auditor"])
def test_operators_and_auditors_list_everyones_jobs(
    control: Control, monkeypatch: pytest.MonkeyPatch, office: str
) -> None:
    _as(monkeypatch, "otto", office)
    assert {view.name for view in _call(control.List, wire.ListRequest()).jobs} == {"mine", "hers"}


def test_an_operator_cancels_anybodys_job_and_is_named(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[str, str]] = []
    monkeypatch.setattr(control._jobs, "cancel", lambda job, by: ended.append((job, by)))
    _as(monkeypatch, "otto", "operator")
    _call(control.Cancel, wire.JobRequest(job=JOB))
    assert ended == [(JOB, "otto (operator)")]


def test_an_auditor_reads_any_plan_and_follows_no_job(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    _as(monkeypatch, "anna", "auditor")
    assert _call(control.Status, wire.JobRequest(job=JOB)).name == "mine"
    for act in (control.Watch, control.Result):
        with pytest.raises(Aborted) as caught:
            list(_call(act, wire.JobRequest(job=JOB)))
        assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
        assert "only the researcher who ordered a job" in caught.value.details


def test_an_officer_who_opens_no_sums_is_not_read(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    _as(monkeypatch, "olga", "officer")
    chunks = iter([wire.OpenedChunk(job=JOB)])
    with pytest.raises(Aborted) as caught:
        _call(control.Opened, chunks)
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert len(list(chunks)) == 1


def test_a_result_that_is_not_there_is_refused_with_the_state(control: Control) -> None:
    with pytest.raises(Aborted) as caught:
        list(_call(control.Result, wire.JobRequest(job=JOB)))
    assert "is submitted" in caught.value.details


def test_an_oversized_key_is_refused_before_anything_is_verified(control: Control) -> None:
    with pytest.raises(Aborted) as caught:
        _call(control.Submit, wire.OrderRequest(order="x", sum_key=b"k" * (MAX_SUM_KEY + 1)))
    assert "at most" in caught.value.details


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Refused("no"), grpc.StatusCode.PERMISSION_DENIED, "no"),
        (InbondError("bad", right="good"), grpc.StatusCode.INVALID_ARGUMENT, "bad; good"),
        (LogUnavailable(SECRET), grpc.StatusCode.UNAVAILABLE, "cannot write its evidence log"),
        (RuntimeError(SECRET), grpc.StatusCode.INTERNAL, "its log says why"),
        (KeyError(SECRET), grpc.StatusCode.INTERNAL, "its log says why"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_a_status_with_one_line_and_nothing_from_inside(
    control: Control, monkeypatch: pytest.MonkeyPatch, error: Exception, code: grpc.StatusCode, told: str
) -> None:
    def broken(**_: object) -> None:
        raise error

    monkeypatch.setattr(control._store, "jobs", broken)
    with pytest.raises(Aborted) as caught:
        _call(control.List, wire.ListRequest())
    assert caught.value.code is code
    assert told in caught.value.details
    assert SECRET not in caught.value.details
