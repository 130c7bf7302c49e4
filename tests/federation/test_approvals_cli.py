"""What a person who approves sees and signs: the whole plan first, one job, and never by accident."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from federation.approvals_cli import app
from federation.client import Proposed, Researcher
from federation.planner import make_plan
from inbond.errors import ConfigError, InbondError
from tests.policies.samples import contract, order

ORDER = order(jti="ab" * 16)
PLAN = make_plan(
    ORDER, {name: {"orders": contract(approval={"people": 1})} for name in ("p1", "p2", "p3")}, coordinator_country="DE"
)
MISSING = "1 officer must approve (orders of p1)"


class Person:
    """A person for whom two jobs wait; `signed` is what they said."""

    def __init__(self) -> None:
        other = Proposed(order(jti="ac" * 16), PLAN, MISSING)
        self.waiting = [Proposed(ORDER, PLAN, MISSING), other]
        self.signed: list[tuple[str, str, str]] = []

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def proposed(self) -> list[Proposed]:
        return self.waiting

    def decide(self, found: Proposed, decision: str, reason: str = "") -> Any:
        self.signed.append((found.order.jti, decision, reason))
        return SimpleNamespace(state="deciding" if decision == "approve" else "refused", reason="")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    made = Person()
    monkeypatch.setattr(Researcher, "open", lambda _home: made)
    return made


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_list_says_who_asks_for_what_and_who_would_learn_what(person: Person) -> None:
    found = json.loads(_run("approvals", "--json").stdout)
    assert [one["job"] for one in found] == [one.order.jti for one in person.waiting]
    assert (found[0]["submitter"], found[0]["missing"], found[0]["plan"]) == ("rosa", MISSING, PLAN.digest())
    assert any("released groups" in leak or "group" in leak for leak in found[0]["leaks"])


def test_the_plan_is_shown_before_it_is_signed(person: Person) -> None:
    done = _run("approve", "ab", "--yes")
    assert done.exit_code == 0, done.output
    assert "dpv:FraudPreventionAndDetection" in done.stdout
    assert "learns" in done.stdout
    assert person.signed == [("ab" * 16, "approve", "")]


def test_nothing_is_signed_when_nobody_answers(person: Person) -> None:
    done = _run("approve", "ab")
    assert isinstance(done.exception, ConfigError)
    assert person.signed == []


@pytest.mark.parametrize(("prefix", "told"), [("a", "2 jobs"), ("ff", "no job that waits for you")])
def test_one_job_is_meant_or_none(person: Person, prefix: str, told: str) -> None:
    for command in (("approve", prefix, "--yes"), ("refuse", prefix, "--reason", "no")):
        done = _run(*command)
        assert isinstance(done.exception, InbondError)
        assert told in str(done.exception)
    assert person.signed == []


def test_a_refusal_needs_a_reason(person: Person) -> None:
    assert isinstance(_run("refuse", "ab", "--reason", "  ").exception, ConfigError)
    assert person.signed == []
    told = json.loads(_run("refuse", "ab", "--reason", "too much", "--json").stdout)
    assert (told["decision"], told["state"]) == ("refuse", "refused")
    assert person.signed == [("ab" * 16, "refuse", "too much")]
