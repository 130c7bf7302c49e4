"""Kill -9 of any process in the middle of a round: the job finishes or says why, once, and leaves no orphan."""

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator

import pytest

from compliance.audit.entry import EntryType
from compliance.budget import BudgetLedger
from examples.consortium import COORDINATOR
from federation.client import Researcher, TrainedModel
from inbond.answers import Answer
from tests.system.processes import alive, children, module
from tests.system.world import (
    FIRMS,
    PURPOSE,
    ROUNDS,
    Followed,
    World,
    eventually,
    long_training,
)

MOST_LOSS = 0.2  # the untrained model has about 0.7, an undisturbed job ends below 0.1
RARE = 'SELECT customer_country, COUNT(*) AS n FROM "rare-payments" GROUP BY customer_country'


@pytest.fixture(autouse=True)
def all_here(world: World) -> Iterator[None]:
    """Every test starts and leaves the consortium whole."""
    world.wait_links()
    yield
    for name in (COORDINATOR, *FIRMS):
        if world.processes[name].poll() is not None:
            world.launch(name)
    world.wait_links()


def assert_finished_once(world: World, rosa: Researcher, followed: Followed) -> None:
    """The job gave a model that all parties vouch for, and every party did every step exactly once."""
    followed.state("finished")
    found = rosa.result(followed.job)  # compares the receipts of all parties
    assert isinstance(found, TrainedModel)
    assert 0 < found.card["metrics"]["loss"] < MOST_LOSS, "as good as a job that nothing happened to"
    for party in FIRMS:
        entries = [one for one in world.entries(party, followed.job) if "request" in one.data]
        assert not [one for one in entries if one.type is EntryType.REFUSAL]
        assert max(Counter(one.data["request"] for one in entries).values()) == 1
        trained = [one.data["round"] for one in entries if one.data["step"] == "train"]
        assert trained == list(range(1, ROUNDS + 1))
    kept = [one.data for one in world.entries(COORDINATOR, followed.job) if one.data.get("step") == "train"]
    assert sorted((one["party"], one["round"]) for one in kept) == [
        (party, number) for party in FIRMS for number in range(1, ROUNDS + 1)
    ]
    world.verify()


def test_a_party_killed_in_a_round_comes_back_and_the_job_finishes(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training())
    followed.step("train", 2)
    below = children(world.pid("p3"))
    assert {module(one) for one in below} >= {"parties.worker"}
    world.kill("p3")
    eventually(lambda: not alive(below), "children of the killed party live on", 5)
    followed.until(lambda event: event["event"] == "party away" and event["party"] == "p3")
    world.launch("p3")
    followed.until(lambda event: event["event"] == "party back" and event["party"] == "p3")
    assert_finished_once(world, rosa, followed)


def test_a_killed_coordinator_resumes_the_job_and_the_watcher_hears_the_end(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training())
    followed.step("train", 2)
    below = children(world.pid(COORDINATOR))
    assert {module(one) for one in below} == {"federation.runner"}
    world.kill(COORDINATOR)
    eventually(lambda: not alive(below), "the runner of the killed coordinator lives on", 5)
    world.launch(COORDINATOR)
    assert_finished_once(world, rosa, followed)
    events = [one.data.get("event") for one in world.entries(COORDINATOR, followed.job)]
    assert "interrupted" in events
    numbers = [event["number"] for event in followed.events]
    assert numbers == sorted(set(numbers)), "the watcher hears every event once, also across the restart"


def test_a_killed_runner_is_replaced(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training())
    followed.step("train", 2)
    (runner,) = children(world.pid(COORDINATOR), "federation.runner")
    kill(runner.pid)
    followed.until(lambda event: event["event"] == "runner restarted")
    assert_finished_once(world, rosa, followed)


def test_a_worker_killed_in_a_round_is_replaced(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training())
    followed.step("train", 2)
    (worker,) = children(world.pid("p2"), "parties.worker")
    kill(worker.pid)
    assert_finished_once(world, rosa, followed)


