"""A token proves its signer and its bytes, in one form only; everything else is refused before it is read."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.envelope import Signer, check_claims, make_claims, sign, thumbprint, verify
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId
from tests.support.authority import TestAuthority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYP = "inbond-job+jws"
ACME = TestAuthority("acme.test", NOW)
ANA = ACME.node("user/ana").signer
P1 = SpiffeId.parse("spiffe://acme.test/party/p1")
TOKEN = sign({"n": 1}, typ=TYP, signer=ANA)


def refused(token: str, reason: str, **changes: Any) -> None:
    with pytest.raises(InvalidIdentity, match=reason):
        verify(token, **{"typ": TYP, "trust": ACME.trust, "now": NOW, **changes})


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def resigned(header: bytes, payload: bytes, key: Ed25519PrivateKey = ANA.key) -> str:
    """A token of any header and payload with a signature that holds."""
    text = f"{encode(header)}.{encode(payload)}"
    return f"{text}.{encode(key.sign(text.encode()))}"


def header(**changes: Any) -> bytes:
    return compact({**json.loads(decode(TOKEN.split(".")[0])), **changes})


def test_what_was_signed_comes_back_with_its_signer() -> None:
    payload = {"iss": str(ANA.spiffe_id), "b": [1, 2.5, "é", None, True], "a": {"z": {}}}
    verified = verify(sign(payload, typ=TYP, signer=ANA), typ=TYP, trust=ACME.trust, now=NOW)
    assert (verified.payload, str(verified.issuer)) == (payload, "spiffe://acme.test/user/ana")
    assert verified.certificate.spiffe_id == verified.issuer


def test_signing_is_deterministic_whatever_the_order_of_keys() -> None:
    assert sign({"a": 1, "b": 2}, typ=TYP, signer=ANA) == sign({"b": 2, "a": 1}, typ=TYP, signer=ANA)


def test_the_header_names_algorithm_type_key_and_chain_only() -> None:
    fields = json.loads(decode(TOKEN.split(".")[0]))
    assert fields == {
        "alg": "EdDSA",
        "typ": TYP,
        "kid": f"{ANA.spiffe_id}#{thumbprint(ANA.key.public_key())}",
        "x5c": [base64.b64encode(ANA.chain[0]).decode()],
    }


def test_thumbprint_is_that_of_rfc_8037_appendix_a3() -> None:
    raw = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert thumbprint(Ed25519PublicKey.from_public_bytes(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_algorithm_none_is_refused() -> None:
    head = header(alg="none")
    refused(f"{encode(head)}.{TOKEN.split('.')[1]}.", "EdDSA")
    refused(f"{encode(head)}.{TOKEN.split('.')[1]}.{TOKEN.split('.')[2]}", "EdDSA")


def test_a_mac_under_the_public_key_is_refused() -> None:
    text = f"{encode(header(alg='HS256'))}.{TOKEN.split('.')[1]}"
    mac = hmac.new(ANA.key.public_key().public_bytes_raw(), text.encode(), hashlib.sha256).digest()
    refused(f"{text}.{encode(mac)}", "EdDSA")


@pytest.mark.parametrize("algorithm", ["ES256", "Ed448", "eddsa", "RS256", None, 7])
def test_no_other_algorithm_is_negotiated(algorithm: object) -> None:
    refused(resigned(header(alg=algorithm), b"{}"), "EdDSA")


def test_a_token_of_another_type_is_refused() -> None:
    refused(TOKEN, "another type", typ="inbond-verdict+jws")


@pytest.mark.parametrize("extra", [{"crit": ["b64"], "b64": False}, {"jwk": {}}, {"x5u": "https://evil.test"}])
def test_an_unknown_header_field_is_refused(extra: dict[str, Any]) -> None:
    refused(resigned(header(**extra), b"{}"), "exactly alg, kid, typ, x5c")


def test_a_kid_of_another_name_or_key_is_refused() -> None:
    refused(
        resigned(header(kid=f"spiffe://acme.test/user/bob#{thumbprint(ANA.key.public_key())}"), b"{}"),
        "named",
    )
    refused(resigned(header(kid=f"{ANA.spiffe_id}#{'A' * 43}"), b"{}"), "named")


def test_an_altered_payload_or_a_foreign_signature_is_refused() -> None:
    head, _, signature = TOKEN.split(".")
    refused(f"{head}.{encode(compact({'n': 2}))}.{signature}", "signature does not verify")
    refused(resigned(header(), b"{}", Ed25519PrivateKey.generate()), "signature does not verify")


def test_the_signature_is_checked_before_the_payload_is_parsed() -> None:
    refused(resigned(header(), b"[" * 5000, Ed25519PrivateKey.generate()), "signature does not verify")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{ "a":1}',
        b'{"a":NaN}',
        b'{"a":1e400}',
        b"[1]",
        b"1",
        b"\xff",
        b'{"a":9007199254740993}',
        b'{"a":' + b"[" * 20_000,
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 6000 + b"}",
    ],
)
def test_a_payload_that_is_not_a_canonical_object_is_refused(payload: bytes) -> None:
    refused(resigned(header(), payload), "canonical")


def test_a_header_with_a_duplicate_key_is_refused() -> None:
    refused(resigned(header().replace(b'{"alg"', b'{"alg":"none","alg"'), b"{}"), "canonical JSON object")


def test_base64_has_one_spelling() -> None:
    head, body, signature = TOKEN.split(".")
    last = signature[-1]
    twin = next(
        c for c in "ABCDEFGHQRSTUVWXghijklmnwxyz0123" if c != last and decode(signature[:-1] + c) == decode(signature)
    )
    refused(f"{head}.{body}.{signature[:-1]}{twin}", "canonical base64url")
    for other in (f"{signature}==", f"{signature}\n", f" {signature}", f"{signature[:-1]}+", signature + "!"):
        refused(f"{head}.{body}.{other}", "canonical base64url")


def test_size_is_limited_before_anything_is_parsed() -> None:
    refused(TOKEN, "at most 100 bytes", max_bytes=100)
    refused("A" * 70_000 + ".e30.AA", "not JWS compact")
    refused("é.é.é", "not ASCII")
    refused("a.b", "header.payload.signature")
    refused("a.b.c.d.e", "header.payload.signature")


@pytest.mark.parametrize("chain", [[], "text", [1], ["!!!"], ["AAAA"] * 4, None])
def test_a_chain_that_is_none_is_refused(chain: object) -> None:
    refused(resigned(header(x5c=chain), b"{}"), "certificate chain|base64")


def test_a_certificate_of_another_consortium_is_refused() -> None:
    other = TestAuthority("other.test", NOW).node("user/ana").signer
    refused(sign({}, typ=TYP, signer=other), "of trust domain other.test")
    same_name = TestAuthority("acme.test", NOW).node("user/ana").signer
    refused(sign({}, typ=TYP, signer=same_name), "does not chain")


def test_a_tls_certificate_signs_no_token() -> None:
    node = ACME.node("user/eve")
    tls = base64.b64encode(_der(node.credentials.tls_chain_pem)).decode()
    refused(resigned(header(x5c=[tls]), b"{}", node.keystore.signing_key), "not the one named")


def test_a_signer_cannot_speak_for_another_issuer() -> None:
    refused(sign({"iss": str(P1)}, typ=TYP, signer=ANA), "iss is not the signer")


def test_a_token_outlives_its_certificate_only_for_who_asks_about_then() -> None:
    later = NOW + timedelta(days=2)
    refused(TOKEN, "expired", now=later)
    assert verify(TOKEN, typ=TYP, trust=ACME.trust, now=NOW).payload == {"n": 1}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("AZaz09-_.=+/ "))
def test_no_altered_character_survives(position: int, character: str) -> None:
    altered = TOKEN[:position] + character + TOKEN[position + 1 :]
    if altered != TOKEN:
        with pytest.raises(InvalidIdentity):
            verify(altered, typ=TYP, trust=ACME.trust, now=NOW)


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": 2**60}, {"a": {1, 2}}, {1: "a"}])
def test_what_is_not_json_cannot_be_signed(payload: dict[Any, Any]) -> None:
    with pytest.raises(InvalidInput):
        sign(payload, typ=TYP, signer=ANA)


def test_a_signer_does_not_show_its_key() -> None:
    assert "PrivateKey" not in repr(Signer(ANA.spiffe_id, ANA.key, ANA.chain))


CLAIMS = make_claims(ANA.spiffe_id, [str(P1)], NOW, timedelta(minutes=5))


def test_fresh_claims_pass_and_tell_the_replay_store_what_to_keep() -> None:
    claims = check_claims(CLAIMS, audience=P1, now=NOW)
    assert (claims.issuer, claims.jti) == (str(ANA.spiffe_id), CLAIMS["jti"])
    assert claims.keep_until == NOW + timedelta(minutes=6)
    assert make_claims(ANA.spiffe_id, [], NOW, timedelta(1))["jti"] != CLAIMS["jti"]


def test_clocks_may_differ_by_a_minute() -> None:
    check_claims(CLAIMS, audience=P1, now=NOW - timedelta(seconds=60))
    check_claims(CLAIMS, audience=P1, now=NOW + timedelta(minutes=5, seconds=59))


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({}, NOW - timedelta(seconds=61), "future"),
        ({}, NOW + timedelta(minutes=6), "expired"),
        ({"exp": CLAIMS["iat"]}, NOW, "expired"),
        ({"aud": ["spiffe://acme.test/party/p2"]}, NOW, "somebody else"),
        ({"aud": str(P1) + "x"}, NOW, "somebody else"),
        ({"aud": None}, NOW, "somebody else"),
        ({"iss": None}, NOW, "issuer"),
        ({"jti": "1"}, NOW, "message id"),
        ({"jti": 5}, NOW, "message id"),
        ({"exp": True}, NOW, "no time"),
        ({"iat": 1.5}, NOW, "no time"),
        ({"nbf": -1}, NOW, "no time"),
        ({"exp": 2**60}, NOW, "no time"),
    ],
)
def test_claims_for_others_or_for_another_time_are_refused(changes: dict[str, Any], now: datetime, reason: str) -> None:
    with pytest.raises(InvalidIdentity, match=reason):
        check_claims({**CLAIMS, **changes}, audience=P1, now=now)


def _der(pem: bytes) -> bytes:
    from policies.certificates import to_der
    from policies.identity import load_certificate

    return to_der(load_certificate(pem))
