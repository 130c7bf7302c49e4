"""A researcher's side: make and sign orders, follow jobs, open results. The keys never leave this machine.

    from federation.client import Researcher

    with Researcher.open(Path("~/ana")) as researcher:
        answer = researcher.query("SELECT method, COUNT(*) FROM order_payments GROUP BY method", purpose="dpv:...")

A result is believed only when every party's signed receipt agrees with it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import grpc
import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from federation.catalogue import PartyEntry, read_catalogue
from federation.key_holder import KeyHolder
from inbond import tls
from inbond.answers import Answer, answer_of
from inbond.approvals import LONGEST, sign_approval
from inbond.cipher_process import CipherProcess
from inbond.errors import ConfigError, InbondError, JobFailed, Refused, Unreachable
from inbond.joint_query import joint_numbers, planned_query, release_spec
from inbond.model_card import fits
from inbond.node import Node, utc_now
from inbond.orders import open_order, sign_order
from inbond.roster import VERDICT_TYPE, Roster, read_roster
from inbond.signed_box import BoxLabel, open_signed
from inbond.v1 import control_pb2 as wire
from inbond.v1 import control_pb2_grpc
from policies.contract import PublishedContract
from policies.document import Document, validate
from policies.envelope import verify
from policies.errors import PolicyError
from policies.job import JobOrder, JobSpec
from policies.plan import Plan, load_plan
from policies.query.reading import parse
from policies.verdict import Verdict
from protocols.errors import PeerViolation
from protocols.params import PUBLIC_4096
from protocols.sealing import generate
from protocols.secure_sum import open_sum

T = TypeVar("T")
Progress = Callable[[int, int], None]
BODY = "body"
CALL_SECONDS = 60.0
CHUNK = 1024 * 1024
PATIENCE = 60  # tries, a second apart, while a coordinator restarts
MAX_RESULT = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job would do: its plan, the coordinator's decision, and every party's verdict or problem."""

    plan: Plan
    coordinator: Mapping[str, Any]
    verdicts: Mapping[str, Mapping[str, Any]]

    @property
    def permitted(self) -> bool:
        """Whether the job would run."""
        return bool(self.coordinator["permitted"]) and all(one["permitted"] for one in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished training: the flat model, and its card (data, parties, metrics, privacy)."""

    job: str
    parameters: np.ndarray[Any, np.dtype[np.float32]]
    card: dict[str, Any]
    safetensors: bytes

    def file(self) -> bytes:
        """The model as a safetensors file."""
        return self.safetensors or save_safetensors({"parameters": self.parameters})


@dataclass(frozen=True, slots=True)
class Delivered:
    """A finished join whose answer the `parties` of one side read, and nobody else."""

    job: str
    parties: tuple[str, ...]
    plan: Plan


Result = Answer | TrainedModel | Delivered


@dataclass(frozen=True, slots=True)
class Proposed:
    """A job that waits for people: what its submitter signed, the plan that is to be approved, what is missing."""

    order: JobOrder
    plan: Plan
    missing: str


class Researcher(AbstractContextManager["Researcher"]):
    """One user of the consortium, connected to its coordinator."""

    def __init__(self, node: Node) -> None:
        self.node = node
        address = node.config.address.coordinator
        if not address:
            right = 'set [address] coordinator = "host:port"'
            raise ConfigError("no coordinator address", where=str(node.home / "inbond.toml"), right=right)
        self._address = address
        self._holders: dict[str, KeyHolder] = {}
        self._waiting: CipherProcess | None = None
        self._processes = ExitStack()
        self._channel = tls.channel(address, node.credentials, node.keystore)
        self._stub: Any = control_pb2_grpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    @classmethod
    def open(cls, home: Path) -> Self:
        """The researcher whose node is in `home`; renews its certificate when that is due."""
        node = Node.open(Path(home).expanduser(), audit=False)
        if node.config.node.role != "user":
            right = "the --home of a user: inbond user init"
            raise ConfigError(f"this is a {node.config.node.role}'s node", where=str(home), right=right)
        try:
            node.renew()
        except InbondError:
            if utc_now() >= node.credentials.not_after:
                raise
        return cls(node)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.close()
        self._channel.close()

    # asking

    def submit(self, spec: JobSpec) -> str:
        """Sign and send `spec`; the job's id. Raises Refused, InbondError or Unreachable."""
        token, sum_key, job = self._order(spec)
        self._call(self._stub.Submit, wire.OrderRequest(order=token, sum_key=sum_key))
        return job

    def explain(self, spec: JobSpec) -> Explanation:
        """Plan and verdicts of a job that is not run."""
        token, sum_key, job = self._order(spec)
        try:
            reply = self._call(self._stub.Explain, wire.OrderRequest(order=token, sum_key=sum_key))
        finally:
            self.node.keystore.delete(_secret(job))
        verdicts = {one.party: self._spoken(one) for one in reply.verdicts}
        return Explanation(load_plan(reply.plan), json.loads(reply.coordinator), verdicts)

    def _spoken(self, one: wire.PartyVerdict) -> dict[str, Any]:
        """A party's verdict in words; only one that its party signed counts."""
        if one.problem:
            return {"permitted": False, "effect": "none", "reasons": [one.problem], "policies": []}
        signed = verify(one.verdict, typ=VERDICT_TYPE, trust=self.node.trust, now=utc_now())
        verdict = validate(Verdict, Document(signed.payload, f"verdict of {one.party}", {}))
        if signed.issuer.role != "party" or (signed.issuer.name, verdict.party) != (one.party, one.party):
            raise PeerViolation("a verdict is not its party's own", where=one.party)
        payload = verdict.payload()
        told = ("effect", "reasons", "obligations", "policies", "transfers", "needs")
        return {"permitted": verdict.permitted, **{name: payload[name] for name in told}}

    def _order(self, spec: JobSpec) -> tuple[str, bytes, str]:
        """(signed order, public BFV key or nothing, job id); the secret halves stay in the key store."""
        private, public = generate()
        held = spec.key_mode == "holder" and spec.protection == "encrypted"
        secret, sum_key = b"", b""
        if held:
            with CipherProcess(PUBLIC_4096) as cipher:
                secret, sum_key = cipher.generate()
        nonce = self._call(self._stub.Challenge, wire.ChallengeRequest()).nonce
        order, token = sign_order(
            spec,
            self.node.signer(),
            nonce=nonce,
            result_key=public,
            sum_key_digest=hashlib.sha256(sum_key).hexdigest() if held else None,
            now=utc_now(),
        )
        kept = {"result": private.hex(), "sum": secret.hex(), "spec": spec.model_dump(mode="json")}
        self.node.keystore.put(_secret(order.jti), json.dumps(kept).encode())
        return token, sum_key, order.jti

    # following

    def status(self, job: str) -> wire.JobView:
        """The job, with plan and verdicts."""
        view: wire.JobView = self._call(self._stub.Status, wire.JobRequest(job=job))
        return view

    def jobs(self) -> list[wire.JobView]:
        """All jobs of this researcher, newest first."""
        return list(self._call(self._stub.List, wire.ListRequest()).jobs)

    def cancel(self, job: str) -> wire.JobView:
        """End a job at once."""
        view: wire.JobView = self._call(self._stub.Cancel, wire.JobRequest(job=job))
        return view

    def proposed(self) -> list[Proposed]:
        """The jobs that this person may approve or refuse, each with its order and plan checked."""
        found = self._call(self._stub.Proposed, wire.ProposedRequest()).jobs
        return [self._proposed(view) for view in found]

    def _proposed(self, view: wire.JobView) -> Proposed:
        """What the coordinator shows, believed only as far as the submitter signed it."""
        consortium = self.node.config.node.consortium
        order = open_order(view.order, trust=self.node.trust, consortium=consortium, now=utc_now(), aged=LONGEST)
        plan = load_plan(view.plan)
        if (plan.job, view.job) != (order.digest(), order.jti):
            raise PeerViolation("the plan is not of the order that was signed", where=view.job)
        return Proposed(order, plan, view.reason)

    def decide(self, found: Proposed, decision: Literal["approve", "refuse"], reason: str = "") -> wire.JobView:
        """Sign `decision` on the plan that was shown, and send it; raises Refused where it does not count."""
        job, plan, now = found.order.jti, found.plan.digest(), utc_now()
        token = sign_approval(self.node.signer(), job=job, plan=plan, decision=decision, now=now, reason=reason)
        view: wire.JobView = self._call(self._stub.Decide, wire.DecideRequest(job=job, approval=token))
        return view

    def watch(self, job: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events of a job until it ends, each with `number` and `time`; survives a restart of the coordinator.

        A sealed progress report is opened and given as `metrics`.
        """
        patience = PATIENCE
        while True:
            try:
                for event in self._stub.Watch(wire.WatchRequest(job=job, after=after)):
                    after, patience = event.number, PATIENCE
                    yield self._opened({"number": event.number, "time": event.time, **json.loads(event.body)}, job)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or patience <= 0:
                    raise _translated(error, self._address) from None
                patience -= 1
                time.sleep(1.0)
            else:
                return

    def _open_sum(self, job: str, event: dict[str, Any]) -> None:
        """In key mode `holder`: open the sum that waits, once, and bring every party its sealed slots."""
        request = wire.ToOpenRequest(job=job, request=event["request"])
        ciphertext = b"".join(chunk.data for chunk in self._stub.ToOpen(request))
        if not ciphertext:
            return
        boxes = self._holder(job).open(str(event["step"]), int(event["round"]), ciphertext)
        self._call(self._stub.Opened, _chunks(job, str(event["request"]), boxes))

    def _holder(self, job: str) -> KeyHolder:
        if job not in self._holders:
            view = self.status(job)
            plan = load_plan(view.plan)
            roster, secret = self._roster(job, view, plan), bytes.fromhex(self._secrets(job)["sum"])
            self._holders[job] = KeyHolder(job, plan.digest(), roster, self.node.signer(), secret)
        return self._holders[job]

    def _opened(self, event: dict[str, Any], job: str) -> dict[str, Any]:
        if event.get("event") == "open":
            self._open_sum(job, event)
        box = event.pop("box", "")
        if event.get("event") == "progress" and box:
            done = int(event["round"]) - 2 if event["step"] == "train" else self._rounds(job) - 1
            content = self._open_box(bytes.fromhex(box), job, f"progress {done}", event["party"])
            event |= json.loads(content)
        return event

    def _rounds(self, job: str) -> int:
        return int(self._secrets(job)["spec"]["rounds"])

    def catalogue(self) -> dict[str, PartyEntry]:
        """What every party publishes."""
        reply = self._call(self._stub.Catalogue, wire.CatalogueRequest())
        found: dict[str, PartyEntry] = {}
        for token in reply.catalogues:
            try:
                entry = read_catalogue(token, self.node.trust, utc_now())
            except (PolicyError, InbondError):
                continue  # a party that is away has a catalogue signed with a certificate that ran out
            found[entry.party] = entry
        return found

    def nodes(self) -> dict[str, Any]:
        """Who is connected to the coordinator."""
        status: dict[str, Any] = json.loads(self._call(self._stub.Nodes, wire.NodesRequest()).status)
        return status

    # results

    def ready(self) -> CipherProcess:
        """Start the process that will open the next answer, which takes a while, while its job runs."""
        if self._waiting is None:
            self._waiting = self._processes.enter_context(CipherProcess(PUBLIC_4096))
        return self._waiting

    def wait(self, job: str) -> wire.JobView:
        """Wait for the end of a job; raises Refused, JobFailed with the reason."""
        for _ in self.watch(job):
            pass
        return self._ended(job)

    def _ended(self, job: str) -> wire.JobView:
        view = self.status(job)
        if view.state == "refused":
            raise Refused(view.reason, where=f"job {view.name}")
        if view.state != "finished":
            right = "inbond job status " + job
            raise JobFailed(
                f"{view.state}: {view.reason or 'no reason was given'}", where=f"job {view.name}", right=right
            )
        return view

    def query(self, sql: str, **fields: Any) -> Answer:
        """Answer one joint query; `fields` are those of a job file (purpose, recipients, ...).

        Raises ConfigError where the recipients are parties, which then read the answer: `submit` such a query.
        """
        spec = self.query_spec(sql, **fields)
        if all("/party/" in one.id for one in spec.recipients):
            right = "submit(query_spec(..)) and wait(job); the parties then have the answer"
            raise ConfigError("the answer does not come here", where="recipients", right=right)
        job = self.submit(spec)
        self.ready()
        self.wait(job)
        answer = self.result(job)
        if not isinstance(answer, Answer):
            raise InbondError("the job is not a query", where=job)
        return answer

    def query_spec(self, sql: str, **fields: Any) -> JobSpec:
        """A query's job: the dataset is the SQL's first, the recipient is this researcher, unless said otherwise."""
        me = {"id": str(self.node.credentials.spiffe_id), "country": self.node.config.node.country}
        data = {"kind": "query", "name": "query", "sql": sql}
        data["dataset"] = parse(sql, "SQL", fields.get("parameters")).datasets[0]
        return validate(JobSpec, Document({**data, "recipients": [me], **fields}, "query", {}))

    def recipients(self, parties: Sequence[str]) -> list[dict[str, str]]:
        """`parties` as the recipients of a join's answer, with the country that each publishes; raises ConfigError."""
        entries, root = self.catalogue(), f"spiffe://{self.node.config.node.consortium}/party"
        found: list[dict[str, str]] = []
        for name in parties:
            held = entries[name].contracts if name in entries else {}
            if not held:
                right = f"parties that publish a table: {', '.join(sorted(entries)) or 'none is connected'}"
                raise ConfigError(f"no party `{name}` publishes a table", where="recipients", right=right)
            found.append({"id": f"{root}/{name}", "country": next(iter(held.values())).jurisdiction})
        return found

    def result(self, job: str, progress: Progress = lambda _done, _total: None) -> Result:
        """Fetch and open a finished job's result; `progress` hears bytes fetched and bytes in all.

        Raises PeerViolation when the parties' receipts disagree with it.
        """
        view = self._ended(job)
        plan = load_plan(view.plan)
        roster = self._roster(job, view, plan)
        parts = self._fetch(job, progress)
        if plan.protection.mode == "plain":
            model = np.frombuffer(_part(parts, "model"), np.float32)
            return TrainedModel(job, model, {"job": job, "name": view.name, "protection": "plain"}, b"")
        receipts = self._receipts(parts, job, roster)
        if plan.answered():
            return Delivered(job, plan.answered(), plan)
        if plan.kind == "query":
            return self._answer(job, plan, roster, _part(parts, BODY), receipts)
        return self._model(job, roster, _part(parts, BODY), receipts)

    def _roster(self, job: str, view: wire.JobView, plan: Plan) -> Roster:
        """The parties, as their own signed verdicts prove them (not as the coordinator says)."""
        tokens = [one.verdict for one in view.verdicts]
        return read_roster(tokens, job, plan, self.node.trust, utc_now(), running=False)

    def _fetch(self, job: str, progress: Progress) -> dict[str, bytes]:
        buffer = bytearray()
        try:
            for chunk in self._stub.Result(wire.JobRequest(job=job)):
                buffer += chunk.data
                progress(len(buffer), chunk.total)
                if len(buffer) > MAX_RESULT:
                    raise PeerViolation("the result is too large", where="result")
        except grpc.RpcError as error:
            raise _translated(error, self._address) from None
        head, _, rest = bytes(buffer).partition(b"\n")
        parts: dict[str, bytes] = {}
        try:
            for name, length in json.loads(head).items():
                parts[str(name)], rest = rest[:length], rest[length:]
        except (ValueError, TypeError, AttributeError):
            raise PeerViolation("the result is malformed", where="result") from None
        return parts

    def _receipts(self, parts: Mapping[str, bytes], job: str, roster: Roster) -> list[dict[str, str]]:
        """Every party's receipt, opened; they must agree in all but the party's name."""
        receipts = []
        for party in roster.names:
            receipt = json.loads(self._open_box(parts.get(f"receipt {party}", b""), job, "receipt", party))
            if receipt.pop("party", None) != party:
                raise PeerViolation("a receipt is another party's", where=party)
            receipts.append(receipt)
        if any(receipt != receipts[0] for receipt in receipts):
            raise PeerViolation("the parties' receipts disagree", where=job, right="the same result at every party")
        return receipts

    def _answer(self, job: str, plan: Plan, roster: Roster, body: bytes, receipts: list[dict[str, str]]) -> Answer:
        query = planned_query(self._spec(job), plan, self._planned_contracts(job, plan))
        nothing = np.zeros(query.shape, np.bool_)
        cipher, self._waiting = self.ready(), None
        try:
            cipher.load_key(bytes.fromhex(self._secrets(job)["sum"]))
            slots = cipher.decrypt(body)
        finally:
            cipher.close()
        sums = open_sum(release_spec(query, job, plan, roster, nothing), slots).exact
        table = joint_numbers(query, plan.join, sums)
        hidden = query.suppressed(table, plan.minimum_group)
        if release_spec(query, job, plan, roster, hidden).digest().hex() != receipts[0].get("spec"):
            raise PeerViolation("the sum is not the one that the parties released", where=job)
        return answer_of(query, job, plan, table, hidden)

    def _planned_contracts(self, job: str, plan: Plan) -> dict[str, PublishedContract]:
        """One of the contracts that the plan binds, of every dataset."""
        entries = self.catalogue()
        found: dict[str, PublishedContract] = {}
        for name, table in ((one.name, table) for one in plan.participants for table in one.tables):
            held = entries[name].contracts.get(table.dataset) if name in entries else None
            if held is not None and held.digest() == table.contract:
                found.setdefault(table.dataset, held)
        missing = set(plan.datasets()) - set(found)
        if missing:
            what = f"no party of the job publishes its contract for {min(missing)} now"
            raise Unreachable(what, where=job, right="try again when one is connected")
        return found

    def _model(self, job: str, roster: Roster, body: bytes, receipts: list[dict[str, str]]) -> TrainedModel:
        content = self._open_box(body, job, "result", roster.leader)
        model = load_safetensors(content)["parameters"]
        if hashlib.sha256(model.tobytes()).hexdigest() != receipts[0].get("model"):
            raise PeerViolation("the model is not the one that all parties hold", where=job)
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        card = json.loads(head["__metadata__"]["card"])
        if not fits(card, model):
            raise PeerViolation("the model's card is of another model", where=job)
        return TrainedModel(job, model, card, content)

    # keys and calls

    def _open_box(self, box: bytes, job: str, purpose: str, party: str) -> bytes:
        sender = f"spiffe://{self.node.config.node.consortium}/party/{party}"
        plan = self._plan_digest(job)
        private = bytes.fromhex(self._secrets(job)["result"])
        label = BoxLabel(job, plan, purpose)
        return open_signed(box, label, private, sender=sender, trust=self.node.trust, now=utc_now())

    def _spec(self, job: str) -> JobSpec:
        """What this node ordered."""
        return validate(JobSpec, Document(self._secrets(job)["spec"], "query", {}))

    def _plan_digest(self, job: str) -> str:
        return load_plan(self.status(job).plan).digest()

    def _secrets(self, job: str) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self.node.keystore.get(_secret(job)))
        except InbondError:
            raise InbondError(
                f"the keys of job {job} are not here",
                where=str(self.node.home),
                right="the node that submitted the job",
            ) from None
        return kept

    def _call(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise _translated(error, self._address) from None


def step_count(view: wire.JobView) -> int | None:
    """How many steps the job's plan has; None while there is no plan."""
    return sum(step.max_count for step in load_plan(view.plan).steps) if view.plan else None


def _chunks(job: str, request: str, boxes: Mapping[str, bytes]) -> Iterator[wire.OpenedChunk]:
    """The boxes in pieces of a mebibyte."""
    for party, box in boxes.items():
        for start in range(0, len(box), CHUNK):
            yield wire.OpenedChunk(job=job, request=request, party=party, data=box[start : start + CHUNK])


def _part(parts: Mapping[str, bytes], name: str) -> bytes:
    """One part of a fetched result; raises PeerViolation."""
    if name not in parts:
        raise PeerViolation(f"the result has no {name}", where="result")
    return parts[name]


def _secret(job: str) -> str:
    return f"job-{job}"


def _translated(error: grpc.RpcError, address: str) -> InbondError:
    """A call's status as one of our errors; the coordinator's words are shown, they never hold data."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        what = details if details.startswith("the coordinator") else "does not answer"
        return Unreachable(what, where=address, right="a running coordinator: inbond coordinator status")
    if details in {tls.FORBIDDEN, tls.UNAUTHENTICATED}:
        right = "a user's node with a valid certificate: see inbond doctor"
        return Refused(f"the coordinator lets this node not in ({details})", where=address, right=right)
    if code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}:
        return Refused(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable("did not answer in time", where=address, right="try again")
    return InbondError(details or str(code))
