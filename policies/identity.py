"""Who a peer is: SPIFFE IDs, and the one check that turns a certificate into an identity.

Relies on the consortium's CA certificates in `TrustStore` and on the caller's clock; trusts nothing that the
peer says outside its certificate. Rules are those of the SPIFFE X509-SVID standard
(https://spiffe.io/docs/latest/spiffe-specs/x509-svid/) narrowed to this consortium's roles.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Self, TypeVar, get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from policies.errors import InvalidIdentity
from policies.law.places import COUNTRIES

T = TypeVar("T", bound=x509.ExtensionType)

Role = Literal["authority", "coordinator", "party", "user"]
ROLES: frozenset[str] = frozenset(get_args(Role))
NAMED_ROLES = frozenset({"party", "user"})

Office = Literal["researcher", "operator", "officer", "auditor"]
OFFICES: frozenset[str] = frozenset(get_args(Office))

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_ID_BYTES = 2048  # SPIFFE-ID section 2.3
_SCHEME = "spiffe://"
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?")
_PATH = re.compile(r"/(?:(?P<single>authority|coordinator)|(?P<role>party|user)/(?P<name>[a-z0-9][a-z0-9-]{0,62}))")
_ORGANISATION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ID_FORM = "spiffe://<trust domain>/authority, /coordinator, /party/<name> or /user/<name>, all lower case"


def check_trust_domain(text: str) -> str:
    """`text` itself when it is a lower-case trust domain; raises InvalidIdentity."""
    if not _DOMAIN.fullmatch(text):
        raise InvalidIdentity(
            "not a trust domain", where=repr(text[:80]), right="lower-case letters, digits, dots and hyphens"
        )
    return text


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """The name of a node or person: `spiffe://acme.example/party/p1`. An invalid one cannot exist."""

    trust_domain: str
    path: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        if not _PATH.fullmatch(self.path):
            raise InvalidIdentity("not a SPIFFE ID of a consortium", where=repr(self.path[:80]), right=_ID_FORM)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `spiffe://domain/path`; raises InvalidIdentity."""
        if len(text) > MAX_ID_BYTES or not text.startswith(_SCHEME):
            raise InvalidIdentity("not a SPIFFE ID", where=repr(text[:80]), right=_ID_FORM)
        domain, slash, rest = text.removeprefix(_SCHEME).partition("/")
        return cls(domain, slash + rest)

    @property
    def role(self) -> Role:
        """What the holder may be: the first segment of the path."""
        role: Role = self.path.split("/")[1]  # type: ignore[assignment]  # the pattern admits only the four roles
        return role

    @property
    def name(self) -> str:
        """The short name: `p1` of `/party/p1`; the role itself where there is only one."""
        return self.path.rsplit("/", 1)[1]

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the authority says of a member, empty where it says nothing: of a person the organisation and the role
    there, of everybody the country (ISO 3166-1 alpha-2).

    A certificate carries it in its subject, as O, title and C (X.520 sections 6.4.1, 6.4.3 and 6.3.1).
    """

    organisation: str = ""
    office: str = ""
    country: str = ""

    def __post_init__(self) -> None:
        if self.organisation and not _ORGANISATION.fullmatch(self.organisation):
            right = "lower-case letters, digits and hyphens, at most 63"
            raise InvalidIdentity("not an organisation's name", where=repr(self.organisation[:80]), right=right)
        if self.office and (self.office not in OFFICES or not self.organisation):
            right = f"one of {', '.join(sorted(OFFICES))}, of an organisation"
            raise InvalidIdentity("not a role", where=repr(self.office[:80]), right=right)
        if self.country and self.country not in COUNTRIES:
            right = "a code of ISO 3166-1 alpha-2, such as DE"
            raise InvalidIdentity("not a country", where=repr(self.country[:80]), right=right)


@dataclass(frozen=True, slots=True)
class DenyList:
    """Certificates and names that are refused although their dates are good; grows, with its version."""

    version: int = 0
    serials: frozenset[int] = frozenset()
    ids: frozenset[str] = frozenset()
    issued: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Whom this node believes: a trust domain, its CA certificates (two in rotation), its deny list."""

    trust_domain: str
    authorities: tuple[x509.Certificate, ...]
    denied: DenyList = field(default_factory=DenyList)

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        if not self.authorities:
            raise InvalidIdentity("no CA certificate", where=self.trust_domain, right="at least one")


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A certificate that passed `identify`; `thumbprint` is SHA-256 of its DER in hex."""

    spiffe_id: SpiffeId
    serial: int
    not_before: datetime
    not_after: datetime
    thumbprint: str
    standing: Standing = Standing()


def load_certificate(data: bytes) -> x509.Certificate:
    """Parse one certificate, DER or PEM, of at most 16 KiB; raises InvalidIdentity."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise InvalidIdentity(f"certificate of {len(data)} bytes", right=f"at most {MAX_CERTIFICATE_BYTES}")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion):
        raise InvalidIdentity("not an X.509 certificate", right="one certificate in DER or PEM") from None


