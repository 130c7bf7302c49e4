"""Who publishes which data contracts: read from the parties' own signed catalogues."""

import json
from dataclasses import dataclass
from datetime import datetime

from inbond.errors import InbondError
from policies.contract import PublishedContract, read_published
from policies.envelope import verify
from policies.errors import InvalidIdentity
from policies.identity import TrustStore

CATALOGUE_TYPE = "inbond-catalogue+jws"


@dataclass(frozen=True, slots=True)
class PartyEntry:
    """One party: where it is and what it publishes, by dataset name."""

    party: str
    country: str
    contracts: dict[str, PublishedContract]


def read_catalogue(token: str, trust: TrustStore, now: datetime) -> PartyEntry:
    """The entry in a party's signed catalogue; raises InvalidIdentity or InvalidInput."""
    signed = verify(token, typ=CATALOGUE_TYPE, trust=trust, now=now)
    if signed.issuer.role != "party" or signed.payload.get("party") != signed.issuer.name:
        raise InvalidIdentity("a catalogue is not its party's own", where="catalogue", right="the party's signature")
    contracts = signed.payload.get("contracts")
    country = signed.payload.get("country")
    if not isinstance(contracts, dict) or not isinstance(country, str):
        raise InbondError("a catalogue lists no contracts", where=signed.issuer.name, right="a party of this version")
    found = {
        str(name): read_published(json.dumps(contract), f"{signed.issuer.name}/{name}")
        for name, contract in contracts.items()
    }
    return PartyEntry(signed.issuer.name, country, found)
