"""A certificate is an identity only when every rule of X509-SVID holds; each rule has its own refusal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.certificates import to_der, to_pem
from policies.errors import InvalidIdentity, PolicyError
from policies.identity import (
    SpiffeId,
    TrustStore,
    certificate_thumbprint,
    identify,
    load_certificate,
    recheck,
)
from tests.support.authority import TestAuthority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
P1 = "spiffe://acme.test/party/p1"
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


@pytest.fixture(scope="module")
def acme() -> TestAuthority:
    return TestAuthority("acme.test", NOW)


@pytest.mark.parametrize(
    ("text", "role", "name"),
    [
        ("spiffe://acme.test/authority", "authority", "authority"),
        ("spiffe://acme.test/coordinator", "coordinator", "coordinator"),
        ("spiffe://acme.test/party/hai-tao-7", "party", "hai-tao-7"),
        ("spiffe://acme.test/user/ana", "user", "ana"),
    ],
)
def test_a_spiffe_id_says_role_and_name(text: str, role: str, name: str) -> None:
    parsed = SpiffeId.parse(text)
    assert (parsed.trust_domain, parsed.role, parsed.name, str(parsed)) == ("acme.test", role, name, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://acme.test/party/p1",
        "SPIFFE://acme.test/party/p1",
        "spiffe://acme.test",
        "spiffe://acme.test/",
        "spiffe://Acme.test/party/p1",
        "spiffe://acme.test/party/P1",
        "spiffe://acme.test/party/-p1",
        "spiffe://acme.test/party/" + "p" * 64,
        "spiffe://acme.test/party/p1/",
        "spiffe://acme.test/party/p1\n",
        "spiffe://acme.test/party//p1",
        "spiffe://acme.test/party/p1?x=1",
        "spiffe://acme.test:443/party/p1",
        "spiffe://user@acme.test/party/p1",
        "spiffe://acme.test/coordinator/p1",
        "spiffe://acme.test/party",
        "spiffe://acme.test/admin/root",
        "spiffe:///party/p1",
        "spiffe://acme.test/party/pÄ",
        "spiffe://acme.test/party/" + "p" * 5000,
    ],
)
def test_what_is_no_spiffe_id_of_a_consortium_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentity):
        SpiffeId.parse(text)


def test_an_issued_certificate_is_an_identity_in_der_and_in_pem(acme: TestAuthority) -> None:
    node = acme.node("party/p1")
    leaf = load_certificate(node.credentials.tls_chain_pem)
    peer = identify(to_der(leaf), acme.trust, NOW)
    assert peer == identify(to_pem(leaf), acme.trust, NOW)
    assert (str(peer.spiffe_id), peer.serial) == (P1, leaf.serial_number)
    assert peer.thumbprint == certificate_thumbprint(leaf)


FORGERIES: dict[str, tuple[dict[str, Any], str]] = {
    "two URI SANs": ({"uris": [P1, "spiffe://acme.test/party/p2"]}, "2 URI SANs"),
    "only a common name": ({"common_name": P1}, "without subject alternative name"),
    "a DNS SAN that spells a SPIFFE ID": ({"dns": [P1]}, "0 URI SANs"),
    "another scheme": ({"uris": ["https://acme.test/party/p1"]}, "not a SPIFFE ID"),
    "an empty path": ({"uris": ["spiffe://acme.test"]}, "not a SPIFFE ID"),
    "a name of another trust domain": ({"uris": ["spiffe://evil.test/party/p1"]}, "trust domain evil.test"),
    "a CA as leaf": ({"uris": [P1], "ca": True, "signs_certificates": True}, "CA certificate used as a leaf"),
    "no key usage": ({"uris": [P1], "usage": None}, "key usage"),
    "key usage not critical": ({"uris": [P1], "usage_critical": False}, "key usage"),
    "no digitalSignature": ({"uris": [P1], "usage": False, "signs_certificates": True}, "key usage"),
    "keyCertSign": ({"uris": [P1], "signs_certificates": True}, "may sign certificates"),
    "client use only": (
        {"uris": [P1], "extended_usages": [ExtendedKeyUsageOID.CLIENT_AUTH]},
        "extended key usage",
    ),
    "expired": ({"uris": [P1], "start": timedelta(hours=-2), "end": timedelta(hours=-1)}, "expired"),
    "not yet valid": ({"uris": [P1], "start": timedelta(hours=1)}, "not valid before"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_certificate_of_our_own_ca_that_breaks_a_rule_is_no_identity(acme: TestAuthority, case: str) -> None:
    arguments, reason = FORGERIES[case]
    with pytest.raises(InvalidIdentity, match=reason):
        identify(acme.forge(KEY, **arguments), acme.trust, NOW)


def test_the_forgeries_fail_by_their_fault_alone(acme: TestAuthority) -> None:
    assert str(identify(acme.forge(KEY, uris=[P1]), acme.trust, NOW).spiffe_id) == P1
    assert identify(acme.forge(KEY, uris=[P1], dns=["also.example"]), acme.trust, NOW)
    assert identify(acme.forge(KEY, uris=[P1], extended_usages=None), acme.trust, NOW)


def test_a_ca_of_the_same_name_with_another_key_is_not_ours(acme: TestAuthority) -> None:
    impostor = TestAuthority("acme.test", NOW)
    with pytest.raises(InvalidIdentity, match="does not chain"):
        identify(impostor.forge(KEY, uris=[P1]), acme.trust, NOW)


def test_a_leaf_of_a_member_does_not_make_its_holder_a_ca(acme: TestAuthority) -> None:
    """p1 signs a certificate for p2 with its own key and shows its own leaf as intermediate."""
    member = TestAuthority("acme.test", NOW)
    intermediate = acme.forge(member.key.public_key(), uris=[P1])
    member.certificate = intermediate
    leaf = member.forge(KEY, uris=["spiffe://acme.test/party/p2"])
    with pytest.raises(InvalidIdentity, match="does not chain"):
        identify(leaf, acme.trust, NOW, intermediates=[to_der(intermediate)])


def test_a_ca_certificate_that_has_ended_proves_nothing(acme: TestAuthority) -> None:
    end = acme.certificate.not_valid_after_utc
    leaf = acme.forge(KEY, uris=[P1], end=timedelta(days=200))
    with pytest.raises(InvalidIdentity, match="does not chain"):
        identify(leaf, acme.trust, end + timedelta(hours=1))


def test_both_cas_are_good_while_they_rotate(acme: TestAuthority) -> None:
    successor = TestAuthority("acme.test", NOW)
    both = TrustStore("acme.test", (acme.certificate, successor.certificate))
    assert identify(acme.forge(KEY, uris=[P1]), both, NOW)
    assert identify(successor.forge(KEY, uris=[P1]), both, NOW)


def test_the_deny_list_ends_a_serial_or_a_name() -> None:
    authority = TestAuthority("acme.test", NOW)
    leaf, other = authority.forge(KEY, uris=[P1]), authority.forge(KEY, uris=[P1])
    peer = identify(leaf, authority.trust, NOW)
    trust = authority.revoke(serial=leaf.serial_number)
    with pytest.raises(InvalidIdentity, match="revoked by deny list 1"):
        identify(leaf, trust, NOW)
    with pytest.raises(InvalidIdentity, match="revoked"):
        recheck(peer, trust, NOW)
    assert identify(other, trust, NOW)
    with pytest.raises(InvalidIdentity, match="revoked by deny list 2"):
        identify(other, authority.revoke(path="party/p1"), NOW)


def test_recheck_notices_that_time_has_passed(acme: TestAuthority) -> None:
    peer = identify(acme.forge(KEY, uris=[P1]), acme.trust, NOW)
    recheck(peer, acme.trust, NOW + timedelta(hours=7))
    with pytest.raises(InvalidIdentity, match="expired"):
        recheck(peer, acme.trust, NOW + timedelta(hours=9))
    with pytest.raises(InvalidIdentity, match=r"trust domain acme\.test"):
        recheck(peer, replace(acme.trust, trust_domain="other.test"), NOW)


def test_a_trust_store_without_ca_cannot_exist() -> None:
    with pytest.raises(InvalidIdentity, match="no CA certificate"):
        TrustStore("acme.test", ())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 900), st.integers(1, 255))
def test_hostile_bytes_give_one_clear_error(noise: bytes, position: int, flip: int) -> None:
    authority = _fixed()
    der = bytearray(_LEAF)
    der[position % len(der)] ^= flip
    for data in (noise, bytes(der), b"-----BEGIN CERTIFICATE-----\n" + noise):
        try:
            identify(data, authority.trust, NOW)
        except PolicyError:
            continue
        pytest.fail("altered certificate accepted")


def test_a_signature_with_unused_bits_is_no_second_certificate(acme: TestAuthority) -> None:
    while True:  # a signature whose last bit is 0 can be said to have one bit less
        der = bytearray(acme.forge(KEY, uris=[P1]).public_bytes(serialization.Encoding.DER))
        if der[-1] % 2 == 0:
            break
    assert identify(bytes(der), acme.trust, NOW)
    signature = load_certificate(bytes(der)).signature
    der[-len(signature) - 1] = 1
    with pytest.raises(InvalidIdentity, match="broken bytes"):
        identify(bytes(der), acme.trust, NOW)


def test_an_oversized_certificate_is_not_even_parsed(acme: TestAuthority) -> None:
    with pytest.raises(InvalidIdentity, match="at most 16384"):
        identify(b"\x30" * 20_000, acme.trust, NOW)


_AUTHORITY = TestAuthority("acme.test", NOW)
_LEAF = _AUTHORITY.forge(KEY, uris=[P1]).public_bytes(serialization.Encoding.DER)


def _fixed() -> TestAuthority:
    return _AUTHORITY
