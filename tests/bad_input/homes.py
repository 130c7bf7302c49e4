"""Nodes and one party with its door, made in a folder of the test: real keys, certificates, logs and databases."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from flwr.app import RecordDict

from compliance.audit.entry import Entry
from compliance.audit.log import AuditLog
from compliance.budget import BudgetLedger
from compliance.law_store import FILE
from compliance.records import RecordStore
from examples.papers import papers
from federation.planner import make_plan
from inbond import codec
from inbond.config import AddressSection
from inbond.keystore import KeyStore, Unlock
from inbond.member_cli import Role, make_node
from inbond.messages import Buffer, Reply, Request, request_id
from inbond.node import Node, utc_now
from inbond.orders import sign_order
from inbond.records import settings
from parties.admission import Admission
from parties.catalogue import Catalogue
from parties.door import Door
from parties.job_context import JobContext
from parties.job_steps import JobSteps
from parties.jobs import Jobs
from parties.lawfulness import Lawfulness
from parties.regions import Regions
from parties.store import LIVE, PartyStore
from policies.bundle import load_baseline
from policies.engine import Engine
from policies.evidence import load_evidence
from policies.identity import Standing
from policies.job import JobOrder, JobSpec
from policies.law.law import law_or_closed
from policies.plan import Plan
from protocols.sealing import generate
from tests.policies.samples import CONTRACT, contract, query_spec
from tests.support.authority import Node as Certified
from tests.support.authority import TestAuthority

CONSORTIUM = "acme.example"
LAW = law_or_closed()
SUM_KEY = b"the researcher's public key"
Step = Callable[[int, RecordDict], RecordDict]


def certified_home(
    authority: TestAuthority,
    role: Role,
    name: str,
    home: Path,
    *,
    coordinator: str = "localhost:9",
    lifetime: timedelta = timedelta(hours=8),
    age: timedelta = timedelta(),
    country: str = "",
    organisation: str = "",
    office: str = "",
) -> Path:
    """A node's folder as `init` and `join` leave it; its certificates are `age` old and live for `lifetime`.

    They attest `country`, `organisation` and `office`, if any; the configuration says DE.
    """
    addresses = AddressSection(coordinator=coordinator, authority="localhost:9", listen="")
    make_node(role, name, CONSORTIUM, "DE", home, addresses)
    keystore = KeyStore.open(home / "keys", Unlock.from_file(home / "keys" / "unlock.key"))
    path = role if role == "coordinator" else f"{role}/{name}"
    standing = Standing(organisation, office, country)
    authority.certify(path, keystore, now=utc_now() - age, lifetime=lifetime, standing=standing).save(home / "certs")
    return home


def furnish(home: Path, text: str = CONTRACT, rows: int = 40) -> None:
    """Put the sample contract and its table, `rows` rows long, into a party's folder."""
    (home / "contracts").mkdir(exist_ok=True)
    (home / "contracts" / "orders.yaml").write_text(text, "utf-8")
    table: dict[str, list[Any]] = {
        "country": ["DE", "FR", "NO", "DE"],
        "amount": ["10.00", "20.50", "0.01", "499.99"],
        "customer": ["a", "b", "a", "b"],
        "items": [1, 2, 1, 2],
        "paid": [True, False, True, True],
        "day": ["2026-01-01"] * 4,
        "seen": ["2026-01-01 10:00:00"] * 4,
        "weight": [0.5, 1.5, 2.5, 3.5],
    }
    pq.write_table(pa.table({name: (values * rows)[:rows] for name, values in table.items()}), home / "orders.parquet")


def prove(home: Path) -> None:
    """Put the records of evidence of p1 in Germany on transfers to the others into its folder."""
    others = dict.fromkeys(("p2", "p3", "p4", "rosa", "coordinator"), "DE")
    with RecordStore.open(home / FILE, lambda _subject, _data: None) as store:
        for file, text in papers("p1", "DE", others).items():
            store.add(load_evidence(text, file))


class ScriptedSteps(JobSteps):
    """Steps that do what the test says, under the names of a query's steps."""

    def __init__(self, context: JobContext, steps: dict[str, Step]) -> None:
        super().__init__(context)
        self.steps |= steps


class ScriptedJobs(Jobs):
    """Real jobs whose steps are the test's."""

    script: dict[str, Step]

    def _steps(self, context: JobContext) -> JobSteps:
        return ScriptedSteps(context, self.script)


