"""Signed envelopes: JWS compact (RFC 7515) with Ed25519 (RFC 8037) and nothing else.

A reader learns who signed (certificate chain in `x5c`, checked by `identify`) and that the payload is, byte
for byte, the RFC 8785 form of what was signed. Nothing is negotiated. The payload is parsed only after its
signature holds. The caller owns the clock, and the store of seen `jti`.
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from policies.base64url import decode, encode
from policies.canonical import canonical
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import PeerIdentity, SpiffeId, TrustStore, identify, load_certificate

JSON = Any  # what RFC 8785 can write: None, bool, int up to 2^53, float, str, list, dict with text keys

ALGORITHM = "EdDSA"
DEFAULT_MAX_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_CHAIN = 3
SKEW = timedelta(seconds=60)
SIGNED_AT = "iat"
KEPT = timedelta(
    days=32
)  # how old a token may be that belongs to a job: the longest job, and a day to fetch its result
_HEADER_KEYS = frozenset({"alg", "kid", "typ", "x5c"})
_JTI = re.compile(r"[0-9a-f]{32}|[A-Za-z0-9_-]{22}")  # 128 bits in hex or base64url


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: `key`, and the certificate chain (DER, leaf first, no root) that names its holder."""

    spiffe_id: SpiffeId
    key: Ed25519PrivateKey = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature, certificate and form are good; `payload` is a JSON object, `key` the signer's.

    `at` is when the signer says to have signed, where the header has it and the certificate was judged by it.
    """

    payload: dict[str, JSON]
    issuer: SpiffeId
    certificate: PeerIdentity
    key: Ed25519PublicKey = field(repr=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """The checked claims that the caller's replay store needs: keep (issuer, jti) until `keep_until`."""

    issuer: str
    jti: str
    expires: datetime
    keep_until: datetime


