"""Attack 13: something weaker than what was agreed. Nothing is negotiated, so nothing can be talked down."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from compliance.audit.entry import EntryType
from inbond import codec
from inbond.records import texts
from inbond.tokens import payload_of
from parties.door import FAILED
from policies.plan import Plan, PlanNoise, Protection
from tests.bad_input.homes import Party
from tests.policies.samples import query_spec

NOISE = {"mechanism": "laplace", "epsilon": 1.0}
OTHERS = Protection(mode="encrypted", protocol="masked-bfv-sum", version=2)


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    made = Party.make(tmp_path_factory.mktemp("downgrade") / "p1")
    yield made
    made.close()


def fewer(plan: Plan) -> dict[str, Any]:
    return {"participants": plan.participants[:2]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"protection": OTHERS}, "is not spoken here"),
        ({"protection": OTHERS.model_copy(update={"version": 99})}, "is not spoken here"),
        ({"protection": OTHERS.model_copy(update={"protocol": "plain-sum", "version": 1})}, "is not spoken here"),
        ({"protection": Protection(mode="plain", protocol="plain-sum", version=1)}, "in the clear"),
        ({"noise": PlanNoise()}, "does not say that the researcher learns exact aggregate"),
        ({"noise": PlanNoise(mechanism="laplace", epsilon=2.0)}, "do not belong together"),
        ({"minimum_parties": 2}, "too few parties"),
        ({"minimum_group": 1}, "smaller than the contract's minimum"),
        (fewer, "too few parties"),
    ],
)
def test_attack_13_a_weaker_plan_than_the_order_and_the_contract_is_denied_with_its_reason_and_logged(
    party: Party, change: Any, told: str
) -> None:
    order, token = party.order(query_spec(privacy=NOISE))
    plan = party.plan(order)
    changes = change(plan) if callable(change) else change
    reply = party.admit(order, token, plan=plan.model_copy(update=changes))
    verdict = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    assert verdict["effect"] == "deny"
    assert told in " ".join(verdict["reasons"])
    assert party.store.job(order.jti) is None
    entry = party.entries()[-1]
    assert (entry.type, entry.job) == (EntryType.REFUSAL, order.jti)
    assert told in str(entry.data["reasons"])


def _part(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data, separators=(",", ":")).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_attack_13_an_order_under_a_weaker_algorithm_is_no_order(party: Party, algorithm: str) -> None:
    order, token = party.order()
    head, body, _ = token.split(".")
    weaker = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))) | {"alg": algorithm}
    text = f"{_part(weaker)}.{body}"
    public = party.researcher.signer.key.public_key().public_bytes_raw()
    mac = hmac.new(public, text.encode(), hashlib.sha256).digest() if algorithm == "HS256" else b""
    forged = f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    before = len(party.entries())
    reply = party.admit(order, forged)
    assert (reply.status, reply.reason, reply.body) == ("failed", FAILED, ())
    assert party.store.job(order.jti) is None
    assert len(party.entries()) > before, "what was tried is in the log"
    assert party.entries()[-1].type is EntryType.REFUSAL
