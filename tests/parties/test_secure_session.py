"""Before anything is contributed: every party confirmed one roster, and the key is the one the leader signed."""

from typing import Any

import pytest

from federation.planner import make_plan
from inbond.node import utc_now
from inbond.roster import Roster
from parties.secure_session import SecureSession
from policies.errors import PolicyError
from protocols.errors import PeerViolation, ProtocolError
from protocols.masking import EpochKey
from protocols.params import SHARED_2048
from tests.policies.samples import contract, order
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
NAMES = ("p1", "p2", "p3")
NODES = {name: AUTHORITY.node(f"party/{name}") for name in NAMES}
EPOCHS = {name: EpochKey.generate() for name in NAMES}
PLAN = make_plan(order(), {name: {"orders": contract()} for name in NAMES}, coordinator_country="DE")
IDENTITIES = {name: str(AUTHORITY.id(f"party/{name}")) for name in NAMES}
KEY = b"the fresh job key"


def _session(name: str, digest: str = "0" * 64, job: str = "ab" * 16, minimum: int = 3) -> SecureSession:
    roster = Roster(IDENTITIES, {one: epoch.public for one, epoch in EPOCHS.items()}, digest)
    return SecureSession(job, name, PLAN, EPOCHS[name], NODES[name].signer, roster, minimum)


def _echoes(**sessions: SecureSession) -> list[str]:
    made = {name: _session(name) for name in NAMES} | sessions
    return [made[name].echo(KEY if name == "p1" else None)[0] for name in NAMES]


def _confirm(echoes: list[str]) -> str:
    return _session("p2").confirm(echoes, AUTHORITY.trust, utc_now())


def test_every_partys_echo_confirms_the_roster_and_the_leaders_key_arrives() -> None:
    digest = _confirm(_echoes())
    _, boxes = _session("p1").echo(KEY)
    assert set(boxes) == {"p2", "p3"}
    for name in ("p2", "p3"):
        assert _session(name).take_key(boxes[name], digest, AUTHORITY.trust, utc_now()) == KEY


@pytest.mark.parametrize(
    "echoes",
    [
        [],
        _echoes()[:2],
        [*_echoes()[:2], _echoes()[0]],
        _echoes(p3=_session("p3", digest="1" * 64)),
        _echoes(p3=_session("p3", job="cd" * 16)),
        [*_echoes()[:2], "a.b.c"],
    ],
    ids=["none", "one missing", "one twice", "another roster", "another job", "garbage"],
)
def test_a_roster_that_not_everybody_saw_alike_is_found_out(echoes: list[str]) -> None:
    with pytest.raises((PeerViolation, PolicyError)):
        _confirm(echoes)


def test_another_key_reader_or_sender_is_found_out() -> None:
    digest = _confirm(_echoes())
    _, good = _session("p1").echo(KEY)
    _, other = _session("p1").echo(b"another key")
    _, forged = _session("p3").echo(KEY)
    for box in (other["p2"], good["p3"], forged["p2"], b"", good["p2"][:-1]):
        with pytest.raises((PeerViolation, PolicyError)):
            _session("p2").take_key(box, digest, AUTHORITY.trust, utc_now())


def test_nobody_contributes_to_a_sum_of_fewer_parties_than_the_plan_wants() -> None:
    import numpy as np

    session = _session("p1", minimum=4)
    spec = session.spec("count", 0, reals=0, exact=2, clip=1.0, params=SHARED_2048.name, context=b"x")

    class Cipher:
        def encrypt(self, slots: Any) -> bytes:
            raise AssertionError("encrypted all the same")

        def decrypt(self, blob: bytes) -> Any:
            raise AssertionError

    with pytest.raises(ProtocolError):
        session.contribute(spec, Cipher(), np.zeros(0, np.float32), np.zeros(2, np.int64))
