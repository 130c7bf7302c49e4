"""Stock Flower strategies run unchanged: in process, in a runner, and over the whole transport."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict

from federation.grid import FAILED, REFUSED, InProcessGrid, RunnerGrid, _content
from federation.runner import Asked, RunnerEvent, RunnerJob, RunnerProcess, runner_child
from inbond import codec, flower
from inbond.errors import InbondError, JobFailed, Refused, Unreachable
from inbond.ipc import Channel
from inbond.messages import Reply, Request, request_id
from parties.link import Link
from parties.worker import WorkerJob, WorkerProcess
from tests.federation import toy
from tests.federation.test_hub import World, until
from tests.federation.tls import dial, verify

ROOT = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
STARTED = partial(runner_child, extra_env=ROOT)
SERVER = "tests.federation.toy:server"
CLIENT = "tests.federation.toy:client"
NAMES = list(toy.PARTIES)
MEAN = float(np.mean([toy.target(flower.node_id(party)) for party in NAMES]))


def _job(strategy: str, rounds: int = 4, app: str = SERVER) -> RunnerJob:
    return RunnerJob("toy", app, [SERVER], NAMES, run_config={"strategy": strategy, "rounds": rounds})


def _model(state: RecordDict) -> np.ndarray:
    return state.array_records["model"]["0"].numpy()


def _in_process(strategy: str) -> RecordDict:
    grid = InProcessGrid(dict.fromkeys(NAMES, toy.client))
    context = Context(1, 1, {}, RecordDict(), {"strategy": strategy, "rounds": 4})
    toy.server(grid, context)
    return context.state


def test_fedavg_in_process_ends_at_the_mean_of_the_targets() -> None:
    state = _in_process("fedavg")
    np.testing.assert_allclose(_model(state), MEAN * (1 - 0.5**4))
    assert list(state.metric_records["away"]) == ["1", "2", "3", "4"]


class Local:
    """Answers asks in this process, as a coordinator without a network."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, int]] = []
        self._grid = InProcessGrid(dict.fromkeys(NAMES, toy.client))

    def __call__(self, party: str, asked: Asked) -> "Future[Reply]":
        self.asked.append((party, asked.step, asked.round, asked.attempt))
        message = flower.instruction(
            codec.decode(asked.body),
            asked.step,
            run_id=1,
            node_id=flower.node_id(party),
            message_id="m",
            group_id="",
            created_at=time.time(),
            ttl=60,
        )
        future: Future[Reply] = Future()
        reply = toy.client(message, self._grid.contexts[party])
        future.set_result(Reply("0" * 32, "ok", "", codec.encode(reply.content)))
        return future


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "krum"])
def test_a_runner_gives_what_the_same_strategy_gives_in_process(strategy: str) -> None:
    local, events = Local(), list[RunnerEvent]()
    state = RunnerProcess(_job(strategy), local, on_event=events.append, start=STARTED).result(60)
    np.testing.assert_allclose(_model(state), _model(_in_process(strategy)))
    assert {(step, number) for _, step, number, _ in local.asked} == {
        (step, number) for step in ("train", "evaluate") for number in (1, 2, 3, 4)
    }
    rounds = [event.data for event in events if event.kind == "round"]
    assert rounds[0] == {"step": "train", "round": 1, "answered": 3, "sent": 3}
    assert sum("ROUND 1/4" in str(event.data.get("text")) for event in events) == 1


def _party(port: int, credentials: tuple[bytes, bytes, bytes], name: str) -> None:
    worker = WorkerProcess(WorkerJob("toy", CLIENT, name), extra_env=ROOT)

    def handle(request: Request) -> Reply:
        return Reply(request.id, "ok", "", worker.exchange(request.step, request.body, round_number=request.round))

    Link(lambda: dial(port, credentials), handle, verify=verify, version="0").run()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    spawn = multiprocessing.get_context("spawn")
    nodes = [spawn.Process(target=_party, args=(made.port, made.consortium.credentials(name), name)) for name in NAMES]
    for node in nodes:
        node.start()
    until(lambda: len(made.hub.connected()) == 3, 30)
    yield made
    for node in nodes:
        node.kill()
        node.join()
    made.close()


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "krum"])
def test_over_hub_link_runner_and_worker_the_result_is_the_same(world: World, strategy: str) -> None:
    def ask(party: str, asked: Asked) -> "Future[Reply]":
        key = request_id(strategy, asked.attempt, asked.step, asked.round, party)
        expires = time.time() + 60
        return world.hub.request(
            party, Request(key, strategy, "step", asked.step, asked.round, 0, "", expires, asked.body)
        )

    state = RunnerProcess(_job(strategy), ask, start=STARTED).result(60)
    np.testing.assert_allclose(_model(state), _model(_in_process(strategy)))


