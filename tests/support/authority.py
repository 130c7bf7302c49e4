"""A throw-away consortium for tests: an authority in memory, for good nodes and every bad kind.

authority = TestAuthority("acme.test")
node = authority.node("party/p1", tmp_path)  # Node(credentials, keystore)
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inbond.credentials import Credentials
from inbond.keystore import KeyStore, Unlock
from policies.certificates import NOBODY, PublicKey, issue, make_authority, make_request, to_pem
from policies.denylist import extended
from policies.envelope import Signer
from policies.identity import DenyList, SpiffeId, Standing, TrustStore

BOTH_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
HOSTS = ("localhost",)
IPS = ("127.0.0.1",)


class _PlainUnlock(Unlock):
    """Fast and unsafe: for key stores that live as long as a test."""

    def wrap(self, master: bytes) -> bytes:
        return master

    def unwrap(self, wrapped: bytes) -> bytes:
        return wrapped


@dataclass(frozen=True)
class Node:
    """A certified node."""

    credentials: Credentials
    keystore: KeyStore

    @property
    def signer(self) -> Signer:
        return self.credentials.signer(self.keystore)

    @property
    def trust(self) -> TrustStore:
        return self.credentials.trust

    def with_chain(self, leaf: x509.Certificate) -> "Node":
        """The same node showing another TLS certificate (made for its key)."""
        return Node(replace(self.credentials, tls_chain_pem=to_pem(leaf)), self.keystore)


class TestAuthority:
    """A CA with its key in memory. `denied` grows by `revoke`; `trust` is always the newest."""

    __test__ = False  # not a test case, whatever its name says

    def __init__(self, trust_domain: str = "acme.test", now: datetime | None = None) -> None:
        self.trust_domain = trust_domain
        self.now = now or datetime.now(UTC)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = make_authority(trust_domain, self.key, self.now - timedelta(days=3))
        self.denied = DenyList()

    @property
    def trust(self) -> TrustStore:
        return TrustStore(self.trust_domain, (self.certificate,), self.denied)

    def id(self, path: str) -> SpiffeId:
        """`party/p1` as a full SPIFFE ID."""
        return SpiffeId(self.trust_domain, "/" + path.lstrip("/"))

    def node(
        self,
        path: str,
        folder: Path | None = None,
        *,
        now: datetime | None = None,
        lifetime: timedelta = timedelta(hours=8),
        standing: Standing = NOBODY,
    ) -> Node:
        """A node with fresh keys in `folder` (or a temporary one); servers get localhost, 127.0.0.1."""
        home = Path(tempfile.mkdtemp(prefix="inbond-")) if folder is None else folder
        keystore = KeyStore.create(home / "keys", _PlainUnlock())
        return Node(self.certify(path, keystore, now=now, lifetime=lifetime, standing=standing), keystore)

    def certify(
        self,
        path: str,
        keystore: KeyStore,
        *,
        now: datetime | None = None,
        lifetime: timedelta = timedelta(hours=8),
        standing: Standing = NOBODY,
    ) -> Credentials:
        """Certificates for keys that exist: also a renewal."""
        spiffe_id, when = self.id(path), now or self.now
        serves = spiffe_id.role in {"authority", "coordinator"}
        leaves = [
            issue(
                make_request(key, spiffe_id),
                spiffe_id,
                self.certificate,
                self.key,
                when,
                lifetime=lifetime,
                dns=HOSTS if serves else (),
                ips=IPS if serves else (),
                standing=standing,
            )
            for key in (keystore.tls_key, keystore.signing_key)
        ]
        return Credentials.from_certificates(spiffe_id, leaves[0], leaves[1], trust=self.trust)

    def revoke(self, *, path: str | None = None, serial: int | None = None) -> TrustStore:
        """Put a name or serial on the deny list; returns the new trust store."""
        self.denied = extended(
            self.denied,
            datetime.now(UTC),
            serials=() if serial is None else (serial,),
            ids=() if path is None else (self.id(path),),
        )
        return self.trust

    def forge(
        self,
        key: PublicKey,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        common_name: str | None = None,
        ca: bool = False,
        usage: bool | None = True,
        usage_critical: bool = True,
        signs_certificates: bool = False,
        extended_usages: Sequence[x509.ObjectIdentifier] | None = BOTH_USAGES,
        start: timedelta = timedelta(minutes=-1),
        end: timedelta = timedelta(hours=8),
    ) -> x509.Certificate:
        """A certificate signed by this CA that breaks whatever rule the test wants broken.

        `usage` is digitalSignature, or None for no key usage at all.
        """
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + start)
            .not_valid_after(self.now + end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if ca:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        if usage is not None:
            builder = builder.add_extension(_usage(usage, signs_certificates), critical=usage_critical)
        if extended_usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(extended_usages)), critical=False)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ip_address(text)) for text in ips]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not attributes)
        return builder.sign(self.key, hashes.SHA256())


def _usage(digital_signature: bool, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
