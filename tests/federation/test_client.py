"""The researcher's side believes nothing that the parties did not sign, and takes any malformed answer calmly."""

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.client import Researcher, _translated
from inbond import tls
from inbond.errors import ConfigError, InbondError, Refused, Unreachable
from inbond.roster import VERDICT_TYPE
from inbond.v1 import control_pb2 as wire
from policies.envelope import sign
from policies.errors import PolicyError
from policies.verdict import Verdict
from protocols.errors import PeerViolation
from tests.bad_input.homes import CONSORTIUM, certified_home
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority(CONSORTIUM)


@pytest.fixture(scope="module")
def researcher(tmp_path_factory: pytest.TempPathFactory) -> Researcher:
    return Researcher.open(certified_home(AUTHORITY, "user", "rosa", tmp_path_factory.mktemp("client") / "rosa"))


def _verdict(signer: str, party: str = "p1", effect: str = "permit") -> wire.PartyVerdict:
    verdict = Verdict(
        job="ab" * 16,
        plan="0" * 64,
        party="p1",
        contract="0" * 64,
        effect="permit",
        policies=("x",),
        expires=2**31,
        epoch_key="0" * 64,
    )
    payload = verdict.payload() | {"effect": effect}
    return wire.PartyVerdict(party=party, verdict=sign(payload, typ=VERDICT_TYPE, signer=AUTHORITY.node(signer).signer))


def test_an_explained_verdict_counts_when_its_party_signed_it(researcher: Researcher) -> None:
    assert researcher._spoken(_verdict("party/p1"))["permitted"]
    assert not researcher._spoken(_verdict("party/p1", effect="deny"))["permitted"]
    assert not researcher._spoken(wire.PartyVerdict(party="p1", problem="offline"))["permitted"]


@pytest.mark.parametrize("signer", ["coordinator", "party/p2", "user/eve"])
def test_a_permit_that_the_coordinator_made_up_is_not_believed(researcher: Researcher, signer: str) -> None:
    with pytest.raises((PeerViolation, PolicyError)):
        researcher._spoken(_verdict(signer))
    with pytest.raises((PeerViolation, PolicyError)):
        researcher._spoken(_verdict("party/p1", party="p2"))
    with pytest.raises((PeerViolation, PolicyError)):
        researcher._spoken(wire.PartyVerdict(party="p1", verdict="a.b.c"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.sampled_from([b"", b"[]\n", b'{"body": "x"}\nabc', b'{"body": null}\n', b"3\n"]))
def test_a_malformed_result_is_the_coordinators_fault_and_no_crash(researcher: Researcher, data: bytes) -> None:
    stub, kept = SimpleNamespace(Result=lambda _: [SimpleNamespace(data=data, total=len(data))]), researcher._stub
    researcher._stub = stub
    try:
        with contextlib.suppress(PeerViolation):
            assert all(isinstance(part, bytes) for part in researcher._fetch("job", lambda *_: None).values())
    finally:
        researcher._stub = kept


def test_a_job_whose_keys_are_elsewhere_is_told(researcher: Researcher) -> None:
    with pytest.raises(InbondError, match="keys of job abc are not here"):
        researcher._secrets("abc")


class Broken(grpc.RpcError):
    """A call that failed."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize(
    ("code", "details", "kind", "told"),
    [
        (grpc.StatusCode.UNAVAILABLE, "tcp handshake", Unreachable, "hub:1: does not answer"),
        (grpc.StatusCode.UNAVAILABLE, "the coordinator cannot write", Unreachable, "cannot write"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", Unreachable, "in time"),
        (grpc.StatusCode.PERMISSION_DENIED, "no purpose", Refused, "no purpose"),
        (grpc.StatusCode.PERMISSION_DENIED, tls.FORBIDDEN, Refused, "hub:1: the coordinator lets this node not in"),
        (grpc.StatusCode.UNAUTHENTICATED, tls.UNAUTHENTICATED, Refused, "inbond doctor"),
        (grpc.StatusCode.INVALID_ARGUMENT, "bad plan", InbondError, "bad plan"),
        (grpc.StatusCode.INTERNAL, "", InbondError, "INTERNAL"),
    ],
)
def test_every_status_becomes_an_error_with_an_exit_code(
    code: grpc.StatusCode, details: str, kind: type[InbondError], told: str
) -> None:
    error = _translated(Broken(code, details), "hub:1")
    assert type(error) is kind
    assert told in str(error)


def test_a_party_is_no_researcher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a party's node"):
        Researcher.open(certified_home(AUTHORITY, "party", "p1", tmp_path / "p1"))


def test_an_authority_that_is_away_stops_nobody_whose_certificate_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inbond.node import Node

    def away(_node: Any) -> bool:
        raise Unreachable("the authority is away")

    monkeypatch.setattr(Node, "renew", away)
    Researcher.open(certified_home(AUTHORITY, "user", "rosa", tmp_path / "rosa"))
