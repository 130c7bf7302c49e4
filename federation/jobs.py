"""The life of every job at the coordinator: planned, decided on by all, run, and taken up again after a restart.

A job's state moves only along `policies.job_state`. The runner asks, this module puts each question to a party at
most once per answer: what a party replied is kept before the runner sees it, so a runner that died, or a coordinator
that was killed, starts again and gets the same answers without any party doing a step twice.
"""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog
from blake3 import blake3
from flwr.app import RecordDict

from compliance.audit.entry import EntryType
from compliance.errors import ComplianceError
from federation.approvals import Approvals, approval_rules
from federation.evidence_waits import EvidenceWaits, missing, refusing, silent
from federation.exchange import matching_config, matching_sides
from federation.hub import Hub
from federation.owner_desk import OwnerDesk
from federation.runner import RunnerJob, RunnerProcess, runner_child
from federation.secure_rounds import JOB, OWNER, RESULT
from federation.steps import Running, Steps, request_of
from federation.store import CoordinatorStore, JobRow
from federation.verdicts import Verdicts
from inbond.errors import Errors, InbondError, JobFailed, Refused
from inbond.node import Node, utc_now
from inbond.orders import open_order
from inbond.records import settings
from inbond.spare import Spare
from inbond.tokens import payload_of
from policies.document import Document, validate
from policies.engine import Engine
from policies.errors import InvalidInput, PolicyError
from policies.identity import PeerIdentity
from policies.job import JobOrder
from policies.job_state import FINAL_STATES, JobEvent, JobState, advance
from policies.plan import Plan, load_plan
from policies.verdict import Verdict

log = structlog.get_logger(__name__)
APPS = {
    "secure-train": "federation.training:app",
    "secure-query": "federation.querying:app",
    "plain-train": "federation.plain:app",
    "plain-echo": "federation.echo:app",
}
RUNNER_TRIES = 4
AWAY_SECONDS = 1.0  # a link that comes back sooner was only moved, to a new certificate for example
MAX_LIVE = 100_000  # jobs taken up at a start: more than people leave waiting
LIVE = [state for state in JobState if state not in FINAL_STATES]


