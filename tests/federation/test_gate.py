"""The gate: a call is decided, written down, and only then answered."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

import federation.gate
from compliance.audit.entry import EntryType
from compliance.errors import LogUnavailable
from federation.gate import Gate
from federation.store import JobRow
from inbond.errors import InbondError, Refused
from policies.bundle import load_baseline
from policies.engine import Engine
from tests.policies.samples import RESEARCHER, person

JOB = "ab" * 16
ROW = JobRow(JOB, "n", "query", RESEARCHER, "t", None, None, "submitted", "", 1, 1, 2e9)
ROSA, EVE = person("rosa"), person("eve")
OLGA, OTTO, ANNA = person("olga", "officer"), person("otto", "operator"), person("anna", "auditor")


class Log:
    """Evidence, kept in a list."""

    def __init__(self) -> None:
        self.entries: list[tuple[EntryType, str | None, str, dict[str, Any]]] = []
        self.full = False

    def record(self, kind: EntryType, *, job: str | None, subject: str, data: dict[str, Any]) -> None:
        if self.full:
            raise LogUnavailable("disk full")
        self.entries.append((kind, job, subject, data))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def gate(log: Log) -> Gate:
    return Gate(cast("Any", SimpleNamespace(record=log.record)), Engine(load_baseline()))


def test_a_permit_and_a_refusal_are_written_down_with_role_and_rule(gate: Gate, log: Log) -> None:
    gate.enter(ROSA, "submit")
    with pytest.raises(Refused, match="only researchers order jobs") as caught:
        gate.enter(OLGA, "submit")
    assert "call-order" in str(caught.value)
    assert "\n" not in str(caught.value)
    (kind, job, subject, data), (refused, _, who, why) = log.entries
    assert (kind, job, subject) == (EntryType.DECISION, None, RESEARCHER)
    assert (data["call"], data["role"], data["effect"]) == ("submit", "researcher", "permit")
    assert (refused, who) == (EntryType.REFUSAL, str(OLGA.spiffe_id))
    assert (why["role"], why["policies"], why["effect"]) == ("officer", ["call-order"], "deny")


def test_the_same_decision_is_written_once_an_hour(gate: Gate, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        gate.job(ROSA, "status", JOB, ROW)
    assert len(log.entries) == 1
    monkeypatch.setattr(federation.gate, "REPEAT_SECONDS", 0.0)
    gate.job(ROSA, "status", JOB, ROW)
    assert len(log.entries) == 2


def test_what_is_remembered_of_the_log_is_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation.gate, "MAX_REMEMBERED", 5)
    for number in range(20):
        gate.enter(person(f"p{number}"), "nodes")
    assert len(gate._logged) == 5


def test_what_cannot_be_written_down_is_not_answered_and_is_tried_again(gate: Gate, log: Log) -> None:
    log.full = True
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            gate.job(ROSA, "result", JOB, ROW)
    log.full = False
    gate.job(ROSA, "result", JOB, ROW)
    assert len(log.entries) == 1


def test_a_researcher_is_not_told_of_another_researchers_job(gate: Gate, log: Log) -> None:
    told = []
    for row in (ROW, None):
        with pytest.raises(InbondError) as caught:
            gate.job(EVE, "status", JOB, row)
        assert not isinstance(caught.value, Refused)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert [(kind, job) for kind, job, _, _ in log.entries] == [(EntryType.REFUSAL, JOB)], "the log is told"


def test_who_may_on_no_job_hears_the_rule_whether_there_is_one_or_not(gate: Gate) -> None:
    for row in (ROW, None):
        with pytest.raises(Refused, match="only the researcher who ordered a job"):
            gate.job(OLGA, "result", JOB, row)


def test_operators_cancel_and_auditors_read_what_is_not_theirs(gate: Gate, log: Log) -> None:
    assert gate.job(OTTO, "cancel", JOB, ROW) is ROW
    assert gate.job(ANNA, "status", JOB, ROW) is ROW
    assert [(subject, data["role"]) for _, _, subject, data in log.entries] == [
        (str(OTTO.spiffe_id), "operator"),
        (str(ANNA.spiffe_id), "auditor"),
    ]


def test_everyones_jobs_are_for_operators_and_auditors(gate: Gate) -> None:
    assert [gate.everyones(one, "list") for one in (ROSA, OLGA, OTTO, ANNA)] == [False, False, True, True]
