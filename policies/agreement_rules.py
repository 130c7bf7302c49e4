"""Whether an agreement covers what a computation would make known: a Cedar template, linked once per signed party.

Learns the terms and what is asked, no data. Without a link nothing is covered; what the terms do not name is forbidden
by the rule of that term, which explains itself. Fails closed like every decision (`policies.engine`).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from importlib import resources

import cedarpy

from policies.agreement import MAX_PARTIES, Agreement
from policies.bundle import Bundle, PolicyNote, load_bundle
from policies.contract import PublishedContract
from policies.engine import Engine
from policies.errors import InvalidInput, InvalidPolicy
from policies.plan import LeakKind, Plan
from policies.request import AccessRequest, Decision, Entity, EntityRef, EntitySet

ACTION = "share"
TEMPLATE = "agreement"


@dataclass(frozen=True)
class Share:
    """Something about `owner`'s table that `reader` (an id, in `country`) learns in a job with `counterpart`."""

    owner: str
    counterpart: str
    dataset: str
    purpose: str
    leak: LeakKind
    reader: str
    country: str


def shares_of(plan: Plan, owner: str, contracts: Iterable[PublishedContract]) -> tuple[Share, ...]:
    """What a plan makes known of the tables of `owner` (a party's SPIFFE ID) to readers for whom `contracts` ask for an
    agreement, each once with every other party of the job; the owner itself needs none.

    Raises InvalidInput where no agreement can be between the parties of the job.
    """
    name = owner.rsplit("/", 1)[-1]
    asked = [
        (contract.dataset, reader)
        for contract in contracts
        if contract.agreement is not None
        for reader in dict.fromkeys(plan.readers)
        if reader.id != owner and contract.agreement.asks(reader.id) and plan.concerns(name, reader)
    ]
    others = sorted({one.name for one in plan.participants} - {name})
    if asked and not 0 < len(others) < MAX_PARTIES:
        what = f"an agreement is between 2 to {MAX_PARTIES} parties, and this job has {len(others) + 1}"
        raise InvalidInput(what, where="plan", right="name other parties for the job")
    return tuple(
        Share(name, other, dataset, plan.purpose, reader.object, reader.id, reader.country)
        for dataset, reader in asked
        for other in others
    )


def covers(agreement: Agreement, shares: Sequence[Share], *, today: date, used: int) -> Decision:
    """Decide whether `agreement`, which every side has signed and none revoked, covers all of `shares`.

    `used` is how often it was used before. Nothing asked is denied.
    """
    resource = _terms(agreement)
    requests = [_request(agreement, resource.ref, share, today, used) for share in shares]
    return _engine(agreement.id, tuple(sorted(agreement.parties))).decide(requests, EntitySet((resource,)))


def _request(agreement: Agreement, resource: EntityRef, share: Share, today: date, used: int) -> AccessRequest:
    table = f"{share.owner}/{share.dataset}"
    context = (
        ("dataset", table),
        ("purpose", share.purpose),
        ("leak", share.leak.value),
        ("country", share.country),
        ("named", agreement.recipients.names(share.reader)),
        ("today", today.toordinal()),
        ("used", used),
    )
    about = f"{share.reader} in {share.country} learns {share.leak} of {table}, with {share.counterpart}"
    return AccessRequest(EntityRef("Party", share.counterpart), ACTION, resource, context, about)


def _terms(agreement: Agreement) -> Entity:
    tables = sorted(f"{owner}/{name}" for owner, names in agreement.datasets.items() for name in names)
    return Entity(
        EntityRef("Agreement", agreement.id),
        (
            ("datasets", tuple(tables)),
            ("purposes", tuple(sorted(agreement.purposes))),
            ("leaks", tuple(sorted(agreement.leaks))),
            ("countries", agreement.recipients.countries),
            ("first_day", agreement.first_day.toordinal()),
            ("last_day", agreement.last_day.toordinal()),
            ("uses", agreement.uses),
        ),
    )


@lru_cache(maxsize=256)
def _engine(agreement: str, parties: tuple[str, ...]) -> Engine:
    """The rules with the template linked for each party of one agreement."""
    rules, note = _rules(), _template_note()
    names = [f"{TEMPLATE}/{agreement}/{party}" for party in parties]
    resource = EntityRef("Agreement", agreement).json()
    links = [
        {
            "template_id": TEMPLATE,
            "new_id": name,
            "values": {"?principal": EntityRef("Party", party).json(), "?resource": resource},
        }
        for name, party in zip(names, parties, strict=True)
    ]
    linked = rules.slices[ACTION].with_added_str(_text("agreement_template.cedar")).with_linked_batch(links)
    fingerprint = hashlib.sha256(json.dumps([rules.fingerprint, _text("agreement_template.cedar"), names]).encode())
    return Engine(
        replace(
            rules,
            notes={**rules.notes, **dict.fromkeys(names, note)},
            effects={**rules.effects, **dict.fromkeys(names, "permit")},
            slices={ACTION: linked},
            fingerprint=fingerprint.hexdigest(),
        )
    )


@lru_cache(maxsize=1)
def _rules() -> Bundle:
    """The rules on single terms, with the template checked against the same schema."""
    schema = _text("agreement.cedarschema")
    found = cedarpy.validate_policies(_text("agreement_template.cedar"), schema)
    if not found.validation_passed:
        raise InvalidPolicy("the template does not fit the schema", where=TEMPLATE, right="reinstall the package")
    return load_bundle({"agreement.cedar": _text("agreement.cedar")}, schema)


def _template_note() -> PolicyNote:
    template = next(
        iter(json.loads(cedarpy.policies_to_json_str(_text("agreement_template.cedar")))["templates"].values())
    )
    annotations = template["annotations"]
    return PolicyNote(annotations["reason"], annotations["remedy"], annotations["article"])


def _text(name: str) -> str:
    return resources.files("policies").joinpath(name).read_text("utf-8")
