"""What comes from a provider: over verified TLS, in bounds, from where it was asked, or not at all."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from federation import web
from inbond.errors import Unreachable
from policies.errors import InvalidInput
from tests.support.provider import LocalProvider

DISCOVERY = "/realm/.well-known/openid-configuration"


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


def _certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A self-signed server certificate and its key, as files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.2"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = (folder / "server.pem", folder / "server.key")
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files[1].write_bytes(key.private_bytes(*private))
    return files


def test_the_description_of_the_issuer_is_read(provider: LocalProvider) -> None:
    found = web.discover(provider.issuer)
    assert web.endpoint(found, "jwks_uri", provider.issuer) == f"{provider.issuer}/keys"


def test_a_certificate_that_this_system_does_not_trust_is_no_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _certificate(tmp_path)
    with LocalProvider(files) as secure:
        with pytest.raises(Unreachable, match="certificate that this system trusts"):
            web.discover(secure.issuer)
        assert secure.fetched == []
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        assert web.discover(secure.issuer)["issuer"] == secure.issuer


def test_a_certificate_for_another_host_is_no_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _certificate(tmp_path, "login.bank.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    with LocalProvider(files) as secure, pytest.raises(Unreachable):
        web.discover(secure.issuer)


def test_plain_http_goes_nowhere_but_to_this_machine() -> None:
    with pytest.raises(InvalidInput, match="not an address to trust"):
        web.fetch("http://login.bank.example/keys")


def test_a_description_of_another_issuer_is_refused(provider: LocalProvider) -> None:
    provider.pages[DISCOVERY] = (200, json.dumps({**provider.description(), "issuer": "https://evil"}).encode(), {})
    with pytest.raises(Unreachable, match="another issuer"):
        web.discover(provider.issuer)


def test_a_redirect_is_not_followed(provider: LocalProvider) -> None:
    provider.pages[DISCOVERY] = (302, b"{}", {"Location": f"{provider.issuer}/keys"})
    with pytest.raises(Unreachable, match="status 302"):
        web.discover(provider.issuer)
    assert provider.fetched == []


@pytest.mark.parametrize("data", [b"", b"[]", b"<html>", b"{", b"a: b", b'{"a": 1, "a": 2}', b"\xff", b'{"a": NaN}'])
def test_what_is_no_json_object_is_no_answer(provider: LocalProvider, data: bytes) -> None:
    provider.pages[DISCOVERY] = (200, data, {})
    with pytest.raises(Unreachable, match="no JSON object"):
        web.discover(provider.issuer)


def test_an_answer_without_end_is_cut(provider: LocalProvider) -> None:
    provider.pages[DISCOVERY] = (200, b" " * (web.MAX_BYTES + 1), {})
    with pytest.raises(Unreachable, match="has no end"):
        web.discover(provider.issuer)


def test_a_provider_that_is_away_is_named() -> None:
    with pytest.raises(Unreachable, match=r"^http://localhost:9/realm/.*the provider does not answer"):
        web.discover("http://localhost:9/realm")


@pytest.mark.parametrize("url", ["http://localhost:1/keys", "http://evil.example/keys", "file:///etc/passwd", 7, None])
def test_an_https_issuer_has_no_endpoint_in_the_clear(url: object) -> None:
    with pytest.raises(Unreachable, match="no usable jwks_uri"):
        web.endpoint({"jwks_uri": url}, "jwks_uri", "https://login.bank.example")
