"""Live jobs: revived from what is kept, bounded in number, and gone at once with their processes when ended."""

import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from flwr.app import RecordDict

from inbond.errors import JobFailed
from inbond.joint_query import planned_query
from parties import jobs as jobs_module
from parties.job_context import JobContext
from parties.job_steps import JobSteps
from parties.jobs import Jobs
from parties.worker import WorkerProcess
from policies.plan import PlanNoise
from policies.query.compiled import ROWS
from policies.verdict import RefusedError
from tests.bad_input.homes import Party
from tests.policies.samples import train_spec

COUNTRIES = ("DE", "FR", "NO")


class Worker:
    """A worker that answers when the test lets it, and remembers that it was killed."""

    def __init__(self) -> None:
        self.asked, self.leave, self.killed = threading.Event(), threading.Event(), 0

    def call(self, message_type: str, content: RecordDict, *, timeout: float) -> RecordDict:
        self.asked.set()
        if not self.leave.wait(20) or self.killed:
            raise JobFailed("the process is gone")
        return content

    def kill(self) -> None:
        self.killed += 1
        self.leave.set()


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made = Party.make(tmp_path / "p1")
    yield made
    made.close()


def _context(party: Party) -> JobContext:
    job, _ = party.admitted()
    return party.jobs.get(job).context


def test_a_job_is_live_again_after_a_restart_with_the_same_verdict_and_key(party: Party) -> None:
    first = _context(party)
    again = Jobs(party.node, party.store, party.door._catalogue, party.budget).get(first.job).context
    assert (again.verdict, again.plan, again.order) == (first.verdict, first.plan, first.order)
    assert again.epoch.public == first.epoch.public


@pytest.mark.parametrize("state", ["closed", "cancelled", "failed", "expired"])
def test_a_job_that_ended_is_never_live_again(party: Party, state: str) -> None:
    job = _context(party).job
    assert party.jobs.end(job, state)
    with pytest.raises(RefusedError, match=f"the job is {state}"):
        party.jobs.get(job)
    assert not party.jobs.end(job, "cancelled"), "it ends once"


def test_a_job_that_was_never_admitted_is_refused(party: Party) -> None:
    with pytest.raises(RefusedError, match="never admitted"):
        party.jobs.get("0" * 32)


def test_a_contract_that_changed_since_the_verdict_ends_the_permit(party: Party) -> None:
    job, _ = party.admitted()
    changed = party.door._catalogue.contracts["orders"].model_copy(update={"version": 2})
    party.door._catalogue.contracts["orders"] = changed
    with pytest.raises(RefusedError, match="contract has changed"):
        party.jobs.get(job)


def test_more_jobs_than_the_owner_allows_are_turned_away(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = party.node.config.limits.model_copy(update={"jobs_at_once": 1})
    monkeypatch.setattr(party.node, "config", party.node.config.model_copy(update={"limits": limits}))
    first = _context(party)
    order, token = party.order()
    assert party.admit(order, token).status == "ok"
    with pytest.raises(RefusedError, match="as many jobs as it may"):
        party.jobs.get(order.jti)
    party.jobs.end(first.job, "closed")
    assert party.jobs.get(order.jti).state == "running"


def test_a_cancel_kills_the_worker_under_a_step_that_runs_and_no_new_one_is_started(party: Party) -> None:
    context = _context(party)
    workers: list[Worker] = []

    def start(_context: JobContext) -> Worker:
        workers.append(Worker())
        return workers[-1]

    context.start_worker = start
    live = party.jobs.get(context.job)
    failures: list[Exception] = []

    def step() -> None:
        with context.lock:
            try:
                live.steps.call("query.fragment", RecordDict())
            except JobFailed as error:
                failures.append(error)
            try:
                live.steps.call("query.fragment", RecordDict())
            except JobFailed as error:
                failures.append(error)

    running = threading.Thread(target=step)
    running.start()
    while not workers:
        running.join(0.01)
    assert workers[0].asked.wait(20)
    assert party.jobs.end(context.job, "cancelled")  # returns although the step holds the job's lock
    running.join(20)
    assert len(failures) == 2
    assert all(worker.killed for worker in workers)
    assert live.steps._worker is None


def test_a_worker_that_starts_while_its_job_ends_is_killed(party: Party) -> None:
    context = _context(party)
    worker = Worker()
    steps = JobSteps(context)

    def start(_context: JobContext) -> Worker:
        steps.close()  # the cancel comes just now
        return worker

    context.start_worker = start
    with pytest.raises(JobFailed, match="has ended"):
        steps.worker()
    assert worker.killed == 1


def test_a_job_whose_time_is_over_ends_though_nobody_tells(party: Party) -> None:
    job = _context(party).job
    assert party.jobs.end_expired() == []
    party.store.change(job, expires=1.0)
    assert party.jobs.end_expired() == [job]
    row = party.store.job(job)
    assert row is not None
    assert row.state == "expired"
    assert not (party.home / "jobs" / job).exists()


def test_the_view_handed_to_a_worker_is_not_kept_open_by_the_agent(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context(party)
    context.order = context.order.model_copy(update={"spec": train_spec()})
    recipe = SimpleNamespace(name="fraud", version=1, columns=(SimpleNamespace(name="amount"),))
    monkeypatch.setattr(jobs_module, "recipe_of", lambda _order: recipe)
    given: list[int] = []

    def refuse(job: object, **_: object) -> WorkerProcess:
        given.append(job.view)  # type: ignore[attr-defined]  # a WorkerJob
        raise JobFailed("no more processes")

    monkeypatch.setattr(jobs_module, "WorkerProcess", refuse)
    with pytest.raises(JobFailed):
        context.start_worker(context)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(given[0])


def test_a_query_runs_in_the_owners_engine_over_the_columns_it_reads_and_starts_no_worker(party: Party) -> None:
    context = _context(party)
    query = planned_query(context.order.spec, context.plan, context.contracts)
    assert query.sides[0].fragment.relations == {"t0": ("orders", ("amount", "country"))}
    table = query.table(context.run_fragment(context, query.sides[0].fragment))
    rows = pq.read_table(party.home / "orders.parquet").to_pylist()
    wanted = [
        sum(1 for row in rows if row["country"] == land and Decimal(row["amount"] or 0) > 5) for land in COUNTRIES
    ]
    assert table[:, ROWS].tolist() == wanted
    assert party.jobs.get(context.job).steps._worker is None


def test_a_charge_is_made_once_however_often_the_step_is_tried(party: Party) -> None:
    party.budget.register("orders", "2", "0")
    context = _context(party)
    context.plan = context.plan.model_copy(update={"noise": PlanNoise(mechanism="laplace", epsilon=0.5)})
    query = planned_query(context.order.spec, context.plan, context.contracts)
    for _ in range(3):
        context.releases.noise(context, query, None, lambda: np.zeros(query.shape, np.int64))
    assert str(party.budget.account("orders").spent.epsilon) == "0.5"
