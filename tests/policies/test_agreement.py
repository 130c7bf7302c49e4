"""Terms are read strictly; a signature is a party's word on just these terms, read for years after its certificate."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies.agreement import Agreement, SignedAgreement, load_agreement, read_signed, sign_agreement, signatory
from policies.envelope import sign
from policies.errors import InvalidIdentity, InvalidInput
from tests.support.authority import TestAuthority

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ACME = TestAuthority("acme.example", now=NOW)
M1, P1, P2, ROSA = (ACME.node(path).signer for path in ("party/m1", "party/p1", "party/p2", "user/rosa"))
TERMS = """\
name: fraud-2026
consortium: acme.example
parties: [m1, p1]
datasets: {m1: [orders], p1: [order_payments]}
purposes: [dpv:FraudPreventionAndDetection]
leaks: [intersection size, group counts]
recipients: {countries: [GB, DE], ids: [rosa]}
valid_from: 2026-06-01
valid_until: 2026-12-31
uses: 3
"""


def agreement(**changes: Any) -> Agreement:
    data = load_agreement(TERMS, "terms.yaml").payload()
    return Agreement.model_validate(data | changes)


def said(token: str, terms: Agreement, at: datetime = NOW, authority: TestAuthority = ACME) -> str:
    return signatory(token, terms, "agree", trust=authority.trust, now=at)


def test_the_same_terms_have_one_digest_in_whatever_order_they_are_written() -> None:
    other = TERMS.replace("[m1, p1]", "[p1, m1]").replace(
        "[intersection size, group counts]", "[group counts, intersection size]"
    )
    assert load_agreement(other, "x").digest() == agreement().digest()
    assert agreement(uses=4).digest() != agreement().digest()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("[m1, p1]", "[m1]", "parties"),
        ("[m1, p1]", "[m1, p2]", "`p1` brings a table and is no party"),
        ("[orders]", "[]", "brings no table"),
        ("dpv:FraudPreventionAndDetection", "marketing", "purposes"),
        ("group counts", "everything", "leaks"),
        ("2026-12-31", "2026-05-31", "ends before it begins"),
        ("2026-12-31", "2036-12-31", "more than 5 years"),
        ("2026-12-31", "soon", "not a date"),
        ("uses: 3", "uses: 0", "uses"),
        ("uses: 3", "uses: 3\nsurprise: 1", "surprise"),
    ],
)
def test_terms_that_make_no_sense_are_refused_with_their_line(old: str, new: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        load_agreement(TERMS.replace(old, new), "terms.yaml")
    assert "terms.yaml" in str(caught.value)


def test_a_signature_names_its_party_also_years_after_its_certificate() -> None:
    token = sign_agreement(agreement(), "agree", M1, NOW)
    assert said(token, agreement()) == "m1"
    assert said(token, agreement(), NOW + timedelta(days=2)) == "m1"


def test_terms_that_were_altered_after_signing_have_no_signature() -> None:
    token = sign_agreement(agreement(), "agree", M1, NOW)
    for changes in ({"uses": 4}, {"valid_until": "2027-12-31"}, {"leaks": ["intersection members"]}):
        with pytest.raises(InvalidIdentity, match="other terms"):
            said(token, agreement(**changes))


def test_nobody_but_a_party_signs() -> None:
    for stranger in (P2, ROSA):
        with pytest.raises(InvalidIdentity, match="no party"):
            sign_agreement(agreement(), "agree", stranger, NOW)
        payload = {"iss": str(stranger.spiffe_id), "agreement": agreement().payload()}
        forged = sign(payload, typ="inbond-agreement+jws", signer=stranger, at=NOW)
        with pytest.raises(InvalidIdentity, match="no party"):
            said(forged, agreement())


def test_a_party_of_this_name_in_another_consortium_is_another_party() -> None:
    other = TestAuthority("other.example", now=NOW)
    with pytest.raises(InvalidIdentity, match="no party"):
        sign_agreement(agreement(), "agree", other.node("party/m1").signer, NOW)


def test_a_signature_of_one_kind_is_not_one_of_the_other() -> None:
    with pytest.raises(InvalidIdentity, match="another type"):
        said(sign_agreement(agreement(), "revoke", M1, NOW), agreement())


def test_a_signature_under_another_authority_or_of_a_denied_party_proves_nothing() -> None:
    token = sign_agreement(agreement(), "agree", M1, NOW)
    with pytest.raises(InvalidIdentity, match="chain"):
        said(token, agreement(), authority=TestAuthority("acme.example", now=NOW))
    denying = TestAuthority("acme.example", now=NOW)
    signer = denying.node("party/m1").signer
    denying.revoke(path="party/m1")
    with pytest.raises(InvalidIdentity, match="revoked"):
        said(sign_agreement(agreement(), "agree", signer, NOW), agreement(), authority=denying)


def test_a_signature_from_the_future_is_refused_and_what_is_over_is_not_signed() -> None:
    token = sign_agreement(agreement(), "agree", M1, NOW + timedelta(hours=1))
    with pytest.raises(InvalidIdentity, match="another time"):
        said(token, agreement())
    with pytest.raises(InvalidInput, match="is over"):
        sign_agreement(agreement(valid_until="2026-06-14"), "agree", P1, NOW)


def test_what_is_sent_is_read_strictly() -> None:
    found = SignedAgreement(agreement=agreement(), signatures=(sign_agreement(agreement(), "agree", M1, NOW),))
    assert read_signed(json.dumps(found.payload()), "file.json") == found
    for changes, what in (({"signatures": [""]}, "signatures"), ({"signatures": 1}, "signatures"), ({"x": 1}, "x")):
        with pytest.raises(InvalidInput, match=what):
            read_signed(json.dumps(found.payload() | changes), "file.json")