def test_a_party_that_stays_away_fails_the_job_by_name(world: World, rosa: Researcher) -> None:
    world.end(COORDINATOR)
    with world.settings(INBOND_LIFE_REJOIN_SECONDS="5"):
        world.restart(COORDINATOR)
    followed = Followed(rosa, long_training(rounds=60))
    followed.step("train", 1)
    runner = children(world.pid(COORDINATOR))
    world.kill("p2")
    reason = followed.state("failed", 30)["reason"]
    assert reason == "party p2 stayed away for more than 5 s"
    eventually(lambda: not children(world.pid("p1"), "parties.worker"), "p1's worker lives on after the job")
    eventually(lambda: not alive(runner), "the runner lives on after the job")
    world.restart("p2")
    world.wait_links()
    world.verify()
    world.end(COORDINATOR)
    world.restart(COORDINATOR)


def test_cancel_ends_the_workers_at_once_and_leaves_evidence(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training(rounds=60))
    followed.step("train", 1)
    workers = {one for party in FIRMS for one in children(world.pid(party), "parties.worker")}
    assert len(workers) == len(FIRMS)
    runner = children(world.pid(COORDINATOR))
    assert len(runner) == 1, "the next job's gets ready when this one has ended"
    view = rosa.cancel(followed.job)
    assert view.state == "cancelled"
    eventually(lambda: not alive(workers), "workers live on after the cancel", 3)
    eventually(lambda: not alive(runner), "the runner lives on after the cancel", 3)
    for name in FIRMS:
        eventually(
            lambda name=name: "cancelled" in [one.data.get("event") for one in world.entries(name, followed.job)],  # type: ignore[misc]  # mypy cannot infer a lambda's default
            f"{name} has no evidence of the cancel",
        )
        assert not list((world.home(name) / "jobs").glob(f"{followed.job}/*.sealed")), "its keys and models are gone"
    cancelled = [one for one in world.entries(COORDINATOR, followed.job) if one.data.get("event") == "cancelled"]
    assert [one.data["reason"] for one in cancelled] == ["cancelled by its owner"]
    world.verify()


def test_noise_is_charged_once_when_the_party_dies_between_charge_and_reply(world: World, rosa: Researcher) -> None:
    spec = rosa.query_spec(
        RARE,
        purpose=PURPOSE,
        parties=list(FIRMS),
        minimum_parties=3,
        privacy={"mechanism": "laplace", "epsilon": 0.6},
    )
    followed = Followed(rosa, spec)
    home = world.home("p1")
    ledger = BudgetLedger.read_only(home / "budget.db")
    eventually(lambda: ledger.account("rare-payments").spent.epsilon > 0, "the charge did not come", 30)
    world.kill("p1")
    with sqlite3.connect(home / "state.db") as inbox:
        answered = inbox.execute("SELECT step FROM inbox WHERE job = ?", (followed.job,)).fetchall()
    assert ("query.start",) in answered
    assert ("query.count",) not in answered, "the party died before its reply"
    world.launch("p1")
    followed.state("finished")
    assert isinstance(rosa.result(followed.job), Answer)
    for party in FIRMS:
        spent = BudgetLedger.read_only(world.home(party) / "budget.db").account("rare-payments").spent
        assert str(spent.epsilon) == "0.6", party
    charged = [one.data for one in world.entries("p1", followed.job) if one.type is EntryType.BUDGET]
    assert len({one["key"] for one in charged}) == 1
    assert {one["charged"] for one in charged} == {"now"}

    again = Followed(rosa, spec)  # costs nothing, and fits although 0.4 is left
    again.state("finished")
    second, first = rosa.result(again.job), rosa.result(followed.job)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert second.rows == first.rows, "the identical question has the identical noise"
    assert str(BudgetLedger.read_only(home / "budget.db").account("rare-payments").spent.epsilon) == "0.6"

    other = Followed(rosa, spec.model_copy(update={"sql": f"{RARE} ORDER BY n"}))
    refused = other.state("refused")["reason"]
    assert "p1: " in refused
    assert "the query costs epsilon 0.6, 0.4 is left" in refused
    world.verify()


def kill(pid: int) -> None:
    """Kill -9."""
    os.kill(pid, signal.SIGKILL)
