"""A catalogue is believed only from the party whose contracts it lists."""

import json
from typing import Any

import pytest

from federation.catalogue import CATALOGUE_TYPE, PartyEntry, datasets, find_dataset, read_catalogue
from inbond.errors import InbondError
from policies.envelope import sign
from policies.errors import InvalidIdentity, InvalidInput, PolicyError
from policies.identity import Standing
from tests.policies.samples import contract
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
NODE = AUTHORITY.node("party/p1")
CONTRACT = json.loads(json.dumps(contract().published()))


def _token(signer: Any = None, **changes: Any) -> str:
    payload = {"party": "p1", "country": "DE", "contracts": {"orders": CONTRACT}, "iat": 1} | changes
    return sign(payload, typ=CATALOGUE_TYPE, signer=(signer or NODE).signer)


def test_a_partys_own_catalogue_is_read() -> None:
    entry = read_catalogue(_token(), AUTHORITY.trust, AUTHORITY.now)
    assert (entry.party, entry.country, entry.contracts["orders"].digest()) == ("p1", "DE", contract().digest())


@pytest.mark.parametrize("path", ["party/p2", "user/rosa", "coordinator"])
def test_somebody_elses_signature_under_a_partys_name_is_refused(path: str) -> None:
    with pytest.raises(InvalidIdentity):
        read_catalogue(_token(AUTHORITY.node(path)), AUTHORITY.trust, AUTHORITY.now)


@pytest.mark.parametrize(
    "changes",
    [
        {"contracts": []},
        {"contracts": None},
        {"contracts": {"orders": 3}},
        {"contracts": {"orders": {**CONTRACT, "minimum_group": 0}}},
        {"contracts": {"orders": {**CONTRACT, "source": {"kind": "csv", "path": "/etc/passwd"}}}},
        {"country": 3},
    ],
)
def test_a_malformed_catalogue_is_an_error_of_ours_and_never_another(changes: dict[str, Any]) -> None:
    with pytest.raises((InvalidInput, InbondError)):
        read_catalogue(_token(**changes), AUTHORITY.trust, AUTHORITY.now)


@pytest.mark.parametrize(
    "token", ["", "a.b.c", _token()[:-8] + "AAAAAAAA", _token(TestAuthority("acme.example").node("party/p1"))]
)
def test_what_does_not_verify_is_refused(token: str) -> None:
    with pytest.raises(PolicyError):
        read_catalogue(token, AUTHORITY.trust, AUTHORITY.now)


def _entries() -> dict[str, PartyEntry]:
    held = {"p2": ("FR", ["orders", "returns"]), "p1": ("DE", ["orders"])}
    return {
        party: PartyEntry(party, country, {name: contract(dataset=name, jurisdiction=country) for name in names})
        for party, (country, names) in held.items()
    }


def test_the_catalogue_by_dataset_names_every_owner_and_its_country() -> None:
    found = datasets(_entries())
    assert {name: list(one.owners) for name, one in found.items()} == {"orders": ["p1", "p2"], "returns": ["p2"]}
    told = found["orders"].payload()
    assert [(one["party"], one["country"], one["jurisdiction"]) for one in told["owners"]] == [
        ("p1", "DE", "DE"),
        ("p2", "FR", "FR"),
    ]
    assert json.loads(json.dumps(told)) == told, "it is JSON data"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ordres", "dataset: no party publishes `ordres`; did you mean `orders`?"),
        ("xyz", "dataset: no party publishes `xyz`; the datasets are orders, returns"),
        ("", "dataset: no party publishes ``; the datasets are orders, returns"),
    ],
)
def test_a_dataset_that_nobody_publishes_is_told_with_the_one_that_was_meant(name: str, told: str) -> None:
    with pytest.raises(InbondError) as refused:
        find_dataset(_entries(), name)
    assert str(refused.value) == told


def test_an_empty_catalogue_is_told_as_such() -> None:
    with pytest.raises(InbondError, match="the datasets are none"):
        find_dataset({}, "orders")


ATTESTED = {country: AUTHORITY.node("party/p1", standing=Standing(country=country)) for country in ("DE", "CN")}


def test_a_contract_of_another_jurisdiction_than_attested_is_left_out_with_a_reason() -> None:
    abroad = json.loads(json.dumps(contract(dataset="returns", jurisdiction="FR").published()))
    token = _token(ATTESTED["DE"], contracts={"orders": CONTRACT, "returns": abroad})
    entry = read_catalogue(token, AUTHORITY.trust, AUTHORITY.now)
    assert (list(entry.contracts), entry.attested) == (["orders"], "DE")
    assert entry.left_out == {"returns": "its jurisdiction is FR, and the authority attests DE"}


def test_a_party_that_says_to_be_elsewhere_than_attested_is_not_believed_at_all() -> None:
    with pytest.raises(InvalidIdentity, match="p1: its catalogue says DE, and the authority attests CN"):
        read_catalogue(_token(ATTESTED["CN"]), AUTHORITY.trust, AUTHORITY.now)


def test_where_nothing_is_attested_the_claim_stands() -> None:
    entry = read_catalogue(_token(country="FR"), AUTHORITY.trust, AUTHORITY.now)
    assert (entry.country, entry.attested, list(entry.contracts), entry.left_out) == ("FR", "", ["orders"], {})
