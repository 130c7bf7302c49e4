"""Approvals as signed tokens: made at the approver's, carried by the coordinator, opened and counted at every party.

Whoever counts trusts the authority's certificates alone: who signed, of which organisation and in which role. A token
is judged when it is counted, so that who was revoked in the meantime does not count.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from inbond.orders import AUDIENCE, ORDER_TYPE
from policies.approval import APPROVAL_TYPE, Approval, Given, Question, Tally, tally
from policies.approval_rule import MAX_HOURS, ApprovalRule
from policies.document import Document, validate
from policies.envelope import Signer, check_claims, make_claims, sign, verify
from policies.errors import InvalidIdentity, PolicyError
from policies.identity import TrustStore

MAX_APPROVALS = 64  # of one job: more people than any rule asks for
MAX_TOKEN_BYTES = 16 * 1024
LONGEST = timedelta(hours=MAX_HOURS)


def sign_approval(
    signer: Signer,
    *,
    job: str,
    plan: str,
    decision: Literal["approve", "refuse"],
    now: datetime,
    lifetime: timedelta = LONGEST,
    reason: str = "",
) -> str:
    """The token that says `decision` of the plan with digest `plan`; raises InvalidInput for a bad reason."""
    claims = make_claims(signer.spiffe_id, [AUDIENCE], now, lifetime)
    said = {**claims, "job": job, "plan": plan, "decision": decision, "reason": reason}
    approval = validate(Approval, Document(said, "approval", {}))
    return sign(approval.model_dump(mode="json"), typ=APPROVAL_TYPE, signer=signer, at=now)


def open_approval(token: str, *, trust: TrustStore, now: datetime) -> Given:
    """What `token` says and who signed it; raises InvalidIdentity (also revoked, expired) or InvalidInput."""
    signed = verify(
        token, typ=APPROVAL_TYPE, trust=trust, now=now, max_bytes=MAX_TOKEN_BYTES, aged=LONGEST + timedelta(hours=1)
    )
    check_claims(signed.payload, audience=AUDIENCE, now=now)
    if signed.issuer.role != "user":
        raise InvalidIdentity(f"{signed.issuer} may not approve", where="approval", right="a user of the consortium")
    return Given(validate(Approval, Document(signed.payload, "approval", {})), signed.certificate.standing)


def question(order: str, *, job: str, plan: str, trust: TrustStore, now: datetime) -> Question:
    """What is asked about a signed order: its submitter as the submitter's certificate says. Raises InvalidIdentity."""
    signed = verify(order, typ=ORDER_TYPE, trust=trust, now=now, aged=LONGEST + timedelta(hours=1))
    return Question(job, plan, str(signed.issuer), signed.certificate.standing, now)


def count(rules: Mapping[str, ApprovalRule], tokens: Sequence[str], asked: Question, *, trust: TrustStore) -> Tally:
    """How the approvals in `tokens` stand under `rules` (by table); what does not verify is told and not counted."""
    given: list[Given] = []
    bad: list[str] = []
    for token in tokens[:MAX_APPROVALS]:
        try:
            given.append(open_approval(token, trust=trust, now=asked.now))
        except PolicyError as error:
            bad.append(f"an approval does not count: {error}")
    found = tally(rules, given, asked)
    return Tally(found.missing, (*found.uncounted, *dict.fromkeys(bad)), found.counted)


def patience(rules: Mapping[str, ApprovalRule]) -> timedelta:
    """How old an order may be that waited under `rules`: the longest any approval counts; none, no time at all."""
    return timedelta(hours=max((rule.hours for rule in rules.values()), default=0))
