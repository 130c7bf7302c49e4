"""ID tokens (OpenID Connect Core 1.0): a provider's signed word that somebody logged in, for one client and one moment.

Relies on the provider's published keys and on the caller's clock. Nothing in a token's header is believed but which of
those keys and which of three algorithms made its signature; there is no `none` and no shared secret among them. Errors
repeat nothing that the token says: they go into evidence. The caller keeps `digest`: a token is good once.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from policies.base64url import decode
from policies.document import read_document
from policies.envelope import SKEW
from policies.errors import InvalidIdentity, InvalidInput

MAX_TOKEN_BYTES = 16 * 1024
MAX_KEYS = 64
MAX_AGE = timedelta(minutes=5)  # between the provider's signature and the authority's look
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192  # RFC 7518 section 3.3
MAX_SUBJECT = 255  # OpenID Connect Core section 2
WHERE = "ID token"

Algorithm = Literal["RS256", "ES256", "EdDSA"]
Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_KINDS: dict[str, Algorithm] = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


class UnknownKey(InvalidIdentity):
    """The token names a key that is not among the provider's: it may be newer than what was fetched."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One published key; the one algorithm that it is for is settled by its kind, never by a token."""

    name: str | None
    algorithm: Algorithm
    key: Key


@dataclass(frozen=True, slots=True)
class IdToken:
    """A token that is good now. `digest` is SHA-256 of what was signed, in hex; keep it until `keep_until`."""

    claims: Mapping[str, Any]
    subject: str
    digest: str
    keep_until: datetime


def read_keys(value: Mapping[str, Any]) -> tuple[ProviderKey, ...]:
    """The usable keys of a JWK set (RFC 7517); keys of other kinds are passed over. Raises InvalidIdentity for none."""
    listed = value.get("keys")
    found = [_key(one) for one in listed[:MAX_KEYS] if isinstance(one, dict)] if isinstance(listed, list) else []
    keys = tuple(one for one in found if one is not None)
    if not keys:
        raise InvalidIdentity("no usable key", where="JWK set", right="RSA of 2048 bits or more, P-256 or Ed25519")
    return keys


def claimed_issuer(token: str) -> str:
    """Whose token it says it is, unverified: it picks the keys to verify it with. Raises InvalidIdentity."""
    issuer = _json(_parts(token)[1]).get("iss")
    return issuer if isinstance(issuer, str) else ""


def verify_id_token(
    token: str, keys: Sequence[ProviderKey], *, issuer: str, client_id: str, now: datetime, nonce: str, bound: bool
) -> IdToken:
    """Open a token; raises InvalidIdentity naming the first rule that fails.

    (1) form; (2) algorithm, key and signature; (3) issuer; (4) audience; (5) times: signed within the last 5 minutes;
    (6) `nonce`, which a token that has one must repeat, and every token where `bound`; (7) a subject.
    """
    head, body, signature = _parts(token)
    _check_signature(_json(head), keys, f"{head}.{body}".encode(), decode(signature, WHERE))
    claims = _json(body)
    if claims.get("iss") != issuer:
        raise InvalidIdentity("of another issuer", where=WHERE, right=issuer)
    _check_audience(claims, client_id)
    keep_until = _check_times(claims, now)
    if (bound or "nonce" in claims) and claims.get("nonce") != nonce:
        raise InvalidIdentity("for another key, or for none", where=WHERE, right="nonce: SHA-256 of this login's keys")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise InvalidIdentity("no subject", where=WHERE, right=f"sub of at most {MAX_SUBJECT} characters")
    # of what was signed: a signature can have several spellings, and each would be another token
    return IdToken(claims, subject, hashlib.sha256(f"{head}.{body}".encode()).hexdigest(), keep_until)


def _parts(token: str) -> tuple[str, str, str]:
    parts = token.split(".") if len(token) <= MAX_TOKEN_BYTES and token.isascii() else []
    if len(parts) != 3:
        raise InvalidIdentity("not JWS compact", where=WHERE, right=f"three parts, {MAX_TOKEN_BYTES} bytes at most")
    return parts[0], parts[1], parts[2]


