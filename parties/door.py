"""The only door of a party: every request passes here, is decided on, recorded, run, checked and recorded again.

What goes back to the coordinator is what the plan promised or a fixed sentence; why something failed stays in this
party's own log.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from blake3 import blake3
from flwr.app import ConfigRecord, RecordDict

from compliance.audit.entry import EntryType
from compliance.errors import BudgetExceeded, InvalidEntry
from inbond import codec
from inbond.messages import Buffer, Reply, Request, size
from inbond.node import Node
from inbond.records import octets, texts
from parties import egress
from parties.admission import Admission, Proposal
from parties.catalogue import CATALOGUE_TYPE, Catalogue
from parties.early import Early, NotYet
from parties.jobs import Job, Jobs
from parties.store import LIVE, PartyStore
from policies.envelope import sign
from policies.verdict import RefusedError, check_message
from protocols.errors import PeerViolation

log = structlog.get_logger(__name__)
FAILED = "this party could not do the step; its owner's log says why"


def digest_of(body: Sequence[Buffer]) -> str:
    """BLAKE3 of a body, as 64 hexadecimal digits."""
    hasher = blake3()
    for part in body:
        hasher.update(part)
    return hasher.hexdigest()


class Door:
    """Handles requests of the coordinator; `handle` never raises."""

    def __init__(self, node: Node, store: PartyStore, catalogue: Catalogue, admission: Admission, jobs: Jobs) -> None:
        self._node, self._store, self._catalogue = node, store, catalogue
        self._admission, self._jobs = admission, jobs
        self._kinds: dict[str, Callable[[Request], Reply]] = {
            "catalogue": self._publish,
            "explain": self._admit,
            "admit": self._admit,
            "step": self._step,
            "cancel": self._end,
            "close": self._end,
        }
        self._admitting = threading.Lock()
        self.early = Early()

    def handle(self, request: Request) -> Reply:
        """The reply to one request; a request that was answered before gets the same answer, without any effect.

        Raises:
            NotYet: its turn has not come; `early` brings it back.
        """
        try:
            if request.kind not in self._kinds:
                return self._refused(request, "no such kind of request", f"kind {request.kind!r}")
            return self._kinds[request.kind](request)
        except NotYet:
            raise
        except RefusedError as error:
            return self._refused(request, error.what, str(error))
        except BudgetExceeded as error:
            return self._refused(request, "the privacy budget does not cover this release", str(error))
        except Exception as error:  # noqa: BLE001 - a recipe may raise anything; the peer learns nothing of it
            if isinstance(error, PeerViolation):
                self._give_up(request)
            return self._failed(request, error)

    def _give_up(self, request: Request) -> None:
        """End the job: a sum that did not open must not be tried again and again under one key (a reaction attack)."""
        try:
            self._jobs.end(request.job, "failed")
        except Exception:
            log.exception("the job could not be ended", job=request.job)
        self.early.release(request.job)

    # kinds

    def _publish(self, request: Request) -> Reply:
        payload = {
            "party": self._node.name,
            "country": self._node.config.node.country,
            "contracts": self._catalogue.published(),
            "iat": int(time.time()),
        }
        token = sign(payload, typ=CATALOGUE_TYPE, signer=self._node.signer())
        return self._text_reply(request, "catalogue", token)

    def _admit(self, request: Request) -> Reply:
        """Decide on a job. The verdict is kept as the reply, so that a repeated request gets the same one."""
        binding = request.kind == "admit"
        with self._admitting:
            digest = digest_of(request.body)
            if binding and (kept := self._kept(request, digest)):
                return kept
            content = codec.decode(request.body)
            self._end_expired()
            proposal = Proposal(
                texts(content, "admit", "order")[0],
                texts(content, "admit", "plan")[0],
                octets(content, "admit", "sum_key"),
                tuple(texts(content, "admit", "contracts")),
                tuple(texts(content, "people", "approvals")) if "people" in content.config_records else (),
            )
            asked_before = self._store.step_answered(request.job, "", 0)
            row = self._store.job(request.job) if binding and not asked_before else None
            if row is not None and (row.token, row.plan) == (proposal.token, proposal.plan):
                token = row.verdict  # admitted just before a crash: the same question has the same answer
            else:
                token = self._admission.decide(proposal, binding=binding)
            reply = self._text_reply(request, "verdict", token)
            if binding and self._store.job(request.job):
                self._keep(request, digest, reply)
        return reply

    def _step(self, request: Request) -> Reply:
        """One step of an admitted job. (1) known job; (2) verdict; (3) once; (4) run; (5) egress; (6) evidence."""
        digest = digest_of(request.body)
        kept = self._kept(request, digest)
        if kept:
            return kept
        job = self._jobs.get(request.job)
        self.early.check(request, lambda: job.steps.due(request.step, request.round))
        try:
            return self._run(job, request, digest)
        finally:
            self.early.release(request.job)

    def _run(self, job: Job, request: Request, digest: str) -> Reply:
        with job.context.lock:
            kept = self._kept(request, digest)
            if kept:
                return kept
            self._check(job, request)
            started = time.monotonic()
            content = job.steps.handle(request.step, request.round, codec.decode(request.body))
            plan = job.context.plan
            mode = egress.PLACED if plan.answered() else plan.protection.mode
            checked = egress.check(mode, request.step, content, job.steps.promised, job.steps.correspondents)
            body = codec.encode(checked)
            self._check_live(job, request)
            reply = Reply(request.id, "ok", "", body)
            self._record(job, request, digest, reply, time.monotonic() - started)
            self._keep(request, digest, reply)
        return reply

    def _check(self, job: Job, request: Request) -> None:
        """Every message is checked against this party's own signed verdict, and the owner's standing."""
        now = datetime.now(UTC)
        check_message(
            job.context.verdict,
            job=request.job,
            plan_digest=request.plan_digest,
            step=request.step,
            round_number=request.round,
            now=now,
        )
        if job.context.order.iss in self._node.trust.denied.ids:
            raise RefusedError("the job's owner is no longer trusted", where=request.job, right="ask the authority")
        self._check_agreed(job, request)
        if self._store.step_answered(request.job, request.step, request.round):
            # two contributions under one description share their masks: their difference would be bare
            raise RefusedError("this step was answered under another request", where=request.job, right="ask once")
        self._check_live(job, request)

    def _check_agreed(self, job: Job, request: Request) -> None:
        """A job whose agreement was ended ends: what is signed later is for later jobs."""
        try:
            self._admission.check_agreed(job.context.plan, request.job)
        except RefusedError:
            self._give_up(request)
            raise

    @staticmethod
    def _check_live(job: Job, request: Request) -> None:
        """A job that was ended while the step waited or ran releases nothing more."""
        if job.state not in LIVE:
            raise RefusedError(f"the job is {job.state}", where=request.job, right="submit it again")

    def _end_expired(self) -> None:
        """End the jobs whose owners nobody told us about: their time is over, and so are their processes."""
        for job in self._jobs.end_expired():
            self._node.record(EntryType.JOB, job=job, data={"event": "expired"})
            self.early.release(job)

    def _end(self, request: Request) -> Reply:
        """Cancel or close a job: its processes end at once, its files go, its evidence stays."""
        state = "cancelled" if request.kind == "cancel" else "closed"
        if self._jobs.end(request.job, state):
            self._node.record(EntryType.JOB, job=request.job, data={"event": state})
        self.early.release(request.job)
        return Reply(request.id, "ok")

    # evidence and once-only

    def _kept(self, request: Request, digest: str) -> Reply | None:
        stored = self._store.answered(request.id)
        if stored is None:
            return None
        if stored.digest != digest:
            return self._refused(request, "the same request came with another body", "a request id was used twice")
        return Reply(request.id, stored.status, stored.reason, stored.body)

    def _keep(self, request: Request, digest: str, reply: Reply) -> None:
        self._store.answer(
            request.id,
            request.job,
            request.step,
            request.round,
            digest,
            reply.status,
            reply.reason,
            reply.body,
        )

    def _record(self, job: Job, request: Request, digest: str, reply: Reply, seconds: float) -> None:
        released = request.step in egress.RELEASES
        data: dict[str, Any] = {
            "step": request.step,
            "round": request.round,
            "request": request.id,
            "plan": request.plan_digest,
            "in": digest,
            "out": digest_of(reply.body),
            "bytes": size(reply.body),
        }
        kind = EntryType.RELEASE if released else EntryType.STEP
        self._node.record(kind, job=request.job, subject=job.context.order.iss, data=data)
        job.count(size(request.body), size(reply.body), seconds)

    def _refused(self, request: Request, public: str, private: str) -> Reply:
        """A refusal by policy: the requester may know the rule, which the consortium's contracts publish anyway."""
        log.warning("refused", job=request.job, step=request.step or request.kind, reason=private)
        self._note_failure(request, EntryType.REFUSAL, private)
        return Reply(request.id, "refused", public)

    def _failed(self, request: Request, error: Exception) -> Reply:
        log.error(
            "failed",
            job=request.job,
            step=request.step or request.kind,
            error=f"{type(error).__name__}: {error}",
        )
        self._note_failure(request, EntryType.REFUSAL, f"{type(error).__name__}: {error}")
        return Reply(request.id, "failed", FAILED)

    def _note_failure(self, request: Request, kind: EntryType, reason: str) -> None:
        data = {"step": request.step, "kind": request.kind, "reason": reason[:500], "request": request.id}
        try:
            try:
                self._node.record(kind, job=request.job or None, data=data)
            except InvalidEntry:  # what the request or the error said cannot stand in a log; that it happened can
                sealed = {
                    "reason": "not fit for a log",
                    "request": hashlib.sha256(repr(request.id).encode()).hexdigest(),
                }
                self._node.record(kind, data=sealed)
        except Exception as error:
            log.exception("evidence cannot be written", error=type(error).__name__)

    @staticmethod
    def _text_reply(request: Request, name: str, token: str) -> Reply:
        content = RecordDict({name: ConfigRecord({"token": [token]})})
        return Reply(request.id, "ok", "", codec.encode(content))
