"""The deny list is the authority's word: it only grows, and nobody can bring an older one back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies.denylist import TYP, DenyList, extended, from_token, to_token
from policies.envelope import sign
from policies.errors import InvalidIdentity
from policies.identity import SpiffeId
from tests.support.authority import TestAuthority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME = TestAuthority("acme.test", NOW)
SIGNER = ACME.node("authority").signer
P1 = SpiffeId.parse("spiffe://acme.test/party/p1")
FIRST = extended(DenyList(), NOW, serials=[2**159 - 1], ids=[P1])


def test_a_list_comes_back_as_it_was_signed() -> None:
    assert from_token(to_token(FIRST, SIGNER, NOW), ACME.trust, NOW) == FIRST


def test_a_list_only_grows() -> None:
    second = extended(FIRST, NOW, serials=[7])
    assert (second.version, second.serials, second.ids) == (2, FIRST.serials | {7}, FIRST.ids)


def test_an_older_list_is_refused() -> None:
    trust = replace(ACME.trust, denied=extended(FIRST, NOW, serials=[7]))
    with pytest.raises(InvalidIdentity, match="older than the known 2"):
        from_token(to_token(FIRST, SIGNER, NOW), trust, NOW)


def test_the_same_version_may_be_signed_again_but_not_say_something_else() -> None:
    trust = replace(ACME.trust, denied=FIRST)
    later = NOW + timedelta(minutes=1)
    assert from_token(to_token(FIRST, SIGNER, later), trust, later).issued == later
    with pytest.raises(InvalidIdentity, match="two deny lists 1"):
        from_token(to_token(replace(FIRST, ids=frozenset()), SIGNER, NOW), trust, NOW)


@pytest.mark.parametrize("path", ["coordinator", "party/p1", "user/ana"])
def test_only_the_authority_may_sign_it(path: str) -> None:
    token = to_token(FIRST, ACME.node(path).signer, NOW)
    with pytest.raises(InvalidIdentity, match="not signed by the authority"):
        from_token(token, ACME.trust, NOW)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"version": -1, "iat": 0, "serials": [], "ids": []},
        {"version": True, "iat": 0, "serials": [], "ids": []},
        {"version": 1, "iat": 0, "serials": ["zz"], "ids": []},
        {"version": 1, "iat": 0, "serials": [5], "ids": []},
        {"version": 1, "iat": 0, "serials": 5, "ids": []},
        {"version": 1, "iat": 0, "serials": [], "ids": ["p1"]},
        {"version": 1, "iat": 2**52, "serials": [], "ids": []},
        {"version": 1, "iat": "now", "serials": [], "ids": []},
    ],
)
def test_a_malformed_list_is_one_clear_error(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidIdentity, match="cannot be read"):
        from_token(sign(payload, typ=TYP, signer=SIGNER), ACME.trust, NOW)