def _json(part: str) -> dict[str, Any]:
    try:
        text = decode(part, WHERE).decode()
        value = read_document(text, WHERE).value if text.startswith("{") else None
    except (UnicodeDecodeError, InvalidInput):
        value = None
    if not isinstance(value, dict):
        raise InvalidIdentity("not a JSON object", where=WHERE, right="each key once")
    return value


def _check_signature(header: Mapping[str, Any], keys: Sequence[ProviderKey], signed: bytes, signature: bytes) -> None:
    algorithm, name = header.get("alg"), header.get("kid")
    if algorithm not in _KINDS.values():
        raise InvalidIdentity("algorithm", where=WHERE, right=", ".join(_KINDS.values()))
    if "crit" in header or header.get("typ", "JWT") not in ("JWT", "jwt"):
        raise InvalidIdentity("a token of another type", where=WHERE, right="typ JWT, no critical extensions")
    fitting = [one for one in keys if one.algorithm == algorithm and name in (None, one.name)]
    if len(fitting) != 1:
        raise UnknownKey("signed by no key of the provider", where=WHERE, right="one published key")
    try:
        _verify(fitting[0].key, signature, signed)
    except InvalidSignature:
        raise InvalidIdentity("signature does not verify", where=WHERE, right="signed by the provider") from None


def _verify(key: Key, signature: bytes, signed: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
    else:  # RFC 7518 section 3.4: R and S, 32 bytes each
        if len(signature) != 64:
            raise InvalidSignature
        halves = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
        key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    """OpenID Connect Core section 3.1.3.7, rules 3 to 5."""
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    others = len(listed) > 1 or "azp" in claims
    if client_id not in listed or (others and claims.get("azp") != client_id):
        raise InvalidIdentity("for another audience", where=WHERE, right=f"client {client_id}")


def _check_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    """When this token can no longer be good; raises InvalidIdentity where that is already so."""
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    starts = _time(claims, "nbf") if "nbf" in claims else issued
    clock, skew = now.timestamp(), SKEW.total_seconds()
    if max(issued, starts) > clock + skew:
        raise InvalidIdentity("from the future", where=WHERE, right="equal clocks")
    end = min(expires, issued + MAX_AGE.total_seconds()) + skew
    if end <= clock:
        raise InvalidIdentity("expired", where=WHERE, right="a fresh login, of the last 5 minutes")
    return datetime.fromtimestamp(end, now.tzinfo)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40 or math.isnan(value):
        raise InvalidIdentity("no time", where=WHERE, right=f"{name}: seconds since 1970")
    return float(value)


def _key(jwk: Mapping[str, Any]) -> ProviderKey | None:
    """A published key that may sign ID tokens; None for every other one."""
    algorithm, name = _KINDS.get(str(jwk.get("kty"))), jwk.get("kid")
    usable = jwk.get("use", "sig") == "sig" and jwk.get("alg", algorithm) == algorithm
    if algorithm is None or not usable or not isinstance(name, str | None):
        return None
    try:
        key = _public_key(algorithm, jwk)
    except (InvalidIdentity, ValueError, TypeError, KeyError, AttributeError):
        return None
    return ProviderKey(name, algorithm, key)


def _public_key(algorithm: Algorithm, jwk: Mapping[str, Any]) -> Key:
    """The key of a JWK (RFC 7518 section 6, RFC 8037 section 2); raises one of several errors for a bad one."""

    def number(name: str) -> int:
        return int.from_bytes(decode(jwk[name], "JWK"))

    if algorithm == "RS256":
        modulus = number("n")
        if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
            raise ValueError("length of an RSA key")
        return rsa.RSAPublicNumbers(number("e"), modulus).public_key()
    if jwk["crv"] != {"ES256": "P-256", "EdDSA": "Ed25519"}[algorithm]:
        raise ValueError("curve")
    if algorithm == "ES256":
        return ec.EllipticCurvePublicNumbers(number("x"), number("y"), ec.SECP256R1()).public_key()
    return ed25519.Ed25519PublicKey.from_public_bytes(decode(jwk["x"], "JWK"))
