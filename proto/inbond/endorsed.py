"""What a node's own people must approve before the node does it: agreements that it signs, policies that it runs under.

Who learns what: an approval names the thing by digest and its signer; it goes with the file to the node's operator, who
hands it to the node. The node counts as for jobs (`inbond.approvals`): signatures and roles by the authority's
certificates, one person once, not older than the rule says. What was accepted is in the node's evidence log.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from compliance.audit.entry import EntryType
from inbond.approvals import count
from inbond.config import read_text
from inbond.errors import InbondError, Refused
from inbond.keystore import write_private
from inbond.node import Node, extra_policies, utc_now
from policies.approval import Question
from policies.approval_rule import ApprovalRule
from policies.canonical import digest
from policies.envelope import sign, verify
from policies.errors import PolicyError
from policies.identity import Standing

Thing = Literal["agreement", "policies"]
ACCEPTED_TYPE = "inbond-accepted+jws"
ACCEPTED = "accepted.jws"
KEPT = timedelta(days=3653)  # how long an acceptance holds if nothing changes


def policies_digest(texts: Mapping[str, str]) -> str:
    """SHA-256 over a node's own Cedar files, by name: what people approve."""
    return digest(dict(texts))


def check_endorsed(node: Node, rule: ApprovalRule | None, thing: Thing, what: str, files: Sequence[Path]) -> list[str]:
    """Who approved `thing` with digest `what`; raises Refused while too few have, under a rule that asks for people."""
    if rule is None:
        return []
    asked = Question(thing, what, str(node.credentials.spiffe_id), Standing(), utc_now())
    tokens = [read_text(file, "an approval of `inbond approve-file`").strip() for file in files]
    found = count({f"{thing} {what[:16]}": rule}, tokens, asked, trust=node.trust)
    if found.missing:
        right = "`inbond approve-file` of such people, then --approval FILE of each"
        raise Refused("; ".join(found.lines), where=thing, right=right)
    return list(found.counted)


def accept_policies(node: Node, files: Sequence[Path]) -> list[str]:
    """Run under the policies in the node's folder from its next start on: who approved them. Raises Refused."""
    what = policies_digest(extra_policies(node.home))
    people = check_endorsed(node, node.config.approval.policies, "policies", what, files)
    data = {"event": "policies accepted", "policies": what, "approved_by": people}
    node.record(EntryType.NODE, data=data)
    payload = {"policies": what, "approved_by": people, "at": int(utc_now().timestamp())}
    token = sign(payload, typ=ACCEPTED_TYPE, signer=node.signer(), at=utc_now())
    write_private(node.home / "policies" / ACCEPTED, token.encode())
    return people


def check_policies(node: Node, now: datetime) -> None:
    """Raise Refused unless the node's own policies are those that it accepted, where people must approve them.

    To have none is a set as well: a file that forbids could have been taken away.
    """
    if node.config.approval.policies is None:
        return
    texts, path = extra_policies(node.home), node.home / "policies" / ACCEPTED
    right = "people approve them (`inbond approve-file`), then `inbond accept-policies --approval FILE`"
    try:
        signed = verify(read_text(path, right).strip(), typ=ACCEPTED_TYPE, trust=node.trust, now=now, aged=KEPT)
        mine = signed.issuer == node.credentials.spiffe_id
        accepted = signed.payload.get("policies") if mine else None
    except (PolicyError, InbondError):
        accepted = None
    if accepted != policies_digest(texts):
        raise Refused("nobody has accepted these policies", where=str(node.home / "policies"), right=right)