def thumbprint(key: Ed25519PublicKey) -> str:
    """The RFC 7638 thumbprint of an Ed25519 key (members of RFC 8037 section 2), base64url."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return encode(hashlib.sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": encode(raw)})).digest())


def sign(payload: Mapping[str, JSON], *, typ: str, signer: Signer, at: datetime | None = None) -> str:
    """The JWS compact form of `payload`; raises InvalidInput when RFC 8785 cannot write it.

    `at` goes into the signed header of what will be read after the signer's certificate has ended.
    """
    header: dict[str, JSON] = {
        "alg": ALGORITHM,
        "kid": _key_id(signer.spiffe_id, signer.key.public_key()),
        "typ": typ,
        "x5c": [base64.b64encode(der).decode() for der in signer.chain],  # RFC 7515 section 4.1.6: not base64url
    }
    if at is not None:
        header[SIGNED_AT] = int(at.timestamp())
    try:
        body = canonical(dict(payload))
    except (InvalidInput, UnicodeError):
        raise InvalidInput("not JSON", where=typ, right="text keys, finite numbers, whole numbers to 2^53") from None
    signed = f"{encode(canonical(header))}.{encode(body)}"
    return f"{signed}.{encode(signer.key.sign(signed.encode()))}"


def verify(
    token: str,
    *,
    typ: str,
    trust: TrustStore,
    now: datetime,
    max_bytes: int = DEFAULT_MAX_BYTES,
    aged: timedelta = timedelta(),
) -> Verified:
    """Open a token; raises InvalidIdentity naming the first rule that fails.

    (1) size and three parts; (2) header: canonical, exactly alg, kid, typ, x5c; (3) algorithm and type; (4)
    the certificate is good at `now`; (5) its key is the one that `kid` names; (6) signature; (7) payload:
    canonical object whose `iss`, if any, is the signer.

    A token that says when it was signed may be up to `aged` old: its certificate is then judged at that time, because
    a job may outlive the certificates of its verdicts. Who is on the deny list by now is refused all the same.
    """
    head, body, signature = _parts(token, typ, max_bytes)
    header = _header(head, typ)
    chain = _chain(header["x5c"], typ)
    peer = identify(chain[0], trust, _judged_at(header, now, aged, typ), intermediates=chain[1:])
    key = load_certificate(chain[0]).public_key()
    if not isinstance(key, Ed25519PublicKey) or header["kid"] != _key_id(peer.spiffe_id, key):
        raise InvalidIdentity("the key is not the one named", where=typ, right="an Ed25519 certificate and its kid")
    try:
        key.verify(decode(signature, typ), f"{head}.{body}".encode())
    except InvalidSignature:
        raise InvalidIdentity("signature does not verify", where=typ, right=f"signed by {peer.spiffe_id}") from None
    payload = _canonical_object(decode(body, typ), typ)
    if "iss" in payload and payload["iss"] != str(peer.spiffe_id):
        raise InvalidIdentity("iss is not the signer", where=typ, right=str(peer.spiffe_id))
    at = datetime.fromtimestamp(header[SIGNED_AT], UTC) if aged and SIGNED_AT in header else None
    return Verified(payload, peer.spiffe_id, peer, key, at)


def detached(token: str) -> str:
    """The token without its payload (RFC 7515 appendix F), for whoever has the payload as a file."""
    head, _, signature = token.split(".")
    return f"{head}..{signature}"


def attached(signature: str, payload: Mapping[str, JSON], *, typ: str) -> str:
    """The token that a detached `signature` makes with `payload`; raises InvalidIdentity where it has one already."""
    parts = signature.split(".")
    if len(parts) != 3 or parts[1]:
        raise InvalidIdentity("not a detached signature", where=typ, right="header..signature (RFC 7515 appendix F)")
    return f"{parts[0]}.{encode(canonical(dict(payload)))}.{parts[2]}"


def _judged_at(header: Mapping[str, JSON], now: datetime, aged: timedelta, typ: str) -> datetime:
    """The time at which a certificate must have been good: now, or the time of signing where that may be earlier."""
    signed = header.get(SIGNED_AT)
    if signed is None or not aged:
        return now
    if type(signed) is not int or not now - aged <= datetime.fromtimestamp(min(signed, 2**40), UTC) <= now + SKEW:
        raise InvalidIdentity("signed at another time", where=typ, right=f"within the last {aged.days} days")
    return min(now, datetime.fromtimestamp(signed, UTC))


def make_claims(issuer: SpiffeId, audience: list[str], now: datetime, lifetime: timedelta) -> dict[str, JSON]:
    """Fresh registered claims (RFC 7519 section 4.1): seconds since 1970, a random 128-bit `jti`."""
    start = int(now.timestamp())
    return {
        "iss": str(issuer),
        "aud": audience,
        "iat": start,
        "nbf": start,
        "exp": start + int(lifetime.total_seconds()),
        "jti": secrets.token_hex(16),
    }


def check_claims(
    payload: Mapping[str, JSON], *, audience: SpiffeId | str, now: datetime, skew: timedelta = SKEW
) -> Claims:
    """Refuse a payload not for `audience` or not for now (`skew` either way); raises InvalidIdentity."""
    issuer, jti = payload.get("iss"), payload.get("jti")
    if not isinstance(issuer, str):
        raise InvalidIdentity("no issuer", where="iss", right="the signer's SPIFFE ID")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise InvalidIdentity("bad message id", where="jti", right="128 random bits in hex or base64url")
    named = payload.get("aud")
    if str(audience) not in (named if isinstance(named, list) else [named]):
        raise InvalidIdentity("for somebody else", where="aud", right=f"{audience} among the audience")
    issued, starts, expires = (_seconds(payload, name) for name in ("iat", "nbf", "exp"))
    clock, leeway = now.timestamp(), skew.total_seconds()
    if max(issued, starts) > clock + leeway:
        raise InvalidIdentity("from the future", where="iat" if issued > starts else "nbf", right="equal clocks")
    if expires <= max(issued, starts) or expires + leeway <= clock:
        raise InvalidIdentity("expired", where="exp", right="a fresh message")
    end = datetime.fromtimestamp(expires, now.tzinfo)
    return Claims(issuer, jti, end, end + skew)


def _seconds(payload: Mapping[str, JSON], name: str) -> int:
    value = payload.get(name)
    if type(value) is not int or not 0 <= value < 2**40:
        raise InvalidIdentity("no time", where=name, right="whole seconds since 1970")
    return value


def _key_id(spiffe_id: SpiffeId, key: Ed25519PublicKey) -> str:
    return f"{spiffe_id}#{thumbprint(key)}"


def _parts(token: str, typ: str, max_bytes: int) -> tuple[str, str, str]:
    if len(token) > max_bytes or not token.isascii():
        raise InvalidIdentity("too long or not ASCII", where=typ, right=f"at most {max_bytes} bytes of JWS compact")
    parts = token.split(".")
    if len(parts) != 3 or len(parts[0]) > MAX_HEADER_BYTES:
        raise InvalidIdentity("not JWS compact", where=typ, right="header.payload.signature")
    return parts[0], parts[1], parts[2]


def _header(part: str, typ: str) -> dict[str, JSON]:
    header = _canonical_object(decode(part, typ), typ)
    if header.keys() - {SIGNED_AT} != _HEADER_KEYS:
        raise InvalidIdentity(
            "unknown or missing header fields", where=typ, right="exactly alg, kid, typ, x5c (and iat)"
        )
    if header["alg"] != ALGORITHM:
        raise InvalidIdentity("algorithm", where=typ, right=f"{ALGORITHM} (Ed25519) only")
    if header["typ"] != typ:
        raise InvalidIdentity("a token of another type", where=typ, right=f"typ {typ}")
    return header


def _chain(x5c: JSON, typ: str) -> list[bytes]:
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= MAX_CHAIN or not all(isinstance(c, str) for c in x5c):
        raise InvalidIdentity("no certificate chain", where=f"{typ} x5c", right=f"1 to {MAX_CHAIN} certificates")
    try:
        return [base64.b64decode(text, validate=True) for text in x5c]
    except (binascii.Error, ValueError):
        raise InvalidIdentity("not base64", where=f"{typ} x5c", right="RFC 4648 section 4") from None


def _canonical_object(data: bytes, typ: str) -> dict[str, JSON]:
    """Parse a JSON object that is in RFC 8785 form: so no duplicate key, no NaN, one text per value."""
    try:
        value = json.loads(data)
        exact = isinstance(value, dict) and canonical(value) == data
    except (ValueError, RecursionError, InvalidInput):
        exact = False
    if not exact:
        raise InvalidIdentity("not a canonical JSON object", where=typ, right="RFC 8785, each key once")
    checked: dict[str, JSON] = value
    return checked
