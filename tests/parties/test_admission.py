"""A party decides on its own data: whatever does not hold is refused, with the reason, signed and logged."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.audit.entry import EntryType
from inbond import codec
from inbond.messages import Reply
from inbond.node import utc_now
from inbond.records import texts
from inbond.roster import VERDICT_TYPE
from parties.door import FAILED
from policies.envelope import verify
from policies.plan import Plan, PlanNoise
from tests.bad_input.homes import Party
from tests.policies.samples import query_spec
from tests.support.authority import TestAuthority


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    made = Party.make(tmp_path_factory.mktemp("admission") / "p1")
    yield made
    made.close()


def _verdict(party: Party, reply: Reply) -> dict[str, Any]:
    assert reply.status == "ok", reply.reason
    token = texts(codec.decode(reply.body), "verdict", "token")[0]
    signed = verify(token, typ=VERDICT_TYPE, trust=party.authority.trust, now=utc_now())
    assert signed.issuer.name == "p1"
    return signed.payload


def _decided(party: Party, spec: Any = None, change: Any = None) -> dict[str, Any]:
    order, token = party.order(spec)
    plan: Plan = party.plan(order)
    return _verdict(party, party.admit(order, token, plan=plan.model_copy(update=change) if change else plan))


def test_a_lawful_job_is_permitted_and_the_permit_names_policies_steps_and_a_fresh_key(party: Party) -> None:
    first, second = _decided(party), _decided(party)
    assert first["effect"] == "permit"
    assert first["policies"]
    assert [step["name"] for step in first["steps"]] == ["query.start", "query.count", "query.release"]
    assert first["epoch_key"] != second["epoch_key"]
    assert party.entries()[-1].type is EntryType.ADMISSION


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"purpose": "dpv:Marketing"}, "purpose"),
        ({"recipients": [{"id": "spiffe://acme.example/user/rosa", "country": "US"}]}, "US"),
    ],
)
def test_what_the_contract_does_not_allow_is_denied_with_a_reason(
    party: Party, change: dict[str, Any], told: str
) -> None:
    verdict = _decided(party, query_spec(**change))
    assert verdict["effect"] == "deny"
    assert told in " ".join(verdict["reasons"])
    assert verdict["steps"] == []
    assert verdict["epoch_key"] == "0" * 64
    assert party.entries()[-1].type is EntryType.REFUSAL


@pytest.mark.parametrize(
    "change",
    [
        {"minimum_group": 1},
        {"minimum_parties": 2},
        {"purpose": "dpv:Marketing"},
        {"sql": "SELECT COUNT(*) FROM orders"},
        {"job": "0" * 64},
        {"readers": ()},
        {"steps": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_plan_that_does_not_say_what_was_ordered_is_never_permitted(party: Party, change: dict[str, Any]) -> None:
    order, token = party.order()
    reply = party.admit(order, token, plan=party.plan(order).model_copy(update=change))
    assert reply.status == "failed" or _verdict(party, reply)["effect"] == "deny"
    assert party.store.job(order.jti) is None


@pytest.mark.parametrize("noise", [PlanNoise(), PlanNoise(mechanism="laplace", epsilon=9.0)], ids=["none", "less"])
def test_noise_that_was_ordered_is_never_left_out_or_made_smaller(party: Party, noise: PlanNoise) -> None:
    spec = query_spec(privacy={"mechanism": "laplace", "epsilon": 1.0})
    assert _decided(party, spec, {"noise": noise})["effect"] == "deny"


def test_a_forged_an_expired_and_a_foreign_order_get_no_verdict(party: Party) -> None:
    stranger = TestAuthority("acme.example").node("user/rosa")
    late = party.authority.node("user/late", now=utc_now() - timedelta(hours=30), lifetime=timedelta(hours=1))
    peer = party.authority.node("party/p2")
    for by in (stranger, late, peer):
        me = {"id": str(by.credentials.spiffe_id), "country": "DE"}
        order, token = party.order(query_spec(recipients=[me]), by=by)
        reply = party.admit(order, token)
        assert (reply.status, reply.reason, reply.body) == ("failed", FAILED, ())
        assert party.store.job(order.jti) is None


def test_an_order_that_was_altered_on_the_way_gets_no_verdict(party: Party) -> None:
    order, token = party.order()
    head, body, signature = token.split(".")
    other = party.order(query_spec(name="other"))[1].split(".")[1]
    for bad in (f"{head}.{other}.{signature}", f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA", "", "a.b.c"):
        assert party.admit(order, bad).reason == FAILED


def test_another_key_than_the_one_that_was_signed_is_denied(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    order, token = party.order()
    monkeypatch.setattr("tests.bad_input.homes.SUM_KEY", b"the coordinator's own key")
    verdict = _verdict(party, party.admit(order, token))
    assert verdict["effect"] == "deny"
    assert "not the one that was signed" in " ".join(verdict["reasons"])


def test_an_explanation_binds_nobody(party: Party) -> None:
    order, token = party.order()
    assert _verdict(party, party.admit(order, token, kind="explain"))["effect"] == "permit"
    assert party.store.job(order.jti) is None
    assert _verdict(party, party.admit(order, token))["effect"] == "permit", "the order is still good"


def test_a_verdict_that_cannot_be_recorded_is_not_given(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    from compliance.audit.log import AuditLog
    from compliance.errors import LogUnavailable

    def full(_log: AuditLog, _entry: object) -> int:
        raise LogUnavailable("no space left on device")

    order, token = party.order()
    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append", full)
        assert party.admit(order, token).reason == FAILED
    assert party.store.job(order.jti) is None


def test_a_dataset_that_is_not_here_is_denied(tmp_path: Path) -> None:
    party = Party.make(tmp_path / "p1")
    party.door._catalogue.contracts.clear()
    verdict = _decided(party)
    party.close()
    assert verdict["effect"] == "deny"
    assert "no such dataset here" in " ".join(verdict["reasons"])
