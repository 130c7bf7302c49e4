"""A contract that asks for an agreement gets one, or the job is refused with what is missing; a job takes one use."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from compliance.agreements import FILE, AgreementStore, Standing
from compliance.audit.entry import EntryType
from compliance.errors import LawStoreUnavailable
from federation.planner import make_plan
from inbond import codec
from inbond.errors import Refused
from inbond.messages import Reply
from inbond.node import utc_now
from inbond.records import settings, texts
from inbond.tokens import payload_of
from parties.agreed import Agreed, Agreements
from parties.lawfulness import Lawfulness
from parties.telling import telling
from policies.job import JobOrder, JobSpec
from policies.plan import Plan
from tests.attacks.asking import Asked
from tests.bad_input.homes import CONSORTIUM, SUM_KEY, Party, certified_home, furnish, prove
from tests.policies.samples import CONTRACT, contract
from tests.support.agreements import RULE, agree, kept, used
from tests.support.authority import TestAuthority

LATER = str(utc_now().date() + timedelta(days=9))


def opened(home: Path, rule: str = RULE) -> Party:
    """Party p1, whose contract says `rule`."""
    authority = TestAuthority(CONSORTIUM)
    certified_home(authority, "party", "p1", home)
    furnish(home, CONTRACT + rule)
    prove(home)
    return Party.open(authority, home, authority.node("user/rosa"))


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made = opened(tmp_path / "p1")
    yield made
    made.close()


def planned(party: Party, spec: JobSpec | None = None, rule: Any = "required") -> tuple[JobOrder, str, Plan]:
    order, token = party.order(spec)
    held = {name: {"orders": contract(agreement=rule)} for name in ("p1", "p2", "p3")}
    return order, token, make_plan(order, held, coordinator_country="DE")


def verdict(reply: Reply) -> dict[str, Any]:
    assert reply.status == "ok", reply.reason
    found: dict[str, Any] = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    return found


def decided(party: Party, kind: str = "admit") -> tuple[dict[str, Any], str]:
    """The verdict on a fresh job, and the job's id."""
    order, token, plan = planned(party)
    return verdict(party.admit(order, token, kind=kind, plan=plan)), order.jti


def test_a_job_that_an_agreement_covers_is_admitted_takes_one_use_and_the_log_has_its_id(party: Party) -> None:
    made = agree(party)
    said, job = decided(party)
    assert said["effect"] == "permit"
    assert used(party, made) == [(job, "committed")]
    entry = party.entries()[-1]
    assert (entry.type, entry.data["agreement"]) == (EntryType.ADMISSION, made.id)
    assert made.id not in str(said), "others are not told which agreement it is"


def test_an_explanation_uses_nothing(party: Party) -> None:
    made = agree(party)
    assert decided(party, "explain")[0]["effect"] == "permit"
    assert used(party, made) == []


def test_without_an_agreement_the_refusal_says_what_to_propose_and_the_order_stays_good(party: Party) -> None:
    order, token, plan = planned(party)
    for kind in ("explain", "admit"):
        said = verdict(party.admit(order, token, kind=kind, plan=plan))
        assert said["effect"] == "deny"
        (line,) = said["reasons"]
        assert "there is none" in line
        assert "leaks: [exact aggregate, group counts]" in line
        assert "parties: [p1, p2, p3]; datasets: [p1/orders]" in line
        assert "`inbond agreement propose TERMS.yaml --out FILE`" in line
    assert party.entries()[-1].type is EntryType.REFUSAL
    assert party.store.job(order.jti) is None
    made = agree(party)
    again = Party.request(order.jti, "admit", plan.digest(), attempt=1, body=_body(token, plan))
    assert verdict(party.door.handle(again))["effect"] == "permit"
    assert used(party, made) == [(order.jti, "committed")]


def _body(token: str, plan: Plan) -> Any:
    facts: Any = {"order": [token], "plan": [plan.model_dump_json()], "contracts": [], "sum_key": SUM_KEY}
    return codec.encode(RecordDict({"admit": settings(**facts)}))


