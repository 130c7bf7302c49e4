"""A person's signature under a command: good for that command, these arguments, that node, now, and once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inbond.act_token import ACT_TYPE, AskedAct, open_act, sign_act
from inbond.node import utc_now
from policies.envelope import KEPT, verify
from policies.errors import InvalidIdentity
from policies.identity import Standing
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
OLGA = AUTHORITY.node("user/olga", standing=Standing("shop", "officer"))
ASKED = AskedAct(AUTHORITY.id("party/m1"), "record add", "hmac-sha256:" + "ab" * 32, "0" * 32)


def test_a_good_signature_tells_who_of_which_organisation_in_which_role() -> None:
    found = open_act(sign_act(OLGA.signer, ASKED, utc_now()), ASKED, trust=AUTHORITY.trust, now=utc_now())
    assert (found.spiffe_id, found.standing) == (AUTHORITY.id("user/olga"), Standing("shop", "officer"))


@pytest.mark.parametrize(
    ("signed", "told"),
    [
        ({"command": "record expire"}, "another command"),
        ({"arguments": "hmac-sha256:" + "cd" * 32}, "another arguments"),
        ({"nonce": "1" * 32}, "another jti"),
        ({"node": AUTHORITY.id("party/p1")}, "for somebody else"),
    ],
)
def test_what_was_signed_for_anything_else_does_not_fit(signed: dict[str, Any], told: str) -> None:
    token = sign_act(OLGA.signer, replace(ASKED, **signed), utc_now())
    with pytest.raises(InvalidIdentity, match=told):
        open_act(token, ASKED, trust=AUTHORITY.trust, now=utc_now())


def test_what_was_signed_earlier_does_not_fit() -> None:
    token = sign_act(OLGA.signer, ASKED, utc_now() - timedelta(minutes=5))
    with pytest.raises(InvalidIdentity, match="expired"):
        open_act(token, ASKED, trust=AUTHORITY.trust, now=utc_now())


def test_another_key_under_the_same_certificate_is_no_signature() -> None:
    eve = AUTHORITY.node("user/eve", standing=Standing("shop", "officer"))
    forged = replace(eve.signer, spiffe_id=OLGA.signer.spiffe_id, chain=OLGA.signer.chain)
    with pytest.raises(InvalidIdentity, match="the key is not the one named"):
        open_act(sign_act(forged, ASKED, utc_now()), ASKED, trust=AUTHORITY.trust, now=utc_now())
    good, other = sign_act(OLGA.signer, ASKED, utc_now()), sign_act(eve.signer, ASKED, utc_now())
    swapped = ".".join([*good.split(".")[:2], other.split(".")[2]])
    with pytest.raises(InvalidIdentity, match="signature does not verify"):
        open_act(swapped, ASKED, trust=AUTHORITY.trust, now=utc_now())


def test_a_node_is_no_person() -> None:
    token = sign_act(AUTHORITY.node("party/p1").signer, ASKED, utc_now())
    with pytest.raises(InvalidIdentity, match="is no person"):
        open_act(token, ASKED, trust=AUTHORITY.trust, now=utc_now())


def test_an_auditor_can_check_the_kept_signature_later() -> None:
    kept = sign_act(OLGA.signer, ASKED, utc_now())
    later = utc_now() + timedelta(days=7)
    signed = verify(kept, typ=ACT_TYPE, trust=AUTHORITY.trust, now=later, aged=KEPT)
    assert (signed.issuer, signed.payload["command"]) == (AUTHORITY.id("user/olga"), "record add")
