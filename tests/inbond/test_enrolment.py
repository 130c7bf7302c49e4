"""What a node believes while it joins: its invitation's CA, and certificates of its own name and keys."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbond.credentials import Credentials
from inbond.enrolment import (
    BUNDLE_TYP,
    PREFIX,
    Invitation,
    enrol,
    fetch_denylist,
    new_secret,
    offline_accept,
    offline_reply,
    offline_request,
    public_half,
    read_bundle,
    renew,
    sign_bundle,
)
from inbond.errors import ConfigError, InbondError, Unreachable
from inbond.v1 import authority_pb2 as wire
from policies.certificates import load_request, requested_key, to_der
from policies.denylist import to_token
from policies.envelope import sign
from policies.errors import InvalidIdentity
from policies.identity import load_certificate
from tests.support.authority import Node, TestAuthority

ACME = TestAuthority("acme.test")
NOW = ACME.now
OFFICE = ACME.node("authority")
P1 = ACME.id("party/p1")
INVITATION = Invitation(
    P1,
    "localhost:8441",
    "localhost:8442",
    ACME.certificate,
    NOW + timedelta(hours=1),
    new_secret(),
    "hub.test:443",
)


def test_an_invitation_survives_its_text() -> None:
    again = Invitation.parse(f"  {INVITATION}\n")
    assert again == replace(INVITATION, expires=INVITATION.expires.replace(microsecond=0))
    assert str(INVITATION).startswith(PREFIX)
    assert len(INVITATION.fingerprint) == 64


def altered(**changes: Any) -> str:
    body = str(INVITATION).removeprefix(PREFIX)
    value = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return PREFIX + base64.urlsafe_b64encode(json.dumps({**value, **changes}).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "spiffe://other.test/party/p1"},
        {"id": 5},
        {"ca": ""},
        {"ca": base64.b64encode(OFFICE.credentials.signing_chain[0]).decode()},
        {"secret": "00"},
        {"secret": None},
        {"enrol": "https://localhost"},
        {"authority": "localhost:8442/../x"},
        {"coordinator": "unix:/tmp/x"},
        {"expires": "soon"},
        {"expires": 10**20},
    ],
)
def test_a_damaged_invitation_is_one_clear_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="damaged invitation"):
        Invitation.parse(altered(**changes))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.booleans())
def test_any_other_text_is_one_clear_error(text: str, prefixed: bool) -> None:
    with pytest.raises(ConfigError):
        Invitation.parse(PREFIX + text if prefixed else text)


def test_neither_errors_nor_repr_show_the_secret() -> None:
    secret = INVITATION.secret.hex()
    with pytest.raises(ConfigError) as caught:
        Invitation.parse(altered(enrol="?"))
    assert secret not in str(caught.value)
    assert secret not in repr(INVITATION)
    assert str(INVITATION.secret) not in repr(INVITATION)
    assert INVITATION.secret not in public_half(INVITATION.secret)


def test_an_expired_invitation_is_not_even_tried(tmp_path: Path) -> None:
    keystore = ACME.node("party/p1", tmp_path).keystore
    with pytest.raises(ConfigError, match="has expired"):
        enrol(str(INVITATION), keystore, tmp_path, clock=lambda: NOW + timedelta(hours=2))
    assert not (tmp_path / "credentials.json").exists()


def test_an_authority_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    node = ACME.node("party/p1")
    monkeypatch.setattr("inbond.enrolment.TIMEOUT_S", 1.0)
    for call in (renew, fetch_denylist):
        with pytest.raises(Unreachable, match=r"^127\.0\.0\.1:1: the authority does not answer"):
            call(node.credentials, node.keystore, "127.0.0.1:1")


def test_a_node_that_enrolled_from_a_file_must_be_told_where_to_renew() -> None:
    node = ACME.node("party/p1")
    with pytest.raises(ConfigError, match="no address of the authority"):
        renew(node.credentials, node.keystore)


def answer(node: Node, **changes: Any) -> wire.Certificates:
    """The honest authority's answer to `node`, with `changes`."""
    fields: dict[str, Any] = {
        "tls_certificate": to_der(load_certificate(node.credentials.tls_chain_pem)),
        "signing_certificate": node.credentials.signing_chain[0],
        "bundle": sign_bundle([ACME.certificate], OFFICE.signer, NOW),
        "deny_list": to_token(ACME.denied, OFFICE.signer, NOW),
    }
    return wire.Certificates(**{**fields, **changes})