def _never(party: str, asked: Asked) -> "Future[Reply]":
    return Future()


def test_a_runner_that_dies_ends_the_job_and_gives_up_what_it_asked() -> None:
    futures: list[Future[Reply]] = []

    def ask(party: str, asked: Asked) -> "Future[Reply]":
        futures.append(Future())
        return futures[-1]

    runner = RunnerProcess(_job("fedavg"), ask, start=STARTED)
    until(lambda: len(futures) == 3, 20)
    os.kill(runner.pid, signal.SIGKILL)
    with pytest.raises(JobFailed, match="ended without a result"):
        runner.result(10)
    assert all(future.cancelled() for future in futures)


def test_a_runner_is_killed_on_cancel_and_on_timeout() -> None:
    runner = RunnerProcess(_job("fedavg"), _never, start=STARTED)
    threading.Timer(0.2, runner.kill, ["cancelled by the researcher"]).start()
    with pytest.raises(JobFailed, match="cancelled by the researcher"):
        runner.result(10)
    until(lambda: not runner.alive())
    runner = RunnerProcess(_job("fedavg"), _never, start=STARTED)
    with pytest.raises(JobFailed, match=r"more than 0\.2 s"):
        runner.result(0.2)
    until(lambda: not runner.alive())


def test_an_app_that_raises_fails_the_job_and_its_text_stays_in_the_log() -> None:
    runner = RunnerProcess(_job("no such strategy"), _never, start=STARTED)
    with pytest.raises(JobFailed, match="raised KeyError") as failure:
        runner.result(30)
    assert "no such strategy" not in str(failure.value)
    until(lambda: "no such strategy" in runner.log_tail())  # which a thread reads


def test_only_an_allowed_app_is_started() -> None:
    with pytest.raises(InbondError, match="not an installed ServerApp"):
        RunnerProcess(_job("fedavg", app="os:system"), _never)


def test_refusals_and_failures_reach_the_app_as_flower_errors() -> None:
    assert _content("refused", "no basis", ()).code == REFUSED  # type: ignore[union-attr]  # an error
    assert _content("failed", "", ()).code == FAILED  # type: ignore[union-attr]  # an error
    assert _content("ok", "", [b"\xff"]).code == FAILED  # type: ignore[union-attr]  # an error
    assert isinstance(_content("ok", "", codec.encode(RecordDict())), RecordDict)


def test_an_ask_that_cannot_be_put_is_a_failed_reply_and_the_strategy_goes_on() -> None:
    def ask(party: str, asked: Asked) -> "Future[Reply]":
        if party == NAMES[0]:
            raise Refused("is not connected", where=party)
        future: Future[Reply] = Future()
        future.set_exception(Unreachable("broke", where=party))
        return future

    events: list[RunnerEvent] = []
    state = RunnerProcess(_job("fedavg", rounds=1), ask, on_event=events.append, start=STARTED).result(30)
    assert not state.array_records["model"]
    assert any("is not connected" in str(event.data.get("text")) for event in events)


def test_replies_that_come_too_late_are_left_out() -> None:
    grid = InProcessGrid(dict.fromkeys(NAMES, toy.client))
    grid._send = lambda asks, body: None  # type: ignore[method-assign]  # nobody answers
    nodes = list(grid.get_node_ids())
    started = time.monotonic()
    assert list(grid.send_and_receive([Message(RecordDict(), nodes[0], "query")], timeout=0.1)) == []
    assert time.monotonic() - started < 2


def test_push_and_pull_and_the_same_step_twice_counts_attempts() -> None:
    grid = InProcessGrid(dict.fromkeys(NAMES, toy.client))
    node = flower.node_id(NAMES[0])
    content = RecordDict({"a": ArrayRecord([np.ones(2)])})
    seen: list[int] = []
    send = grid._send
    grid._send = lambda asks, body: (seen.extend(ask.attempt for ask in asks), send(asks, body))[1]  # type: ignore[method-assign,func-returns-value]  # a spy
    keys = list(grid.push_messages([grid.create_message(content, "query", node, "1") for _ in "ab"]))
    replies = list(grid.pull_messages(keys))
    assert [reply.content for reply in replies] == [content, content]
    assert list(grid.pull_messages(keys)) == []
    assert seen == [0, 1]


def test_a_node_that_is_no_party_is_refused_and_names_must_differ() -> None:
    grid = InProcessGrid(dict.fromkeys(NAMES, toy.client))
    with pytest.raises(InbondError, match="no party of this job"):
        grid.push_messages([Message(RecordDict(), 12345, "query")])
    ours, _theirs = socket.socketpair()
    with ours, _theirs, pytest.raises(InbondError, match="share a name"):
        RunnerGrid(Channel(ours), ["a", "a"], 1)
