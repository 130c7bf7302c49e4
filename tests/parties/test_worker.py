"""The worker: one process per job that sees its view only, and whose failures stay in the node."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from flwr.app import ArrayRecord, RecordDict

from inbond.errors import JobFailed
from inbond.ipc import memory_file
from inbond.messages import PeerViolation
from parties.worker import WorkerJob, WorkerProcess

ROOT = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
APP = "tests.federation.toy:client"


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    file = memory_file([_rows(3)])
    started = WorkerProcess(WorkerJob("job", APP, "warehouse", view=file), extra_env=ROOT)
    os.close(file)
    yield started
    started.kill()


def _rows(count: int) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"x": list(range(count))})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_a_step_runs_and_its_content_returns(worker: WorkerProcess) -> None:
    array = np.arange(1_000_000, dtype=np.float32)
    reply = worker.call("query", RecordDict({"a": ArrayRecord([array])}), round_number=3, timeout=30)
    np.testing.assert_array_equal(reply.array_records["a"]["0"].numpy(), array)


def test_the_worker_sees_its_view_and_no_secret_of_the_agent(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = worker.call("query.view", RecordDict(), timeout=30).config_records["seen"]
    assert seen["rows"] == 3
    assert "HOME" not in os.environ or seen["home"] != os.environ["HOME"]
    assert isinstance(seen["variables"], list)
    assert not {"INBOND_PASSPHRASE", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK"} & set(seen["variables"])


def test_the_context_lives_as_long_as_the_job_and_can_move_to_a_new_worker(worker: WorkerProcess) -> None:
    counts = [worker.call("query.count", RecordDict(), timeout=30).metric_records["calls"]["n"] for _ in "ab"]
    assert counts == [1, 2]
    following = WorkerProcess(WorkerJob("job", APP, "warehouse"), state=worker.state(), extra_env=ROOT)
    try:
        assert following.call("query.count", RecordDict(), timeout=30).metric_records["calls"]["n"] == 3
    finally:
        following.kill()


def test_what_a_recipe_raises_comes_back_as_its_class_only(worker: WorkerProcess) -> None:
    with pytest.raises(JobFailed) as failure:
        worker.call("query.boom", RecordDict(), timeout=30)
    assert "ValueError" in str(failure.value)
    assert "4711" not in str(failure.value)
    deadline = time.monotonic() + 10  # what a process prints reaches its log by a thread of its own
    while "4711" not in worker.log_tail() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "4711" in worker.log_tail()
    assert worker.alive()


def test_an_unknown_step_and_a_malformed_body_are_failures_not_crashes(worker: WorkerProcess) -> None:
    for step, body in (("query.nothing", [b""]), ("no such type", [b""]), ("query", [b"\xff"])):
        with pytest.raises(JobFailed, match="raised"):
            worker.exchange(step, body, timeout=30)
    assert worker.alive()


def test_a_worker_that_takes_too_long_is_killed() -> None:
    slow = WorkerProcess(WorkerJob("slow", APP, "a"), extra_env=ROOT)
    slow.call("query", RecordDict(), timeout=30)
    with pytest.raises(JobFailed, match=r"more than 0\.2 s"):
        slow.call("query.sleep", RecordDict(), timeout=0.2)
    assert not slow.alive()
    with pytest.raises(JobFailed, match="gone"):
        slow.call("query", RecordDict(), timeout=1)


def test_cancel_ends_a_running_step_at_once() -> None:
    import threading

    busy = WorkerProcess(WorkerJob("busy", APP, "a"), extra_env=ROOT)
    threading.Timer(0.3, busy.kill).start()
    with pytest.raises(JobFailed, match="gone"):
        busy.call("query.sleep", RecordDict(), timeout=30)


def test_an_app_that_is_not_installed_is_a_failure() -> None:
    lost = WorkerProcess(WorkerJob("lost", "no.such:app", "a"), extra_env=ROOT)
    with pytest.raises(JobFailed, match="InbondError"):
        lost.call("query", RecordDict(), timeout=30)
    lost.kill()


def test_large_bodies_do_not_pile_up_in_the_agent(worker: WorkerProcess) -> None:
    content = RecordDict({"a": ArrayRecord([np.zeros(20_000_000, np.uint8)])})
    worker.call("query", content, timeout=30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        worker.call("query", content, timeout=30)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_malformed_reply_of_a_recipe_is_refused_by_the_agent() -> None:
    with pytest.raises(PeerViolation):
        WorkerProcess.call(_Liar(), "query", RecordDict())  # type: ignore[arg-type]  # stands in for a process


class _Liar:
    def exchange(self, *args: object, **named: object) -> list[bytes]:
        return [b"\xff"]
