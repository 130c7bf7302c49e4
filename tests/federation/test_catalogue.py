"""A catalogue is believed only from the party whose contracts it lists."""

import json
from typing import Any

import pytest

from federation.catalogue import CATALOGUE_TYPE, read_catalogue
from inbond.errors import InbondError
from policies.envelope import sign
from policies.errors import InvalidIdentity, InvalidInput, PolicyError
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
