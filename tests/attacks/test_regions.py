"""Attack 25: a residency that is claimed and is not so. Whoever is elsewhere than the authority attests is refused, and
the log has every place on the way. A party lies, a coordinator, a researcher, and a coordinator about the others.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from compliance.audit.entry import EntryType
from federation.catalogue import CATALOGUE_TYPE, PartyEntry
from federation.coordinator import Coordinator
from federation.jobs import JobManager
from federation.planner import make_plan
from federation.store import CoordinatorStore
from inbond import codec
from inbond.messages import Reply
from inbond.node import Node, utc_now
from inbond.records import settings, texts
from inbond.roster import VERDICT_TYPE, read_roster
from inbond.tokens import payload_of
from policies.bundle import load_baseline
from policies.engine import Engine
from policies.envelope import sign
from policies.explain import explain
from policies.identity import Standing, identify
from policies.job import JobOrder
from policies.plan import LeakKind, Plan, Reader
from policies.verdict import Verdict
from protocols.errors import PeerViolation
from tests.bad_input.homes import CONSORTIUM, Party, certified_home, furnish, prove, signed_order
from tests.policies.samples import RESEARCHER, contract, query_spec
from tests.support.authority import Node as Certified
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority(CONSORTIUM)
ROOT = f"spiffe://{CONSORTIUM}"
NAMES = ("p1", "p2", "p3")


def _node(path: str, country: str = "DE") -> Certified:
    return AUTHORITY.node(path, standing=Standing(country=country) if country else Standing())


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """Party p1, attested to be in DE, as its contract says; the sample contract allows readers in DE, FR and NO."""
    home = tmp_path_factory.mktemp("regions") / "p1"
    certified_home(AUTHORITY, "party", "p1", home, country="DE")
    furnish(home)
    prove(home)
    made = Party.open(AUTHORITY, home, _node("user/rosa"))
    yield made
    made.close()


def _greet(party: Party, country: str) -> None:
    """Let the coordinator of this link show a certificate with `country`."""
    node = _node("coordinator", country)
    party.regions.greeted(identify(node.signer.chain[0], AUTHORITY.trust, utc_now()))


def _plan(order: JobOrder, coordinator: str = "DE") -> Plan:
    return make_plan(order, {name: {"orders": contract()} for name in NAMES}, coordinator_country=coordinator)


def _decided(party: Party, by: Certified, claimed: str = "DE", **change: Any) -> dict[str, Any]:
    """The party's verdict on a job of `by`, who claims to read in `claimed`; `change` is done to the plan."""
    spec = query_spec(recipients=[{"id": RESEARCHER, "country": claimed}])
    order, token = party.order(spec, by=by)
    plan = _plan(order, change.pop("coordinator", "DE")).model_copy(update=change)
    reply = party.admit(order, token, plan=plan)
    assert reply.status == "ok", reply.reason
    assert (party.store.job(order.jti) is None) is (party.entries()[-1].type is EntryType.REFUSAL)
    verdict: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    return verdict


def test_an_honest_job_is_admitted_and_the_log_has_every_place_on_the_way(party: Party) -> None:
    _greet(party, "DE")
    assert _decided(party, party.researcher)["effect"] == "permit"
    way = party.entries()[-1].data["way"]
    assert isinstance(way, list)
    assert way[:4] == [
        {"role": "exporter", "id": f"{ROOT}/party/p1", "claimed": "DE", "attested": "DE"},
        {"role": "participant", "id": f"{ROOT}/party/p2", "claimed": "DE", "attested": ""},
        {"role": "participant", "id": f"{ROOT}/party/p3", "claimed": "DE", "attested": ""},
        {"role": "coordinator", "id": f"{ROOT}/coordinator", "claimed": "DE", "attested": "DE"},
    ]
    assert {"role": "reader", "id": RESEARCHER, "claimed": "DE", "attested": "DE"} in way


