"""A coordinator that cheats: every party's door refuses it, and its log says what was tried.

The three doors are the real ones, over the parties' own keys, contracts and tables; the hub between them is ours.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from compliance.audit.entry import Entry, EntryType
from compliance.law_store import FILE
from federation.catalogue import read_catalogue
from federation.planner import make_plan
from federation.recipes import recipe_info
from inbond import codec
from inbond.cipher_process import CipherProcess
from inbond.messages import Reply, Request, request_id
from inbond.node import Node, utc_now
from inbond.orders import sign_order
from inbond.records import blob_record, octets, settings, texts
from inbond.tokens import payload_of
from parties.agent import Agent
from policies.document import Document, validate
from policies.job import JobSpec
from policies.plan import Plan
from protocols import bfv
from protocols.params import PUBLIC_4096, SHARED_2048
from protocols.sealing import generate
from tests.system.capture import HEADER
from tests.system.world import FIRMS, PURPOSE, SQL, World, evidence


class Hub:
    """A coordinator in the test's hands: it asks the doors whatever the test wants."""

    def __init__(self, agents: dict[str, Agent], owner: Node, sum_keys: tuple[bytes, bytes]) -> None:
        self.agents, self._owner, self._keys = agents, owner, sum_keys
        self.token, self.job, self.plan = self._ordered()

    def _ordered(self) -> tuple[str, str, Plan]:
        """The signed order, the job's id, the plan."""
        data = {
            "kind": "query",
            "name": "query",
            "purpose": PURPOSE,
            "dataset": "payments",
            "sql": SQL,
            "minimum_parties": 3,
            "recipients": [{"id": "spiffe://acme.example/user/rosa", "country": "GB"}],
            "deadline_s": 120,
        }
        order, token = sign_order(
            validate(JobSpec, Document(data, "query", {})),
            self._owner.signer(),
            nonce="0" * 32,
            result_key=generate()[1],
            sum_key_digest=hashlib.sha256(self._keys[1]).hexdigest(),
            now=utc_now(),
        )
        contracts = {name: {"payments": self._published(name)} for name in FIRMS}
        return token, order.jti, make_plan(order, contracts, recipe_info(order.spec), coordinator_country="DE")

    def _published(self, party: str) -> Any:
        reply = self.agents[party].door.handle(Request("0" * 32, "", "catalogue", "", 0, 0, "", time.time() + 60))
        token = texts(codec.decode(reply.body), "catalogue", "token")[0]
        return read_catalogue(token, self._owner.trust, utc_now()).contracts["payments"]

    def request(self, party: str, kind: str, step: str, content: RecordDict, number: int = 0) -> Request:
        name = request_id(self.job, 0, f"{kind}:{step}", number, party)
        body = codec.encode(content)
        return Request(name, self.job, kind, step, number, 0, self.plan.digest(), time.time() + 60, body)

    def tell(self, party: str, request: Request) -> Reply:
        return self.agents[party].door.handle(request)

    def step(self, party: str, step: str, content: RecordDict, number: int = 0) -> Reply:
        return self.tell(party, self.request(party, "step", step, content, number))

    def verdict(self, party: str, kind: str = "admit") -> str:
        content = RecordDict(
            {
                "admit": settings(
                    order=[self.token], plan=[json.dumps(self.plan.payload())], contracts=[], sum_key=self._keys[1]
                )
            }
        )
        reply = self.tell(party, self.request(party, kind, "", content))
        assert reply.status == "ok"
        token = texts(codec.decode(reply.body), "verdict", "token")[0]
        verdict = payload_of(token)
        assert verdict["effect"] == "permit", verdict["reasons"]
        return token

    def start(self, shown: dict[str, list[str]]) -> dict[str, RecordDict]:
        """Show each party its roster; what to send it with the first sum."""
        answers = {}
        for party in FIRMS:
            reply = self.step(party, "query.start", RecordDict({"start": settings(verdicts=shown[party])}))
            assert reply.status == "ok", reply.reason
            answers[party] = codec.decode(reply.body)
        echoes = [texts(answers[party], "roster", "echo")[0] for party in FIRMS]
        boxes = {party: octets(answers["p1"], "boxes", party) for party in FIRMS if party != "p1"}
        return {p: RecordDict({"roster": settings(echoes=echoes, box=boxes.get(p, b""))}) for p in FIRMS}

    def counts(self) -> bytes:
        """Run a job honestly up to the encrypted sum of the counts."""
        tokens = [self.verdict(party) for party in FIRMS]
        contents = self.start(dict.fromkeys(FIRMS, tokens))
        blobs = []
        for party, content in contents.items():
            reply = self.step(party, "query.count", content)
            assert reply.status == "ok", reply.reason
            blobs.append(codec.decode(reply.body).array_records["contribution"]["v"].numpy().tobytes())
        return bfv.add(SHARED_2048, blobs)

    def release(self, party: str, total: bytes) -> Reply:
        return self.step(party, "query.release", RecordDict({"sum": blob_record(total)}))

    def refusals(self, party: str, request: str) -> list[Entry]:
        entries = evidence(self.agents[party].home, self.job)
        return [one for one in entries if one.type is EntryType.REFUSAL and one.data.get("request") == request]


