"""The steps that a running job's ServerApp asks of parties: each is put at most once per answer.

What a party replied is kept before the runner sees it, so a runner that died, or a coordinator that was killed, starts
again and gets the same answers without any party doing a step twice. The mail of a join is not kept here, for it is
large and nothing is added up from it: the party is asked once more then, and gives the reply that it kept itself.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from compliance.audit.entry import EntryType
from federation.exchange import JOIN_STEP
from federation.hub import Hub
from federation.owner_desk import OwnerDesk
from federation.runner import Asked, RunnerEvent, RunnerProcess
from federation.secure_rounds import OWNER
from federation.store import CoordinatorStore
from inbond import codec
from inbond.errors import Errors
from inbond.messages import Reply, Request, request_id, size
from inbond.node import Node
from inbond.records import octets
from policies.job import JobOrder
from policies.plan import Plan

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Running:
    """What exists of a job only while it runs: `digest` is the plan's, `kept` the requests that an earlier runner of
    the job has had answered, `costs` what all its requests moved (as `CoordinatorStore.costs` has it).
    """

    order: JobOrder
    plan: Plan
    runner: RunnerProcess | None = None
    ended: str = ""
    complaint: str = ""
    digest: str = field(init=False)
    kept: set[str] = field(default_factory=set)
    costs: dict[str, float] = field(default_factory=dict)
    waiting_since: dict[str, float] = field(default_factory=dict)
    told_away: set[str] = field(default_factory=set)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.digest = self.plan.digest()

    def count(self, up: int, down: int) -> None:
        """Add one answered request to the costs, in bytes to and from a party."""
        with self._counting:
            self.costs["requests"] += 1
            self.costs["bytes_to_parties"] += up
            self.costs["bytes_from_parties"] += down


def request_of(
    job: str,
    party: str,
    kind: str,
    step: str,
    round_: int,
    attempt: int,
    plan: str,
    seconds: float,
    body: Any,
) -> Request:
    """A question of `kind` to a party, good for `seconds`; the same one has the same id."""
    name = request_id(job, attempt, f"{kind}:{step}", round_, party)
    return Request(name, job, kind, step, round_, attempt, plan, time.time() + seconds, body)


class Steps:
    """Puts steps to parties, or to the job's owner; `tell` adds an event to a job."""

    def __init__(
        self,
        node: Node,
        store: CoordinatorStore,
        hub: Hub,
        desk: OwnerDesk,
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._node, self._store, self._hub, self._desk, self._tell = node, store, hub, desk, tell
        self._keeping = ThreadPoolExecutor(8, "keep")

    def ask(self, job: str, running: Running, party: str, asked: Asked) -> "Future[Reply]":
        """Put one step to a party, or answer from what it replied before."""
        plan = running.digest
        request = request_of(job, party, "step", asked.step, asked.round, asked.attempt, plan, asked.ttl, asked.body)
        answer: Future[Reply] = Future()
        kept = self._store.reply(request.id) if request.id in running.kept else None
        if kept is not None:
            answer.set_result(Reply(request.id, "ok", kept.reason, kept.body))
            return answer
        started = time.monotonic()
        asking = self._desk.ask(job, request) if party == OWNER else self._hub.request(party, request)

        def arrived(done: "Future[Reply]") -> None:
            if not done.cancelled():
                self._keeping.submit(self._keep, job, running, party, request, done, answer, started)

        asking.add_done_callback(arrived)
        answer.add_done_callback(lambda done: asking.cancel() if done.cancelled() else None)
        return answer

    def _keep(
        self,
        job: str,
        running: Running,
        party: str,
        request: Request,
        done: "Future[Reply]",
        answer: "Future[Reply]",
        started: float,
    ) -> None:
        """Keep and log a reply, then let the runner have it."""
        try:
            reply = done.result()
            seconds = round(time.monotonic() - started, 4)
            if reply.status == "ok":
                self._keep_ok(job, running, party, request, reply, seconds)
            else:
                running.complaint = running.complaint or f"party {party} ({request.step}): {reply.reason}"
            data = {
                "party": party,
                "step": request.step,
                "round": request.round,
                "request": request.id,
                "status": reply.status,
                "bytes": size(reply.body),
            }
            self._node.record(EntryType.STEP, job=job, subject=running.order.iss, data=data)
            if not answer.cancelled():
                answer.set_result(reply)
        except Errors as error:
            running.complaint = running.complaint or f"party {party} ({request.step}): {error}"
            if not answer.cancelled():
                answer.set_exception(error)
        except Exception as error:
            log.exception("a reply could not be kept", job=job, party=party)
            running.complaint = running.complaint or "the coordinator could not keep a reply; its log says why"
            if not answer.cancelled():
                answer.set_exception(error)

    def _keep_ok(self, job: str, running: Running, party: str, request: Request, reply: Reply, seconds: float) -> None:
        facts = {
            "party": party,
            "step": request.step,
            "round": request.round,
            "status": reply.status,
            "reason": reply.reason,
            "up": size(request.body),
            "seconds": seconds,
        }
        if self._store.keep_reply(request.id, job, facts, reply.body, whole=request.step != JOIN_STEP):
            running.count(size(request.body), size(reply.body))
        content = codec.decode(reply.body)
        box = content.config_records.get("progress")
        if box is not None and box["box"]:
            self._tell(
                job,
                {
                    "event": "progress",
                    "party": party,
                    "box": octets(content, "progress", "box").hex(),
                    "step": request.step,
                    "round": request.round,
                },
            )

    def heard(self, job: str, running: Running, event: RunnerEvent, rounds: int) -> None:
        """A finished exchange becomes an event for whoever watches."""
        if event.kind == "round":
            self._tell(
                job,
                {
                    "event": "step",
                    "step": event.data["step"],
                    "round": event.data["round"],
                    "rounds": rounds,
                    **running.costs,
                },
            )
        elif event.data.get("level") in {"ERROR", "CRITICAL"}:
            log.warning("runner", job=job, text=event.data.get("text"))