def test_attack_25_a_coordinator_in_a_third_region_that_the_plan_hides_is_refused(party: Party) -> None:
    _greet(party, "CN")
    verdict = _decided(party, party.researcher)
    assert (verdict["effect"], verdict["steps"]) == ("deny", [])
    assert f"the authority attests that {ROOT}/coordinator is in CN, not in DE" in " ".join(verdict["reasons"])
    hop = {"role": "coordinator", "id": f"{ROOT}/coordinator", "claimed": "DE", "attested": "CN"}
    assert hop in party.entries()[-1].data["way"]  # type: ignore[operator]  # a list, as it was written


def test_attack_25_a_key_holder_outside_who_claims_to_be_inside_is_refused(party: Party) -> None:
    """The researcher's key opens the sums: the place of the reader is the place of the key."""
    _greet(party, "DE")
    for claimed, attested, effect in (("DE", "CN", "deny"), ("FR", "DE", "deny"), ("DE", "", "permit")):
        verdict = _decided(party, _node("user/rosa", attested), claimed)
        assert verdict["effect"] == effect, (claimed, attested)
        told = f"the authority attests that {RESEARCHER} is in {attested}, not in {claimed}"
        assert (told in " ".join(verdict["reasons"])) is (effect == "deny")


def test_attack_25_a_reader_cannot_be_moved_by_the_plan(party: Party) -> None:
    """A party of the job reads where its tables are: a plan with two places for one of them is no plan."""
    _greet(party, "DE")
    readers = (Reader(id=RESEARCHER, country="DE", object=LeakKind.EXACT_AGGREGATE),)
    moved = Reader(id=f"{ROOT}/party/p2", country="FR", object=LeakKind.GROUP_COUNTS)
    verdict = _decided(party, party.researcher, readers=(*readers, moved))
    assert verdict["effect"] == "deny"
    assert f"{ROOT}/party/p2 is said to be in DE and in FR" in " ".join(verdict["reasons"])


def test_attack_25_a_party_whose_own_region_is_not_the_contracts_takes_part_in_nothing(tmp_path: Path) -> None:
    home = certified_home(AUTHORITY, "party", "p1", tmp_path / "p1", country="CN")
    furnish(home)
    prove(home)
    party = Party.open(AUTHORITY, home, _node("user/rosa"))
    verdict = _decided(party, party.researcher)
    party.close()
    assert verdict["effect"] == "deny"
    assert f"{ROOT}/party/p1 is in CN, not in DE" in " ".join(verdict["reasons"])


@pytest.mark.parametrize(("attested", "well"), [("DE", True), ("", True), ("CN", False)])
def test_attack_25_a_party_elsewhere_is_seen_by_its_verdict_before_anybody_contributes(
    attested: str, well: bool
) -> None:
    """The coordinator kept quiet about p3: its own signed verdict tells the others where it is."""
    job, plan = "ab" * 16, _plan(signed_order(_node("user/rosa"))[0])
    places = {"p1": "DE", "p2": "DE", "p3": attested}
    tokens = [_verdict(name, job, plan, country) for name, country in places.items()]
    if well:
        assert read_roster(tokens, job, plan, AUTHORITY.trust, utc_now()).names == NAMES
        return
    with pytest.raises(PeerViolation, match="not in the country that the plan says"):
        read_roster(tokens, job, plan, AUTHORITY.trust, utc_now())


def _verdict(name: str, job: str, plan: Plan, country: str) -> str:
    given = Verdict(
        job=job,
        plan=plan.digest(),
        party=name,
        contract="0" * 64,
        effect="permit",
        policies=("permit-run",),
        steps=plan.steps,
        expires=int(utc_now().timestamp()) + 600,
        epoch_key=name.encode().hex().ljust(64, "0"),
    )
    return sign(given.payload(), typ=VERDICT_TYPE, signer=_node(f"party/{name}", country).signer)


