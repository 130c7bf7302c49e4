"""An auditor compares what both sides of a join logged, and checks the blocks that the value side opened.

Who learns what: the auditor alone. The result names blocks, columns and numbers of values, never a value; whoever gets
it learns whether the value side kept to its contract's bounds.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from compliance.audit.proof import ProvenEntry, read_proof
from compliance.errors import InvalidProof
from compliance.note import VerifierKey
from inbond.audit_requests import own_request, secret_name
from inbond.errors import InbondError
from inbond.node import Node, origin, utc_now
from inbond.signed_box import open_verified
from parties.audit_answer import HEAD_BYTES, label_of, logged_of
from parties.opening_process import check_in_child
from parties.openings import Logged, Role
from policies.audit_request import AuditRequest
from policies.envelope import SKEW, sign
from policies.errors import PolicyError
from protocols.errors import PeerViolation
from protocols.join.terms import MODULI

RESULT_TYPE = "inbond-audit-result+jws"
Verdict = Literal["good", "rejected", "not opened"]


@dataclass(frozen=True)
class Result:
    """What an auditor found; `problems` are sentences, `findings` the faults by block and column.

    `chance` is how likely one bad block among all would have been opened.
    """

    request: str
    job: str
    values: str
    counterpart: str
    verdict: Verdict
    problems: tuple[str, ...] = ()
    findings: tuple[dict[str, Any], ...] = ()
    commitment: str = ""
    blocks: int = 0
    opened: tuple[int, ...] = ()
    columns: int = 0
    unbounded: tuple[int, ...] = ()
    entries: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict == "good"

    def payload(self) -> dict[str, Any]:
        """The result as JSON data."""
        chance = f"{len(self.opened) / self.blocks:.3f}" if self.blocks else "0"
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**told, "chance": chance}


class _Side(NamedTuple):
    """One party's answer: its proven log entry, what it says, and an opening (empty from the attribute side)."""

    proven: ProvenEntry
    logged: Logged
    opening: bytes


def check(node: Node, token: str, values: bytes | None, counterpart: bytes) -> Result:
    """What the two sealed answers to this auditor's own request show; `values` is None where the value side gave none.

    Raises InvalidIdentity (another's request), PeerViolation or InvalidProof (the counterpart's answer is not one).
    """
    request = own_request(token, me=node.credentials.spiffe_id, trust=node.trust, now=utc_now())
    received = _read(node, request, counterpart, request.counterpart, "attributes")
    names = (request.jti, request.job, request.values, request.counterpart)
    entries = {request.counterpart: received.proven.number}
    about: dict[str, Any] = {"commitment": received.logged.commitment, "blocks": received.logged.blocks}
    about["entries"] = entries
    if values is None:
        what = f"{request.values} sent encrypted values to {request.counterpart} and opened none of them"
        return Result(*names, "not opened", (what,), **about)
    try:
        sent = _read(node, request, values, request.values, "values")
    except (PeerViolation, InvalidProof, PolicyError) as error:
        return Result(*names, "not opened", (f"the answer of {request.values} is no opening: {error}",), **about)
    entries[request.values] = sent.proven.number
    problems = [*_differences(request, sent.logged, received.logged), *_foreseen(request, sent.proven)]
    return _judged(Result(*names, "rejected", tuple(problems), **about), request, sent.opening, received.logged)


def signed(node: Node, result: Result) -> dict[str, Any]:
    """The result with this auditor's signature, to be kept or shown."""
    payload = result.payload()
    return {"result": payload, "signed": sign(payload, typ=RESULT_TYPE, signer=node.signer(), at=utc_now())}


def _read(node: Node, request: AuditRequest, box: bytes, party: str, role: Role) -> _Side:
    """Open one party's answer: sealed and signed by it, its entry proven in the log of the same key, of this join."""
    private, domain = node.keystore.get(secret_name(request.jti)), node.credentials.spiffe_id.trust_domain
    sender = f"spiffe://{domain}/party/{party}"
    content, signature = open_verified(box, label_of(request), private, sender=sender, trust=node.trust, now=utc_now())
    length = int.from_bytes(content[:HEAD_BYTES], "big")
    try:
        head = json.loads(content[HEAD_BYTES : HEAD_BYTES + length])
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise PeerViolation("an answer without evidence", where=party, right="the file of `inbond audit open`")
    key = VerifierKey(origin(domain, "party", party), signature.key.public_bytes_raw())
    proven = read_proof(head.get("proof"), key)
    logged, peer = logged_of(proven.entry), request.counterpart if role == "values" else request.values
    if (proven.entry.node, proven.entry.job, logged.role, logged.peer) != (sender, request.job, role, peer):
        raise PeerViolation("evidence of another join", where=party, right=f"that of job {request.job} with {peer}")
    return _Side(proven, logged, content[HEAD_BYTES + length :])


def _differences(request: AuditRequest, sent: Logged, received: Logged) -> list[str]:
    """What the two logs do not agree on."""
    found = []
    if (sent.commitment, sent.shape) != (received.commitment, received.shape):
        found.append(f"{request.values} logged another commitment than {request.counterpart} received")
    if sent.plan != received.plan:
        found.append("the two sides name different plans")
    if sent.ranges != received.ranges:
        found.append("the two sides name different bounds of the columns")
    return found


def _foreseen(request: AuditRequest, sent: ProvenEntry) -> list[str]:
    """A nonce that is older than the commitment could have been known to who committed."""
    late = sent.entry.time.timestamp() > request.iat + SKEW.total_seconds()
    return ["the request is older than the commitment: its blocks could be foreseen"] if late else []


def _judged(so_far: Result, request: AuditRequest, opening: bytes, received: Logged) -> Result:
    """Check the opened blocks against what the counterpart received."""
    from protocols.join.commitment import Shape  # noqa: PLC0415 - SEAL, which only this command needs
    from protocols.join.opening import MEANING, Asked, ranges_of  # noqa: PLC0415

    nonce, limits = bytes.fromhex(request.nonce), received.limits
    if received.columns % len(limits):
        where = f"evidence of {request.counterpart}"
        raise InbondError("ranges and columns do not fit", where=where, right="evidence of this version of inbond")
    ranges = ranges_of(limits, received.columns)
    asked = Asked(Shape(*received.shape), bytes.fromhex(received.commitment), nonce, request.blocks, ranges)
    problems, findings = list(so_far.problems), list[dict[str, Any]]()
    try:
        findings += [{**asdict(one), "meaning": MEANING[one.fault]} for one in check_in_child(asked, opening)]
    except PeerViolation as error:
        problems.append(f"the opening does not hold: {error.what}")
    half = MODULI[0] // 2  # a bound beyond it can be kept by any number
    unbounded = tuple(index for index, (least, most) in enumerate(ranges) if least < -half and most > half)
    return replace(
        so_far,
        verdict="rejected" if problems or findings else "good",
        problems=tuple(problems),
        findings=tuple(findings),
        opened=asked.blocks,
        columns=received.columns,
        unbounded=unbounded,
    )
