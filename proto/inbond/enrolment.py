"""A node's side of joining a consortium: invitation, enrolment, renewal, deny list.

The invitation carries the CA certificate, so the node knows whom to believe before it dials, and the seed of
an Ed25519 key that signs this node's two certificate requests. The seed itself never crosses the wire:
whoever stands in the middle learns nothing to enrol with. Every certificate that comes back is checked as a
peer would check it.
"""

import base64
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError, Message

from inbond import tls
from inbond.credentials import Credentials
from inbond.errors import ConfigError, InbondError, Refused, Unreachable
from inbond.keystore import KeyStore
from inbond.v1 import authority_pb2 as wire
from policies import denylist, envelope
from policies.certificates import authority_domain, make_request, to_der, to_pem
from policies.envelope import Signer
from policies.errors import InvalidIdentity
from policies.identity import DenyList, SpiffeId, TrustStore, identify, load_certificate

PREFIX = "inbond1."
MAX_INVITATION_BYTES = 16 * 1024
SECRET_BYTES = 32
TIMEOUT_S = 20.0
SERVICE = "/inbond.v1.Authority/"
_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\]):[0-9]{1,5}")
_REFUSALS = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT}
)
_PROOF_CONTEXT = b"inbond enrolment 1\0"

BUNDLE_TYP = "inbond-bundle+jws"
MAX_AUTHORITIES = 8
MAX_REPLY_BYTES = 8 * 1024 * 1024

