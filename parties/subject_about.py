"""What goes with a copy of a person's data: what Art. 15(1) and (2) GDPR want told, as far as this node's files say it.

The officer reads it before the person does. It names members, places, documents and rules, and of people this one
alone. What no file of the node says is listed as such, and is for the controller to add: nothing is made up.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from compliance.law_store import FILE as RECORDS
from compliance.records import Record, RecordStore
from compliance.subject_requests import Kind, Request, SubjectRequests
from inbond.node import Node
from inbond.tokens import payload_of
from parties.cohorts import Took, took_part
from parties.store import PartyStore
from policies.contract import ABOUT_PEOPLE, DataContract
from policies.evidence import Certification, Tool

FORMAT = "inbond-subject-copy/1"
UNKNOWN = "not stated in the contract"
_BASIS = "lawful_basis"
_TO_ADD = {
    "retention": "GDPR Art. 15(1)(d): how long the data are kept; no contract states it",
    "rights": "GDPR Art. 15(1)(e): how to ask the controller for rectification, erasure or restriction, and to object",
    "source": "GDPR Art. 15(1)(g): where the data are from, if not from the person; no contract states it",
    "automated_decisions": "GDPR Art. 15(1)(h): whether there are any, their logic and effects; no contract states it",
    "contact": "who the controller and its data protection officer are; contracts give the controller's name alone",
}
_RIGHTS = (
    "You may ask for rectification or erasure of the data and for restriction of their use, and you may object to it "
    "(GDPR Art. 15(1)(e))."
)
_COMPLAINT = (
    "You may complain to a supervisory authority, above all where you live or work or where it happened "
    "(GDPR Art. 15(1)(f), 77)."
)
_SCOPE = {
    Kind.ACCESS: "all columns that the contracts list (GDPR Art. 15(3))",
    Kind.PORTABILITY: "all columns that the contracts list: contracts do not say which of them the person provided, so "
    "nothing is left out (GDPR Art. 20(1))",
}


def cannot_tell(contract: DataContract) -> str | None:
    """Why nobody's rows can be picked out of a table that may hold people; None where they can, or nobody is in it."""
    terms = contract.law
    if terms is None:
        close = any(column.data_class in ABOUT_PEOPLE for column in contract.columns.values())
        return "its contract has no `law`" if close else None
    return "its contract names no column that tells people apart" if terms.personal and not terms.subject else None


def about(
    node: Node,
    registry: SubjectRequests,
    person: str,
    held: Mapping[str, tuple[DataContract, int]],
    others: Iterable[DataContract],
    request: Request | None,
    now: datetime,
) -> dict[str, Any]:
    """The document, as JSON data. `held` are the tables with the person: file -> contract and number of rows.

    Raises ConfigError, DataError and LawStoreUnavailable where a file of the node cannot be read.
    """
    searched, unsearched = [], []
    for contract in others:
        why = cannot_tell(contract)
        if why is not None:
            unsearched.append({"dataset": contract.dataset, "controller": contract.controller, "why": why})
        elif contract.law is not None and contract.law.subject is not None:
            searched.append(contract.dataset)
    return {
        "format": FORMAT,
        "made": now.isoformat(timespec="seconds"),
        "random": secrets.token_hex(16),  # the logged digest is nothing that anybody could try guesses against
        "person": person,
        "by": {"party": node.name, "consortium": node.config.node.consortium, "country": node.config.node.country},
        "request": None if request is None else _request(request),
        "scope": _SCOPE[Kind.ACCESS if request is None else request.kind],
        "tables": [_table(file, contract, rows) for file, (contract, rows) in held.items()],
        "searched_without_rows": searched,
        "not_searched": unsearched,
        "said": [
            {"act": one.act.value, "purpose": one.purpose or "every", "at": one.at.isoformat(timespec="seconds")}
            for one in registry.of(person)
        ],
        "requests": [_request(one) for one in registry.requests(person)],
        "jobs": _jobs(node, took_part(node, registry, person)),
        "rights": _RIGHTS,
        "complaint": _COMPLAINT,
        "for_the_controller_to_add": _TO_ADD,
    }


