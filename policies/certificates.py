"""Certificates as values: the authority's own, requests for leaves, and leaves.

The issuer learns a node's public keys, never a private one; a request proves that its sender holds the key,
and nothing else in it is believed. The CA key is P-256: neither RFC 5280 path validation in `cryptography`
nor gRPC's TLS stack takes an Ed25519 CA for TLS leaves.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId, Standing, check_trust_domain

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MAX_LEAF_LIFETIME = timedelta(hours=24)
MAX_AUTHORITY_DAYS = 90
BACKDATE = timedelta(seconds=60)  # peers whose clock runs a little behind accept a fresh certificate
MAX_REQUEST_BYTES = 8 * 1024
SERVING_ROLES = frozenset({"authority", "coordinator"})
NOBODY = Standing()
_SCHEME = "spiffe://"


def make_authority(
    trust_domain: str, key: ec.EllipticCurvePrivateKey, now: datetime, days: int = MAX_AUTHORITY_DAYS
) -> x509.Certificate:
    """The self-signed CA certificate, valid 1 to 90 days (X509-SVID section 3.2: its ID has no path)."""
    check_trust_domain(trust_domain)
    if not 1 <= days <= MAX_AUTHORITY_DAYS:
        raise InvalidInput(f"CA lifetime of {days} days", where=trust_domain, right=f"1 to {MAX_AUTHORITY_DAYS}")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} authority"[:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_SCHEME + trust_domain)])
    builder = (
        _builder(name, name, key.public_key(), now, timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def make_request(key: PrivateKey, spiffe_id: SpiffeId) -> x509.CertificateSigningRequest:
    """A request for a leaf of `key`: proof that the sender holds it; the name in it is only a wish."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(names, critical=True).sign(key, _hash_for(key))


def load_request(data: bytes) -> x509.CertificateSigningRequest:
    """Parse one request, DER or PEM, of at most 8 KiB; raises InvalidIdentity."""
    if len(data) > MAX_REQUEST_BYTES:
        raise InvalidIdentity(f"request of {len(data)} bytes", right=f"at most {MAX_REQUEST_BYTES}")
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_csr(data)
        return x509.load_der_x509_csr(data)
    except (ValueError, x509.InvalidVersion):
        raise InvalidIdentity("not a certificate signing request", right="one PKCS#10 request, DER or PEM") from None


def requested_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The public key of a request whose signature verifies; raises InvalidIdentity, also by kind of key."""
    try:
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise InvalidIdentity("request with an unknown kind of key", right="P-256 or Ed25519") from None
    if not is_leaf_key(key):
        raise InvalidIdentity("request with a key of another kind", right="P-256 or Ed25519")
    if not valid:
        raise InvalidIdentity("the request's signature does not verify", right="signed by the key it names")
    assert isinstance(key, PublicKey)  # noqa: S101  # narrows for the type checker what is_leaf_key has shown
    return key


def key_binding(tls_key: object, signing_key: object) -> str:
    """What binds a member, and a login, to two keys: SHA-256 over both public keys, in hex; or InvalidIdentity."""
    if not isinstance(tls_key, ec.EllipticCurvePublicKey) or not isinstance(signing_key, ed25519.Ed25519PublicKey):
        raise InvalidIdentity("requests in the wrong order", right="TLS (P-256) first, then signing (Ed25519)")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    both = (key.public_bytes(serialization.Encoding.DER, form) for key in (tls_key, signing_key))
    return hashlib.sha256(b"".join(both)).hexdigest()


def requested_binding(tls_request: bytes, signing_request: bytes) -> str:
    """`key_binding` of two requests, each signed by its key; or InvalidIdentity."""
    return key_binding(*(requested_key(load_request(data)) for data in (tls_request, signing_request)))


def is_leaf_key(key: object) -> bool:
    """Whether leaves may have this public key: P-256 for TLS, Ed25519 for signing."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1)
    return isinstance(key, ed25519.Ed25519PublicKey)


