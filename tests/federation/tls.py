"""A consortium with real certificates on loopback, for tests and measurements of the link."""

import datetime as dt
import ipaddress
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from federation.hub import Hub
from inbond.errors import Refused
from inbond.framing import GRPC_OPTIONS

DOMAIN = "spiffe://acme.example"


@dataclass(frozen=True)
class Peer:
    """Identity as the hub wants it."""

    name: str
    spiffe_id: str


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Consortium:
    """One CA, and leaf certificates made on demand."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    revoked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._issuer = _name("ca")
        authority = self._builder(self._issuer, self.key.public_key())
        authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca = authority.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
        )

    def leaf(self, name: str, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """Key and certificate in PEM for one member."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{DOMAIN}/{name}"), *names])
        leaf = self._builder(_name(name), key.public_key()).add_extension(sans, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, leaf.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def serve(self, hub: Hub, threads: int = 16, port: int = 0) -> tuple[grpc.Server, int]:
        """Start a server with mutual TLS; return it and its port."""
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        pair = self.leaf("coordinator", x509.DNSName("localhost"), local)
        credentials = grpc.ssl_server_credentials([pair], self.ca, require_client_auth=True)
        pool = futures.ThreadPoolExecutor(threads)
        server = grpc.server(pool, options=GRPC_OPTIONS)
        hub.register(server)
        bound = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        server.start()
        return server, bound

    def credentials(self, party: str) -> tuple[bytes, bytes, bytes]:
        """CA, key and certificate with which `party` dials."""
        return (self.ca, *self.leaf(f"party/{party}"))

    def authorise(self, context: grpc.ServicerContext) -> Peer:
        """Take the caller's SPIFFE ID from its certificate."""
        names = [bytes(name).decode() for name in context.auth_context()["x509_subject_alternative_name"]]
        if len(names) != 1 or not names[0].startswith(f"{DOMAIN}/party/"):
            raise Refused("no party of this consortium", where="certificate")
        return Peer(names[0].rsplit("/", 1)[1], names[0])

    def still_valid(self, identity: object) -> bool:
        """Say whether the test has not revoked it."""
        return isinstance(identity, Peer) and identity.name not in self.revoked


def dial(port: int, credentials: tuple[bytes, bytes, bytes]) -> grpc.Channel:
    """Open a channel as a party."""
    tls = grpc.ssl_channel_credentials(*credentials)
    return grpc.secure_channel(f"localhost:{port}", tls, options=GRPC_OPTIONS)


def welcome(identity: object, nonce: bytes) -> bytes:
    """Stand in for the signed welcome: the nonce itself."""
    return b"welcome:" + nonce


def verify(nonce: bytes, token: bytes) -> None:
    """Check the stand-in."""
    if token != b"welcome:" + nonce:
        raise Refused("the welcome is not the coordinator's", where="coordinator")