# at the coordinator


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[JobManager]:
    """The jobs of a coordinator attested to be in DE, with three parties there."""
    node = Node.open(certified_home(AUTHORITY, "coordinator", "coordinator", tmp_path / "hub", country="DE"))
    store, hub = CoordinatorStore(tmp_path / "hub"), _NobodyConnected()
    made = JobManager(node, store, hub, Engine(load_baseline()))  # type: ignore[arg-type]  # a hub without links
    made.verdicts.catalogues = lambda: {name: PartyEntry(name, "DE", {"orders": contract()}, "DE") for name in NAMES}  # type: ignore[method-assign]
    yield made
    made.close()
    store.close()
    node.close()


class _NobodyConnected:
    def connected(self) -> dict[str, object]:
        return {}


def _order(by: Certified, *recipients: tuple[str, str]) -> tuple[JobOrder, str]:
    spec = query_spec(recipients=[{"id": who, "country": country} for who, country in recipients])
    return signed_order(by, spec)


@pytest.mark.parametrize(
    ("by", "recipients", "told"),
    [
        ("DE", [(RESEARCHER, "DE")], ""),
        ("", [(RESEARCHER, "DE")], ""),
        ("CN", [(RESEARCHER, "DE")], f"{RESEARCHER} is in CN, not in DE"),
        ("DE", [(RESEARCHER, "DE"), (f"{ROOT}/party/p2", "FR")], f"{ROOT}/party/p2"),
        ("DE", [(RESEARCHER, "DE"), (f"{ROOT}/coordinator", "NO")], f"{ROOT}/coordinator"),
    ],
)
def test_attack_25_the_coordinator_refuses_a_recipient_who_is_elsewhere_and_logs_the_way(
    manager: JobManager, by: str, recipients: list[tuple[str, str]], told: str
) -> None:
    order, token = _order(_node("user/rosa", by), *recipients)
    plan = _plan(order)
    reasons = manager.verdicts.refusals(token, order, plan)
    assert bool(reasons) is bool(told)
    assert told in " ".join(reasons)
    log = manager._node.audit
    assert log is not None
    entry = [entry for _, entry in log.entries()][-1]
    assert entry.type is (EntryType.REFUSAL if told else EntryType.DECISION)
    assert {"role": "exporter", "id": f"{ROOT}/party/p1", "claimed": "DE", "attested": "DE"} in entry.data["way"]  # type: ignore[operator]


def test_attack_25_a_coordinator_that_claims_another_country_than_its_own_certificate_runs_nothing(
    manager: JobManager,
) -> None:
    order, token = _order(_node("user/rosa"), (RESEARCHER, "DE"))
    plan = _plan(order, coordinator="FR")
    decision = manager.verdicts.decide(order, plan, manager.verdicts._way(token, order, plan))
    assert not decision.permitted
    assert "coordinator is in DE, not in FR" in " ".join(explain(decision))


def test_attack_25_a_contract_that_claims_another_region_is_left_out_logged_and_recorded(tmp_path: Path) -> None:
    coordinator = Coordinator(certified_home(AUTHORITY, "coordinator", "coordinator", tmp_path / "hub", country="DE"))
    held = {"orders": contract(), "returns": contract(dataset="returns", jurisdiction="FR")}
    payload = {"party": "p1", "country": "DE", "contracts": {name: one.published() for name, one in held.items()}}
    token = sign(payload, typ=CATALOGUE_TYPE, signer=_node("party/p1").signer)
    reply: Future[Reply] = Future()
    reply.set_result(Reply("r", "ok", "", codec.encode(RecordDict({"catalogue": settings(token=[token])}))))
    coordinator.hub.request = lambda *_: reply  # type: ignore[method-assign]  # the party's answer
    coordinator._fetch_catalogue("p1")
    assert list(coordinator.jobs.verdicts.catalogues()["p1"].contracts) == ["orders"]
    log = coordinator.node.audit
    assert log is not None
    entry = [entry for _, entry in log.entries()][-1]
    assert (entry.type, entry.subject, entry.data["dataset"]) == (EntryType.REFUSAL, f"{ROOT}/party/p1", "returns")
    assert entry.data["reason"] == "its jurisdiction is FR, and the authority attests DE"
    coordinator.jobs.close()
    coordinator.store.close()
    coordinator.node.close()
