"""The jobs a party has admitted, made live again from what it keeps when a message for one arrives."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from compliance.budget import BudgetLedger
from inbond.child import ChildLimits
from inbond.ipc import memory_file
from inbond.node import Node, utc_now
from inbond.spare import Spare
from inbond.tokens import payload_of
from parties.admission import brought, recipe_of
from parties.answering import QueryJob
from parties.answers import Answers, KeptAnswer
from parties.catalogue import Catalogue
from parties.connectors.base import Limits, run_pushdown
from parties.connectors.pushdown import Pushdown
from parties.differencing import ExactReleases
from parties.job_context import JobContext, JobVault
from parties.job_steps import JobSteps
from parties.join_process import JoinProcess, join_child
from parties.joining import JoinedJob
from parties.openings import Openings
from parties.plain import PlainJob
from parties.releases import Releases
from parties.store import LIVE, PartyStore
from parties.training import TrainingJob
from parties.withheld import Withholding
from parties.worker import WorkerJob, WorkerProcess
from policies.contract import DataContract, Use
from policies.document import Document, validate
from policies.errors import PolicyError
from policies.job import JobOrder
from policies.plan import Plan, load_plan
from policies.query.compiled import Fragment
from policies.query.gathering import Values
from policies.verdict import RefusedError, Verdict
from policies.views import Asker, Cut
from protocols.masking import EpochKey

MIB = 1024 * 1024


@dataclass(slots=True)
class Job:
    """A live job: its context, its steps, its state, and what it moved."""

    context: JobContext
    steps: JobSteps
    state: str
    totals: dict[str, float] = field(default_factory=lambda: {"steps": 0, "bytes_in": 0, "bytes_out": 0, "seconds": 0})

    def count(self, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """Add one step to the totals the owner sees."""
        for name, value in (
            ("steps", 1),
            ("bytes_in", bytes_in),
            ("bytes_out", bytes_out),
            ("seconds", seconds),
        ):
            self.totals[name] = round(self.totals[name] + value, 3)


class Jobs:
    """All live jobs of this party."""

    def __init__(self, node: Node, store: PartyStore, catalogue: Catalogue, budget: BudgetLedger) -> None:
        self._node, self._store, self._catalogue = node, store, catalogue
        self._withholding = Withholding(node)
        self._releases = Releases(node, catalogue, budget)
        self._exact = ExactReleases(node, catalogue, budget)
        self._openings = Openings(node)
        self._answers = Answers(node.home, node.keystore)
        self._spare = Spare(partial(join_child, node.config.limits.worker_memory_mib * MIB))
        self._live: dict[str, Job] = {}
        self._lock = threading.Lock()

    def ready_soon(self) -> None:
        """Have a process waiting for the next join in a while, where a contract lets columns be join keys."""
        contracts = self._catalogue.contracts.values()
        if any(Use.JOIN in column.uses for contract in contracts for column in contract.columns.values()):
            self._spare.ready_soon()

    def get(self, job: str) -> Job:
        """The live job; raises RefusedError for one that was never admitted here or has ended."""
        with self._lock:
            if job not in self._live:
                self._live[job] = self._revive(job)
            return self._live[job]

    def end(self, job: str, state: str) -> bool:
        """End a job's processes and forget its files; False when it was not live.

        A step that runs holds the job's lock and is not waited for: its worker is killed under it.
        """
        with self._lock:  # together with the state, or a message in between would make the job live again
            row = self._store.job(job)
            known = row is not None and row.state in LIVE
            if known:
                self._store.change(job, state=state)
            live = self._live.pop(job, None)
            if live is not None:
                live.state = state
        if live is not None:
            live.steps.close()
            self._store.summarise(job, live.totals)
            self.ready_soon()
        if known:
            self._store.forget_bodies(job)
        return known

    def end_expired(self) -> list[str]:
        """End every job whose time is over, and name them: a coordinator that is gone tells nobody."""
        now = utc_now().timestamp()
        over = [row.id for row in self._store.jobs(LIVE) if row.expires <= now]
        return [job for job in over if self.end(job, "expired")]

    def tidy(self) -> None:
        """Forget what is kept for auditors once its time is over."""
        self._openings.tidy()

    def close(self) -> None:
        """End every job's processes; their state stays for the next start."""
        with self._lock:
            for live in self._live.values():
                live.steps.close()
            self._live.clear()
        self._spare.close()

    def _revive(self, job: str) -> Job:
        row = self._store.job(job)
        if row is None or row.state not in LIVE:
            state = "was never admitted here" if row is None else f"is {row.state}"
            raise RefusedError(f"the job {state}", where=job, right="submit a new job")
        if sum(True for _ in self._live) >= self._node.config.limits.jobs_at_once:
            raise RefusedError("this party runs as many jobs as it may", where=job, right="try again later")
        context = self._context(row.id, row.token, row.plan, row.verdict, row.secrets)
        self._store.change(job, state="running")
        return Job(context, self._steps(context), "running")

    def _context(self, job: str, token: str, plan_text: str, verdict_token: str, secrets: bytes) -> JobContext:
        kept = json.loads(self._node.keystore.decrypt(secrets, f"{job}/secrets"))
        order = validate(JobOrder, Document(payload_of(token), "order", {}))
        plan = load_plan(plan_text)
        own = self._own(job, plan)
        vault = JobVault(self._store.folder(job), self._node.keystore, job)
        if kept["sum_key"] and vault.get("sum_key") is None:
            vault.put("sum_key", bytes.fromhex(kept["sum_key"]))
        return JobContext(
            job=job,
            me=self._node.name,
            order=order,
            plan=plan,
            asker=Asker(plan.purpose, *kept.get("asker", ())),
            masks={
                dataset: {name: Cut.model_validate(cut) for name, cut in cuts.items()}
                for dataset, cuts in kept.get("masks", {}).items()
            },
            contract=own[0],
            contracts=brought(plan, kept.get("contracts", ())) | {one.dataset: one for one in own},
            verdict=validate(Verdict, Document(payload_of(verdict_token), "verdict", {})),
            epoch=EpochKey(bytes.fromhex(kept["epoch"])),
            vault=vault,
            signer=self._node.signer,
            trust=lambda: self._node.trust,
            clock=utc_now,
            start_worker=self._start_worker,
            start_join=self._start_join,
            run_fragment=self._run_fragment,
            registry=self._withholding.revision,
            releases=self._releases,
            exact=self._exact,
            openings=self._openings,
            summarise=self._store.summarise,
            keep_answer=lambda answer: self._answers.put(KeptAnswer(answer, order.iss, utc_now())),
            step_seconds=float(self._node.config.limits.step_seconds),
            memory_mib=self._node.config.limits.worker_memory_mib,
        )

    def _own(self, job: str, plan: Plan) -> list[DataContract]:
        """The contracts of this party's tables in the plan's order; raises RefusedError unless they are the plan's."""
        participant = plan.participant(self._node.name)
        tables = participant.tables if participant else ()
        held = [self._catalogue.contracts.get(table.dataset) for table in tables]
        own = [one for one, table in zip(held, tables, strict=True) if one and one.digest() == table.contract]
        if not own or len(own) != len(tables):
            raise RefusedError("the data contract has changed since", where=job, right="submit the job again")
        return own

    def _steps(self, context: JobContext) -> JobSteps:
        if context.plan.kind == "query":
            return QueryJob(context) if context.plan.join is None else JoinedJob(context, context.plan.join)
        if context.plan.protection.mode == "plain":
            return PlainJob(context)
        recipe = recipe_of(context.order)
        if recipe is None:
            raise PolicyError("the job names no recipe", where=context.job)
        return TrainingJob(context, recipe)

    def _start_worker(self, context: JobContext) -> WorkerProcess:
        """A worker of a training, with the permitted view and nothing else of this party."""
        spec = context.order.spec
        recipe = recipe_of(context.order)
        if recipe is None or spec.recipe is None:
            raise PolicyError("the job names no recipe", where=context.job)
        settings: dict[str, Any] = {
            "recipe": recipe.name,
            "version": recipe.version,
            "parameters": spec.recipe.parameters,
            "seed": int(context.plan.job[:8], 16),
        }
        wanted = list(dict.fromkeys(need.name for need in recipe.columns))
        view = None
        if wanted:
            self._withholding.note(context.contract, context.plan.purpose, context.job)
            bound = context.bound(context.contract.dataset)
            view = _arrow_file(self._withholding.table(context.contract, wanted, context.asker, bound))
        job = WorkerJob(
            name=context.job,
            app="parties.apps.recipe:app",
            party=context.me,
            run_config={"job": json.dumps(settings)},
            view=view,
        )
        limits = ChildLimits(address_space=self._node.config.limits.worker_memory_mib * MIB)
        try:
            return WorkerProcess(job, limits=limits)
        finally:
            if view is not None:
                os.close(view)  # the worker has its own

    def _start_join(self) -> JoinProcess:
        return JoinProcess(float(self._node.config.limits.step_seconds), self._spare.take())

    def _run_fragment(self, context: JobContext, fragment: Fragment) -> Mapping[str, Values]:
        """What a query's fragment makes of this party's rows, in the engine that holds them; raises DataError."""
        held, purpose = self._catalogue.contracts, context.plan.purpose
        for dataset in dict.fromkeys(dataset for dataset, _ in fragment.relations.values()):
            self._withholding.note(held[dataset], purpose, context.job)
        relations = {
            name: self._withholding.relation(held[dataset], columns, context.asker, context.bound(dataset))
            for name, (dataset, columns) in fragment.relations.items()
        }
        push = Pushdown(fragment.sql, fragment.parameters, fragment.outputs)
        limits = Limits(seconds=context.step_seconds, memory_mib=self._node.config.limits.worker_memory_mib)
        found = run_pushdown(relations, push, self._node.home, limits)
        numbers, keys = set(fragment.named("v_")), set(fragment.named("key_"))

        def values(name: str) -> Values:
            column = found[name]
            return column if name in keys else column.to_numpy() if name in numbers else column.to_pylist()

        return {name: values(name) for name in fragment.outputs}


def _arrow_file(view: pa.Table) -> int:
    """A memory file that holds `view` as an Arrow file; the worker maps it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, view.schema) as writer:
        writer.write_table(view)
    return memory_file([memoryview(sink.getvalue())])