@pytest.mark.parametrize(
    ("changes", "rule", "change"),
    [
        ({"leaks": ["group counts"]}, "agreement-leak", "leaks: [exact aggregate]"),
        ({"purposes": ["dpv:Marketing"]}, "agreement-purpose", "purposes: [dpv:FraudPreventionAndDetection]"),
        ({"datasets": {"p1": ["customers"]}}, "agreement-dataset", "datasets: [p1/orders]"),
        ({"datasets": {"p2": ["orders"]}}, "agreement-dataset", "datasets: [p1/orders]"),
        (
            {"recipients": {"countries": ["FR"], "ids": ["*"]}},
            "agreement-country",
            "recipients: countries: [DE]",
        ),
        (
            {"recipients": {"countries": ["DE"], "ids": ["rosa", "p2"]}},
            "agreement-recipient",
            "recipients: ids: [spiffe://acme.example/party/p3]",
        ),
        ({"parties": ["p1", "p2"]}, "agreement-party", "parties: [p3]"),
        ({"valid_from": LATER, "valid_until": LATER}, "agreement-days", "days that include"),
    ],
)
def test_each_term_that_is_missing_is_told_alone_with_the_smallest_change(
    party: Party, changes: dict[str, Any], rule: str, change: str
) -> None:
    signers = tuple(changes.get("parties", ("p1", "p2", "p3")))
    made = agree(party, signers=signers, **changes)
    said, _ = decided(party)
    (line,) = said["reasons"]
    assert (said["effect"], f"[{rule}" in line, f"also has {change}" in line) == ("deny", True, True), line
    assert party.entries()[-1].data["agreements_lacking"] == [{"agreement": made.id, "lacks": [rule]}]
    assert used(party, made) == []


def test_of_several_agreements_the_nearest_is_told_and_all_are_logged(party: Party) -> None:
    agree(party, name="far", leaks=["joint model"], purposes=["dpv:Marketing"])
    agree(party, name="near", leaks=["group counts"])
    said, _ = decided(party)
    assert "leaks: [exact aggregate]" in " ".join(said["reasons"])
    assert "Marketing" not in " ".join(said["reasons"])
    logged: Any = party.entries()[-1].data["agreements_lacking"]
    assert [one["lacks"] for one in logged] == [["agreement-leak", "agreement-purpose"], ["agreement-leak"]]


@pytest.mark.parametrize("rule", ["", "agreement: {recipients: [p9]}\n"])
def test_where_the_contract_asks_for_none_or_not_for_these_readers_none_is_needed(tmp_path: Path, rule: str) -> None:
    party = opened(tmp_path / "p1", rule)
    order, token, plan = planned(party, rule={"recipients": ["p9"]} if rule else None)
    said = verdict(party.admit(order, token, plan=plan))
    assert "agreement" not in party.entries()[-1].data
    assert party.step(order.jti, plan.digest()).status == "ok"
    party.close()
    assert said["effect"] == "permit"
    assert not (party.home / FILE).exists()


def test_readers_whom_the_contract_does_not_name_need_not_be_covered(tmp_path: Path) -> None:
    party = opened(tmp_path / "p1", "agreement: {recipients: [rosa]}\n")
    made = agree(party, recipients={"countries": ["DE"], "ids": ["rosa"]})
    order, token, plan = planned(party, rule={"recipients": ["rosa"]})
    assert verdict(party.admit(order, token, plan=plan))["effect"] == "permit"
    assert used(party, made) == [(order.jti, "committed")]
    party.close()


def test_an_agreement_that_a_side_has_not_signed_covers_nothing_and_the_refusal_says_so(party: Party) -> None:
    made = agree(party, signers=("p1", "p2"))
    said, _ = decided(party)
    assert said["effect"] == "deny"
    assert "`inbond agreement sign FILE --out FILE`" in " ".join(said["reasons"])
    assert party.entries()[-1].data["agreements_lacking"] == [{"agreement": made.id, "lacks": ["agreement-signed"]}]
    agree(party, signers=("p3",))
    assert decided(party)[0]["effect"] == "permit"


def test_a_revocation_is_honoured_at_the_next_job(party: Party) -> None:
    made = agree(party)
    assert decided(party)[0]["effect"] == "permit"
    agree(party, signers=("p2",), act="revoke")
    said, _ = decided(party)
    assert said["effect"] == "deny"
    assert "ended by one of its sides" in " ".join(said["reasons"])
    assert kept(party, made)[0].standing(utc_now()) is Standing.REVOKED


@pytest.mark.parametrize("event", ["revoked", "signer denied", "file gone", "file broken"])
def test_a_job_that_runs_ends_at_its_next_step_when_its_agreement_does_not_stand_any_more(
    party: Party, event: str
) -> None:
    made = agree(party)
    order, token, plan = planned(party)
    assert verdict(party.admit(order, token, plan=plan))["effect"] == "permit"
    if event == "revoked":
        agree(party, signers=("p3",), act="revoke")
        agree(party, name="another", uses=9)  # what is signed later is for later jobs
    elif event == "signer denied":
        object.__setattr__(party.node.credentials, "trust", party.authority.revoke(path="party/p2"))
    elif event == "file gone":
        (party.home / FILE).unlink()
    else:
        (party.home / FILE).write_bytes(b"junk" * 5000)
    reply = party.step(order.jti, plan.digest())
    assert reply.status == "refused"
    assert str(party.home) not in reply.reason
    row = party.store.job(order.jti)
    assert row is not None
    assert row.state == "failed"
    entry = party.entries()[-1]
    assert entry.type is EntryType.REFUSAL
    assert event not in {"revoked", "signer denied"} or made.id in str(entry.data["reason"])