@pytest.fixture(scope="module")
def agents(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Agent]]:
    """The parties' doors in this process: their keys, certificates, contracts and tables, fresh databases."""
    root = tmp_path_factory.mktemp("doors")
    made = {}
    for name in FIRMS:
        shutil.copytree(world.home(name), root / name, ignore=shutil.ignore_patterns("*.db*", "jobs"))
        shutil.copy(world.home(name) / FILE, root / name)  # the records of evidence
        made[name] = Agent(Path(root / name))
    yield made
    for agent in made.values():
        agent.jobs.close()
        agent.store.close()
        agent.budget.close()
        agent.node.close()


@pytest.fixture(scope="module")
def sum_keys() -> tuple[bytes, bytes]:
    with CipherProcess(PUBLIC_4096) as cipher:
        pair = cipher.generate()
    return pair.secret, pair.public


@pytest.fixture
def hub(world: World, agents: dict[str, Agent], sum_keys: tuple[bytes, bytes]) -> Iterator[Hub]:
    made = Hub(agents, Node.open(world.home("rosa"), audit=False), sum_keys)
    yield made
    for party in FIRMS:
        made.tell(party, made.request(party, "close", "", RecordDict()))


def test_the_honest_course_is_answered(hub: Hub) -> None:
    total = hub.counts()
    assert [hub.release(party, total).status for party in FIRMS] == ["ok"] * 3


def test_different_rosters_are_found_out_before_anything_is_contributed(hub: Hub) -> None:
    tokens = {party: hub.verdict(party) for party in FIRMS}
    other = hub.verdict("p2", "explain")  # signed by p2 for the same plan, with another mask key
    assert other != tokens["p2"]
    shown = {party: list(tokens.values()) for party in FIRMS}
    shown["p3"] = [tokens["p1"], other, tokens["p3"]]
    for party, content in hub.start(shown).items():
        request = hub.request(party, "step", "query.count", content)
        assert hub.tell(party, request).status == "failed"
        (entry,) = hub.refusals(party, request.id)
        assert "another roster" in str(entry.data["reason"])


def test_the_roster_of_a_job_cannot_change(hub: Hub) -> None:
    tokens = [hub.verdict(party) for party in FIRMS]
    hub.start(dict.fromkeys(FIRMS, tokens))
    later = [tokens[0], hub.verdict("p2", "explain"), tokens[2]]
    request = hub.request("p1", "step", "query.start", RecordDict({"start": settings(verdicts=later)}))
    again = replace(request, id=request_id(hub.job, 1, "step:query.start", 0, "p1"), attempt=1)
    assert hub.tell("p1", again).status != "ok"
    assert hub.refusals("p1", again.id)


def test_a_request_id_stands_for_one_body(hub: Hub) -> None:
    tokens = [hub.verdict(party) for party in FIRMS]
    content = RecordDict({"start": settings(verdicts=tokens)})
    request = hub.request("p1", "step", "query.start", content)
    first = hub.tell("p1", request)
    repeated = hub.tell("p1", request)
    assert first.status == repeated.status == "ok"
    assert b"".join(map(bytes, first.body)) == b"".join(map(bytes, repeated.body))
    other = replace(request, body=codec.encode(RecordDict({"start": settings(verdicts=tokens[::-1])})))
    refused = hub.tell("p1", other)
    assert (refused.status, refused.reason) == ("refused", "the same request came with another body")
    assert hub.refusals("p1", request.id)
    steps = [one for one in evidence(hub.agents["p1"].home, hub.job) if one.type is EntryType.STEP]
    assert len(steps) == 1, "the repeated request had no second effect"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": "train"}, "was not decided"),
        ({"step": "query.release", "round": 7}, "was not decided"),
        ({"plan_digest": "ab" * 32}, "follows another plan"),
        ({"job": "cd" * 16}, "never admitted"),
    ],
    ids=["step outside of the plan", "round outside of the plan", "another plan", "a job nobody admitted"],
)
def test_a_message_outside_of_the_verdict_is_refused(hub: Hub, change: dict[str, Any], reason: str) -> None:
    hub.verdict("p1")
    request = replace(hub.request("p1", "step", "query.start", RecordDict()), **change)
    assert hub.tell("p1", request).status != "ok"
    entries = evidence(hub.agents["p1"].home, request.job)
    assert [one for one in entries if one.type is EntryType.REFUSAL and reason in str(one.data["reason"])]


def test_a_tampered_or_partial_sum_releases_nothing(hub: Hub) -> None:
    total = hub.counts()
    flipped = bytearray(total)
    flipped[HEADER + 40] ^= 1
    request = hub.request("p1", "step", "query.release", RecordDict({"sum": blob_record(bytes(flipped))}))
    assert hub.tell("p1", request).status == "failed"
    assert hub.refusals("p1", request.id)
    assert hub.release("p2", total[:-1]).status == "failed"


def test_an_order_cannot_be_replayed_to_a_party(hub: Hub) -> None:
    hub.verdict("p1")
    content = RecordDict(
        {
            "admit": settings(
                order=[hub.token], plan=[json.dumps(hub.plan.payload())], contracts=[], sum_key=hub._keys[1]
            )
        }
    )
    request = replace(hub.request("p1", "admit", "", content), id="f" * 32)
    token = texts(codec.decode(hub.tell("p1", request).body), "verdict", "token")[0]
    assert token
    refused = [one for one in evidence(hub.agents["p1"].home, hub.job) if one.type is EntryType.REFUSAL]
    assert any("replayed order" in str(one.data) for one in refused)