def issue(
    request: x509.CertificateSigningRequest,
    spiffe_id: SpiffeId,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    lifetime: timedelta,
    dns: Sequence[str] = (),
    ips: Sequence[str] = (),
    standing: Standing = NOBODY,
) -> x509.Certificate:
    """A leaf for `spiffe_id` (the caller's decision, not the request's) and the request's public key.

    Valid from 60 s before `now` for `lifetime`, at most 24 h, never beyond the CA's own end. Raises
    InvalidIdentity for a bad request and InvalidInput for what the caller may not ask.
    """
    key = requested_key(request)
    _check_lifetime(spiffe_id, authority, now, lifetime)
    names, subject = _names(spiffe_id, dns, ips), _subject(spiffe_id, standing)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    ours = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    lifetime = min(lifetime, authority.not_valid_after_utc - (now - BACKDATE))
    builder = (
        _builder(subject, authority.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(names, critical=not list(subject))  # critical for an empty subject (RFC 5280 section 4.2.1.6)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ours), critical=False)
    )
    return builder.sign(authority_key, hashes.SHA256())


def authority_domain(authority: x509.Certificate) -> str:
    """The trust domain of a CA certificate, from its URI SAN; raises InvalidIdentity."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        names = authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise InvalidIdentity("not a consortium's CA certificate", right="CA=true and one spiffe:// URI SAN") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not constraints.ca or len(uris) != 1 or not uris[0].startswith(_SCHEME):
        raise InvalidIdentity("not a consortium's CA certificate", right="CA=true and one spiffe:// URI SAN")
    return check_trust_domain(uris[0].removeprefix(_SCHEME))


def to_pem(certificate: x509.Certificate) -> bytes:
    """The certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def to_der(value: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    """The certificate or request in DER."""
    return value.public_bytes(serialization.Encoding.DER)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    start = (now - BACKDATE).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
    )


def _check_lifetime(spiffe_id: SpiffeId, authority: x509.Certificate, now: datetime, lifetime: timedelta) -> None:
    where = str(spiffe_id)
    if not timedelta(0) < lifetime <= MAX_LEAF_LIFETIME:
        raise InvalidInput(f"certificate lifetime of {lifetime}", where=where, right="more than 0 and at most 24 h")
    if spiffe_id.trust_domain != authority_domain(authority):
        raise InvalidInput("name of another trust domain", where=where, right=authority_domain(authority))
    if not authority.not_valid_before_utc <= now < authority.not_valid_after_utc:
        end = authority.not_valid_after_utc.isoformat()
        raise InvalidInput(f"the authority's certificate ends {end}", where=where, right="a CA valid now")


def _names(spiffe_id: SpiffeId, dns: Sequence[str], ips: Sequence[str]) -> x509.SubjectAlternativeName:
    """The SPIFFE ID and, for nodes that others dial, the addresses that TLS clients compare."""
    if (dns or ips) and spiffe_id.role not in SERVING_ROLES:
        raise InvalidInput("host names in a certificate", where=str(spiffe_id), right="none: only servers are dialled")
    try:
        hosts: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        hosts += [x509.IPAddress(ip_address(text)) for text in ips]
    except ValueError:
        raise InvalidInput(
            "bad host name or IP address", where=str(spiffe_id), right="ASCII names, plain IPs"
        ) from None
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id)), *hosts])


def _subject(spiffe_id: SpiffeId, standing: Standing) -> x509.Name:
    """Empty, or what the authority says of the holder (as `policies.identity.standing_of` reads it)."""
    if standing.organisation and spiffe_id.role != "user":
        raise InvalidInput("an organisation in a node's certificate", where=str(spiffe_id), right="people have one")
    told = (
        (NameOID.COUNTRY_NAME, standing.country),
        (NameOID.ORGANIZATION_NAME, standing.organisation),
        (NameOID.TITLE, standing.office),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in told if text])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _hash_for(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
