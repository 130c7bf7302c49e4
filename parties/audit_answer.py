"""A party's answer to an auditor's request: its log entry of the commitment, and from the value side some blocks.

Who learns what: the auditor learns this one entry of the log with its proof, from both sides. From the value side also
values of the opened blocks without keys, and the key of this one join (`protocols.join.opening`): only where the
contracts of all the tables name the auditor, and the auditor, the tables and this node are in one country, so that no
value is transferred. The answer is sealed to the key in the request; whoever carries it learns its length.
"""

import json
from typing import NamedTuple

from compliance.audit.entry import Entry, EntryType
from compliance.audit.proof import prove
from inbond.audit_requests import open_request
from inbond.errors import ConfigError, InbondError, Refused
from inbond.node import Node, utc_now
from inbond.signed_box import BoxLabel, seal_signed
from parties.catalogue import Catalogue
from parties.openings import EVENT, Kept, Logged, Openings
from policies.audit_request import AuditRequest
from policies.document import Document, validate
from policies.identity import Standing

HEAD_BYTES = 4


class Answer(NamedTuple):
    """An answer: the sealed `box`, the `request` it answers, what this party was in the join, and `opened` blocks."""

    box: bytes
    request: AuditRequest
    logged: Logged
    opened: tuple[int, ...]


def label_of(request: AuditRequest) -> BoxLabel:
    """What an answer is bound to."""
    return BoxLabel(request.job, "", request.purpose)


def logged_of(entry: Entry) -> Logged:
    """What an entry says of a commitment; raises InvalidInput where it is no such entry."""
    return validate(Logged, Document(dict(entry.data), "evidence of a join", {}))


def answer(node: Node, token: str) -> Answer:
    """Answer the request in `token`; what is opened is in this node's evidence before it leaves.

    Raises InvalidIdentity (not an auditor's request), Refused (no contract names the auditor, or another country), and
    InbondError where there is nothing to open.
    """
    request, standing = open_request(token, trust=node.trust, now=utc_now())
    others = {request.values: request.counterpart, request.counterpart: request.values}
    if node.name not in others or request.values == request.counterpart:
        right = f"the --home of {request.values} or {request.counterpart}"
        raise ConfigError(f"the request is for others than {node.name}", where="audit request", right=right)
    values = node.name == request.values
    number, entry, logged = _entry(node, request.job, others[node.name], values)
    opened, opening = _opened(node, request, standing, logged) if values else ((), b"")
    said = {"event": "values opened" if values else "commitment shown", "request": request.jti, "blocks": list(opened)}
    node.record(EntryType.RELEASE, job=request.job, subject=request.iss, data={**said, "peer": logged.peer})
    if node.audit is None:
        raise ConfigError("this node keeps no evidence log", where=str(node.home), right="open it with its log")
    head = json.dumps({"proof": prove(node.audit, number, entry)}).encode()
    content = b"".join((len(head).to_bytes(HEAD_BYTES, "big"), head, opening))
    box = seal_signed(content, label_of(request), node.signer(), bytes.fromhex(request.key))
    return Answer(box, request, logged, opened)


def _entry(node: Node, job: str, peer: str, values: bool) -> tuple[int, Entry, Logged]:
    """This party's entry of the join with `peer`; raises InbondError where there is none."""
    for number, entry in node.audit.entries(job=job) if node.audit else ():
        if entry.data.get("event") == EVENT and entry.data.get("peer") == peer:
            logged = logged_of(entry)
            if (logged.role == "values") != values:
                right = f"--values {peer if values else node.name}"
                raise ConfigError(f"{node.name} was the other side of the join", where="audit request", right=right)
            return number, entry, logged
    right = "the full id of a job that joined the two (`inbond audit list`)"
    raise InbondError(f"no encrypted values went between {node.name} and {peer}", where=f"job {job}", right=right)


def _opened(node: Node, request: AuditRequest, standing: Standing, logged: Logged) -> tuple[tuple[int, ...], bytes]:
    """The blocks and their opening, once the contracts permit it."""
    from protocols.join.commitment import Shape  # noqa: PLC0415 - SEAL, which only this command needs
    from protocols.join.opening import Asked, make_opening, ranges_of  # noqa: PLC0415

    openings = Openings(node)
    kept = openings.find(request.job, request.counterpart)
    _check_permitted(node, request, standing, kept)
    openings.answer_once(request.job, request.counterpart, request.jti)
    nonce, ranges = bytes.fromhex(request.nonce), ranges_of(logged.limits, logged.columns)
    asked = Asked(Shape(*logged.shape), bytes.fromhex(logged.commitment), nonce, request.blocks, ranges)
    return asked.blocks, make_opening(asked, kept.sent, kept.keys)


def _check_permitted(node: Node, request: AuditRequest, standing: Standing, kept: Kept) -> None:
    """Raise Refused unless today's contract of each table lets this auditor see so much, in its own country."""
    contracts = Catalogue(node.home).contracts
    for dataset in kept.datasets:
        contract = contracts.get(dataset)
        where = f"contract {dataset}"
        if contract is None or contract.audit is None or not contract.audit.names(request.iss):
            right = "`audit: {values_to: [..]}` with the auditor's name"
            raise Refused(f"shows no values to {request.iss}", where=where, right=right)
        if contract.expired(utc_now()):
            raise Refused("has ended", where=where, right="a contract in force")
        if request.blocks > contract.audit.blocks:
            what = f"opens at most {contract.audit.blocks} blocks, not {request.blocks}"
            raise Refused(what, where=where, right=f"ask for --blocks {contract.audit.blocks}")
        places = {standing.country, contract.jurisdiction, node.config.node.country}
        if len(places) != 1:
            there = standing.country or "no certified country"
            what = f"the auditor is in {there}, the table in {contract.jurisdiction}"
            raise Refused(what, where=where, right="an auditor certified in the country of table and node")