class JobManager:
    """All jobs of the consortium; thread-safe."""

    def __init__(self, node: Node, store: CoordinatorStore, hub: Hub, engine: Engine) -> None:
        self._node, self._store, self._hub, self._engine = node, store, hub, engine
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: dict[str, Running] = {}
        self._jobs = ThreadPoolExecutor(node.config.limits.jobs_at_once, "job")
        self._closing = threading.Event()
        self.desk = OwnerDesk(self._tell)
        self.verdicts = Verdicts(node, store, hub, engine)
        self._steps = Steps(node, store, hub, self.desk, self._tell)
        self.approvals = Approvals(node, store)
        self._evidence = EvidenceWaits()
        self._spare = Spare(partial(runner_child, tuple(APPS.values())))
        threading.Thread(target=self._watch_parties, name="job-watch", daemon=True).start()

    # what the control service uses

    def open(self, token: str, caller: str) -> JobOrder:
        """The order in `token`, which `caller` must have signed; raises PolicyError or Refused."""
        consortium = self._node.config.node.consortium
        order = open_order(token, trust=self._node.trust, consortium=consortium, now=utc_now())
        if order.iss != caller:
            raise Refused("the order is somebody else's", where="order", right=f"an order signed by {caller}")
        return order

    def submit(self, token: str, order: JobOrder, sum_key: bytes) -> JobRow:
        """Take a new job and start it; raises Refused for a replayed order."""
        now = time.time()
        if not self._store.first_sight(order.iss, order.jti, order.exp + 60):
            raise Refused("this order was seen before", where="order", right="submit the job file again")
        row = JobRow(
            id=order.jti,
            name=order.spec.name,
            kind=order.spec.kind,
            owner=order.iss,
            token=token,
            sum_key=sum_key or None,
            plan=None,
            state=JobState.SUBMITTED,
            reason="",
            created=now,
            changed=now,
            expires=order.exp,
        )
        self._node.record(
            EntryType.JOB,
            job=order.jti,
            subject=order.iss,
            data={"event": "submitted", "order": order.digest()},
        )
        self._store.add_job(row)
        self._tell(order.jti, {"event": "state", "state": JobState.SUBMITTED})
        self._jobs.submit(self._run, order.jti)
        return row

    def cancel(self, job: str, by: str = "its owner") -> None:
        """End a job at once, here and at every party; raises JobStateError for one that has ended."""
        self._end(job, JobEvent.CANCEL, f"cancelled by {by}")

    def wait_event(self, job: str, after: int, timeout: float) -> list[tuple[int, float, dict[str, Any]]]:
        """Events of `job` after number `after`, waiting up to `timeout` seconds for the first."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (events := self._store.events(job, after)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return self._store.events(job, after)
            return events

    def ended(self, job: str) -> bool:
        """Whether the job has come to its end, and its last event with it."""
        with self._lock:
            return JobState(self._row(job).state) in FINAL_STATES

    def result_path(self, job: str) -> Any:
        """The file of a finished job's sealed result."""
        return self._store.folder(job) / "result"

    def resume(self) -> None:
        """Take up what a stop or a kill interrupted, and be ready for the next job."""
        self._spare.ready_soon()
        for row in self._store.jobs(states=LIVE, limit=MAX_LIVE):
            state = advance(JobState(row.state), JobEvent.INTERRUPT)
            self._store.change(row.id, state=state)
            self._node.record(EntryType.JOB, job=row.id, subject=row.owner, data={"event": "interrupted"})
            if state is JobState.NEEDS_APPROVAL:
                self.approvals.resume(row.id)
                self._recount(row.id)
            elif state is JobState.NEEDS_EVIDENCE:
                self._evidence.expect(row.id)
            else:
                self._jobs.submit(self._run, row.id)

    def close(self) -> None:
        """End all runners; the jobs are resumed at the next start."""
        self._closing.set()
        with self._lock:
            for running in self._running.values():
                running.ended = "the coordinator stops"
                if running.runner is not None:
                    running.runner.kill("the coordinator stops")
            self._changed.notify_all()
        self._jobs.shutdown(wait=False, cancel_futures=True)
        self._spare.close()

    def distrusted(self) -> None:
        """After the deny list grew: end the jobs of owners, and of parties, who are no longer trusted."""
        denied = self._node.trust.denied.ids
        for job, running in list(self._running.items()):
            people = {running.order.iss: "its owner"}
            prefix = f"spiffe://{self._node.config.node.consortium}/party/"
            people |= {prefix + one.name: f"party {one.name}" for one in running.plan.participants}
            for identity, who in people.items():
                if identity in denied:
                    self._end(job, JobEvent.FAIL, f"{who} is no longer trusted")
        for job in self.approvals.waiting():
            try:
                if self._row(job).owner in denied:
                    self._end(job, JobEvent.FAIL, "its owner is no longer trusted")
                else:
                    self._recount(job)  # an approver may be among them
            except Errors as error:
                log.critical("a waiting job was not counted again", job=job, error=str(error))

    # people

    def approve(self, job: str, token: str, caller: PeerIdentity) -> JobRow:
        """Take a person's signed yes or no; raises Refused or PolicyError for one that does not count."""
        given = self.approvals.take(self._store.job(job), token, caller)
        said = given.approval
        data = {"event": said.decision, "by": given.by, "plan": said.plan, "reason": said.reason, "nonce": said.jti}
        self._node.record(EntryType.JOB, job=job, subject=said.iss, data=data)
        if said.decision == "refuse":
            self._end(job, JobEvent.REFUSE, f"refused by {given.by}: {said.reason}")
        else:
            self._store.keep_approval(job, said.iss, token)
            self._tell(job, {"event": "approved", "by": given.by})
            self._recount(job)
        return self._row(job)

    def _waits(self, job: str, order: JobOrder, plan: Plan) -> bool:
        """Whether evidence or people are missing; then the job waits. What would be refused anyway is refused now."""
        if needs := missing(self._verdicts(job, order, plan, binding=False)):
            self._move(job, JobEvent.LACK)
            self._lacks(job, needs)
            return True
        entries = self.verdicts.catalogues()
        rules = approval_rules(plan, {name: one.contracts for name, one in entries.items()})
        if not rules:
            return False
        if not self.approvals.expect(self._row(job), plan, rules).missing:  # approved before the coordinator stopped
            self.approvals.over(job)
            return False
        with self._lock:
            self._move(job, JobEvent.WAIT)
            self._recount(job)
        return True

    def _lacks(self, job: str, needs: tuple[str, ...]) -> None:
        """Say what parties lack, where it is not what was said before; they are asked again."""
        row, reason = self._row(job), "; ".join(needs)
        if reason != row.reason:
            self._store.change(job, reason=reason)
            data = {"event": "waits", "for": reason[:1000]}
            self._node.record(EntryType.JOB, job=job, subject=row.owner, data=data)
            self._tell(job, {"event": "waits", "reason": reason, "for": "evidence"})
        self._evidence.expect(job)

    def _ask_again(self, job: str) -> None:
        """Let a job go on whose parties have their evidence now; else it waits on, as long as its order is good."""
        try:
            row = self._row(job)
            if row.state != JobState.NEEDS_EVIDENCE:
                return
            if time.time() >= row.expires:
                self._end(job, JobEvent.REFUSE, f"the evidence did not come in time: {row.reason}")
                return
            order = validate(JobOrder, Document(payload_of(row.token), "order", {}))
            plan = load_plan(row.plan or "")
            answers = self.verdicts.ask(row.token, row.sum_key or b"", order, plan, binding=False)
            if away := silent(answers):
                self._lacks(job, (*missing(answers), *(f"{party}: no verdict; it may be offline" for party in away)))
            elif refused := refusing(answers):
                self._end(job, JobEvent.REFUSE, " | ".join(refused))
            elif needs := missing(answers):
                self._lacks(job, needs)
            else:
                self._move(job, JobEvent.PROVE)
                self._jobs.submit(self._run, job)
        except Errors as error:
            self._end(job, JobEvent.FAIL, str(error))
        except Exception as error:
            log.exception("a waiting job broke", job=job)
            self._end(job, JobEvent.FAIL, f"an internal error ({type(error).__name__}); the coordinator's log has it")

    def _recount(self, job: str) -> None:
        """Let a waiting job go on when enough people approve; else say what is missing."""
        with self._lock:
            row = self._row(job)
            if row.state != JobState.NEEDS_APPROVAL:
                return
            try:
                found = self.approvals.tally(row)
            except PolicyError as error:  # the order no longer verifies
                self._end(job, JobEvent.FAIL, str(error))
                return
            if not found.missing:
                self._move(job, JobEvent.APPROVE)
                self.approvals.over(job)
                self._jobs.submit(self._run, job)
                return
            reason = self.approvals.waits_for(job, found)
            if reason == row.reason:
                return
            self._store.change(job, reason=reason)
        self._node.record(EntryType.JOB, job=job, subject=row.owner, data={"event": "waits", "for": reason[:1000]})
        self._tell(job, {"event": "waits", "reason": reason, "for": "people"})

    def _expire_waiting(self) -> None:
        """Refuse the jobs that nobody approved in time."""
        for job in self.approvals.expired(time.time()):
            self._end(job, JobEvent.REFUSE, f"not approved in time: {self._row(job).reason}")

    # one job

    def _run(self, job: str) -> None:
        """From wherever the job is to its end; every error ends it with a reason."""
        try:
            row = self._row(job)
            order = validate(JobOrder, Document(payload_of(row.token), "order", {}))
            if utc_now().timestamp() >= order.exp:
                raise JobFailed("its deadline has passed", right="submit it again with a longer deadline_s")
            if row.state == JobState.RESUMING and row.plan:
                plan = load_plan(row.plan)
                verdicts = self._store.verdicts(job)
                self._move(job, JobEvent.RESUME)
            else:
                if row.state == JobState.DECIDING and row.plan:  # it has waited
                    plan = load_plan(row.plan)
                else:
                    self._move(job, JobEvent.PLAN)
                    plan = self._planned(job, order)
                if self._waits(job, order, plan):
                    return
                verdicts = {
                    party: token for party, (_, token) in self._verdicts(job, order, plan, binding=True).items()
                }
                self._move(job, JobEvent.PERMIT)
            self._execute(job, Running(order, plan), verdicts)
        except Refused as error:
            self._end(job, JobEvent.REFUSE, str(error))
        except InvalidInput as error:
            self._end(job, JobEvent.REFUSE, str(error))
        except Errors as error:
            self._end(job, JobEvent.FAIL, str(error))
        except Exception as error:
            log.exception("a job broke", job=job)
            self._end(
                job,
                JobEvent.FAIL,
                f"an internal error ({type(error).__name__}); the coordinator's log has it",
            )

    def _planned(self, job: str, order: JobOrder) -> Plan:
        plan = self.verdicts.plan(order)
        self._store.change(job, plan=json.dumps(plan.payload()))
        self._tell(
            job,
            {"event": "plan", "digest": plan.digest(), "parties": [one.name for one in plan.participants]},
        )
        self._move(job, JobEvent.DECIDE)
        return plan

    def _verdicts(self, job: str, order: JobOrder, plan: Plan, *, binding: bool) -> dict[str, tuple[Verdict, str]]:
        """Every verdict and its token, all permits; raises Refused with every reason. A `binding` one is kept."""
        row = self._row(job)
        reasons = [f"coordinator: {line}" for line in self.verdicts.refusals(row.token, order, plan)]
        if reasons:
            raise Refused(" | ".join(dict.fromkeys(reasons)))
        answers = self.verdicts.ask(row.token, row.sum_key or b"", order, plan, binding=binding)
        given = {party: answer for party, answer in answers.items() if not isinstance(answer, str)}
        for party, (_, token) in given.items() if binding else ():
            self._store.keep_verdict(job, party, token)
        if refused := refusing(answers):
            raise Refused(" | ".join(refused))
        return given

    def _execute(self, job: str, running: Running, verdicts: Mapping[str, str]) -> None:
        """Run the job's ServerApp in a process of its own; a runner that dies is started again."""
        with self._lock:
            self._running[job] = running
        try:
            for attempt in range(RUNNER_TRIES):
                if running.ended:
                    return
                runner = self._start_runner(job, running, verdicts)
                try:
                    left = running.order.exp - time.time()
                    self._finish(job, running, runner.result(max(left, 1.0)))
                except JobFailed as error:
                    if running.ended or self._closing.is_set():
                        return
                    crashed = "ended without a result" in error.what and not running.complaint
                    if not crashed or attempt == RUNNER_TRIES - 1:
                        raise JobFailed(running.complaint or error.what) from None
                    log.warning("the runner died; starting it again", job=job, output=runner.log_tail()[-2000:])
                    self._tell(job, {"event": "runner restarted"})
                else:
                    return
        finally:
            with self._lock:
                self._running.pop(job, None)
            self._spare.ready_soon()

    def _start_runner(self, job: str, running: Running, verdicts: Mapping[str, str]) -> RunnerProcess:
        spec, plan = running.order.spec, running.plan
        mode = "secure" if plan.protection.mode == "encrypted" else "plain"
        parties = [one.name for one in plan.participants]
        owner_opens = mode == "secure" and plan.kind == "train" and spec.key_mode == "holder"
        frame = RunnerJob(
            name=job,
            app=APPS.get(f"{mode}-{spec.recipe.name}" if spec.recipe else "", APPS[f"{mode}-{plan.kind}"]),
            allowed=tuple(APPS.values()),
            parties=[*parties, OWNER] if owner_opens else parties,
            run_id=int(hashlib.sha256(job.encode()).hexdigest()[:8], 16),
            run_config={
                "rounds": spec.rounds or 0,
                "timeout": max(running.order.exp - time.time(), 1.0),
                "strategy": str(spec.strategy or "FedAvg"),
                "owner_opens": owner_opens,
                "joined": plan.join is not None,
                "placed": bool(plan.answered()),
                **matching_config(plan.join),
            },
        )
        told = {"parties": parties, "verdicts": [verdicts[name] for name in parties], **matching_sides(plan)}
        state = RecordDict({JOB: settings(**told)})
        running.kept, running.costs = self._store.replied(job), self._store.costs(job)
        runner = RunnerProcess(
            frame,
            lambda party, asked: self._steps.ask(job, running, party, asked),
            on_event=lambda event: self._steps.heard(job, running, event, spec.rounds or 0),
            state=state,
            start=self._spare.take,
        )
        with self._lock:
            running.runner = runner
            ended = running.ended
        if ended:  # while it started: nobody else would stop it
            runner.kill(ended)
        return runner

    def _finish(self, job: str, running: Running, state: RecordDict) -> None:
        found = state.config_records.get(RESULT)
        if found is None:
            parts = {"model": _plain_model(state)}
        else:
            parts = {name: value for name, value in found.items() if isinstance(value, bytes)}
        head = json.dumps({name: len(part) for name, part in parts.items()}).encode()
        path = self.result_path(job)
        path.with_suffix(".part").write_bytes(head + b"\n" + b"".join(parts.values()))
        path.with_suffix(".part").rename(path)
        data = {
            "event": "finished",
            "result": blake3(path.read_bytes()).hexdigest(),
            "plan": running.plan.digest(),
        }
        self._node.record(EntryType.RELEASE, job=job, subject=running.order.iss, data=data)
        self._end(job, JobEvent.FINISH, "")

    # states

    def _row(self, job: str) -> JobRow:
        row = self._store.job(job)
        if row is None:
            raise InvalidInput(f"no job {job}", where="job", right="see `inbond job list`")
        return row

    def _move(self, job: str, event: JobEvent, reason: str = "") -> JobState:
        with self._lock:
            state = advance(JobState(self._row(job).state), event)
            self._store.change(job, state=state, reason=reason)
        self._tell(job, {"event": "state", "state": state, "reason": reason})
        return state

    def _end(self, job: str, event: JobEvent, reason: str) -> None:
        """Bring a job to its final state, tell its parties, and stop its runner."""
        with self._lock:
            running = self._running.get(job)
            if running is not None:
                running.ended = reason or event.value
        self.approvals.over(job)
        self._evidence.over(job)
        try:
            with self._lock:
                state = advance(JobState(self._row(job).state), event)
                kind = EntryType.REFUSAL if state is JobState.REFUSED else EntryType.JOB
                data = {"event": state.value, "reason": reason[:500]}
                self._record_end(job, kind, data, event)
                self._store.change(job, state=state, reason=reason)
                told = {"event": "state", "state": state, "reason": reason, **self._store.costs(job)}
                self._tell(job, told)  # with the state, so that no watcher sees the end and misses the event
        except PolicyError:
            if event is JobEvent.CANCEL:
                raise
            log.info("the job had ended already", job=job, wanted=event.value)
            return
        if running is not None and running.runner is not None:
            running.runner.kill(reason or event.value)
        self.desk.clear(job)
        self._dismiss(job, state)
        self._store.forget_bodies(job)

    def _record_end(self, job: str, kind: EntryType, data: Mapping[str, Any], event: JobEvent) -> None:
        """Log the end. A log that takes nothing keeps a job from finishing, never from being stopped."""
        try:
            self._node.record(kind, job=job, subject=self._row(job).owner, data=data)
        except ComplianceError as error:
            if event is JobEvent.FINISH:
                raise
            log.critical("the end of a job could not be logged", job=job, error=str(error))

    def _dismiss(self, job: str, state: JobState) -> None:
        """Tell the parties that the job is over; who is offline learns it from the job's expiry."""
        row = self._row(job)
        if row.plan is None:
            return
        plan = load_plan(row.plan)
        kind = "close" if state is JobState.FINISHED else "cancel"
        for one in plan.participants:
            try:
                self._hub.request(one.name, request_of(job, one.name, kind, "", 0, 0, plan.digest(), 60.0, ()))
            except InbondError as error:
                log.info("a party was not told", party=one.name, job=job, reason=str(error))

    def _tell(self, job: str, body: Mapping[str, Any]) -> None:
        with self._changed:
            self._store.add_event(job, body)
            self._changed.notify_all()

    # parties that stay away

    def _watch_parties(self) -> None:
        """A job whose party stays away longer than `rejoin_seconds` fails, and says which party."""
        patience = self._node.config.life.rejoin_seconds
        while not self._closing.wait(0.5):
            here = set(self._hub.connected())
            try:
                self._expire_waiting()
            except Exception:  # such as a full disk: the watch goes on
                log.exception("a job that nobody approved could not be ended")
            for job in self._evidence.take_due():
                self._jobs.submit(self._ask_again, job)
            for job, running in list(self._running.items()):
                try:
                    for one in running.plan.participants:
                        self._note_presence(job, running, one.name, one.name in here, patience)
                except Exception:  # such as a full disk: the watch goes on
                    log.exception("a party's absence could not be noted", job=job)

    def _note_presence(self, job: str, running: Running, party: str, present: bool, patience: float) -> None:
        if present:
            running.waiting_since.pop(party, None)
            if party in running.told_away:
                running.told_away.discard(party)
                self._tell(job, {"event": "party back", "party": party})
            return
        waited = time.monotonic() - running.waiting_since.setdefault(party, time.monotonic())
        if waited >= min(AWAY_SECONDS, patience) and party not in running.told_away:
            running.told_away.add(party)
            self._tell(job, {"event": "party away", "party": party, "patience": patience})
        elif waited > patience and not running.ended:
            self._end(job, JobEvent.FAIL, f"party {party} stayed away for more than {patience:.0f} s")


def _plain_model(state: RecordDict) -> bytes:
    """A plain job's model as raw float32."""
    return state.array_records[RESULT]["v"].numpy().astype("<f4").tobytes()  # FedAdam leaves float64
