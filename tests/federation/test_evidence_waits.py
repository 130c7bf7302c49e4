"""Jobs that wait for evidence: what is missing is told, they are asked about again, and go on by themselves."""

import time
from typing import Any

import pytest

from federation import evidence_waits
from federation.evidence_waits import EvidenceWaits, missing, refusing, silent
from federation.jobs import JobManager
from policies.verdict import Verdict
from tests.federation.test_jobs import ASKING, _ended, _order, manager

__all__ = ["manager"]  # the fixture

NEED = "OBL_ROPA, for transfers to p2: record of processing"


def verdict(effect: str = "permit", needs: tuple[str, ...] = (), reasons: tuple[str, ...] = ("fine",)) -> Any:
    said = {
        "job": "job-00000001", "plan": "ab" * 32, "party": "p1", "contract": "cd" * 32, "effect": effect,
        "policies": ["run"], "reasons": reasons, "needs": needs, "expires": 1, "epoch_key": "ef" * 32,
    }  # fmt: skip
    return Verdict.model_validate(said), "token"


def test_needs_silence_and_refusals_are_told_by_party() -> None:
    answers = {
        "p1": verdict(needs=(NEED,)),
        "p2": "no verdict within 30 s",
        "p3": verdict("deny", reasons=("no", "never")),
    }
    assert missing(answers) == (f"p1: {NEED}",)
    assert silent(answers) == ("p2",)
    assert refusing(answers) == ("p2: no verdict within 30 s", "p3: no", "p3: never")


def test_a_job_is_given_out_when_it_is_due_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = EvidenceWaits()
    waits.expect("later")
    monkeypatch.setattr(evidence_waits, "AGAIN_SECONDS", 0.0)
    waits.expect("now")
    waits.expect("gone")
    waits.over("gone")
    assert waits.take_due() == ["now"]
    assert waits.take_due() == []


def _waiting(manager: JobManager, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> str:
    """A job of the manager whose parties answer `answers`, which a test may change."""
    monkeypatch.setattr(evidence_waits, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(manager.verdicts, "catalogues", _without_people)
    monkeypatch.setattr(manager.verdicts, "refusals", lambda *_: [])
    monkeypatch.setattr(manager.verdicts, "ask", lambda *_, **__: dict(answers))
    order, token = _order()
    manager.submit(token, order, b"")
    _until(lambda: NEED in manager._row(order.jti).reason)
    assert manager._row(order.jti).state == "needs-evidence"
    return order.jti


def _without_people() -> Any:
    from dataclasses import replace

    return {
        name: replace(entry, contracts={k: c.model_copy(update={"approval": None}) for k, c in entry.contracts.items()})
        for name, entry in ASKING.items()
    }


def _until(truth: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_goes_on_once_the_evidence_is_there(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"p1": verdict(needs=(NEED,)), "p2": verdict(), "p3": verdict()}
    ran: list[str] = []
    monkeypatch.setattr(manager, "_execute", lambda job, *_: ran.append(job))
    job = _waiting(manager, monkeypatch, answers)
    answers["p1"] = verdict()
    _until(lambda: ran)
    assert manager._row(job).state == "running"


def test_it_survives_a_start_of_the_coordinator_and_a_party_that_is_away(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {"p1": verdict(needs=(NEED,)), "p2": verdict(), "p3": verdict()}
    job = _waiting(manager, monkeypatch, answers)
    manager.resume()
    answers["p1"] = "no verdict within 30 s; it may be offline"
    _until(lambda: "p1: no verdict" in manager._row(job).reason)
    assert manager._row(job).state == "needs-evidence"
    manager.cancel(job)
    assert manager._row(job).state == "cancelled"


def test_a_party_that_refuses_by_now_ends_it(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"p1": verdict(needs=(NEED,)), "p2": verdict(), "p3": verdict()}
    job = _waiting(manager, monkeypatch, answers)
    answers["p2"] = verdict("deny", reasons=("Refused: no more.",))
    row = _ended(manager, job)
    assert (row.state, row.reason) == ("refused", "p2: Refused: no more.")


def test_it_waits_no_longer_than_its_order_is_good(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _waiting(manager, monkeypatch, {"p1": verdict(needs=(NEED,)), "p2": verdict(), "p3": verdict()})
    real = time.time
    monkeypatch.setattr("federation.jobs.time.time", lambda: real() + 10**6)
    row = _ended(manager, job)
    assert row.state == "refused"
    assert row.reason.startswith("the evidence did not come in time: p1: OBL_ROPA")
