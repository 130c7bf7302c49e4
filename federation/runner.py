"""One job's Flower ServerApp in its own process, and the coordinator's handle on it.

The runner holds no key and no network: it asks the coordinator, over a socket pair, to put a step to a party
and gets the reply. The coordinator checks every ask (only this job's parties, only plain names and numbers)
and kills the process on cancel, on timeout and on anything out of order.
"""

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Context, RecordDict, UserConfig
from flwr.serverapp import ServerApp

from federation.grid import RunnerGrid
from inbond import codec, flower
from inbond.child import Child, spawn
from inbond.errors import InbondError, JobFailed
from inbond.ipc import Channel, ChannelBroken, Packet
from inbond.messages import Buffer, PeerViolation, Reply

_log = logging.getLogger(__name__)
_LINE = 500
_NAME = 128


@dataclass(frozen=True, slots=True)
class RunnerJob:
    """What a runner is told: the ServerApp's entry, which must be among `allowed`, and the job's frame."""

    name: str
    app: str
    allowed: Sequence[str]
    parties: Sequence[str]
    run_id: int = 1
    run_config: UserConfig = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the ServerApp wants of one party: `ttl` in seconds, `attempt` counts repetitions from 0."""

    step: str
    round: int
    attempt: int
    ttl: float
    body: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class RunnerEvent:
    """What a runner tells: `kind` is "round" (step, round, answered, sent) or "log" (level, text)."""

    kind: str
    data: Mapping[str, str | int]


Ask = Callable[[str, Asked], "Future[Reply]"]
"""How the coordinator puts a question to a party."""


def runner_child(preload: Sequence[str] = (), *, extra_env: Mapping[str, str] | None = None) -> Child:
    """A process that waits for its job, and loads the ServerApps `preload` meanwhile; raises InbondError."""
    child = spawn("federation.runner", extra_env=extra_env, name="runner")
    child.channel.send(json.dumps({"preload": list(preload)}).encode())
    return child


class RunnerProcess:
    """The coordinator's side of a runner; `result` waits for it, `kill` ends it.

    `ask(party, asked)` is called on this object's thread and returns a future; `on_event` hears of rounds
    and log lines. `state` is what the app finds in its Context's state, and the result is what it leaves
    there. `start` gives the process, one of `runner_child`'s.
    """

    def __init__(
        self,
        job: RunnerJob,
        ask: Ask,
        *,
        on_event: Callable[[RunnerEvent], None] | None = None,
        state: RecordDict | None = None,
        start: Callable[[], Child] | None = None,
    ) -> None:
        if job.app not in job.allowed:
            raise InbondError("is not an installed ServerApp", where=job.app, right="use an allowed one")
        self._job = job
        self._ask = ask
        self._on_event = on_event or (lambda _event: None)
        self._asked: dict[str, Future[Reply]] = {}
        self._lock = threading.Lock()
        self._done: Future[RecordDict] = Future()
        self._child = (start or runner_child)()
        self._send_job(state or RecordDict())
        threading.Thread(target=self._serve, name=f"runner-{job.name}", daemon=True).start()

    def result(self, timeout: float | None = None) -> RecordDict:
        """Return what the app left in its state; raises JobFailed, also after `timeout` seconds."""
        try:
            return self._done.result(timeout)
        except TimeoutError:
            self.kill(f"took more than {timeout:g} s")
            return self._done.result(5.0)

    def kill(self, reason: str = "cancelled") -> None:
        """End the process and give up what it asked; `result` raises JobFailed with `reason`."""
        self._finish(JobFailed(reason, where=f"job {self._job.name}"))
        self._child.kill()

    def alive(self) -> bool:
        """Say whether the process runs."""
        return self._child.alive()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def log_tail(self) -> str:
        """Return what the process printed last, for the coordinator's own log."""
        return self._child.log_tail()

    def _send_job(self, state: RecordDict) -> None:
        job = self._job
        head = {
            "app": job.app,
            "allowed": list(job.allowed),
            "parties": list(job.parties),
            "run_id": job.run_id,
            "run_config": dict(job.run_config),
        }
        self._child.channel.send(json.dumps(head).encode(), codec.encode(state))

    def _serve(self) -> None:
        where = f"runner of {self._job.name}"
        try:
            while not self._done.done():
                self._take(self._child.channel.receive())
        except ChannelBroken:
            self._finish(JobFailed("the process ended without a result", where=where, right="see its log"))
        except (InbondError, KeyError, TypeError, ValueError):
            _log.exception("%s broke the rules", where)
            self._finish(JobFailed("sent something out of order", where=where, right="see the log"))
        finally:
            self._child.kill()

    def _take(self, packet: Packet) -> None:
        head = json.loads(packet.head)
        match head["do"]:
            case "ask":
                for item in head["asks"]:
                    self._put(item, packet.body)
            case "drop":
                for key in head["ids"]:
                    self._give_up(str(key))
            case "round" | "log" as kind:
                self._on_event(RunnerEvent(kind, {str(name): _plain(value) for name, value in head["data"].items()}))
            case "result":
                self._finish(codec.decode(packet.body))
            case "failed":
                kind = str(head["kind"])[:_NAME]
                self._finish(JobFailed(f"the ServerApp raised {kind}", where=f"job {self._job.name}"))
            case _:
                raise PeerViolation("an unknown word", where="runner")

    def _put(self, item: Mapping[str, Any], body: Sequence[Buffer]) -> None:
        key, party = str(item["id"]), str(item["party"])
        if party not in self._job.parties or len(str(item["step"])) > _NAME:
            raise PeerViolation("an ask for nobody of this job", where="runner")
        asked = Asked(str(item["step"]), int(item["round"]), int(item["attempt"]), float(item["ttl"]), body)
        future = self._asking(party, asked)
        with self._lock:
            self._asked[key] = future
        future.add_done_callback(lambda done: self._answer(key, party, done))

    def _asking(self, party: str, asked: Asked) -> "Future[Reply]":
        try:
            return self._ask(party, asked)
        except InbondError as error:
            refused: Future[Reply] = Future()
            refused.set_exception(error)
            return refused

    def _answer(self, key: str, party: str, done: "Future[Reply]") -> None:
        """Pass a reply on to the app; a failure's reason is ours and says nothing about the party's data."""
        with self._lock:
            if self._asked.pop(key, None) is None or done.cancelled():
                return
        error = done.exception()
        reply = done.result() if error is None else Reply("", "failed", f"{party}: {error}"[:_LINE])
        head = {"id": key, "status": reply.status, "reason": reply.reason}
        try:
            self._child.channel.send(json.dumps(head).encode(), reply.body)
        except ChannelBroken as broken:
            _log.info("a reply came too late: %s", broken)

    def _give_up(self, key: str) -> None:
        with self._lock:
            future = self._asked.pop(key, None)
        if future is not None:
            future.cancel()

    def _finish(self, outcome: RecordDict | JobFailed) -> None:
        with self._lock:
            if self._done.done():
                return
            if isinstance(outcome, JobFailed):
                self._done.set_exception(outcome)
            else:
                self._done.set_result(outcome)
            left = list(self._asked)
        for key in left:
            self._give_up(key)


