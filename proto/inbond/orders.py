"""A researcher's signed order: made at the researcher's, opened at the coordinator and again at every party."""

import secrets
from datetime import datetime, timedelta

from policies.calls import ORDERING_ROLE, role_of
from policies.document import Document, validate
from policies.envelope import KEPT, Signer, check_claims, sign, verify
from policies.errors import InvalidIdentity
from policies.identity import PeerIdentity, TrustStore
from policies.job import JobOrder, JobSpec

ORDER_TYPE = "inbond-job+jws"
AUDIENCE = "consortium"


def sign_order(
    spec: JobSpec,
    signer: Signer,
    *,
    nonce: str,
    result_key: bytes,
    sum_key_digest: str | None,
    now: datetime,
) -> tuple[JobOrder, str]:
    """The order for `spec`, good once until its deadline, and its signed token; `jti` becomes the job's id."""
    issued = int(now.timestamp())
    order = JobOrder(
        spec=spec,
        consortium=signer.spiffe_id.trust_domain,
        iss=str(signer.spiffe_id),
        aud=(AUDIENCE,),
        iat=issued,
        nbf=issued,
        exp=issued + spec.deadline_s,
        jti=secrets.token_hex(16),
        nonce=nonce,
        result_key=result_key.hex(),
        sum_key_digest=sum_key_digest,
    )
    return order, sign(order.payload(), typ=ORDER_TYPE, signer=signer, at=now)


def open_order(
    token: str, *, trust: TrustStore, consortium: str, now: datetime, aged: timedelta = timedelta()
) -> JobOrder:
    """The order in `token`; raises InvalidIdentity or InvalidInput. The caller keeps (iss, jti) against replay.

    An order that waited for people may be `aged`: its certificate is then judged at the time of signing.
    """
    signed = verify(token, typ=ORDER_TYPE, trust=trust, now=now, aged=aged)
    check_claims(signed.payload, audience=AUDIENCE, now=now)
    if signed.issuer.role != "user":
        raise InvalidIdentity(f"{signed.issuer} may not order jobs", where="order", right="a user of the consortium")
    if (role := role_of(signed.certificate)) != ORDERING_ROLE:  # at every party too, whatever the coordinator lets in
        raise InvalidIdentity(f"role {role} may not order jobs", where="order", right=f"a {ORDERING_ROLE}")
    order = validate(JobOrder, Document(signed.payload, "order", {}))
    if order.consortium != consortium:
        raise InvalidIdentity("the order is for another consortium", where="order", right=consortium)
    return order


def orderer(token: str, *, trust: TrustStore, now: datetime) -> PeerIdentity:
    """Who signed an order, by its certificate at the time of signing: what the authority says of the researcher.

    Raises InvalidIdentity. The order itself is `open_order`'s to judge.
    """
    return verify(token, typ=ORDER_TYPE, trust=trust, now=now, aged=KEPT).certificate
