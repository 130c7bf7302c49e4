"""The authority certifies the key of a request whose signature holds, under the name that it decides."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policies.certificates import (
    PrivateKey,
    authority_domain,
    issue,
    load_request,
    make_authority,
    make_request,
    requested_key,
    to_der,
    to_pem,
)
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId, Standing, TrustStore, identify, standing_of
from tests.support.authority import TestAuthority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
P1 = SpiffeId.parse("spiffe://acme.test/party/p1")
COORDINATOR = SpiffeId.parse("spiffe://acme.test/coordinator")
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA = make_authority("acme.test", CA_KEY, NOW)
PEOPLE = TestAuthority("acme.test")
TRUST = TrustStore("acme.test", (CA,))


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()])
def test_a_leaf_carries_the_requested_key_and_the_decided_name(key: PrivateKey) -> None:
    wish = SpiffeId.parse("spiffe://acme.test/authority")
    leaf = issue(make_request(key, wish), P1, CA, CA_KEY, NOW, lifetime=8 * HOUR)
    assert leaf.public_key() == key.public_key()
    assert identify(leaf, TRUST, NOW).spiffe_id == P1


def test_a_leaf_starts_a_minute_early_and_lives_as_long_as_asked() -> None:
    leaf = issue(make_request(CA_KEY, P1), P1, CA, CA_KEY, NOW, lifetime=8 * HOUR)
    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=60)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == 8 * HOUR


def test_a_leaf_never_outlives_its_ca() -> None:
    end = CA.not_valid_after_utc
    leaf = issue(make_request(CA_KEY, P1), P1, CA, CA_KEY, end - HOUR, lifetime=8 * HOUR)
    assert leaf.not_valid_after_utc == end
    with pytest.raises(InvalidInput, match="authority's certificate ends"):
        issue(make_request(CA_KEY, P1), P1, CA, CA_KEY, end, lifetime=HOUR)


@pytest.mark.parametrize("lifetime", [timedelta(0), -HOUR, timedelta(hours=24, seconds=1)])
def test_a_lifetime_beyond_a_day_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(InvalidInput, match="at most 24 h"):
        issue(make_request(CA_KEY, P1), P1, CA, CA_KEY, NOW, lifetime=lifetime)


def test_host_names_are_for_servers_alone() -> None:
    request = make_request(CA_KEY, COORDINATOR)
    leaf = issue(request, COORDINATOR, CA, CA_KEY, NOW, lifetime=HOUR, dns=["hub.test"], ips=["::1"])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.test"]
    with pytest.raises(InvalidInput, match="only servers are dialled"):
        issue(request, P1, CA, CA_KEY, NOW, lifetime=HOUR, dns=["hub.test"])
    with pytest.raises(InvalidInput, match="plain IPs"):
        issue(request, COORDINATOR, CA, CA_KEY, NOW, lifetime=HOUR, ips=["10.0.0.0/8"])


def test_a_name_of_another_trust_domain_is_not_ours_to_give() -> None:
    other = SpiffeId.parse("spiffe://other.test/party/p1")
    with pytest.raises(InvalidInput, match="another trust domain"):
        issue(make_request(CA_KEY, other), other, CA, CA_KEY, NOW, lifetime=HOUR)


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    """Somebody else's public key, put into a signed request in place of the signer's own."""
    theirs, mine = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    der = to_der(make_request(mine, P1))
    swapped = der.replace(_point(mine), _point(theirs))
    assert swapped != der
    with pytest.raises(InvalidIdentity, match="signature does not verify"):
        issue(load_request(swapped), P1, CA, CA_KEY, NOW, lifetime=HOUR)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_other_kinds_of_key_are_refused(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    with pytest.raises(InvalidIdentity, match="P-256 or Ed25519"):
        requested_key(builder.sign(key, hashes.SHA256()))


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x00", b"-----BEGIN nothing", b"\0" * 9000])
def test_hostile_requests_give_one_clear_error(data: bytes) -> None:
    with pytest.raises(InvalidIdentity):
        load_request(data)


@pytest.mark.parametrize("days", [0, 91])
def test_a_ca_lives_one_to_ninety_days(days: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 90"):
        make_authority("acme.test", CA_KEY, NOW, days)


def test_a_ca_says_its_trust_domain_and_a_leaf_does_not_pass_for_one() -> None:
    assert authority_domain(CA) == "acme.test"
    leaf = issue(make_request(CA_KEY, P1), P1, CA, CA_KEY, NOW, lifetime=HOUR)
    with pytest.raises(InvalidIdentity, match="not a consortium's CA"):
        authority_domain(leaf)
    assert to_pem(CA).startswith(b"-----BEGIN CERTIFICATE-----")


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_a_persons_organisation_and_role_are_in_the_certificate_and_a_nodes_are_not() -> None:
    olga = PEOPLE.node("user/olga", standing=Standing("shop", "officer"))
    found = identify(olga.signer.chain[0], PEOPLE.trust, PEOPLE.now)
    assert found.standing == Standing("shop", "officer")
    nobody = PEOPLE.node("user/victor")
    assert identify(nobody.signer.chain[0], PEOPLE.trust, PEOPLE.now).standing == Standing()
    with pytest.raises(InvalidInput, match="an organisation in a node's certificate"):
        PEOPLE.node("party/p1", standing=Standing("shop", "officer"))


@pytest.mark.parametrize("path", ["party/p1", "coordinator", "user/olga"])
def test_everybodys_country_is_in_the_certificate_where_the_authority_attests_one(path: str) -> None:
    node = PEOPLE.node(path, standing=Standing(country="DE"))
    assert node.credentials.standing == Standing(country="DE")
    assert identify(node.signer.chain[0], PEOPLE.trust, PEOPLE.now).standing == Standing(country="DE")
    assert PEOPLE.node(path).credentials.standing == Standing()


@pytest.mark.parametrize("country", ["de", "XX", "EPO", "DEU", "D", "D\n"])
def test_what_is_no_country_is_attested_to_nobody(country: str) -> None:
    with pytest.raises(InvalidIdentity, match="ISO 3166-1"):
        Standing(country=country)


def test_a_certificate_with_two_countries_proves_nothing() -> None:
    names = [x509.NameAttribute(x509.NameOID.COUNTRY_NAME, country) for country in ("DE", "CN")]
    builder = x509.CertificateBuilder(CA.subject, x509.Name(names), CA_KEY.public_key(), 1, NOW, NOW + HOUR)
    with pytest.raises(InvalidIdentity, match="two organisations, roles or countries"):
        standing_of(builder.sign(CA_KEY, hashes.SHA256()), P1)