def test_a_job_whose_agreement_stands_goes_on_though_its_last_use_was_this_one(party: Party) -> None:
    agree(party, uses=1)
    order, token, plan = planned(party)
    assert verdict(party.admit(order, token, plan=plan))["effect"] == "permit"
    assert party.step(order.jti, plan.digest()).status == "ok"
    said, _ = decided(party)
    assert said["effect"] == "deny"
    assert "used up" in " ".join(said["reasons"])
    assert "more uses" in " ".join(said["reasons"])


def test_a_request_that_comes_again_and_an_order_that_is_replayed_take_no_second_use(party: Party) -> None:
    made = agree(party)
    order, token, plan = planned(party)
    first = party.admit(order, token, plan=plan)
    assert [bytes(part) for part in party.admit(order, token, plan=plan).body] == [bytes(part) for part in first.body]
    replayed = Party.request(order.jti, "admit", plan.digest(), attempt=7, body=_body(token, plan))
    assert verdict(party.door.handle(replayed))["effect"] == "deny"
    assert used(party, made) == [(order.jti, "committed")]


def test_uses_are_there_after_a_restart(tmp_path: Path) -> None:
    asked = Asked.make(tmp_path / "p1", CONTRACT + RULE)
    made = agree(asked.party, uses=3)
    asked.exact("SELECT COUNT(*) AS n FROM orders", others=20)
    asked.restart()
    asked.exact("SELECT COUNT(*) AS n FROM orders WHERE paid", others=20)
    assert [state for _, state in used(asked.party, made)] == ["committed", "committed"]
    asked.party.close()


def test_a_job_that_is_refused_when_people_are_counted_gives_its_use_back(
    party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Refused("too many people", where="counters")

    made = agree(party)
    monkeypatch.setattr(Lawfulness, "count", full)
    said, job = decided(party)
    assert said["effect"] == "deny"
    assert used(party, made) == [(job, "rolled_back")]
    assert kept(party, made)[0].used == 0


def test_a_use_that_cannot_be_kept_is_a_refusal(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LawStoreUnavailable("database or disk is full", where="/somewhere")

    made = agree(party)
    monkeypatch.setattr(AgreementStore, "use", full)
    said, job = decided(party)
    assert said["effect"] == "deny"
    assert "disk is full" in " ".join(said["reasons"])
    assert "/somewhere" not in " ".join(said["reasons"])
    assert (party.store.job(job), used(party, made)) == (None, [])


def test_the_use_is_of_the_agreement_that_was_found_or_it_is_given_back(party: Party) -> None:
    made = agree(party)
    order, _, plan = planned(party)
    own = [contract(agreement="required")]
    agreements = Agreements(party.node)
    with (
        pytest.raises(Refused, match="does not hold any more"),
        agreements.taken(plan, own, order.jti, Agreed(agreement="0" * 16)),
    ):
        pytest.fail("the body must not run")
    assert used(party, made) == [(order.jti, "rolled_back")]


def broken(home: Path) -> None:
    (home / FILE).write_bytes(b"junk" * 5000)


def folder(home: Path) -> None:
    (home / FILE).unlink()
    (home / FILE).mkdir()


def unreadable_terms(home: Path) -> None:
    with closing(sqlite3.connect(home / FILE)) as base, base:
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            base.execute(f"DROP TRIGGER {name}")
        base.execute("UPDATE agreements SET agreement = '{'")


@pytest.mark.parametrize("damage", [broken, folder, unreadable_terms])
def test_agreements_that_cannot_be_read_cover_nothing(party: Party, damage: Callable[[Path], None]) -> None:
    agree(party)
    damage(party.home)
    for kind in ("explain", "admit"):
        said, job = decided(party, kind)
        assert said["effect"] == "deny"
        assert str(party.home) not in str(said)
        assert party.store.job(job) is None


def test_what_is_told_of_a_use_is_in_the_evidence_log(party: Party) -> None:
    made = agree(party)
    _, job = decided(party)
    told = [entry.data for entry in party.entries() if entry.subject == f"agreement:{made.id}"]
    assert [data["event"] for data in told][-2:] == ["agreement used", "agreement use committed"]
    assert {data["key"] for data in told[-2:]} == {job}
    with AgreementStore.open(party.home / FILE, telling(party.node)) as store:
        assert store.compare([], party.node.trust, key="another job") == []