def accept(node: Node, reply: wire.Certificates, folder: Path, **changes: Any) -> Credentials:
    arguments: dict[str, Any] = {"fingerprint": INVITATION.fingerprint, "clock": lambda: NOW, **changes}
    return offline_accept(offline_reply(reply, ACME.certificate), P1, node.keystore, folder, **arguments)


def test_an_air_gapped_node_takes_its_certificates_from_a_file(tmp_path: Path) -> None:
    node = ACME.node("party/p1")
    made = accept(node, answer(node), tmp_path)
    assert made == Credentials.load(tmp_path)
    assert made.signer(node.keystore).spiffe_id == P1
    with pytest.raises(ConfigError, match="another authority"):
        accept(node, answer(node), tmp_path, fingerprint="0" * 64)
    with pytest.raises(ConfigError, match="not a reply"):
        offline_accept("{}", P1, node.keystore, tmp_path, fingerprint=INVITATION.fingerprint)


def test_the_offline_request_holds_tls_then_signing_key() -> None:
    node = ACME.node("party/p1")
    first, second = offline_request(P1, node.keystore).split("-----END CERTIFICATE REQUEST-----\n")[:2]
    for text, key in ((first, node.keystore.tls_key), (second, node.keystore.signing_key)):
        request = load_request((text + "-----END CERTIFICATE REQUEST-----\n").encode())
        assert requested_key(request) == key.public_key()


def test_certificates_of_another_name_or_key_are_refused(tmp_path: Path) -> None:
    node = ACME.node("party/p1")
    other_key, other_name = ACME.node("party/p1"), ACME.certify("party/p2", node.keystore)
    for changes in (
        {"signing_certificate": other_key.credentials.signing_chain[0]},
        {"tls_certificate": to_der(load_certificate(other_key.credentials.tls_chain_pem))},
        {"signing_certificate": other_name.signing_chain[0]},
        {"signing_certificate": answer(node).tls_certificate},
    ):
        with pytest.raises(InvalidIdentity, match="another name or key"):
            accept(node, answer(node, **changes), tmp_path)
    assert not (tmp_path / "credentials.json").exists()


def test_a_server_in_between_cannot_add_a_ca_or_forge_a_deny_list(tmp_path: Path) -> None:
    """The coordinator may answer under the authority's host name; it cannot sign for it."""
    node, hub = ACME.node("party/p1"), ACME.node("coordinator")
    evil = TestAuthority("acme.test").certificate
    with pytest.raises(InvalidIdentity, match="not the authority's bundle"):
        accept(node, answer(node, bundle=sign_bundle([ACME.certificate, evil], hub.signer, NOW)), tmp_path)
    with pytest.raises(InvalidIdentity, match="not signed by the authority"):
        accept(node, answer(node, deny_list=to_token(ACME.denied, hub.signer, NOW)), tmp_path)


def test_a_bundle_brings_the_next_ca_of_our_own_domain_only() -> None:
    following = TestAuthority("acme.test").certificate
    trust = read_bundle(sign_bundle([ACME.certificate, following], OFFICE.signer, NOW), ACME.trust, NOW)
    assert trust.authorities == (ACME.certificate, following)
    foreign = TestAuthority("other.test").certificate
    with pytest.raises(InvalidIdentity, match="CA of another trust domain"):
        read_bundle(sign_bundle([foreign], OFFICE.signer, NOW), ACME.trust, NOW)
    for listed in ([], "text", ["!"], [5], [""] * 9, None):
        token = sign({"authorities": listed}, typ=BUNDLE_TYP, signer=OFFICE.signer)
        with pytest.raises(InvalidIdentity):
            read_bundle(token, ACME.trust, NOW)


def test_hostile_replies_give_one_clear_error(tmp_path: Path) -> None:
    node = ACME.node("party/p1")
    for reply in (
        wire.Certificates(),
        answer(node, tls_certificate=b"\x30\x80"),
        answer(node, deny_list="a.b.c"),
    ):
        with pytest.raises((InbondError, InvalidIdentity)):
            accept(node, reply, tmp_path)
    for text in ("", "[" * 100_000, '{"ca": 1}', '{"ca": "", "certificates": ""}'):
        with pytest.raises(ConfigError, match="not a reply"):
            offline_accept(text, P1, node.keystore, tmp_path, fingerprint="00")
