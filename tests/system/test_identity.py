"""Identity while jobs run: revocation bites, renewal does not, and nobody comes in twice, late, or with old TLS."""

import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from compliance.audit.entry import EntryType
from examples.consortium import AUTHORITY, COORDINATOR, CommandFailed
from federation.client import Researcher
from inbond.credentials import Credentials
from inbond.errors import InbondError, Refused
from inbond.v1 import control_pb2 as wire
from tests.system.world import FIRMS, PURPOSE, SQL, Followed, World, eventually, long_training

LONG = 60  # rounds of a job that is not meant to reach its end
WHILE = 40  # rounds: a quarter of a second each on an idle machine, and a renewal every four seconds
SHORT = "0.035"  # hours: 126 s, of which 60 s lie in the past (clock skew), so that it is renewed within seconds


@contextmanager
def short_lives(world: World, hours: str) -> Iterator[None]:
    """p4 enrols while the authority certifies for `hours` only; the others keep their certificates."""
    with world.settings(INBOND_CA_CERTIFICATE_HOURS=hours):
        world.end(AUTHORITY)
        world.launch(AUTHORITY)
    (world.home("p4") / "certs").rename(world.home("p4") / "certs-before")
    world._join("p4", "party", "party/p4", "SG")
    try:
        yield
    finally:
        world.end(AUTHORITY)
        world.launch(AUTHORITY)


def test_an_old_tls_version_is_refused_by_a_running_coordinator(world: World) -> None:
    roots = Credentials.load(world.home("p1") / "certs").roots_pem.decode()
    host, port = world.address.split(":")

    def handshake(version: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cadata=roots)
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), 5) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            return tls.version()

    assert handshake(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(ssl.TLSVersion.TLSv1_2)


def test_an_order_is_good_once_also_after_a_restart(world: World, rosa: Researcher) -> None:
    spec = rosa.query_spec(SQL, purpose=PURPOSE, parties=list(FIRMS), minimum_parties=3)
    token, sum_key, job = rosa._order(spec)
    order = wire.OrderRequest(order=token, sum_key=sum_key)
    rosa._call(rosa._stub.Submit, order)
    with pytest.raises(Refused, match=r"no open challenge|seen before"):
        rosa._call(rosa._stub.Submit, order)
    rosa.wait(job)
    world.kill(COORDINATOR)
    world.restart(COORDINATOR)
    with world.researcher() as again, pytest.raises(Refused, match=r"no open challenge|seen before"):
        again._call(again._stub.Submit, order)
    entries = world.entries("p1", job)
    admitted = [one for one in entries if one.type is EntryType.ADMISSION and one.data["binding"]]
    assert len(admitted) == 1


def test_the_newer_of_two_nodes_with_one_identity_is_refused(world: World, rosa: Researcher) -> None:
    shutil.copytree(world.home("p1"), world.root / "p1-again", ignore=shutil.ignore_patterns("*.db*", "jobs"))
    world.launch("p1-again")
    try:
        line = "refused: another node with this identity is connected and answers"
        eventually(lambda: line in world.printed("p1-again"), "no clear line", 30)
        assert "p1" in rosa.nodes()["parties"], "the first node stays"
        assert world.processes["p1"].poll() is None
        assert "disconnected" not in world.printed("p1").splitlines()[-1]
    finally:
        world.kill("p1-again")


def test_a_renewal_in_the_middle_of_a_job_does_not_interrupt_it(world: World, rosa: Researcher) -> None:
    with short_lives(world, SHORT):
        world.launch("p4")
        world.wait_links(("p4",))
        world.cli("party", "status", home="p4")
        shutil.copytree(world.home("p4") / "certs", world.root / "p4-first")
        first = Credentials.load(world.home("p4") / "certs")
        parties = ["p1", "p2", "p4"]
        spec = long_training(parties=parties, dataset="payments", rounds=WHILE)
        followed = Followed(rosa, spec)
        followed.state("finished")
    assert rosa.result(followed.job)
    entries = world.entries("p4")
    trained = [one.time for one in entries if one.job == followed.job and one.data.get("step") == "train"]
    renewed = [one.time for one in entries if one.data.get("event") == "renewed"]
    inside = [moment for moment in renewed if trained[0] < moment < trained[-1]]
    assert inside, f"no renewal between {trained[0]} and {trained[-1]}: {renewed}"
    assert Credentials.load(world.home("p4") / "certs").tls_chain_pem != first.tls_chain_pem
    assert not followed.named("party away"), "the link moved to the new certificate without a gap"
    assert len(trained) == WHILE, "every round once"


def test_revoking_a_party_ends_its_jobs_and_closes_its_link(world: World, rosa: Researcher) -> None:
    followed = Followed(rosa, long_training(parties=["p1", "p2", "p4"], rounds=LONG))
    followed.step("train", 1)
    started = time.monotonic()
    world.cli("ca", "revoke", "party/p4", "--reason", "left the consortium", home=AUTHORITY)
    assert followed.state("failed", 20)["reason"] == "party p4 is no longer trusted"
    assert time.monotonic() - started < 15
    eventually(lambda: "p4" not in rosa.nodes()["parties"], "the link of a revoked party stays open")
    assert world.processes["p4"].wait(20) == 3, "the revoked node ends, with the exit code of a refusal"
    assert "revoked" in world.printed("p4")
    world.verify(COORDINATOR, "p1", "p2", "p4", AUTHORITY)


def test_revoking_the_owner_ends_the_job_everywhere(world: World) -> None:
    with world.researcher("victor") as victor:
        followed = Followed(
            victor,
            long_training(rounds=LONG, recipients=[{"id": "spiffe://acme.example/user/victor", "country": "GB"}]),
        )
        followed.step("train", 1)
        world.cli("ca", "revoke", "user/victor", "--reason", "left the team", home=AUTHORITY)

        def reason() -> str:
            found = [
                one.data["reason"]
                for one in world.entries(COORDINATOR, followed.job)
                if one.data.get("event") == "failed"
            ]
            return str(found[0]) if found else ""

        # whoever reads the deny list first ends it: the coordinator, or a party that refuses the next step
        eventually(lambda: reason().endswith("owner is no longer trusted"), "the job of a revoked owner goes on")
        for party in FIRMS:
            eventually(
                lambda party=party: (
                    "cancelled" in [one.data.get("event") for one in world.entries(party, followed.job)]
                ),  # type: ignore[misc]  # mypy cannot infer a lambda's default
                f"{party} was not told",
            )

        def turned_away() -> bool:
            try:
                victor.jobs()
            except InbondError as error:
                return "not permitted" in str(error) or "not authenticated" in str(error)
            return False

        eventually(turned_away, "a revoked user is still answered")
    world.verify()


def test_an_expired_certificate_does_not_come_in(world: World) -> None:
    """The certificates that p4 had for a minute, in a node that cannot reach the authority."""
    home = world.root / "late"
    shutil.copytree(world.home("p4"), home, ignore=shutil.ignore_patterns("*.db*", "jobs", "certs*"))
    shutil.copytree(world.root / "p4-first", home / "certs")
    eventually(lambda: Credentials.load(home / "certs").not_after < datetime.now(UTC), "it still holds", 70)
    with world.settings(INBOND_ADDRESS_AUTHORITY="localhost:9"), pytest.raises(CommandFailed) as refused:
        world.cli("party", "start", home="late", timeout=30)
    assert refused.value.code == 3
    assert "certificate has expired" in refused.value.stderr
    assert "join again" in refused.value.stderr
