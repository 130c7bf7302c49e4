"""An ID token counts when the trusted provider signed it for this client, now, for these keys; every forgery fails."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from policies.errors import InvalidIdentity
from policies.id_token import IdToken, UnknownKey, read_keys, verify_id_token
from tests.support.provider import CLIENT, SigningKeys, b64, public_jwk, shared_secret, unsigned

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = "https://login.bank.example/realm"
NONCE = "ab" * 32
SIGNING = SigningKeys()
KEYS = read_keys(SIGNING.jwks())
START = int(NOW.timestamp())
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "4711",
    "nonce": NONCE,
    "iat": START,
    "exp": START + 300,
}


def _open(token: str, *, bound: bool = True, now: datetime = NOW) -> IdToken:
    return verify_id_token(token, KEYS, issuer=ISSUER, client_id=CLIENT, now=now, nonce=NONCE, bound=bound)


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name not in names}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_each_algorithm_is_opened(algorithm: str) -> None:
    found = _open(SIGNING.sign(GOOD, algorithm))
    assert (found.subject, found.claims) == ("4711", GOOD)
    assert found.keep_until == NOW + timedelta(minutes=6), "five minutes, and one for clocks that differ"


FORGED = [
    ({**GOOD, "aud": "another-client"}, "for another audience"),
    ({**GOOD, "aud": [CLIENT, "another-client"]}, "for another audience"),
    ({**GOOD, "aud": [CLIENT, "x"], "azp": "x"}, "for another audience"),
    ({**GOOD, "azp": "another-client"}, "for another audience"),
    ({**GOOD, "aud": []}, "for another audience"),
    (_without("aud"), "for another audience"),
    ({**GOOD, "iss": "https://evil.example/realm"}, "of another issuer"),
    ({**GOOD, "iss": ISSUER + "/"}, "of another issuer"),
    (_without("iss"), "of another issuer"),
    ({**GOOD, "exp": START - 61, "iat": START - 100}, "expired"),
    ({**GOOD, "iat": START - 361, "exp": START + 86400}, "expired"),
    ({**GOOD, "iat": START + 61}, "from the future"),
    ({**GOOD, "nbf": START + 61}, "from the future"),
    (_without("exp"), "no time"),
    (_without("iat"), "no time"),
    ({**GOOD, "exp": True}, "no time"),
    ({**GOOD, "exp": "9999999999"}, "no time"),
    ({**GOOD, "exp": 1e300}, "no time"),
    ({**GOOD, "nonce": "cd" * 32}, "for another key"),
    (_without("nonce"), "for another key"),
    (_without("sub"), "no subject"),
    ({**GOOD, "sub": ""}, "no subject"),
    ({**GOOD, "sub": 4711}, "no subject"),
    ({**GOOD, "sub": "x" * 256}, "no subject"),
]


@pytest.mark.parametrize(("claims", "told"), FORGED)
def test_claims_for_somebody_else_or_another_time_are_refused(claims: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidIdentity, match=told):
        _open(SIGNING.sign(claims))


def test_several_audiences_are_good_when_the_token_was_issued_to_this_client() -> None:
    assert _open(SIGNING.sign({**GOOD, "aud": ["x", CLIENT], "azp": CLIENT}))


def test_where_tokens_need_not_be_bound_one_for_another_key_is_refused_all_the_same() -> None:
    assert _open(SIGNING.sign(_without("nonce")), bound=False)
    with pytest.raises(InvalidIdentity, match="for another key"):
        _open(SIGNING.sign({**GOOD, "nonce": "cd" * 32}), bound=False)
    with pytest.raises(InvalidIdentity, match="for another key"):
        _open(SIGNING.sign({**GOOD, "nonce": None}), bound=False)


def test_no_signature_and_a_shared_secret_are_no_algorithms() -> None:
    with pytest.raises(InvalidIdentity, match="algorithm"):
        _open(unsigned(GOOD) + "AA")
    with pytest.raises(InvalidIdentity, match=r"JWS compact|base64url"):
        _open(unsigned(GOOD))
    for kid in ("RS256", "HS256"):
        with pytest.raises(InvalidIdentity, match="algorithm"):
            _open(shared_secret(GOOD, SIGNING.public_pem("RS256"), kid))


HEADERS = [
    ({"alg": "RS384"}, "algorithm"),
    ({"alg": "none"}, "algorithm"),
    ({"alg": ["RS256"]}, "algorithm"),
    ({"alg": "ES256"}, "signed by no key"),
    ({"alg": "ES256", "kid": "ES256"}, "signature does not verify"),
    ({"kid": "short"}, "signed by no key"),
    ({"kid": "nobody"}, "signed by no key"),
    ({"kid": 7}, "signed by no key"),
    ({"crit": ["b64"], "b64": False}, "another type"),
    ({"typ": "at+jwt"}, "another type"),
    ({"typ": {"JWT": 1}}, "another type"),
]


@pytest.mark.parametrize(("header", "told"), HEADERS)
def test_the_header_chooses_nothing_but_one_of_the_providers_keys(header: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidIdentity, match=told):
        _open(SIGNING.sign(GOOD, header=header))


def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    thief = SigningKeys()
    jwk = public_jwk(thief.keys["RS256"])
    with pytest.raises(InvalidIdentity, match="signature does not verify"):
        _open(thief.sign(GOOD, header={"jwk": jwk, "jku": "https://evil.example/keys"}))
    with pytest.raises(UnknownKey):
        _open(thief.sign(GOOD, header={"kid": "mine", "jwk": jwk}))


def test_a_token_without_a_key_name_is_good_only_where_one_key_fits() -> None:
    token = SIGNING.sign(GOOD, header={"kid": None})
    assert _open(token)
    two = read_keys({"keys": [*SIGNING.jwks()["keys"], *SigningKeys().jwks()["keys"]]})
    with pytest.raises(UnknownKey):
        verify_id_token(token, two, issuer=ISSUER, client_id=CLIENT, now=NOW, nonce=NONCE, bound=True)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_altered_letter_is_refused(part: int) -> None:
    parts = SIGNING.sign(GOOD, "EdDSA").split(".")
    middle = len(parts[part]) // 2
    parts[part] = parts[part][:middle] + ("A" if parts[part][middle] != "A" else "B") + parts[part][middle + 1 :]
    with pytest.raises(InvalidIdentity):
        _open(".".join(parts))


def test_another_spelling_of_a_signature_is_the_same_token() -> None:
    """ECDSA: (r, s) and (r, n - s) both verify; whoever keeps tokens that were used must not be fooled by it."""
    head, body, signature = SIGNING.sign(GOOD, "ES256").split(".")
    key = SIGNING.keys["ES256"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(key.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
    other = f"{head}.{body}.{b64(r.to_bytes(32, 'big') + (order - s).to_bytes(32, 'big'))}"
    assert other != f"{head}.{body}.{signature}"
    assert _open(other).digest == _open(f"{head}.{body}.{signature}").digest


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c.d", "..", "x" * 17000, "é.é.é", f"{b64(b'[]')}.{b64(b'{}')}.AA", f"{b64(b'a: b')}.e30.AA"],
)
def test_what_is_no_token_is_refused_in_one_way(token: str) -> None:
    with pytest.raises(InvalidIdentity):
        _open(token)


def test_a_claim_that_is_said_twice_is_refused() -> None:
    body = json.dumps(GOOD)[:-1] + ', "sub": "4712"}'
    text = f"{SIGNING.sign(GOOD, 'EdDSA').split('.')[0]}.{b64(body.encode())}"
    with pytest.raises(InvalidIdentity, match="not a JSON object"):
        _open(f"{text}.{b64(SIGNING._signature('EdDSA', text.encode()))}")


def test_errors_repeat_nothing_that_a_token_says() -> None:
    said = "rosa@bank.example"
    for claims in ({**GOOD, "iss": said}, {**GOOD, "aud": said}, {**GOOD, "sub": [said]}, {**GOOD, "nonce": said}):
        with pytest.raises(InvalidIdentity) as caught:
            _open(SIGNING.sign(claims))
        assert said not in str(caught.value)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB"},
        public_jwk(RSA) | {"use": "enc"},
        public_jwk(RSA) | {"alg": "RS512"},
        public_jwk(RSA) | {"kid": 5},
        public_jwk(RSA) | {"e": "!"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"},
        {"kty": "OKP", "crv": "X25519", "x": b64(b"\0" * 32)},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "oct", "k": "AA"},
        {"kty": ["RSA"]},
        {},
        "RSA",
    ],
)
def test_weak_and_foreign_keys_are_passed_over(jwk: Any) -> None:
    with pytest.raises(InvalidIdentity, match="no usable key"):
        read_keys({"keys": [jwk]})


@pytest.mark.parametrize("value", [{}, {"keys": None}, {"keys": {}}, {"keys": []}])
def test_a_set_without_keys_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidIdentity, match="no usable key"):
        read_keys(value)
