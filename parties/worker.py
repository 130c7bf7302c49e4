"""One job's Flower ClientApp in its own process, and the agent's handle on it.

The worker holds the permitted view of the data and nothing else: no key, no network, no other file. It gets
one instruction at a time and gives one reply. What its app raises stays in this node's log; the agent learns
the class of the error, a peer nothing. The agent checks whatever comes back before it leaves the node.
"""

import json
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Context, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp

from inbond import codec, flower
from inbond.child import ChildLimits, spawn
from inbond.errors import JobFailed
from inbond.ipc import Channel, ChannelBroken, ChannelTimeout
from inbond.messages import Buffer

_KIND = 64


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker is told. `node_config` is for the app's Context, which also finds the view there.

    The view is a descriptor (the app opens the path in `node_config["view"]`) or a path; its format, such as
    "arrow" or "parquet", is in `node_config["view-format"]`.
    """

    name: str
    app: str
    party: str
    run_id: int = 1
    run_config: UserConfig = field(default_factory=dict)
    node_config: UserConfig = field(default_factory=dict)
    view: int | str | None = None
    view_format: str = "arrow"


class WorkerLost(JobFailed):
    """The process died under a call: killed from outside, or by what it ran; the call may be made again."""


class WorkerProcess:
    """The agent's side of a worker; calls are made one after the other.

    `state` is what the app finds in its Context's state at first (buffers of `codec.encode`).
    """

    def __init__(
        self,
        job: WorkerJob,
        *,
        state: Sequence[Buffer] | None = None,
        limits: ChildLimits | None = None,
        env: Iterable[str] = (),
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self._job = job
        self._calls = threading.Lock()
        self._child = spawn("parties.worker", limits=limits, env=env, extra_env=extra_env, name=f"worker of {job.name}")
        files = [job.view] if isinstance(job.view, int) else []
        head = {
            "app": job.app,
            "party": job.party,
            "run_id": job.run_id,
            "run_config": dict(job.run_config),
            "node_config": dict(job.node_config) | {"view-format": job.view_format},
            "path": job.view if isinstance(job.view, str) else None,
        }
        try:
            self._child.channel.send(json.dumps(head).encode(), state or codec.encode(RecordDict()), files)
        except BaseException:
            self._child.kill()
            raise

    def call(
        self, message_type: str, content: RecordDict, *, round_number: int = 0, timeout: float = 3600.0
    ) -> RecordDict:
        """Run one step on a content; see `exchange`. Raises PeerViolation when the reply is malformed."""
        return codec.decode(
            self.exchange(message_type, codec.encode(content), round_number=round_number, timeout=timeout)
        )

    def exchange(
        self,
        message_type: str,
        body: Sequence[Buffer],
        *,
        round_number: int = 0,
        timeout: float = 3600.0,
    ) -> Sequence[Buffer]:
        """Run one step on an encoded content and return the reply's, both as buffers of `codec`.

        Raises JobFailed when the app raised (with the class of its error only) and after `timeout` seconds,
        WorkerLost when the process is gone; in the last two cases the process is killed.
        """
        return self._ask({"do": "call", "step": message_type, "round": round_number}, body, timeout)

    def state(self, timeout: float = 60.0) -> Sequence[Buffer]:
        """Return the app's state between two calls, to start another worker from."""
        return self._ask({"do": "state"}, (), timeout)

    def kill(self) -> None:
        """End the process at once."""
        self._child.kill()

    def alive(self) -> bool:
        """Say whether the process runs."""
        return self._child.alive()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def log_tail(self) -> str:
        """Return what the process printed last, for this node's own log."""
        return self._child.log_tail()

    def _ask(self, head: Mapping[str, Any], body: Sequence[Buffer], timeout: float) -> Sequence[Buffer]:
        where = f"worker of {self._job.name}"
        with self._calls:
            try:
                self._child.channel.send(json.dumps(head).encode(), body)
                packet = self._child.channel.receive(timeout)
                answer = json.loads(packet.head)
                failure = answer.get("failed")
            except ChannelTimeout:
                self.kill()
                raise JobFailed(f"took more than {timeout:g} s", where=where, right="see its log") from None
            except (ChannelBroken, ValueError, AttributeError):
                self.kill()
                raise WorkerLost("the process is gone", where=where, right="see its log") from None
        if failure is not None:
            raise JobFailed(f"the ClientApp raised {str(failure)[:_KIND]}", where=where, right="see its log")
        return packet.body


def main(channel: Channel) -> None:
    """Run as the child: receive the job, then answer calls until the agent closes the channel."""
    packet = channel.receive(60.0)
    job = json.loads(packet.head)
    context = _context(job, packet.files, codec.decode(packet.body))
    app: ClientApp | None = None
    while True:
        try:
            packet = channel.receive()
        except ChannelBroken:
            return
        head = json.loads(packet.head)
        try:
            if app is None:
                app = flower.load_app(job["app"], ClientApp)
            body = _answer(app, context, head, packet.body)
        except Exception as error:  # noqa: BLE001 - a recipe may raise anything; the owner's log has it in full
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            channel.send(json.dumps({"failed": type(error).__name__}).encode())
        else:
            channel.send(b"{}", body)


def _context(job: Mapping[str, Any], files: Sequence[int], state: RecordDict) -> Context:
    node_config = dict(job["node_config"])
    if files:
        node_config["view"] = f"/proc/self/fd/{files[0]}"
    elif job["path"] is not None:
        node_config["view"] = job["path"]
    return Context(
        run_id=job["run_id"],
        node_id=flower.node_id(job["party"]),
        node_config=node_config,
        state=state,
        run_config=job["run_config"],
    )


def _answer(app: ClientApp, context: Context, head: Mapping[str, Any], body: Sequence[Buffer]) -> Sequence[Buffer]:
    if head["do"] == "state":
        return codec.encode(context.state)
    message: Message = flower.instruction(
        codec.decode(body),
        head["step"],
        run_id=context.run_id,
        node_id=context.node_id,
        message_id=f"{head['step']}/{head['round']}",
        group_id=str(head["round"]),
        created_at=time.time(),
        ttl=86_400.0,
    )
    reply = app(message, context)
    if reply.has_error():
        raise JobFailed("the ClientApp replied with an error")
    return codec.encode(reply.content)
