"""An auditor's signed request for an opening: made at the auditor's, opened at both parties of the join.

The authority's certificates say who is an auditor, and in which country.
"""

import secrets
from datetime import datetime, timedelta

from inbond.orders import AUDIENCE
from policies.audit_request import REQUEST_TYPE, AuditRequest
from policies.calls import role_of
from policies.document import Document, validate
from policies.envelope import KEPT, Signer, check_claims, make_claims, sign, verify
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId, Standing, TrustStore

LIFETIME = timedelta(days=7)
MAX_TOKEN_BYTES = 16 * 1024
AUDITOR = "auditor"


def sign_request(
    signer: Signer, *, job: str, values: str, counterpart: str, blocks: int, key: bytes, now: datetime
) -> tuple[AuditRequest, str]:
    """The request and its token, with a fresh nonce; `key` is an X25519 public key. Raises InvalidInput."""
    claims = make_claims(signer.spiffe_id, [AUDIENCE], now, LIFETIME)
    said = {"job": job, "values": values, "counterpart": counterpart, "blocks": blocks, "key": key.hex()}
    payload = {**claims, **said, "nonce": secrets.token_hex(32)}
    request = validate(AuditRequest, Document(payload, "audit request", {}))
    return request, sign(request.model_dump(mode="json"), typ=REQUEST_TYPE, signer=signer, at=now)


def open_request(token: str, *, trust: TrustStore, now: datetime) -> tuple[AuditRequest, Standing]:
    """The request in `token`, and what the authority says of its signer.

    Raises InvalidIdentity (also revoked, expired, or no auditor) or InvalidInput.
    """
    signed = verify(
        token, typ=REQUEST_TYPE, trust=trust, now=now, max_bytes=MAX_TOKEN_BYTES, aged=LIFETIME + timedelta(hours=1)
    )
    check_claims(signed.payload, audience=AUDIENCE, now=now)
    if signed.issuer.role != "user" or role_of(signed.certificate) != AUDITOR:
        what = f"{signed.issuer} may not ask for openings"
        raise InvalidIdentity(what, where="audit request", right=f"a user whom the authority certifies as {AUDITOR}")
    return validate(AuditRequest, Document(signed.payload, "audit request", {})), signed.certificate.standing


def secret_name(request: str) -> str:
    """Under which name the auditor's key store has the key to which answers to `request` (its id) are sealed."""
    return f"audit-{request}"


def own_request(token: str, *, me: SpiffeId, trust: TrustStore, now: datetime) -> AuditRequest:
    """A request that this auditor signed, perhaps some weeks ago; raises InvalidIdentity or InvalidInput."""
    signed = verify(token, typ=REQUEST_TYPE, trust=trust, now=now, max_bytes=MAX_TOKEN_BYTES, aged=KEPT)
    if signed.issuer != me:
        raise InvalidIdentity(f"a request of {signed.issuer}", where="audit request", right=f"one of {me}")
    return validate(AuditRequest, Document(signed.payload, "audit request", {}))