def signed_order(by: Certified, spec: JobSpec | None = None) -> tuple[JobOrder, str]:
    """A fresh order of `by` and its token."""
    return sign_order(
        spec or query_spec(),
        by.signer,
        nonce="0123456789abcdef",
        result_key=generate()[1],
        sum_key_digest=hashlib.sha256(SUM_KEY).hexdigest(),
        now=utc_now(),
    )


def roster_reply(_round: int, _content: RecordDict) -> RecordDict:
    """What a start step may say."""
    reply = RecordDict({"roster": settings(echo=["token"], readers=["p2"])})
    reply["boxes"] = settings(p2=b"box")
    return reply


@dataclass
class Party:
    """Party p1 with everything behind its door, and the researcher who orders."""

    authority: TestAuthority
    home: Path
    node: Node
    store: PartyStore
    budget: BudgetLedger
    jobs: ScriptedJobs
    regions: Regions
    admission: Admission
    door: Door
    researcher: Certified

    @classmethod
    def open(cls, authority: TestAuthority, home: Path, researcher: Certified) -> "Party":
        """The party in `home`, as the agent opens it, but for the link."""
        node = Node.open(home)
        catalogue = Catalogue(home)
        budget = BudgetLedger.open(home / "budget.db")
        store = PartyStore(home)
        jobs = ScriptedJobs(node, store, catalogue, budget)
        jobs.script = {"query.start": roster_reply}
        lawfulness, regions = Lawfulness(node, LAW), Regions(node)
        admission = Admission(node, store, catalogue, Engine(load_baseline()), budget, lawfulness, regions)
        door = Door(node, store, catalogue, admission, jobs)
        return cls(authority, home, node, store, budget, jobs, regions, admission, door, researcher)

    @classmethod
    def make(cls, home: Path) -> "Party":
        """A new consortium with this party."""
        authority = TestAuthority(CONSORTIUM)
        certified_home(authority, "party", "p1", home)
        furnish(home)
        prove(home)
        return cls.open(authority, home, authority.node("user/rosa"))

    def close(self) -> None:
        """Close what `open` opened."""
        self.jobs.close()
        self.store.close()
        self.budget.close()
        self.node.close()

    def order(self, spec: JobSpec | None = None, by: Certified | None = None) -> tuple[JobOrder, str]:
        """A fresh signed order and its token."""
        return signed_order(by or self.researcher, spec)

    def plan(self, order: JobOrder) -> Plan:
        """The plan of an order over three parties with the sample contract."""
        return make_plan(order, {name: {"orders": contract()} for name in ("p1", "p2", "p3")}, coordinator_country="DE")

    def own_plan(self, order: JobOrder) -> Plan:
        """The same with the contract that this party has in its folder."""
        mine = self.door._catalogue.contracts["orders"]
        return make_plan(order, {name: {"orders": mine} for name in ("p1", "p2", "p3")}, coordinator_country="DE")

    def admit(self, order: JobOrder, token: str, *, kind: str = "admit", plan: Plan | None = None) -> Reply:
        """Ask for admission, as the coordinator does."""
        made = plan or self.plan(order)
        body = codec.encode(
            RecordDict({"admit": settings(order=[token], plan=[made.model_dump_json()], contracts=[], sum_key=SUM_KEY)})
        )
        return self.door.handle(self.request(order.jti, kind, made.digest(), body=body))

    def admitted(self) -> tuple[str, str]:
        """The one job that this party runs, fresh: its id and the digest of its plan."""
        for row in self.store.jobs(LIVE):
            self.jobs.end(row.id, "closed")
        order, token = self.order()
        plan = self.plan(order)
        reply = self.admit(order, token, plan=plan)
        assert reply.status == "ok", reply.reason
        return order.jti, plan.digest()

    @staticmethod
    def request(
        job: str,
        kind: str,
        plan: str,
        *,
        step: str = "",
        round_: int = 0,
        attempt: int = 0,
        body: list[Buffer] | None = None,
    ) -> Request:
        """One request of the coordinator."""
        name = request_id(job, attempt, f"{kind}:{step}", round_, "p1")
        return Request(name, job, kind, step, round_, attempt, plan, time.time() + 60, body or [])

    def step(self, job: str, plan: str, step: str = "query.start", **more: Any) -> Reply:
        """Ask for one step with an empty content."""
        more.setdefault("body", codec.encode(RecordDict()))
        return self.door.handle(self.request(job, "step", plan, step=step, **more))

    def entries(self) -> list[Entry]:
        """The party's evidence so far."""
        log = self.node.audit
        assert isinstance(log, AuditLog)
        return [entry for _, entry in log.entries()]
