"""Who publishes which data contracts: read from the parties' own signed catalogues.

Contracts name columns and rules, never values of rows; every member of the consortium may read them.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from inbond.errors import InbondError
from policies.contract import PublishedContract, read_published
from policies.envelope import verify
from policies.errors import InvalidIdentity
from policies.identity import TrustStore

CATALOGUE_TYPE = "inbond-catalogue+jws"


@dataclass(frozen=True, slots=True)
class PartyEntry:
    """One party: where it is and what it publishes, by dataset name.

    `attested` is the country in its certificate, empty where the authority says none. `left_out` says of each contract
    that is not believed why.
    """

    party: str
    country: str
    contracts: dict[str, PublishedContract]
    attested: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_catalogue(token: str, trust: TrustStore, now: datetime) -> PartyEntry:
    """The entry in a party's signed catalogue; raises InvalidIdentity or InvalidInput.

    A party that says to be elsewhere than the authority attests is not believed at all; of its contracts, those that
    claim another jurisdiction are left out.
    """
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
    attested = signed.certificate.standing.country
    if attested and country != attested:
        what = f"its catalogue says {country}, and the authority attests {attested}"
        raise InvalidIdentity(what, where=signed.issuer.name, right="the attested country in [node] country")
    astray = {name: one.jurisdiction for name, one in found.items() if attested and one.jurisdiction != attested}
    left_out = {
        name: f"its jurisdiction is {claimed}, and the authority attests {attested}" for name, claimed in astray.items()
    }
    believed = {name: one for name, one in found.items() if name not in left_out}
    return PartyEntry(signed.issuer.name, country, believed, attested, left_out)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset: `owners` (party names, in order) with the contract that each publishes for its own table.

    `countries` says where each of them is.
    """

    name: str
    owners: Mapping[str, PublishedContract]
    countries: Mapping[str, str]

    def payload(self) -> dict[str, Any]:
        """The dataset as JSON data."""
        owners = [
            {"party": party, "country": self.countries[party], **contract.published()}
            for party, contract in self.owners.items()
        ]
        return {"dataset": self.name, "owners": owners}


def datasets(entries: Mapping[str, PartyEntry]) -> dict[str, Dataset]:
    """The catalogue by dataset, names in order."""
    found: dict[str, dict[str, PublishedContract]] = {}
    for party, entry in sorted(entries.items()):
        for name, contract in entry.contracts.items():
            found.setdefault(name, {})[party] = contract
    countries = {party: entry.country for party, entry in entries.items()}
    return {name: Dataset(name, found[name], countries) for name in sorted(found)}


def find_dataset(entries: Mapping[str, PartyEntry], name: str) -> Dataset:
    """The dataset of that name; raises InbondError with the one that was probably meant."""
    known = datasets(entries)
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    right = f"did you mean `{close[0]}`?" if close else f"the datasets are {', '.join(known) or 'none'}"
    raise InbondError(f"no party publishes `{name}`", where="dataset", right=right)
