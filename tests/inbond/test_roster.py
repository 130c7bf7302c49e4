"""The roster holds exactly the plan's parties, each by its own permit for this very plan."""

from datetime import timedelta
from typing import Any

import pytest

from federation.planner import make_plan
from inbond.roster import VERDICT_TYPE, Roster, read_roster
from policies.envelope import sign
from policies.errors import PolicyError
from policies.verdict import Verdict
from protocols.errors import PeerViolation
from tests.policies.samples import contract, order
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
NODES = {name: AUTHORITY.node(f"party/{name}") for name in ("p1", "p2", "p3", "p4")}
PLAN = make_plan(order(), {name: {"orders": contract()} for name in ("p1", "p2", "p3")}, coordinator_country="DE")
JOB = "ab" * 16


def _verdict(name: str, signer: str = "", **changes: Any) -> str:
    payload = Verdict(
        job=JOB,
        plan=PLAN.digest(),
        party=name,
        contract="0" * 64,
        effect="permit",
        policies=("permit-run",),
        steps=PLAN.steps,
        expires=int(AUTHORITY.now.timestamp()) + 600,
        epoch_key=name.encode().hex().ljust(64, "0"),
    ).payload()
    return sign(payload | changes, typ=VERDICT_TYPE, signer=NODES[signer or name].signer)


def _read(tokens: list[str], late: timedelta = timedelta()) -> Roster:
    return read_roster(tokens, JOB, PLAN, AUTHORITY.trust, AUTHORITY.now + late)


GOOD = [_verdict(name) for name in ("p1", "p2", "p3")]


def test_every_party_is_there_by_its_own_verdict_whatever_the_order() -> None:
    assert _read(GOOD).digest == _read(GOOD[::-1]).digest
    assert (_read(GOOD).leader, _read(GOOD).names) == ("p1", ("p1", "p2", "p3"))


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        GOOD[:2],
        [*GOOD, GOOD[0]],
        [*GOOD, _verdict("p4")],
        [*GOOD[:2], _verdict("p3", signer="p4")],
        [*GOOD[:2], _verdict("p3", effect="deny")],
        [*GOOD[:2], _verdict("p3", policies=[])],
        [*GOOD[:2], _verdict("p3", job="cd" * 16)],
        [*GOOD[:2], _verdict("p3", plan="0" * 64)],
        [*GOOD[:2], _verdict("p3", expires=1)],
        [*GOOD[:2], _verdict("p3", surprise=1)],
        [*GOOD[:2], "a.b.c"],
    ],
)
def test_any_other_set_of_verdicts_is_no_roster(tokens: list[str]) -> None:
    with pytest.raises((PeerViolation, PolicyError)):
        _read(tokens)


def test_a_roster_runs_out_with_its_verdicts() -> None:
    with pytest.raises(PeerViolation, match="expired"):
        _read(GOOD, timedelta(seconds=601))


def test_another_epoch_key_is_another_roster() -> None:
    assert _read([*GOOD[:2], _verdict("p3", epoch_key="ff" * 32)]).digest != _read(GOOD).digest
