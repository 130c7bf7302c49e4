"""A real authority over real TLS: who holds the invitation joins once; who is revoked stays out."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from federation import authority_service as module
from federation.authority import Authority
from federation.authority_service import Limiter, Serving, serve
from federation.ca_cli import app
from inbond import tls
from inbond.credentials import Credentials
from inbond.enrolment import (
    Invitation,
    enrol,
    fetch_denylist,
    new_secret,
    offline_accept,
    offline_request,
    proof_text,
    renew,
)
from inbond.errors import ConfigError, InbondError, Refused, Unreachable
from inbond.keystore import KeyStore, Unlock
from inbond.v1 import authority_pb2 as wire
from policies.certificates import make_request, to_der
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId, Standing, identify, load_certificate

DOMAIN = "acme.test"
P1 = SpiffeId(DOMAIN, "/party/p1")
COORDINATOR = SpiffeId(DOMAIN, "/coordinator")


@dataclass
class Consortium:
    """A serving authority whose clock and evidence the test holds."""

    home: Path
    unlock: Unlock
    ahead: timedelta = timedelta(0)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    authority: Authority = field(init=False)
    serving: Serving | None = None

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def record(self, event: str, details: Mapping[str, Any]) -> None:
        self.events.append((event, details))

    def found(self) -> "Consortium":
        self.authority = Authority.create(
            self.home,
            DOMAIN,
            self.unlock,
            enrol_address="localhost:1",
            address="localhost:2",
            dns=["localhost"],
            ips=["127.0.0.1"],
            clock=self.clock,
            record=self.record,
        )
        return self

    def serve(self) -> "Consortium":
        self.serving = serve(self.authority, "127.0.0.1:0", "127.0.0.1:0", clock=self.clock)
        return self

    def restart(self) -> None:
        self.stop()
        self.authority = Authority.open(self.home, self.unlock, clock=self.clock, record=self.record)
        self.serve()

    def stop(self) -> None:
        if self.serving:
            self.serving.server.stop(None).wait()

    @property
    def address(self) -> str:
        assert self.serving
        return f"127.0.0.1:{self.serving.port}"

    def invite(self, spiffe_id: SpiffeId = P1, **options: Any) -> Invitation:
        assert self.serving
        invitation = self.authority.invite(spiffe_id, **options)
        return replace(invitation, enrol_address=f"127.0.0.1:{self.serving.enrol_port}", authority_address=self.address)

    def join(self, folder: Path, spiffe_id: SpiffeId = P1) -> tuple[Credentials, KeyStore]:
        keystore = KeyStore.create(folder / "keys", self.unlock)
        return enrol(str(self.invite(spiffe_id)), keystore, folder / "certs", clock=self.clock), keystore


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Consortium]:
    home = tmp_path / "authority"
    running = Consortium(home, Unlock.new_file(tmp_path / "unlock.key")).found().serve()
    yield running
    running.stop()


def test_an_invited_node_joins_and_its_peers_believe_it(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    peer = identify(credentials.tls_chain_pem, acme.authority.trust(), acme.clock())
    assert (peer.spiffe_id, credentials.authority) == (P1, acme.address)
    assert credentials.signer(keystore).spiffe_id == P1
    assert Credentials.load(tmp_path / "p1" / "certs") == credentials
    assert peer.not_after - peer.not_before <= timedelta(hours=24)


def test_a_person_is_of_the_organisation_and_role_that_the_authority_said_also_after_renewal(
    acme: Consortium, tmp_path: Path
) -> None:
    olga, standing = SpiffeId(DOMAIN, "/user/olga"), Standing("shop", "officer")
    keystore = KeyStore.create(tmp_path / "keys", acme.unlock)
    first = enrol(str(acme.invite(olga, standing=standing)), keystore, tmp_path / "certs", clock=acme.clock)
    second = renew(first, keystore, clock=acme.clock)
    for credentials in (first, second):
        for certificate in (credentials.tls_chain_pem, credentials.signer(keystore).chain[0]):
            assert identify(certificate, acme.authority.trust(), acme.clock()).standing == standing
    assert [(one.spiffe_id, one.standing) for one in acme.authority.members()] == [(str(olga), standing)]
    issued = [details for event, details in acme.events if event == "certificate.issued" and details["id"] == str(olga)]
    assert {(one["organisation"], one["role"]) for one in issued} == {("shop", "officer")}


def test_a_nodes_country_is_attested_listed_and_kept_on_renewal(acme: Consortium, tmp_path: Path) -> None:
    keystore = KeyStore.create(tmp_path / "keys", acme.unlock)
    invited = acme.invite(P1, standing=Standing(country="DE"))
    first = enrol(str(invited), keystore, tmp_path / "certs", clock=acme.clock)
    for credentials in (first, renew(first, keystore, clock=acme.clock)):
        assert credentials.standing == Standing(country="DE")
    assert [one.standing.country for one in acme.authority.members()] == ["DE"]
    issued = [details for event, details in acme.events if event == "certificate.issued" and details["id"] == str(P1)]
    assert {one["country"] for one in issued} == {"DE"}


def test_only_people_have_an_organisation(acme: Consortium) -> None:
    with pytest.raises(ConfigError, match="an organisation for a node"):
        acme.invite(P1, standing=Standing("shop", "officer"))


def test_every_certificate_event_is_recorded_without_secrets(acme: Consortium, tmp_path: Path) -> None:
    invitation = acme.invite()
    enrol(str(invitation), KeyStore.create(tmp_path / "k", acme.unlock), tmp_path / "c")
    acme.authority.revoke(P1, "key lost")
    names = [event for event, _ in acme.events]
    assert names[0] == "authority.created"
    assert "invitation.created" in names
    issued = [details for event, details in acme.events if event == "certificate.issued" and details["id"] == str(P1)]
    assert {details["kind"] for details in issued} == {"tls", "signing"}
    assert acme.events[-1][1]["reason"] == "key lost"
    assert invitation.secret.hex() not in json.dumps(acme.events)


def test_what_cannot_be_recorded_does_not_happen(acme: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_event: str, _details: Mapping[str, Any]) -> None:
        raise InbondError("audit log full")

    monkeypatch.setattr(acme.authority, "_record", full)
    with pytest.raises(InbondError, match="audit log full"):
        acme.authority.sign_offline(P1, *_requests(acme.unlock, acme.home.parent / "x"))
    assert acme.authority.members() == []


def test_an_invitation_is_used_once_but_a_lost_answer_may_be_asked_again(acme: Consortium, tmp_path: Path) -> None:
    text = str(acme.invite())
    keystore = KeyStore.create(tmp_path / "first", acme.unlock)
    enrol(text, keystore, tmp_path / "certs")
    assert enrol(text, keystore, tmp_path / "certs").spiffe_id == P1
    with pytest.raises(Refused):
        enrol(text, KeyStore.create(tmp_path / "thief", acme.unlock), tmp_path / "stolen")
    assert not (tmp_path / "stolen").exists()


def test_an_unknown_invitation_is_refused(acme: Consortium, tmp_path: Path) -> None:
    guessed = replace(acme.invite(), secret=new_secret())
    with pytest.raises(Refused):
        enrol(str(guessed), KeyStore.create(tmp_path / "k", acme.unlock), tmp_path)


def test_an_expired_invitation_is_refused_by_the_authority_too(acme: Consortium, tmp_path: Path) -> None:
    text = str(acme.invite(lifetime=timedelta(minutes=5)))
    acme.ahead = timedelta(minutes=6)
    with pytest.raises(Refused):
        enrol(text, KeyStore.create(tmp_path / "k", acme.unlock), tmp_path)


def test_a_used_invitation_stays_used_and_an_open_one_open_over_a_restart(acme: Consortium, tmp_path: Path) -> None:
    used, waiting = acme.invite(), acme.invite(SpiffeId(DOMAIN, "/user/ana"))
    enrol(str(used), KeyStore.create(tmp_path / "a", acme.unlock), tmp_path / "a-certs")
    acme.restart()
    assert acme.serving
    moved = [replace(i, enrol_address=f"127.0.0.1:{acme.serving.enrol_port}") for i in (used, waiting)]
    thief = KeyStore.create(tmp_path / "b", acme.unlock)
    with pytest.raises(Refused):
        enrol(str(moved[0]), thief, tmp_path / "b-certs")
    assert enrol(str(moved[1]), thief, tmp_path / "b-certs").spiffe_id.name == "ana"


def test_the_authoritys_files_hold_no_invitation(acme: Consortium) -> None:
    invitation = acme.invite()
    for path in acme.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert invitation.secret not in data
            assert invitation.secret.hex().encode() not in data


def test_whoever_sits_in_between_cannot_put_other_keys_under_the_proof(acme: Consortium, tmp_path: Path) -> None:
    invitation = acme.invite()
    mine = _requests(acme.unlock, tmp_path / "mine")
    theirs = _requests(acme.unlock, tmp_path / "theirs")
    proof = invitation.key.sign(proof_text(*mine))
    with pytest.raises(Refused, match="proof does not verify"):
        acme.authority.enrol(invitation.key.public_key().public_bytes_raw(), *theirs, proof)


def test_a_node_dials_only_the_authority_that_its_invitation_pins(acme: Consortium, tmp_path: Path) -> None:
    other = Consortium(tmp_path / "other", acme.unlock).found().serve()
    try:
        lured = replace(other.invite(), authority=acme.authority.certificate)
        with pytest.raises(Unreachable):
            enrol(str(lured), KeyStore.create(tmp_path / "k", acme.unlock), tmp_path)
    finally:
        other.stop()


def test_renewal_keeps_keys_and_name(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    renewed = renew(credentials, keystore, folder=tmp_path / "p1" / "certs")
    assert renewed.tls_chain_pem != credentials.tls_chain_pem
    assert renewed.signer(keystore).spiffe_id == P1
    assert Credentials.load(tmp_path / "p1" / "certs") == renewed


def test_a_stolen_tls_key_gets_no_certificate_for_other_keys(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    tls_request, _ = _requests(acme.unlock, tmp_path / "thief")
    request = wire.RenewRequest(tls_request=tls_request, signing_request=_signing_request(keystore))
    assert _status(acme.address, credentials, keystore, "Renew", request) is grpc.StatusCode.PERMISSION_DENIED


def test_renewal_without_a_client_certificate_is_refused(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    assert acme.serving
    request = wire.RenewRequest(tls_request=b"", signing_request=b"")
    address = f"127.0.0.1:{acme.serving.enrol_port}"
    assert _status(address, credentials, keystore, "Renew", request) is grpc.StatusCode.UNAUTHENTICATED


def test_the_member_port_takes_no_call_without_a_client_certificate(acme: Consortium) -> None:
    pinned = grpc.ssl_channel_credentials(acme.authority.credentials().roots_pem)
    with grpc.secure_channel(acme.address, pinned) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inbond.v1.Authority/DenyList", bytes, bytes)(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_revoked_name_cannot_renew_rejoin_or_be_invited(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    open_invitation = str(acme.invite())
    denied = acme.authority.revoke(P1, "left the consortium")
    assert (denied.version, denied.ids) == (1, frozenset({str(P1)}))
    with pytest.raises(Refused):
        renew(credentials, keystore)
    with pytest.raises(Refused):
        enrol(open_invitation, keystore, tmp_path)
    with pytest.raises(ConfigError, match="another name"):
        acme.authority.invite(P1)


def test_members_fetch_the_growing_deny_list(acme: Consortium, tmp_path: Path) -> None:
    first, keystore = acme.join(tmp_path / "p1")
    second, _ = acme.join(tmp_path / "p2", SpiffeId(DOMAIN, "/party/p2"))
    assert fetch_denylist(first, keystore).version == 0
    serial = load_certificate(second.tls_chain_pem).serial_number
    acme.authority.revoke(serial, "laptop stolen")
    denied = fetch_denylist(first, keystore)
    assert (denied.version, denied.serials) == (1, frozenset({serial}))
    newer = first.with_denied(denied)
    with pytest.raises(InvalidIdentity, match="revoked"):
        identify(second.tls_chain_pem, newer.trust, acme.clock())
    acme.restart()
    assert fetch_denylist(newer, keystore, acme.address).serials == {serial}


def test_malformed_requests_and_unknown_fields_are_refused(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    bad = wire.RenewRequest(tls_request=b"\x30", signing_request=b"x" * 9000)
    assert _status(acme.address, credentials, keystore, "Renew", bad) is grpc.StatusCode.INVALID_ARGUMENT
    tls_request, signing_request = to_der(make_request(keystore.tls_key, P1)), _signing_request(keystore)
    swapped = wire.RenewRequest(tls_request=signing_request, signing_request=tls_request)
    assert _status(acme.address, credentials, keystore, "Renew", swapped) is grpc.StatusCode.INVALID_ARGUMENT
    good = wire.RenewRequest(tls_request=tls_request, signing_request=signing_request).SerializeToString()
    more = wire.RenewRequest.FromString(good + b"\x7a\x01x")  # field 15
    assert _status(acme.address, credentials, keystore, "Renew", more) is grpc.StatusCode.INVALID_ARGUMENT
    assert _status(acme.address, credentials, keystore, "Renew", wire.RenewRequest.FromString(good)) is None


def test_attempts_to_enrol_are_limited(acme: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS_PER_MINUTE", 2)
    acme.restart()
    guessed = str(replace(acme.invite(), secret=new_secret()))
    keystore = KeyStore.create(tmp_path / "k", acme.unlock)
    for _ in range(2):
        with pytest.raises(Refused):
            enrol(guessed, keystore, tmp_path)
    with pytest.raises(Unreachable, match="too many attempts"):
        enrol(guessed, keystore, tmp_path)


def test_the_limit_is_per_caller_and_minute() -> None:
    now = [datetime(2026, 3, 1, tzinfo=UTC)]
    limiter = Limiter(2, lambda: now[0])
    assert [limiter.allow("a") for _ in range(3)] == [True, True, False]
    assert limiter.allow("b")
    now[0] += timedelta(minutes=1)
    assert limiter.allow("a")


def test_the_authority_renews_its_own_certificates_at_half_of_their_life(acme: Consortium) -> None:
    first = acme.authority.credentials()
    assert acme.authority.credentials() is first
    acme.ahead = timedelta(hours=5)
    assert acme.authority.credentials().not_after > first.not_after


def test_the_next_ca_is_known_before_it_signs(acme: Consortium, tmp_path: Path) -> None:
    credentials, keystore = acme.join(tmp_path / "p1")
    following = acme.authority.rotate()
    renewed = renew(credentials, keystore)
    assert renewed.trust.authorities == (acme.authority.certificate, following)
    with pytest.raises(ConfigError, match="under way"):
        acme.authority.rotate()
    acme.ahead = timedelta(hours=49)
    assert acme.authority.certificate == following
    late = acme.authority.sign_offline(SpiffeId(DOMAIN, "/user/ana"), *_requests(acme.unlock, tmp_path / "ana"))
    assert identify(late.tls, renewed.trust, acme.clock())


def test_only_servers_get_host_names_and_nobody_becomes_the_authority(acme: Consortium) -> None:
    for spiffe_id, dns in (
        (P1, ["p1.test"]),
        (COORDINATOR, []),
        (SpiffeId(DOMAIN, "/authority"), ["localhost"]),
        (SpiffeId("other.test", "/party/p1"), []),
    ):
        with pytest.raises(ConfigError):
            acme.authority.invite(spiffe_id, dns=dns)


def test_only_what_exists_can_be_revoked(acme: Consortium) -> None:
    for target in (P1, 12345, SpiffeId(DOMAIN, "/authority")):
        with pytest.raises(ConfigError):
            acme.authority.revoke(target, "typo")


def run(home: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home), "--json"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def test_the_command_line_founds_invites_signs_lists_and_revokes(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    founded = run(home, "init", DOMAIN)
    assert run(home, "status")["fingerprint"] == founded["fingerprint"]
    invitation = run(home, "invite", "coordinator", "--dns", "localhost", "--coordinator", "localhost:8443")
    assert Invitation.parse(invitation["invitation"]).coordinator_address == "localhost:8443"
    keystore = KeyStore.create(tmp_path / "keys", Unlock.new_file(tmp_path / "u"))
    (tmp_path / "p1.csr").write_text(offline_request(P1, keystore))
    run(home, "sign", str(tmp_path / "p1.csr"), "party/p1", "--out", str(tmp_path / "p1.reply"))
    reply = (tmp_path / "p1.reply").read_text()
    made = offline_accept(reply, P1, keystore, tmp_path / "certs", fingerprint=founded["fingerprint"])
    assert [row["name"] for row in run(home, "list")] == ["party/p1"]
    serial = f"{load_certificate(made.tls_chain_pem).serial_number:x}"
    assert serial in {row["serial"] for row in run(home, "list", "--certificates")}
    assert run(home, "revoke", serial, "--reason", "test")["deny_list_version"] == 1
    assert run(home, "revoke", "party/p1", "--reason", "test")["deny_list_version"] == 2
    assert run(home, "list")[0]["state"] == "revoked"
    assert run(home, "rotate")["next_fingerprint"] != founded["fingerprint"]


def test_tables_fit_eighty_columns(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    run(home, "init", DOMAIN)
    for arguments in (["status"], ["list"], ["list", "--certificates"]):
        shown = CliRunner().invoke(app, [*arguments, "--home", str(home)]).stdout
        assert max(map(len, shown.splitlines())) <= 80


def test_the_command_line_raises_one_clear_error(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    run(home, "init", DOMAIN)
    (tmp_path / "bad.csr").write_text("nonsense")
    for arguments in (
        ["init", DOMAIN],
        ["invite", "party/p1", "--coordinator", "https://hub.test"],
        ["invite", "party/P1"],
        ["invite", "coordinator"],
        ["revoke", "nobody!", "--reason", "x"],
        ["sign", str(tmp_path / "bad.csr"), "party/p1", "--out", str(tmp_path / "out")],
        ["status", "--unlock", "env:NOT_SET"],
    ):
        error = CliRunner().invoke(app, [*arguments, "--home", str(home)]).exception
        assert isinstance(error, ConfigError | InvalidIdentity), (arguments, error)
    assert isinstance(CliRunner().invoke(app, ["status", "--home", str(tmp_path / "no")]).exception, ConfigError)


def test_the_started_process_serves_and_stops_on_sigterm(tmp_path: Path) -> None:
    home = tmp_path / "ca"
    run(home, "init", DOMAIN)
    command = [sys.executable, "-c", "from federation.ca_cli import app; app()", "start", "--home", str(home)]
    command += ["--enrol-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            text = run(home, "invite", "party/p1")["invitation"]
            moved = replace(Invitation.parse(text), enrol_address=f"localhost:{ready['enrol_port']}")
            keystore = KeyStore.create(tmp_path / "keys", Unlock.new_file(tmp_path / "u"))
            credentials = enrol(str(moved), keystore, tmp_path / "certs")
            assert renew(credentials, keystore, f"localhost:{ready['port']}").spiffe_id == P1
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def _requests(unlock: Unlock, folder: Path) -> tuple[bytes, bytes]:
    keystore = KeyStore.create(folder, unlock)
    return to_der(make_request(keystore.tls_key, P1)), _signing_request(keystore)


def _signing_request(keystore: KeyStore) -> bytes:
    return to_der(make_request(keystore.signing_key, P1))


def _status(
    address: str, credentials: Credentials, keystore: KeyStore, method: str, request: wire.RenewRequest
) -> grpc.StatusCode | None:
    """How a call ends; None for well."""
    with tls.channel(address, credentials, keystore) as channel:
        call = channel.unary_unary(
            f"/inbond.v1.Authority/{method}",
            wire.RenewRequest.SerializeToString,
            wire.Certificates.FromString,
        )
        try:
            call(request, timeout=5)
        except grpc.RpcError as error:
            return error.code()
    return None


def test_nobody_joins_under_a_name_that_another_role_has(acme: Consortium, tmp_path: Path) -> None:
    acme.join(tmp_path / "party")
    with pytest.raises(Refused, match="the authority refuses Enrol"):
        acme.join(tmp_path / "user", SpiffeId(DOMAIN, "/user/p1"))
    acme.join(tmp_path / "again")
