"""From a plan to its transfers: what of one party's table becomes readable where, and the facts that the law judges.

Nobody types the facts of a transfer. The exporter is the table's owner, and every reader of the plan who is not the
owner is a recipient in its country; ciphertexts also go to the coordinator, once for each place where a key that opens
them lies. Kind, size and protection of the object follow from the plan, which every party follows or ends the job; what
its columns are, from the contract, as far as its masks show them to who asks. The rest is the contract's `law` and the
party's records; what nobody says takes the law's unfavourable default. Learns plans, contracts and records, no data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from policies.contract import Column, PublishedContract
from policies.errors import InvalidInput
from policies.evidence import Evidence, Release, facts_of
from policies.law.catalogue import Catalogue
from policies.law.columns import column_facts
from policies.law_terms import RECORDED_TOOLS, LawTerms
from policies.plan import UNREADABLE, LeakKind, Plan, Reader
from policies.views import Asker, Views

CIPHERTEXT = "ciphertext"
COORDINATOR = "coordinator"
_KINDS = {
    LeakKind.INTERSECTION_MEMBERS: "pseudonymous_ids",
    LeakKind.JOINT_UPDATE: "model_update",
    LeakKind.JOINT_MODEL: "model_update",
    LeakKind.PARTY_CONTRIBUTION: "model_update",
}  # what else a plan can show are tables of counts and sums
_RELEASED = frozenset({LeakKind.EXACT_AGGREGATE, LeakKind.NOISED_AGGREGATE})


@dataclass(frozen=True)
class Transfer:
    """`what` of `dataset` goes to `recipient` (a name) in `country`; `kind` is the law's word for the object.

    `key_holder` is where a key lies that opens a ciphertext. `suppressed`: small groups are not in it.
    """

    dataset: str
    recipient: str
    country: str
    what: str
    kind: str
    key_holder: str | None = None
    suppressed: bool = False

    @property
    def release(self) -> Release:
        """What evidence of anonymity is about."""
        return Release(self.dataset, self.kind)


def transfers_of(plan: Plan, party: str, dataset: str) -> tuple[Transfer, ...]:
    """Every transfer of `party`'s table `dataset` in the plan, once each.

    Raises InvalidInput where the plan does not say in which country its ciphertexts pass through.
    """
    others = (one for one in plan.readers if not one.id.endswith(f"/party/{party}"))  # a person may have the same name
    found = [_read(plan, reader, dataset) for reader in others if plan.concerns(party, reader)]
    return tuple(dict.fromkeys((*found, *_carried(plan, dataset))))


def _read(plan: Plan, reader: Reader, dataset: str) -> Transfer:
    """What a reader reads. Parties see the counts of all groups, before any is suppressed; others of large ones."""
    counted = reader.object is LeakKind.GROUP_COUNTS and reader.name not in {one.name for one in plan.participants}
    return Transfer(
        dataset,
        reader.name,
        reader.country,
        reader.object.value,
        _KINDS.get(reader.object, "aggregate"),
        suppressed=reader.object in _RELEASED or counted,
    )


def _carried(plan: Plan, dataset: str) -> Iterator[Transfer]:
    """The ciphertexts that the coordinator carries, by the places of those who can open something of them."""
    if plan.protection.mode == "plain":
        return  # then it reads, and is among the readers
    if plan.coordinator is None:
        right = "a plan that names the coordinator's country"
        raise InvalidInput("nobody knows where ciphertexts pass through", where="plan", right=right)
    places = {reader.country for reader in plan.readers if reader.object not in UNREADABLE}
    for place in sorted(places):
        yield Transfer(dataset, COORDINATOR, plan.coordinator, CIPHERTEXT, CIPHERTEXT, key_holder=place)


def facts_of_transfer(
    transfer: Transfer,
    *,
    plan: Plan,
    party: str,
    contract: PublishedContract,
    records: Sequence[Evidence],
    day: date,
    catalogue: Catalogue,
    asker: Asker,
    without: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The facts of a transfer on `day` of what `asker` would see, if the columns `without` were not read.

    Raises InvalidInput where the contract has no `law`.
    """
    terms = contract.law
    if terms is None:
        right = "add `law` to the contract (docs/law.md)"
        raise InvalidInput("the contract says nothing for the law to judge by", where=contract.dataset, right=right)
    said = terms.stated(plan.purpose, transfer.recipient)
    proved = facts_of(
        records,
        party,
        transfer.recipient,
        day,
        dst=transfer.country,
        release=transfer.release,
        mechanism=said.get("mechanism"),
    )
    if said.get("mechanism") in RECORDED_TOOLS:  # the word of a contract is no tool
        said.pop("mechanism")
    kind = {"recipient_kind": COORDINATOR} if transfer.recipient == COORDINATOR else {}
    masks = (contract.views or Views()).masks_for(asker)
    used = {name: column for name, column in columns_used(plan, contract).items() if name not in without}
    categories, raised = column_facts(used, masks, said, catalogue)
    planned = {**raised, **_planned(transfer, plan, contract, terms, day, categories)}
    return {**said, **proved, **kind, **planned, **_shown(transfer, plan, proved)}


def _planned(
    transfer: Transfer, plan: Plan, contract: PublishedContract, terms: LawTerms, day: date, categories: tuple[str, ...]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "src": contract.jurisdiction,
        "dst": transfer.country,
        "as_of": day,
        "exporter_kind": terms.organisation,
        "categories": categories if terms.personal else (),
        "purpose": plan.purpose,
        "n_subjects": terms.subjects,
        "subject_residency": terms.residence,
        "personal": terms.personal,
        "output_kind": transfer.kind,
    }
    if transfer.kind == CIPHERTEXT:
        facts |= {"key_holder": transfer.key_holder, "recipient_can_decrypt": False}
    if transfer.kind == "model_update":
        summed = transfer.what != LeakKind.PARTY_CONTRIBUTION and plan.protection.mode == "encrypted"
        facts |= {"secure_aggregation": summed, "n_clients": len(plan.participants)}
    return facts


def columns_used(plan: Plan, contract: PublishedContract) -> dict[str, Column]:
    """The columns of the contract's table that the plan uses, by name."""
    names = {use.column for use in plan.columns if use.dataset == contract.dataset}
    return {name: column for name, column in contract.columns.items() if name in names}


def _shown(transfer: Transfer, plan: Plan, proved: dict[str, Any]) -> dict[str, Any]:
    """What protects the object in this plan, where evidence was made for no more than that.

    Evidence counts if the plan suppresses groups as large as those that were tested, and adds as much noise.
    """
    facts: dict[str, Any] = {}
    noise = plan.noise
    noised = noise.mechanism != "none" and transfer.what == LeakKind.NOISED_AGGREGATE
    loss = {"epsilon": noise.epsilon, "delta": noise.delta} if noised else None
    if transfer.kind == "aggregate":
        facts["min_cell_k"] = plan.minimum_group if transfer.suppressed else 0
    tested = proved.get("dp")
    if "anon_test" in proved and not (_as_large(transfer, facts, proved) and _as_noised(loss, tested)):
        facts["anon_test"] = "none"
    return facts | {"dp": loss}


def _as_large(transfer: Transfer, facts: dict[str, Any], proved: dict[str, Any]) -> bool:
    return transfer.kind != "aggregate" or bool(facts["min_cell_k"] >= proved["min_cell_k"])


def _as_noised(loss: dict[str, float] | None, tested: dict[str, float] | None) -> bool:
    if tested is None:
        return True
    return loss is not None and loss["epsilon"] <= tested["epsilon"] and loss["delta"] <= tested["delta"]
