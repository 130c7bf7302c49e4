"""The roster of a job: its parties and their keys, as their own signed verdicts prove them.

Parties check it before they contribute, the researcher before a sum is believed; the coordinator only carries it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from policies.document import Document, validate
from policies.envelope import KEPT, verify
from policies.identity import TrustStore
from policies.plan import Plan
from policies.verdict import Verdict
from protocols.errors import PeerViolation

VERDICT_TYPE = "inbond-verdict+jws"


@dataclass(frozen=True, slots=True)
class Roster:
    """The parties of a job, as their own signed verdicts name them."""

    identities: Mapping[str, str]  # party name -> SPIFFE ID
    keys: Mapping[str, bytes]  # party name -> X25519 epoch key
    digest: str

    @property
    def names(self) -> tuple[str, ...]:
        """Party names in order; the first is the leader."""
        return tuple(sorted(self.identities))

    @property
    def leader(self) -> str:
        """The party that makes the job key and seals the result."""
        return self.names[0]


def read_roster(
    tokens: Sequence[str], job: str, plan: Plan, trust: TrustStore, now: datetime, *, running: bool = True
) -> Roster:
    """The roster that `tokens` (signed verdicts) prove; raises PeerViolation or InvalidIdentity.

    Every participant of the plan must be there once, with a permit for this very plan, which still holds where the
    job is `running`, and in the plan's country, where the authority attests one.
    """
    identities: dict[str, str] = {}
    places: dict[str, str] = {}
    keys: dict[str, bytes] = {}
    for token in tokens:
        signed = verify(token, typ=VERDICT_TYPE, trust=trust, now=now, aged=KEPT)
        verdict = validate(Verdict, Document(signed.payload, "verdict", {}))
        if signed.issuer.role != "party" or signed.issuer.name != verdict.party or verdict.party in identities:
            raise PeerViolation("a verdict is not its party's own, or stands twice", where="roster")
        if verdict.job != job or verdict.plan != plan.digest() or not verdict.permitted:
            raise PeerViolation("a verdict is not a permit for this plan", where="roster")
        if running and now.timestamp() >= verdict.expires:
            raise PeerViolation("a verdict has expired", where="roster")
        identities[verdict.party] = str(signed.issuer)
        places[verdict.party] = signed.certificate.standing.country
        keys[verdict.party] = bytes.fromhex(verdict.epoch_key)
    wanted = {participant.name: participant.country for participant in plan.participants}
    if set(identities) != set(wanted):
        raise PeerViolation("the roster is not the plan's", where="roster")
    if any(places[name] not in {"", country} for name, country in wanted.items()):
        raise PeerViolation("a party is not in the country that the plan says", where="roster")
    text = "\n".join(f"{name} {identities[name]} {keys[name].hex()}" for name in sorted(identities))
    return Roster(identities, keys, hashlib.sha256(text.encode()).hexdigest())