def _plain(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)[:_LINE]


class _EventLog(logging.Handler):
    """Sends log lines to the coordinator."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        data = {"level": record.levelname, "text": record.getMessage()[:_LINE]}
        with contextlib.suppress(ChannelBroken):  # the coordinator is gone, and this process with it
            _tell(self._channel, "log", data)


def _tell(channel: Channel, kind: str, data: Mapping[str, str | int]) -> None:
    channel.send(json.dumps({"do": kind, "data": data}).encode())


def main(channel: Channel) -> None:
    """Run as the child: receive the job, run its ServerApp, send its state back."""
    for app in json.loads(channel.receive(60.0).head)["preload"]:
        flower.load_app(app, ServerApp)
    try:
        packet = channel.receive()
    except ChannelBroken:
        return
    job = json.loads(packet.head)
    logging.getLogger().addHandler(_EventLog(channel))
    try:
        context = _run(channel, job, codec.decode(packet.body))
        channel.send(json.dumps({"do": "result"}).encode(), codec.encode(context.state))
    except Exception as error:  # noqa: BLE001 - an app may raise anything; the owner's log has it in full
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        channel.send(json.dumps({"do": "failed", "kind": type(error).__name__}).encode())


def _run(channel: Channel, job: Mapping[str, Any], state: RecordDict) -> Context:
    if job["app"] not in job["allowed"]:
        raise InbondError("is not an installed ServerApp", where=job["app"])
    app = flower.load_app(job["app"], ServerApp)

    def on_round(step: str, number: int, answered: int, sent: int) -> None:
        _tell(channel, "round", {"step": step, "round": number, "answered": answered, "sent": sent})

    grid = RunnerGrid(channel, job["parties"], job["run_id"], on_round)
    context = Context(
        run_id=job["run_id"],
        node_id=flower.SERVER_NODE_ID,
        node_config={},
        state=state,
        run_config=job["run_config"],
    )
    app(grid, context)
    return context