M = TypeVar("M", bound=Message)
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The operating system's clock, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Invitation:
    """One place in a consortium for one name: `inbond1.<base64url of JSON>`. Whoever holds it may take the
    place.
    """

    spiffe_id: SpiffeId
    enrol_address: str
    authority_address: str
    authority: x509.Certificate
    expires: datetime
    secret: bytes = field(repr=False)
    coordinator_address: str = ""

    def __str__(self) -> str:
        value = {
            "id": str(self.spiffe_id),
            "enrol": self.enrol_address,
            "authority": self.authority_address,
            "coordinator": self.coordinator_address,
            "ca": base64.b64encode(to_der(self.authority)).decode(),
            "secret": self.secret.hex(),
            "expires": int(self.expires.timestamp()),
        }
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> "Invitation":
        """Read an invitation; raises ConfigError without repeating any of it."""
        text = text.strip()
        if not text.startswith(PREFIX) or len(text) > MAX_INVITATION_BYTES:
            raise ConfigError("not an invitation", where="invitation", right=f"the whole text from {PREFIX} on")
        body = text.removeprefix(PREFIX)
        try:
            return cls._from_json(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
            wrong = "damaged invitation"
        except InvalidIdentity as error:
            wrong = f"damaged invitation ({error.what})"
        raise ConfigError(wrong, where="invitation", right="the text as the authority printed it") from None

    @classmethod
    def _from_json(cls, value: Mapping[str, Any]) -> "Invitation":
        spiffe_id = SpiffeId.parse(value["id"])
        authority = load_certificate(base64.b64decode(value["ca"], validate=True))
        secret = bytes.fromhex(value["secret"])
        if len(secret) != SECRET_BYTES or authority_domain(authority) != spiffe_id.trust_domain:
            raise ValueError
        addresses = [value["enrol"], value["authority"]] + [value["coordinator"]] * bool(value["coordinator"])
        if not all(_ADDRESS.fullmatch(address) for address in addresses):
            raise ValueError
        expires = datetime.fromtimestamp(value["expires"], UTC)
        return cls(spiffe_id, value["enrol"], value["authority"], authority, expires, secret, value["coordinator"])

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key whose public half the authority keeps."""
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pinned CA certificate in hex, for two people to compare by voice."""
        return self.authority.fingerprint(hashes.SHA256()).hex()


def check_address(text: str) -> str:
    """`text` itself when it is `host:port`; raises ConfigError."""
    if not _ADDRESS.fullmatch(text):
        raise ConfigError("not an address", where=repr(text[:80]), right="host:port")
    return text


def new_secret() -> bytes:
    """256 fresh random bits for an invitation."""
    return secrets.token_bytes(SECRET_BYTES)


def public_half(secret: bytes) -> bytes:
    """What the authority keeps of an invitation's secret: 32 bytes that cannot be turned back."""
    key = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def proof_text(tls_request: bytes, signing_request: bytes) -> bytes:
    """What an invitation's key signs: exactly these two requests."""
    return _PROOF_CONTEXT + len(tls_request).to_bytes(4, "big") + tls_request + signing_request


def enrol(invitation_text: str, keystore: KeyStore, folder: Path, *, clock: Clock = utc_now) -> Credentials:
    """Take the invitation's place and save the credentials in `folder`.

    Raises ConfigError (bad or expired invitation), Refused (used, withdrawn), Unreachable. May be repeated
    with the same key store when the answer was lost.
    """
    invitation = Invitation.parse(invitation_text)
    if clock() >= invitation.expires:
        raise ConfigError("the invitation has expired", where="invitation", right="ask the authority for a new one")
    trust = TrustStore(invitation.spiffe_id.trust_domain, (invitation.authority,))
    request = _signed_request(invitation, keystore)
    pinned = grpc.ssl_channel_credentials(to_pem(invitation.authority))
    address = invitation.enrol_address
    with grpc.secure_channel(address, pinned, tls.channel_options(())) as channel:
        reply = _call(channel, "Enrol", request, wire.Certificates, address)
    made = _accept(reply, invitation.spiffe_id, keystore, trust, address=invitation.authority_address, now=clock())
    made.save(folder)
    return made


@dataclass(frozen=True, slots=True)
class LoginProof:
    """What a person shows to the authority: a provider's ID token, or an account's password and one-time code."""

    id_token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    code: str = field(default="", repr=False)


def login(
    spiffe_id: SpiffeId,
    proof: LoginProof,
    keystore: KeyStore,
    folder: Path,
    *,
    trust: TrustStore,
    enrol_address: str,
    authority_address: str,
    country: str,
    clock: Clock = utc_now,
) -> Credentials:
    """Take certificates for a person's own name and save them in `folder`; `trust` pins whom the proof may reach.

    The authority learns the proof, and nobody else. Raises Refused (for whatever is wrong with it), Unreachable, and
    ConfigError where another country is attested than `country`, which the person states: nothing is saved then.
    """
    tls_request, signing_request = _requests(spiffe_id, keystore)
    request = wire.LoginRequest(
        name=spiffe_id.name,
        tls_request=tls_request,
        signing_request=signing_request,
        id_token=proof.id_token,
        password=proof.password,
        code=proof.code,
    )
    pinned = grpc.ssl_channel_credentials(b"".join(to_pem(certificate) for certificate in trust.authorities))
    with grpc.secure_channel(enrol_address, pinned, tls.channel_options(())) as channel:
        reply = _call(channel, "Login", request, wire.Certificates, enrol_address)
    made = _accept(reply, spiffe_id, keystore, trust, address=authority_address, now=clock())
    made.check_country(country, or_else=f"a login whose provider or account says {country}")
    made.save(folder)
    return made


def renew(
    credentials: Credentials,
    keystore: KeyStore,
    address: str | None = None,
    *,
    folder: Path | None = None,
    clock: Clock = utc_now,
) -> Credentials:
    """New certificates for the same keys over mutual TLS; saved in `folder` if given.

    Raises Refused, Unreachable. Live channels keep the old certificate: make new ones.
    """
    address = _authority_address(credentials, address)
    requests = _requests(credentials.spiffe_id, keystore)
    request = wire.RenewRequest(tls_request=requests[0], signing_request=requests[1])
    with tls.channel(address, credentials, keystore) as channel:
        reply = _call(channel, "Renew", request, wire.Certificates, address)
    made = _accept(reply, credentials.spiffe_id, keystore, credentials.trust, address=address, now=clock())
    if folder is not None:
        made.save(folder)
    return made


def fetch_denylist(
    credentials: Credentials, keystore: KeyStore, address: str | None = None, *, clock: Clock = utc_now
) -> DenyList:
    """The authority's newest deny list; raises Unreachable, or InvalidIdentity for a list that does not
    verify.
    """
    address = _authority_address(credentials, address)
    with tls.channel(address, credentials, keystore) as channel:
        reply = _call(channel, "DenyList", wire.DenyListRequest(), wire.DenyListReply, address)
    return denylist.from_token(reply.token, credentials.trust, clock())


def offline_request(spiffe_id: SpiffeId, keystore: KeyStore) -> str:
    """Both certificate requests as PEM text, TLS first, for an authority that this node cannot dial."""
    made = (make_request(key, spiffe_id) for key in (keystore.tls_key, keystore.signing_key))
    return "".join(request.public_bytes(serialization.Encoding.PEM).decode() for request in made)


def offline_reply(certificates: wire.Certificates, authority: x509.Certificate) -> str:
    """The authority's answer to `offline_request` as text: JSON with its CA certificate and the
    certificates.
    """
    body = base64.b64encode(certificates.SerializeToString()).decode()
    return json.dumps({"ca": to_pem(authority).decode(), "certificates": body}, indent=1) + "\n"


def offline_accept(
    reply: str,
    spiffe_id: SpiffeId,
    keystore: KeyStore,
    folder: Path,
    *,
    fingerprint: str,
    clock: Clock = utc_now,
) -> Credentials:
    """Save the credentials of an `offline_reply`; the CA's SHA-256 (hex) came by another way."""
    try:
        value = json.loads(reply[:MAX_REPLY_BYTES])
        root = load_certificate(value["ca"].encode())
        certificates = wire.Certificates.FromString(base64.b64decode(value["certificates"], validate=True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DecodeError, InvalidIdentity):
        raise ConfigError("not a reply of an authority", where="reply", right="the file as it was signed") from None
    if root.fingerprint(hashes.SHA256()).hex() != fingerprint.replace(":", "").lower():
        raise ConfigError("reply of another authority", where="reply", right=f"CA with SHA-256 {fingerprint}")
    trust = TrustStore(spiffe_id.trust_domain, (root,))
    made = _accept(certificates, spiffe_id, keystore, trust, address="", now=clock())
    made.save(folder)
    return made


def sign_bundle(authorities: Sequence[x509.Certificate], signer: Signer, now: datetime) -> str:
    """The CA certificates to trust from now on, signed by the authority's leaf (so no server in between adds
    one).
    """
    payload = {
        "iss": str(signer.spiffe_id),
        "iat": int(now.timestamp()),
        "authorities": [base64.b64encode(to_der(certificate)).decode() for certificate in authorities],
    }
    return envelope.sign(payload, typ=BUNDLE_TYP, signer=signer)


def read_bundle(token: str, trust: TrustStore, now: datetime) -> TrustStore:
    """`trust` with the CA certificates of a bundle that its own authority signed; raises InvalidIdentity."""
    verified = envelope.verify(token, typ=BUNDLE_TYP, trust=trust, now=now)
    listed = verified.payload.get("authorities")
    if verified.issuer.role != "authority" or not isinstance(listed, list) or not 1 <= len(listed) <= MAX_AUTHORITIES:
        raise InvalidIdentity("not the authority's bundle", where=str(verified.issuer), right="CA certificates")
    try:
        roots = tuple(load_certificate(base64.b64decode(text, validate=True)) for text in listed)
    except (ValueError, TypeError):
        raise InvalidIdentity("bundle cannot be read", where=BUNDLE_TYP, right="CA certificates, base64") from None
    if any(authority_domain(root) != trust.trust_domain for root in roots):
        raise InvalidIdentity("CA of another trust domain", where=BUNDLE_TYP, right=trust.trust_domain)
    return replace(trust, authorities=roots)


def _authority_address(credentials: Credentials, address: str | None) -> str:
    found = address or credentials.authority
    if not found:
        raise ConfigError("no address of the authority", where=str(credentials.spiffe_id), right="host:port")
    return found


def _requests(spiffe_id: SpiffeId, keystore: KeyStore) -> tuple[bytes, bytes]:
    return (
        to_der(make_request(keystore.tls_key, spiffe_id)),
        to_der(make_request(keystore.signing_key, spiffe_id)),
    )


def _signed_request(invitation: Invitation, keystore: KeyStore) -> wire.EnrolRequest:
    tls_request, signing_request = _requests(invitation.spiffe_id, keystore)
    return wire.EnrolRequest(
        invitation=public_half(invitation.secret),
        tls_request=tls_request,
        signing_request=signing_request,
        proof=invitation.key.sign(proof_text(tls_request, signing_request)),
    )


def _call(channel: grpc.Channel, method: str, request: Message, reply: type[M], address: str) -> M:
    """One call to the authority; its status becomes an error of ours, its words are not repeated."""
    call = channel.unary_unary(
        SERVICE + method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )
    try:
        answer: M = call(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        raise _failure(error.code(), method, address) from None
    return answer


def _failure(code: grpc.StatusCode, method: str, address: str) -> InbondError:
    refused = (
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    if code in refused:
        return Refused(f"the authority refuses {method}", where=address, right="ask its operator, or enrol anew")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Unreachable("too many attempts", where=address, right="wait a minute")
    return Unreachable(
        f"the authority does not answer ({code.name})",
        where=address,
        right="a running authority at this address, certified by the expected CA, and TLS 1.3",
    )


def _accept(
    reply: wire.Certificates,
    spiffe_id: SpiffeId,
    keystore: KeyStore,
    trust: TrustStore,
    *,
    address: str,
    now: datetime,
) -> Credentials:
    """Believe certificates only as far as a peer would: our name, our keys, our trust store."""
    trust = read_bundle(reply.bundle, trust, now)
    trust = replace(trust, denied=denylist.from_token(reply.deny_list, trust, now))
    pairs = (
        (reply.tls_certificate, keystore.tls_key.public_key()),
        (reply.signing_certificate, keystore.signing_key.public_key()),
    )
    for der, key in pairs:
        if identify(der, trust, now).spiffe_id != spiffe_id or load_certificate(der).public_key() != key:
            raise InvalidIdentity("certificate of another name or key", where=address, right=str(spiffe_id))
    made = (load_certificate(reply.tls_certificate), load_certificate(reply.signing_certificate))
    return Credentials.from_certificates(spiffe_id, *made, trust=trust, authority=address)
