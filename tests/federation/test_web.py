"""What comes from a provider: over verified TLS, in bounds, from where it was asked, or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation import web
from inbond.errors import Unreachable
from policies.errors import InvalidInput
from tests.support.certificate import self_signed
from tests.support.provider import LocalProvider

DISCOVERY = "/realm/.well-known/openid-configuration"


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


def test_the_description_of_the_issuer_is_read(provider: LocalProvider) -> None:
    found = web.discover(provider.issuer)
    assert web.endpoint(found, "jwks_uri", provider.issuer) == f"{provider.issuer}/keys"


def test_a_certificate_that_this_system_does_not_trust_is_no_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = self_signed(tmp_path)
    with LocalProvider(files) as secure:
        with pytest.raises(Unreachable, match="certificate that this system trusts"):
            web.discover(secure.issuer)
        assert secure.fetched == []
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        assert web.discover(secure.issuer)["issuer"] == secure.issuer


def test_a_certificate_for_another_host_is_no_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = self_signed(tmp_path, "login.bank.example")
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
