"""Mutual TLS 1.3 over gRPC: what a server shows and demands, how a node dials, and who a caller is.

Relies on `policies.identity` for every decision about a certificate; gRPC only proves that the peer holds its
key. What gRPC itself calls identity (`peer_identities`) falls back to common names and DNS names and is never
read. A node dials only names that its authority certified, and the authority certifies host names for servers
alone, so a party cannot pose as the coordinator. A refused caller learns one of two fixed words; the reason
stays in our log.
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

# gRPC has no switch for the lowest TLS version, but reads the cipher list of TLS 1.2 when it is first
# imported. All our keys are ECDSA, so a list of RSA suites alone leaves TLS 1.2 nothing to agree on.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"

import grpc
import grpc.aio

from inbond.credentials import Credentials
from inbond.errors import ConfigError, Refused
from inbond.keystore import KeyStore
from policies.errors import InvalidIdentity
from policies.identity import ROLES, PeerIdentity, TrustStore, identify

Options = Sequence[tuple[str, int | str]]

TLS_VERSION = b"TLSv1.3"
UNAUTHENTICATED = "not authenticated"
FORBIDDEN = "not permitted"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
SERVER_OPTIONS: Options = (
    ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a silent share of the calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.max_connection_age_ms", 15 * 60 * 1000),  # a new handshake brings the newest certificate
    ("grpc.max_connection_age_grace_ms", 60 * 1000),
)
CHANNEL_OPTIONS: Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
)
_NAME_OVERRIDES = frozenset({"grpc.ssl_target_name_override", "grpc.default_authority"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """What a handshake shows and believes: private key, leaf first chain, CA certificates; all PEM."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


def tls_identity(credentials: Credentials, keystore: KeyStore) -> TlsIdentity:
    """The handshake's half of a node's credentials."""
    return TlsIdentity(keystore.tls_key_pem, credentials.tls_chain_pem, credentials.roots_pem)


def server_credentials(
    source: Callable[[], TlsIdentity], *, client_certificates: bool = True
) -> grpc.ServerCredentials:
    """Server credentials that ask `source` at every handshake, so a renewed certificate is shown at once.

    When `source` raises later on, the last good answer stays; the first call must succeed. Only the
    authority's enrolment port goes without client certificates.
    """

    def configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.roots)

    shown = source()
    initial = configuration(shown)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        try:
            fresh = source()
            changed = None if fresh == shown else configuration(fresh)
        except Exception as error:  # noqa: BLE001  # an error in here would break every handshake
            log.warning("keeping the last certificate: %s", error)
            return None
        shown = fresh
        return changed

    return grpc.dynamic_ssl_server_credentials(initial, fetch, client_certificates)  # type: ignore[arg-type]  # the stub forgets None: no change


def channel_credentials(credentials: Credentials, keystore: KeyStore) -> grpc.ChannelCredentials:
    """Credentials to dial with: our certificate, and the consortium's CA alone."""
    identity = tls_identity(credentials, keystore)
    return grpc.ssl_channel_credentials(identity.roots, identity.key, identity.chain)


def channel(address: str, credentials: Credentials, keystore: KeyStore, options: Options = ()) -> grpc.Channel:
    """A channel to `host:port`. gRPC cannot reload a client's certificate: make a new channel after a
    renewal.
    """
    return grpc.secure_channel(address, channel_credentials(credentials, keystore), channel_options(options))


def aio_channel(address: str, credentials: Credentials, keystore: KeyStore, options: Options = ()) -> grpc.aio.Channel:
    """`channel` for asyncio."""
    return grpc.aio.secure_channel(address, channel_credentials(credentials, keystore), channel_options(options))


def channel_options(options: Options) -> list[tuple[str, int | str]]:
    """Our defaults with `options` on top; raises ConfigError for one that would defeat the server's name
    check.
    """
    for name, _ in options:
        if name in _NAME_OVERRIDES:
            raise ConfigError("option defeats the server's name check", where=name, right="dial the certified name")
    return list({**dict(CHANNEL_OPTIONS), **dict(options)}.items())


def check_version(connection: Mapping[str, Sequence[bytes]]) -> None:
    """Raise InvalidIdentity unless the connection is TLS 1.3."""
    if list(connection.get("ssl_tls_version", ())) != [TLS_VERSION]:
        raise InvalidIdentity("connection is not TLS 1.3", right="TLS 1.3")


def peer_identity(
    connection: Mapping[str, Sequence[bytes]],
    trust: TrustStore,
    now: datetime,
    roles: Collection[str] = ROLES,
) -> PeerIdentity:
    """Who the caller is, from its certificate alone; raises InvalidIdentity, or Refused for another role."""
    check_version(connection)
    certificates = list(connection.get("x509_pem_cert", ()))
    if len(certificates) != 1:
        raise InvalidIdentity("no client certificate", right="mutual TLS")
    peer = identify(certificates[0], trust, now)
    if peer.spiffe_id.role not in roles:
        raise Refused(f"a {peer.spiffe_id.role}", where=str(peer.spiffe_id), right=" or ".join(sorted(roles)))
    return peer


def authorise(
    context: grpc.ServicerContext, trust: TrustStore, now: datetime, roles: Collection[str] = ROLES
) -> PeerIdentity:
    """`peer_identity` of a call, or end the call with a fixed word. Ask at the start of each RPC.

    Streams ask `policies.identity.recheck` again for as long as they live.
    """
    try:
        return peer_identity(auth_context(context), trust, now, roles)
    except InvalidIdentity as error:
        log.warning("refused %s: %s", context.peer(), error)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)
    except Refused as error:
        log.warning("refused %s: %s", context.peer(), error)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, FORBIDDEN)


async def authorise_aio(
    context: "grpc.aio.ServicerContext[object, object]",
    trust: TrustStore,
    now: datetime,
    roles: Collection[str] = ROLES,
) -> PeerIdentity:
    """`authorise` for asyncio servicers."""
    try:
        return peer_identity(auth_context(context), trust, now, roles)
    except InvalidIdentity as error:
        log.warning("refused %s: %s", context.peer(), error)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)
    except Refused as error:
        log.warning("refused %s: %s", context.peer(), error)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, FORBIDDEN)


def auth_context(context: object) -> Mapping[str, Sequence[bytes]]:
    """What gRPC knows of a call's connection: lists of bytes by name."""
    return context.auth_context()  # type: ignore[attr-defined,no-any-return]  # the stubs know no aio one, and no lists
