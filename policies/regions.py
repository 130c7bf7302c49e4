"""Where those are whom a job's data reach: what plan and order claim, beside what the authority attests.

Learns names and countries, no data. A claim is an exporter's jurisdiction, the coordinator's country in the plan, or a
reader's in plan and order; attested is the country in a member's certificate. Where the authority says nothing, the
claim stands as before there were attested countries. Where it says something else, the job is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from policies.errors import InvalidInput
from policies.job import JobOrder
from policies.plan import Plan

HopRole = Literal["exporter", "participant", "coordinator", "reader"]


@dataclass(frozen=True, slots=True)
class Hop:
    """One place on the way of a party's data: who (`id`) is there as what; `attested` is empty where nobody attests."""

    role: HopRole
    id: str
    claimed: str
    attested: str = ""

    @property
    def well(self) -> bool:
        """Whether the authority attests what is claimed, or nothing."""
        return self.attested in {"", self.claimed}

    def payload(self) -> dict[str, str]:
        """The hop as evidence has it."""
        return {"role": self.role, "id": self.id, "claimed": self.claimed, "attested": self.attested}


def way(plan: Plan, order: JobOrder, attested: Mapping[str, str], exporter: str | None = None) -> tuple[Hop, ...]:
    """Every place that a job's data reach: the exporter (else all parties are), the coordinator, then the readers.

    `attested` has the countries that the caller saw in certificates, by SPIFFE ID.
    """
    root = f"spiffe://{order.consortium}"
    found = dict.fromkeys(_claims(plan, order, root, exporter))
    return tuple(Hop(role, who, claimed, attested.get(who, "")) for role, who, claimed in found)


def _claims(plan: Plan, order: JobOrder, root: str, exporter: str | None) -> Iterator[tuple[HopRole, str, str]]:
    for one in plan.participants:
        role: HopRole = "exporter" if exporter in {None, one.name} else "participant"
        yield role, f"{root}/party/{one.name}", one.country
    if plan.coordinator is not None:
        yield "coordinator", f"{root}/coordinator", plan.coordinator
    for reader in plan.readers:
        yield "reader", reader.id, reader.country
    for recipient in order.spec.recipients:
        yield "reader", recipient.id, recipient.country


def check_way(hops: tuple[Hop, ...]) -> None:
    """Raise InvalidInput for the first hop that is claimed to be where the authority does not see it, or twice."""
    places: dict[str, str] = {}
    for hop in hops:
        if places.setdefault(hop.id, hop.claimed) != hop.claimed:
            what = f"{hop.id} is said to be in {places[hop.id]} and in {hop.claimed}"
            raise InvalidInput(what, where=hop.role, right="one country for each member")
        if not hop.well:
            what = f"the authority attests that {hop.id} is in {hop.attested}, not in {hop.claimed}"
            raise InvalidInput(what, where=hop.role, right=f"claim {hop.attested}, or have the right country attested")
