"""Mutual TLS on loopback with every trap: a caller is who its checked certificate says."""

import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from inbond import tls
from inbond.credentials import Credentials
from inbond.errors import ConfigError, InbondError, Refused
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId, recheck
from tests.support.authority import Node, TestAuthority

P1 = "spiffe://acme.test/party/p1"
WHO, WATCH = "/test/Who", "/test/Watch"


class Server:
    """`Who` answers the caller's SPIFFE ID; `Watch` streams until the caller is revoked."""

    def __init__(self, authority: TestAuthority) -> None:
        self.authority = authority
        self.node = authority.node("coordinator")
        self.roles = ["party", "coordinator"]
        self.source_fails = False
        self._server = grpc.server(ThreadPoolExecutor(4), options=list(tls.SERVER_OPTIONS))
        handlers = {
            "Who": grpc.unary_unary_rpc_method_handler(self._who),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
        self.port = self._server.add_secure_port("127.0.0.1:0", tls.server_credentials(self._source))
        self._server.start()

    def _source(self) -> tls.TlsIdentity:
        if self.source_fails:
            raise InbondError("disk gone")
        return tls.tls_identity(self.node.credentials, self.node.keystore)

    def _who(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        peer = tls.authorise(context, self.authority.trust, datetime.now(UTC), self.roles)
        return str(peer.spiffe_id).encode()

    def _watch(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        peer = tls.authorise(context, self.authority.trust, datetime.now(UTC), self.roles)
        pause = threading.Event()
        while True:
            try:
                recheck(peer, self.authority.trust, datetime.now(UTC))
            except InvalidIdentity:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, tls.UNAUTHENTICATED)
            yield b"beat"
            pause.wait(0.02)

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture(scope="module")
def acme() -> TestAuthority:
    return TestAuthority("acme.test")


@pytest.fixture(scope="module")
def server(acme: TestAuthority) -> Iterator[Server]:
    running = Server(acme)
    yield running
    running.stop()


def ask(server: Server, node: Node, host: str = "127.0.0.1") -> str:
    with tls.channel(f"{host}:{server.port}", node.credentials, node.keystore) as channel:
        answer: bytes = channel.unary_unary(WHO, bytes, bytes)(b"", timeout=5)
        return answer.decode()


def fails(server: Server, node: Node, host: str = "127.0.0.1") -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, node, host)
    return caught.value.code(), caught.value.details()


def test_a_certified_party_is_known_by_its_spiffe_id(server: Server, acme: TestAuthority) -> None:
    assert ask(server, acme.node("party/p1")) == P1
    assert ask(server, acme.node("party/p1"), "localhost") == P1


FORGERIES: dict[str, dict[str, Any]] = {
    "two URI SANs": {"uris": [P1, "spiffe://acme.test/party/p2"]},
    "only a common name": {"common_name": P1},
    "a DNS SAN that spells a SPIFFE ID": {"dns": [P1]},
    "a name of another trust domain": {"uris": ["spiffe://other.test/party/p1"]},
}


@pytest.mark.parametrize("case", FORGERIES)
def test_what_grpc_lets_in_is_refused_with_a_fixed_word(
    server: Server, acme: TestAuthority, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    node = acme.node("party/p1")
    forged = node.with_chain(acme.forge(node.keystore.tls_key.public_key(), **FORGERIES[case]))
    with caplog.at_level(logging.WARNING, "inbond.tls"):
        assert fails(server, forged) == (grpc.StatusCode.UNAUTHENTICATED, tls.UNAUTHENTICATED)
    assert "refused" in caplog.text


HANDSHAKE_FORGERIES: dict[str, dict[str, Any]] = {
    "a CA as leaf": {"uris": [P1], "ca": True, "signs_certificates": True},
    "expired": {"uris": [P1], "start": timedelta(hours=-2), "end": timedelta(hours=-1)},
    "not yet valid": {"uris": [P1], "start": timedelta(hours=1)},
}


@pytest.mark.parametrize("case", HANDSHAKE_FORGERIES)
def test_bad_dates_and_ca_leaves_get_no_answer(server: Server, acme: TestAuthority, case: str) -> None:
    """In the handshake or in `authorise`: the caller gets no further either way."""
    node = acme.node("party/p1")
    forged = node.with_chain(acme.forge(node.keystore.tls_key.public_key(), **HANDSHAKE_FORGERIES[case]))
    assert fails(server, forged)[0] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}


def test_a_certificate_of_another_ca_fails_the_handshake(server: Server, acme: TestAuthority) -> None:
    stranger = TestAuthority("acme.test").node("party/p1")
    believing = Node(replace(stranger.credentials, trust=acme.trust), stranger.keystore)
    assert fails(server, believing)[0] is grpc.StatusCode.UNAVAILABLE
    assert fails(server, stranger)[0] is grpc.StatusCode.UNAVAILABLE


def test_no_client_certificate_fails_the_handshake(server: Server, acme: TestAuthority) -> None:
    credentials = grpc.ssl_channel_credentials(acme.node("party/p1").credentials.roots_pem)
    with (
        grpc.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(WHO, bytes, bytes)(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_another_role_is_not_permitted_and_not_told_why(server: Server, acme: TestAuthority) -> None:
    assert fails(server, acme.node("user/ana")) == (grpc.StatusCode.PERMISSION_DENIED, tls.FORBIDDEN)


def test_a_revoked_party_is_refused_at_its_next_call(server: Server, acme: TestAuthority) -> None:
    node = acme.node("party/p7")
    with tls.channel(f"127.0.0.1:{server.port}", node.credentials, node.keystore) as channel:
        call = channel.unary_unary(WHO, bytes, bytes)
        assert call(b"", timeout=5)
        acme.revoke(path="party/p7")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_party_revoked_while_its_stream_is_open_is_cut_off(server: Server, acme: TestAuthority) -> None:
    node = acme.node("party/p8")
    with tls.channel(f"127.0.0.1:{server.port}", node.credentials, node.keystore) as channel:
        stream = channel.unary_stream(WATCH, bytes, bytes)(b"", timeout=10)
        assert next(iter(stream)) == b"beat"
        acme.revoke(serial=_serial(node.credentials))
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        tls.UNAUTHENTICATED,
    )


def test_a_party_cannot_pose_as_the_server(acme: TestAuthority) -> None:
    """Its certificate is of the same CA, but carries no host name."""
    impostor = Server(acme)
    impostor.node = acme.node("party/p2")
    try:
        assert fails(impostor, acme.node("party/p1"))[0] is grpc.StatusCode.UNAVAILABLE
    finally:
        impostor.stop()


@pytest.mark.parametrize("option", ["grpc.ssl_target_name_override", "grpc.default_authority"])
def test_the_name_check_cannot_be_switched_off(acme: TestAuthority, option: str) -> None:
    node = acme.node("party/p1")
    with pytest.raises(ConfigError, match="name check"):
        tls.channel("127.0.0.1:1", node.credentials, node.keystore, [(option, "coordinator")])


def test_a_renewed_server_certificate_shows_at_the_next_handshake(acme: TestAuthority) -> None:
    running = Server(acme)
    try:
        first = _shown(running, acme.node("party/p1"))
        running.node = Node(acme.certify("coordinator", running.node.keystore), running.node.keystore)
        second = _shown(running, acme.node("party/p1"))
        assert first != second == _serial(running.node.credentials)
    finally:
        running.stop()


def test_the_last_good_certificate_stays_when_its_source_fails(acme: TestAuthority) -> None:
    running = Server(acme)
    try:
        running.source_fails = True
        assert ask(running, acme.node("party/p1")) == P1
    finally:
        running.stop()


TLS_12_SERVER = """
import sys
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from inbond import tls
import grpc
folder = Path(sys.argv[1])
key, chain, roots = ((folder / name).read_bytes() for name in ("key", "chain", "roots"))
server = grpc.server(ThreadPoolExecutor(1))
shown = tls.TlsIdentity(key, chain, roots)
port = server.add_secure_port("127.0.0.1:0", tls.server_credentials(lambda: shown))
server.start()
print(port, flush=True)
sys.stdin.read()
"""


def test_tls_1_2_fails_in_the_handshake_and_1_3_does_not(tmp_path: Path, acme: TestAuthority) -> None:
    shown = acme.node("coordinator", tmp_path)
    identity = tls.tls_identity(shown.credentials, shown.keystore)
    for name in ("key", "chain", "roots"):
        (tmp_path / name).write_bytes(getattr(identity, name))
    command = [sys.executable, "-c", TLS_12_SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            client = _client_context(tmp_path, acme.node("party/p1"))
            assert _version(client, port) == "TLSv1.3"
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(OSError, match=r"EOF|reset|ALERT|alert"):
                _version(client, port)
        finally:
            process.kill()


def test_a_connection_below_tls_1_3_is_no_identity(acme: TestAuthority) -> None:
    node = acme.node("party/p1")
    connection = {"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [node.credentials.tls_chain_pem]}
    now = datetime.now(UTC)
    assert tls.peer_identity(connection, acme.trust, now).spiffe_id == SpiffeId.parse(P1)
    for version in ([b"TLSv1.2"], [], [b"TLSv1.3", b"TLSv1.2"]):
        with pytest.raises(InvalidIdentity, match=r"TLS 1\.3"):
            tls.peer_identity({**connection, "ssl_tls_version": version}, acme.trust, now)
    with pytest.raises(InvalidIdentity, match="no client certificate"):
        tls.peer_identity({**connection, "x509_pem_cert": []}, acme.trust, now)
    with pytest.raises(Refused, match="coordinator"):
        tls.peer_identity(connection, acme.trust, now, ["coordinator"])


async def _aio_answers(acme: TestAuthority) -> tuple[bytes, grpc.StatusCode]:
    async def who(_request: bytes, context: Any) -> bytes:
        peer = await tls.authorise_aio(context, acme.trust, datetime.now(UTC), ["party"])
        return str(peer.spiffe_id).encode()

    shown = acme.node("coordinator")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(who)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Who": handler}),))
    source = tls.server_credentials(lambda: tls.tls_identity(shown.credentials, shown.keystore))
    port = server.add_secure_port("127.0.0.1:0", source)
    await server.start()
    good, other = acme.node("party/p1"), acme.node("user/ana")
    try:
        async with tls.aio_channel(f"127.0.0.1:{port}", good.credentials, good.keystore) as channel:
            answer: bytes = await channel.unary_unary(WHO, bytes, bytes)(b"", timeout=5)
        async with tls.aio_channel(f"127.0.0.1:{port}", other.credentials, other.keystore) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await channel.unary_unary(WHO, bytes, bytes)(b"", timeout=5)
    finally:
        await server.stop(None)
    return answer, caught.value.code()


def test_asyncio_servers_authorise_alike(acme: TestAuthority) -> None:
    import asyncio

    answer, code = asyncio.run(_aio_answers(acme))
    assert (answer.decode(), code) == (P1, grpc.StatusCode.PERMISSION_DENIED)


def test_credentials_survive_their_file(tmp_path: Path, acme: TestAuthority) -> None:
    node = acme.node("party/p1")
    kept = replace(node.credentials, authority="ca.test:8442", trust=acme.revoke(path="party/p9"))
    kept.save(tmp_path)
    assert Credentials.load(tmp_path) == kept
    assert kept.renew_at < kept.not_after


def test_damaged_or_missing_credentials_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not enrolled"):
        Credentials.load(tmp_path)
    for text in ("", "[]", "{}", '{"spiffe_id": 5}', "[" * 100_000):
        (tmp_path / "credentials.json").write_text(text)
        with pytest.raises(ConfigError, match="damaged"):
            Credentials.load(tmp_path)


def test_credentials_do_not_sign_with_another_key(acme: TestAuthority) -> None:
    with pytest.raises(ConfigError, match="another signing key"):
        acme.node("party/p1").credentials.signer(acme.node("party/p1").keystore)


def test_a_tls_identity_does_not_show_its_key(acme: TestAuthority) -> None:
    node = acme.node("party/p1")
    assert "PRIVATE" not in repr(tls.tls_identity(node.credentials, node.keystore))


def _serial(credentials: Credentials) -> int:
    from policies.identity import load_certificate

    return load_certificate(credentials.tls_chain_pem).serial_number


def _client_context(folder: Path, node: Node) -> ssl.SSLContext:
    (folder / "client.pem").write_bytes(node.credentials.tls_chain_pem + node.keystore.tls_key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=node.credentials.roots_pem.decode())
    context.load_cert_chain(folder / "client.pem")
    context.set_alpn_protocols(["h2"])
    return context


def _version(context: ssl.SSLContext, port: int) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        return secure.version()


def _shown(server: Server, node: Node) -> int:
    """The serial that the server shows now."""
    from policies.identity import load_certificate

    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
        _unverified().wrap_socket(raw) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return load_certificate(der).serial_number


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
