"""Attack 27: a policy engine that cannot decide. It denies, at the party and before anything of the data is touched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from compliance.audit.entry import EntryType
from inbond import codec
from inbond.node import extra_policies
from inbond.records import texts
from inbond.tokens import payload_of
from policies.bundle import load_baseline, load_bundle
from policies.engine import Engine
from policies.errors import InvalidPolicy
from tests.bad_input.homes import Party

ERRING = """
@id("overflow") @reason("r") @remedy("m")
forbid (principal, action == Action::"run", resource) when { context.parties * 9223372036854775807 > 0 };
"""


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    made = Party.make(tmp_path / "p1")
    yield made
    made.close()


def decided(party: Party) -> dict[str, Any]:
    """The verdict on a job that the baseline permits; whatever it is, it is in the log."""
    order, token = party.order()
    reply = party.admit(order, token)
    verdict = payload_of(texts(codec.decode(reply.body), "verdict", "token")[0])
    admitted = verdict["effect"] == "permit"
    assert party.entries()[-1].type is (EntryType.ADMISSION if admitted else EntryType.REFUSAL)
    assert (party.store.job(order.jti) is not None) == admitted
    return dict(verdict)


@pytest.mark.parametrize("raised", [RuntimeError("crashed"), TimeoutError("too slow"), ValueError("bad facts")])
def test_attack_27_an_engine_that_raises_denies(
    party: Party, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    assert decided(party)["effect"] == "permit"

    def broken(*_: object) -> None:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(cedarpy, "is_authorized", broken)
        party.admission._engine = Engine(load_baseline())  # which remembers no decision
        assert decided(party)["effect"] == "deny"
    assert decided(party)["effect"] == "permit", "and it recovers"


def test_attack_27_a_policy_that_errs_denies_although_cedar_skips_it(party: Party) -> None:
    party.admission._engine = Engine(load_baseline({"own.cedar": ERRING}))
    verdict = decided(party)
    assert verdict["effect"] == "deny"
    assert "could not be evaluated" in " ".join(verdict["reasons"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("permit (principal, action, resource)", "own.cedar"),
        ("permit (principal, action, resource);", "own.cedar"),
        (ERRING.replace("context.parties", "context.nothing"), "own.cedar"),
        (ERRING.replace("overflow", "purpose"), "used twice"),
        ("\x00", "own.cedar"),
    ],
    ids=["syntax", "no annotations", "unknown fact", "an id of ours", "bytes"],
)
def test_attack_27_a_node_with_an_unreadable_policy_does_not_start(party: Party, text: str, told: str) -> None:
    (party.home / "policies").mkdir(exist_ok=True)
    (party.home / "policies" / "own.cedar").write_text(text)
    with pytest.raises(InvalidPolicy, match=told):
        load_baseline(extra_policies(party.home))


def test_attack_27_without_any_policy_there_is_no_engine_to_ask() -> None:
    with pytest.raises(InvalidPolicy, match="there is no policy"):
        load_bundle({}, "")
