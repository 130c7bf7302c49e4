"""What researchers and officers may ask of the coordinator, over mutual TLS; who they are is their certificate's say.

What a caller may do and see is a policy decision (`federation/gate.py`). Errors to a caller say what is wrong with what
it sent, never anything about data.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import structlog

from compliance.errors import ComplianceError
from federation.gate import Gate
from federation.hub import Hub
from federation.jobs import JobManager
from federation.store import CoordinatorStore, JobRow
from inbond import tls
from inbond.approvals import MAX_TOKEN_BYTES
from inbond.errors import InbondError, Refused
from inbond.node import Node, utc_now
from inbond.v1 import control_pb2 as wire
from inbond.v1 import control_pb2_grpc
from policies.calls import Call, role_of
from policies.errors import PolicyError
from policies.explain import explain
from policies.identity import PeerIdentity
from policies.job import JobOrder
from policies.job_state import JobState
from protocols.errors import ProtocolError

log = structlog.get_logger(__name__)
T = TypeVar("T")
NONCE_SECONDS = 300.0
MAX_NONCES = 10_000
MAX_NONCES_EACH = 100  # of one caller, so that nobody can use up everybody's
CHUNK = 1024 * 1024
MAX_SUM_KEY = 1024 * 1024
WATCH_SECONDS = 5.0
RECHECK_SECONDS = 0.5
GATHER_SECONDS = 0.05  # quick rounds are told several at a time
MAX_PROPOSED = 200  # newest first; each costs two signatures to check
MAX_OPENED = 1024 * 1024 * 1024


class Nonces:
    """Challenges given out and not yet used, per caller; a restart forgets them, and the caller asks again."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def give(self, caller: str) -> str:
        """A fresh challenge for `caller`."""
        now = time.monotonic()
        with self._lock:
            self._given = {key: item for key, item in self._given.items() if item[1] > now}
            own = sum(owner == caller for owner, _ in self._given.values())
            if own >= MAX_NONCES_EACH or len(self._given) >= MAX_NONCES:
                raise Refused("too many open challenges", where="order", right="try again later")
            nonce = secrets.token_hex(16)
            self._given[nonce] = (caller, now + NONCE_SECONDS)
        return nonce

    def take(self, nonce: str, caller: str) -> None:
        """Use a challenge up; raises Refused unless it was given to `caller` lately and not used."""
        with self._lock:
            owner, until = self._given.pop(nonce, ("", 0.0))
        if owner != caller or until < time.monotonic():
            raise Refused("the order answers no open challenge", where="order", right="submit the job file again")