def _request(one: Request) -> dict[str, Any]:
    at = {name: getattr(one, name).isoformat(timespec="minutes") for name in ("received", "due")}
    return {"number": one.number, "kind": one.kind.value, "regime": one.regime, **at, "outcome": one.outcome}


def _table(file: str, contract: DataContract, rows: int) -> dict[str, Any]:
    """One table, by its contract: Art. 15(1)(a) to (c)."""
    return {
        "dataset": contract.dataset,
        "file": file,
        "rows": rows,
        "controller": contract.controller,
        "country": contract.jurisdiction,
        "purposes": [_purpose(contract, one) for one in sorted(contract.purposes)],
        "columns": {
            name: {"type": one.type.value, "class": one.data_class.value, "category": one.category or UNKNOWN}
            for name, one in contract.columns.items()
        },
        "recipients": {
            "countries": list(contract.recipients.countries),
            "who": list(contract.recipients.ids),
            "kinds": _by_recipient(contract, "recipient_kind"),
        },
        "retention": UNKNOWN,
    }


def _purpose(contract: DataContract, purpose: str) -> dict[str, Any]:
    """A purpose with its lawful basis, and where a recipient has another one, which."""
    terms = contract.law
    if terms is None:
        return {"purpose": purpose, _BASIS: UNKNOWN}
    basis = {**terms.facts, **terms.purposes.get(purpose, {})}.get(_BASIS, UNKNOWN)
    other = _by_recipient(contract, _BASIS)
    honoured = {"only_consenting": True} if terms.only_consenting else {}
    return {"purpose": purpose, _BASIS: basis, **({"for_recipients": other} if other else {}), **honoured}


def _by_recipient(contract: DataContract, fact: str) -> dict[str, Any]:
    """Where the contract states a fact of some recipients: pattern of their names -> value."""
    recipients = contract.law.recipients if contract.law is not None else {}
    return {who: said[fact] for who, said in recipients.items() if fact in said}


def _jobs(node: Node, jobs: Sequence[Took]) -> list[dict[str, Any]]:
    """Every job that read such a table, with who read what of it where, and the tools on record for that."""
    records = _records(node)
    store = PartyStore(node.home)
    try:
        found = []
        for one in jobs:
            row = store.job(one.job)
            transfers = payload_of(row.verdict).get("transfers", ()) if row is not None and row.verdict else ()
            readers = [_reader(node, each, one, records) for each in transfers if each["dataset"] == one.dataset]
            found.append({**one.payload(), "readers": readers if one.was_in else []})
        return found
    finally:
        store.close()


def _reader(node: Node, transfer: Mapping[str, Any], job: Took, records: Sequence[Record]) -> dict[str, Any]:
    """One kind of transfer as the party's verdict has it, with its safeguards (Art. 15(2))."""
    at = datetime.fromisoformat(job.at)
    tools = [
        _tool(one.evidence)
        for one in records
        if isinstance(one.evidence, Tool | Certification)
        and one.evidence.holds(at.date())
        and (one.ended is None or one.ended > at)
        and any(one.evidence.covers(node.name, name) for name in transfer["recipients"])
    ]
    told = {name: transfer[name] for name in ("what", "recipients", "country", "object_class", "regimes", "articles")}
    return {**told, "tools": tools}


def _tool(evidence: Tool | Certification) -> dict[str, Any]:
    keys = {"mechanism", "scheme", "number", "issuer", "valid_from", "valid_until", "document_sha256"}
    return evidence.model_dump(mode="json", include=keys)


def _records(node: Node) -> list[Record]:
    if not (node.home / RECORDS).exists():
        return []
    with RecordStore.read_only(node.home / RECORDS) as store:
        return store.all()