def certificate_thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, in hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def identify(
    leaf: bytes | x509.Certificate, trust: TrustStore, now: datetime, *, intermediates: Sequence[bytes] = ()
) -> PeerIdentity:
    """Everything X509-SVID section 5 asks of a leaf; raises InvalidIdentity naming the rule that failed.

    (1) one URI SAN, a SPIFFE ID with a path; (2) of our trust domain; (3) no CA; (4) key usage; (5) extended
    key usage; (6) dates; (7) chain and signatures up to one of our CA certificates; (8) deny list.
    """
    certificate = leaf if isinstance(leaf, x509.Certificate) else load_certificate(leaf)
    _check_encoding(certificate)
    extensions = _extensions(certificate)
    spiffe_id = _spiffe_id(extensions)
    _check_domain(spiffe_id, trust)
    _check_leaf(extensions, spiffe_id)
    _check_dates(certificate.not_valid_before_utc, certificate.not_valid_after_utc, spiffe_id, now)
    chain = _verified_chain(certificate, [load_certificate(data) for data in intermediates], trust, spiffe_id, now)
    for link in chain:
        _check_denied(link.serial_number, spiffe_id, trust)
    return PeerIdentity(
        spiffe_id,
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate_thumbprint(certificate),
        standing_of(certificate, spiffe_id),
    )


def recheck(peer: PeerIdentity, trust: TrustStore, now: datetime) -> None:
    """Ask again, on a long stream, what time can change: dates, deny list; raises InvalidIdentity."""
    _check_domain(peer.spiffe_id, trust)
    _check_dates(peer.not_before, peer.not_after, peer.spiffe_id, now)
    _check_denied(peer.serial, peer.spiffe_id, trust)


def _check_encoding(certificate: x509.Certificate) -> None:
    """A signature is whole bytes. Readers overlook a count of unused bits: one certificate, two thumbprints."""
    if not certificate.public_bytes(serialization.Encoding.DER).endswith(b"\0" + certificate.signature):
        raise InvalidIdentity("certificate with a signature of broken bytes", right="DER as the authority issued it")


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension):
        raise InvalidIdentity("certificate extensions cannot be read", right="each at most once, well formed") from None


def _spiffe_id(extensions: x509.Extensions) -> SpiffeId:
    """Rule 1. A common name or DNS name that spells a SPIFFE ID is no identity."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise InvalidIdentity("certificate without subject alternative name", right="exactly one URI SAN") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise InvalidIdentity(f"certificate with {len(uris)} URI SANs", right="exactly one")
    return SpiffeId.parse(uris[0])


def _check_domain(spiffe_id: SpiffeId, trust: TrustStore) -> None:
    if spiffe_id.trust_domain != trust.trust_domain:
        raise InvalidIdentity(
            f"of trust domain {spiffe_id.trust_domain}",
            where=str(spiffe_id),
            right=f"one of {trust.trust_domain}",
        )


def _check_leaf(extensions: x509.Extensions, spiffe_id: SpiffeId) -> None:
    """Rules 3 to 5 (X509-SVID sections 4.1 to 4.4)."""
    where = str(spiffe_id)
    constraints = _optional(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise InvalidIdentity("a CA certificate used as a leaf", where=where, right="CA=false")
    usage = _optional(extensions, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        raise InvalidIdentity("key usage", where=where, right="critical, with digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise InvalidIdentity("key usage may sign certificates", where=where, right="no keyCertSign, no cRLSign")
    extended = _optional(extensions, x509.ExtendedKeyUsage)
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if extended is not None and not both <= set(extended.value):
        raise InvalidIdentity("extended key usage", where=where, right="both serverAuth and clientAuth")


def _optional(extensions: x509.Extensions, kind: type[T]) -> x509.Extension[T] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _check_dates(not_before: datetime, not_after: datetime, spiffe_id: SpiffeId, now: datetime) -> None:
    if now < not_before:
        raise InvalidIdentity(
            f"certificate not valid before {not_before.isoformat()}",
            where=str(spiffe_id),
            right="equal clocks",
        )
    if now > not_after:
        raise InvalidIdentity(
            f"certificate expired at {not_after.isoformat()}",
            where=str(spiffe_id),
            right="a renewed certificate",
        )


def _verified_chain(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    trust: TrustStore,
    spiffe_id: SpiffeId,
    now: datetime,
) -> list[x509.Certificate]:
    """Rule 7, by RFC 5280 path building over our CA certificates alone; the chain, leaf first."""
    verifier = PolicyBuilder().store(Store(list(trust.authorities))).time(now).build_client_verifier()
    try:
        return verifier.verify(leaf, intermediates).chain
    except (VerificationError, UnsupportedAlgorithm, ValueError):
        raise InvalidIdentity(
            "certificate does not chain to the consortium's authority",
            where=str(spiffe_id),
            right=f"issued by the authority of {trust.trust_domain}",
        ) from None


def standing_of(certificate: x509.Certificate, spiffe_id: SpiffeId) -> Standing:
    """What a certificate says of its holder; raises InvalidIdentity for what this authority would not have written.

    The caller knows that the certificate is good, or that it is its own. A node's has a country only.
    """
    people = (NameOID.ORGANIZATION_NAME, NameOID.TITLE) if spiffe_id.role == "user" else ()
    told = {oid: certificate.subject.get_attributes_for_oid(oid) for oid in (*people, NameOID.COUNTRY_NAME)}
    if any(len(values) > 1 for values in told.values()):
        raise InvalidIdentity(
            "two organisations, roles or countries", where=str(spiffe_id), right="at most one of each"
        )
    said = {oid: str(values[0].value) for oid, values in told.items() if values}
    return Standing(*(said.get(oid, "") for oid in (NameOID.ORGANIZATION_NAME, NameOID.TITLE, NameOID.COUNTRY_NAME)))


def _check_denied(serial: int, spiffe_id: SpiffeId, trust: TrustStore) -> None:
    if serial in trust.denied.serials or str(spiffe_id) in trust.denied.ids:
        raise InvalidIdentity(
            f"revoked by deny list {trust.denied.version}", where=str(spiffe_id), right="ask the authority"
        )
