"""Agreements between the parties of the sample job, signed and kept by the party under test."""

from contextlib import closing
from datetime import timedelta
from typing import Any

from compliance.agreements import FILE, AgreementStore, Kept, Taken
from inbond.node import utc_now
from parties.telling import telling
from policies.agreement import Act, Agreement, SignedAgreement, sign_agreement
from tests.bad_input.homes import CONSORTIUM, Party

NAMES = ("p1", "p2", "p3")
RULE = "agreement: required\n"


def terms(**changes: Any) -> Agreement:
    """Terms that cover the sample query of all three parties, with keys replaced."""
    today = utc_now().date()
    base: dict[str, Any] = {
        "name": "fraud",
        "consortium": CONSORTIUM,
        "parties": NAMES,
        "datasets": {"p1": ["orders"]},
        "purposes": ["dpv:FraudPreventionAndDetection"],
        "leaks": ["group counts", "exact aggregate"],
        "recipients": {"countries": ["DE"], "ids": ["rosa", "p*"]},
        "valid_from": str(today - timedelta(days=1)),
        "valid_until": str(today + timedelta(days=30)),
        "uses": 5,
    }
    return Agreement.model_validate(base | changes)


def agree(party: Party, *, signers: tuple[str, ...] = NAMES, act: Act = "agree", **changes: Any) -> Agreement:
    """The word of `signers` on such terms, taken up by the party; the terms."""
    made = terms(**changes)
    held = {name: party.authority.node(f"party/{name}").signer for name in signers if name != "p1"}
    held |= {"p1": party.node.signer()} if "p1" in signers else {}
    tokens = tuple(sign_agreement(made, act, signer, utc_now()) for signer in held.values())
    key = "signatures" if act == "agree" else "revocations"
    with AgreementStore.open(party.home / FILE, telling(party.node)) as store:
        store.take(SignedAgreement.model_validate({"agreement": made, key: tokens}), party.node.trust)
    return made


def kept(party: Party, made: Agreement) -> tuple[Kept, list[Taken]]:
    """An agreement as the party keeps it, and its uses, newest first."""
    with closing(AgreementStore.read_only(party.home / FILE)) as store:
        return store.one(made.id, party.node.trust), store.uses_of(made.id)


def used(party: Party, made: Agreement) -> list[tuple[str, str]]:
    """(job, state) of each use, newest first."""
    return [(one.key, one.state) for one in kept(party, made)[1]]