class Control(control_pb2_grpc.ControlServicer):
    """The servicer of `control.proto`."""

    def __init__(self, node: Node, store: CoordinatorStore, jobs: JobManager, hub: Hub, gate: Gate) -> None:
        self._node, self._store, self._jobs, self._hub, self._gate = node, store, jobs, hub, gate
        self._nonces = Nonces()

    # orders

    def Challenge(self, request: wire.ChallengeRequest, context: grpc.ServicerContext) -> wire.ChallengeReply:  # noqa: N802, D102, ARG002 - named in control.proto
        return self._do(context, "challenge", lambda caller: wire.ChallengeReply(nonce=self._nonces.give(caller)))

    def Explain(self, request: wire.OrderRequest, context: grpc.ServicerContext) -> wire.ExplainReply:  # noqa: N802, D102 - named in control.proto
        return self._do(context, "explain", lambda caller: self._explain(request, caller))

    def Submit(self, request: wire.OrderRequest, context: grpc.ServicerContext) -> wire.JobView:  # noqa: N802, D102 - named in control.proto
        return self._do(context, "submit", lambda caller: self._submit(request, caller))

    def _open(self, request: wire.OrderRequest, caller: str) -> JobOrder:
        if len(request.sum_key) > MAX_SUM_KEY:
            raise Refused(f"a key of {len(request.sum_key)} bytes", where="order", right=f"at most {MAX_SUM_KEY}")
        order = self._jobs.open(request.order, caller)
        self._nonces.take(order.nonce, caller)
        return order

    def _submit(self, request: wire.OrderRequest, caller: str) -> wire.JobView:
        order = self._open(request, caller)
        return self._view(self._jobs.submit(request.order, order, request.sum_key))

    def _explain(self, request: wire.OrderRequest, caller: str) -> wire.ExplainReply:
        order = self._open(request, caller)
        plan, decision, answers = self._jobs.verdicts.explain(request.order, order, request.sum_key)
        verdicts = [
            wire.PartyVerdict(party=party, problem=answer)
            if isinstance(answer, str)
            else wire.PartyVerdict(party=party, verdict=answer[1])
            for party, answer in answers.items()
        ]
        own = {
            "effect": decision.effect.value,
            "reasons": list(explain(decision)),
            "permitted": decision.permitted,
        }
        return wire.ExplainReply(plan=json.dumps(plan.payload()), coordinator=json.dumps(own), verdicts=verdicts)

    # jobs

    def Status(self, request: wire.JobRequest, context: grpc.ServicerContext) -> wire.JobView:  # noqa: N802, D102 - named in control.proto
        return self._on_job(context, "status", request.job, lambda row: self._view(row, full=True))

    def List(self, request: wire.ListRequest, context: grpc.ServicerContext) -> wire.JobList:  # noqa: N802, D102, ARG002 - named in control.proto
        def listed(caller: PeerIdentity) -> wire.JobList:
            owner = "" if self._gate.everyones(caller, "list") else str(caller.spiffe_id)
            return wire.JobList(jobs=[self._view(row) for row in self._store.jobs(owner=owner)])

        return self._do_as(context, "list", listed)

    def Cancel(self, request: wire.JobRequest, context: grpc.ServicerContext) -> wire.JobView:  # noqa: N802, D102 - named in control.proto
        def cancel(caller: PeerIdentity) -> wire.JobView:
            row = self._row(caller, "cancel", request.job)
            own = row.owner == str(caller.spiffe_id)
            self._jobs.cancel(row.id, "its owner" if own else f"{caller.spiffe_id.name} ({role_of(caller)})")
            return self._view(self._store.job(row.id) or row)

        return self._authorised(context, cancel)

    def Watch(self, request: wire.WatchRequest, context: grpc.ServicerContext) -> Iterator[wire.JobEvent]:  # noqa: N802, D102 - named in control.proto
        row = self._on_job(context, "watch", request.job, lambda row: row)
        after, checked = request.after, time.monotonic()
        while context.is_active():
            ended = self._jobs.ended(row.id)
            events = self._jobs.wait_event(row.id, after, 0.0 if ended else WATCH_SECONDS)
            for number, at, body in events:
                yield wire.JobEvent(number=number, time=at, body=json.dumps(body))
                after = number
            if ended and not events:
                return
            if time.monotonic() - checked >= RECHECK_SECONDS:
                self._on_job(context, "watch", row.id, lambda row: row)  # a revoked watcher hears no more
                checked = time.monotonic()
            if events and not ended:
                time.sleep(GATHER_SECONDS)

    def Result(self, request: wire.JobRequest, context: grpc.ServicerContext) -> Iterator[wire.ResultChunk]:  # noqa: N802, D102 - named in control.proto
        path = self._on_job(context, "result", request.job, self._result)
        total = path.stat().st_size
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield wire.ResultChunk(data=data, total=total)

    def _result(self, row: JobRow) -> Any:
        path = self._jobs.result_path(row.id)
        if row.state != "finished" or not path.exists():
            raise Refused(f"job {row.id} is {row.state}: {row.reason or 'no result yet'}", where="result")
        return path

    # sums that only the owner opens

    def ToOpen(self, request: wire.ToOpenRequest, context: grpc.ServicerContext) -> Iterator[wire.ResultChunk]:  # noqa: N802, D102 - named in control.proto
        desk = self._jobs.desk
        body = self._on_job(context, "open", request.job, lambda row: desk.body(row.id, request.request) or b"")
        for start in range(0, len(body), CHUNK):
            yield wire.ResultChunk(data=body[start : start + CHUNK])

    def Opened(self, request_iterator: Iterator[wire.OpenedChunk], context: grpc.ServicerContext) -> wire.JobView:  # noqa: N802, D102 - named in control.proto
        return self._authorised(context, lambda caller: self._take_opened(request_iterator, caller))

    def _take_opened(self, chunks: Iterator[wire.OpenedChunk], caller: PeerIdentity) -> wire.JobView:
        self._gate.enter(caller, "open")  # before anything is read
        boxes: dict[str, bytearray] = {}
        job = request = ""
        for chunk in chunks:
            job, request = chunk.job, chunk.request
            boxes.setdefault(chunk.party, bytearray()).extend(chunk.data)
            if sum(map(len, boxes.values())) > MAX_OPENED:
                raise Refused("the opened sums are too large", where="opened", right=f"at most {MAX_OPENED} bytes")
        row = self._row(caller, "open", job)
        self._jobs.desk.answer(row.id, request, {party: bytes(box) for party, box in boxes.items()})
        return self._view(row)

    # the consortium

    def Catalogue(self, request: wire.CatalogueRequest, context: grpc.ServicerContext) -> wire.CatalogueReply:  # noqa: N802, D102, ARG002 - named in control.proto
        tokens = self._store.catalogues
        return self._do(context, "catalogue", lambda _caller: wire.CatalogueReply(catalogues=list(tokens().values())))

    def Nodes(self, request: wire.NodesRequest, context: grpc.ServicerContext) -> wire.NodesReply:  # noqa: N802, D102, ARG002 - named in control.proto
        def nodes(_caller: str) -> wire.NodesReply:
            links = {
                party: {
                    "since": info.since,
                    "rtt": info.rtt,
                    "bytes_in": info.bytes_in,
                    "bytes_out": info.bytes_out,
                }
                for party, info in self._hub.connected().items()
            }
            return wire.NodesReply(status=json.dumps({"coordinator": self._node.name, "parties": links}))

        return self._do(context, "nodes", nodes)

    # people

    def Proposed(self, request: wire.ProposedRequest, context: grpc.ServicerContext) -> wire.JobList:  # noqa: N802, D102, ARG002 - named in control.proto
        def proposed(caller: PeerIdentity) -> wire.JobList:
            rows = self._store.jobs(states=[JobState.NEEDS_APPROVAL], limit=MAX_PROPOSED)
            return wire.JobList(
                jobs=[self._proposal(row) for row in rows if self._jobs.approvals.may_decide(row, caller)]
            )

        return self._do_as(context, "proposed", proposed)

    def _proposal(self, row: JobRow) -> wire.JobView:
        view = self._view(row, full=True)
        view.order = row.token
        return view

    def Decide(self, request: wire.DecideRequest, context: grpc.ServicerContext) -> wire.JobView:  # noqa: N802, D102 - named in control.proto
        def decide(caller: PeerIdentity) -> wire.JobView:
            if len(request.approval) > MAX_TOKEN_BYTES:
                raise Refused("too large", where="approval", right=f"at most {MAX_TOKEN_BYTES} bytes")
            return self._view(self._jobs.approve(request.job, request.approval, caller))

        return self._do_as(context, "decide", decide)

    # one shape for all

    def _do(self, context: grpc.ServicerContext, call: Call, act: Callable[[str], T]) -> T:
        """`_do_as` for what needs no more of the caller than who it is."""
        return self._do_as(context, call, lambda peer: act(str(peer.spiffe_id)))

    def _do_as(self, context: grpc.ServicerContext, call: Call, act: Callable[[PeerIdentity], T]) -> T:
        """Act on no job in particular, once the policies let the caller."""

        def entered(caller: PeerIdentity) -> T:
            self._gate.enter(caller, call)
            return act(caller)

        return self._authorised(context, entered)

    def _on_job(self, context: grpc.ServicerContext, call: Call, job: str, act: Callable[[JobRow], T]) -> T:
        """Act on one job, once the policies let the caller."""
        return self._authorised(context, lambda caller: act(self._row(caller, call, job)))

    def _row(self, caller: PeerIdentity, call: Call, job: str) -> JobRow:
        return self._gate.job(caller, call, job, self._store.job(job))

    def _authorised(self, context: grpc.ServicerContext, act: Callable[[PeerIdentity], T]) -> T:
        """Authorise, act, and turn our errors into a status with one line."""
        peer = tls.authorise(context, self._node.trust, utc_now(), roles=("user",))
        try:
            return act(peer)
        except Refused as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error)[:2000])
        except (PolicyError, ProtocolError, InbondError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:2000])
        except ComplianceError as error:
            log.critical("evidence cannot be written", error=str(error))
            context.abort(
                grpc.StatusCode.UNAVAILABLE, "the coordinator cannot write its evidence log; nothing was done"
            )
        except Exception:
            log.exception("a call broke", caller=str(peer.spiffe_id))
            context.abort(grpc.StatusCode.INTERNAL, "the coordinator failed; its log says why")

    def _view(self, row: JobRow, *, full: bool = False) -> wire.JobView:
        costs = self._store.costs(row.id)
        view = wire.JobView(
            job=row.id,
            name=row.name,
            kind=row.kind,
            owner=row.owner,
            state=row.state,
            reason=row.reason,
            created=row.created,
            changed=row.changed,
            requests=int(costs["requests"]),
            bytes_to_parties=int(costs["bytes_to_parties"]),
            bytes_from_parties=int(costs["bytes_from_parties"]),
        )
        if full:
            view.plan = row.plan or ""
            verdicts = self._store.verdicts(row.id).items()
            view.verdicts.extend(wire.PartyVerdict(party=party, verdict=token) for party, token in verdicts)
        return view
