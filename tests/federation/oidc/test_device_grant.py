"""The device grant against an independent provider: what a person does on its pages, and what comes of it here."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from federation.device_login import Prompt, device_login
from federation.oidc import KEYS_PAUSE, OidcLogin, write_providers
from inbond.errors import Refused
from policies.errors import InvalidIdentity
from policies.id_token import UnknownKey
from policies.identity import Standing
from policies.provider import Client, Provider
from policies.providers import Providers
from tests.federation.oidc.conftest import BANK, Start
from tests.federation.oidc.server import CLIENT, Browser, RealProvider

pytestmark = pytest.mark.oidc
NONCE = "ab" * 32
Act = Callable[[Browser, Prompt], None]


@pytest.fixture(autouse=True)
def _trusting(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


def _logs_in(name: str) -> Act:
    def act(browser: Browser, prompt: Prompt) -> None:
        browser.log_in(prompt.url, prompt.code, name)
        assert "Sign-in Success" in browser.agree()

    return act


def _refuses(browser: Browser, prompt: Prompt) -> None:
    browser.log_in(prompt.url, prompt.code, "rosa")
    browser.refuse()


def _aborts(browser: Browser, prompt: Prompt) -> None:
    browser.open(prompt.url)
    browser.send(user_code=prompt.code)
    browser.send(abort="yes")


def _token(provider: RealProvider, act: Act, sleep: Callable[[float], None] = time.sleep) -> str:
    """An ID token of the person who does `act` when the prompt is shown."""
    with Browser(provider) as browser:
        client = Client(issuer=provider.issuer, client_id=CLIENT)
        return device_login(client, NONCE, partial(act, browser), sleep=sleep)


def _login(provider: RealProvider, home: Path, clock: Callable[[], datetime]) -> OidcLogin:
    """An authority's side that believes the provider."""
    said: dict[str, Any] = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "organisation": "bank",
        "role_claim": "groups",
        "roles": {"inbond-r": "researcher", "inbond-o": "officer"},
        "country_claim": "org",
        "countries": {"B.A.N.K. plc": "DE"},
    }
    write_providers(home, Providers(providers={"bank": Provider(**said)}))
    return OidcLogin(home, "acme.test", clock)


@pytest.mark.parametrize("act", [_refuses, _aborts])
def test_who_does_not_agree_at_the_provider_ends_the_login(bank: RealProvider, act: Act) -> None:
    with pytest.raises(Refused, match="the provider refuses \\(access_denied\\)"):
        _token(bank, act)


def test_a_client_that_the_provider_does_not_know_is_refused(bank: RealProvider) -> None:
    client = Client(issuer=bank.issuer, client_id="stranger")
    with pytest.raises(Refused, match="the provider refuses \\(invalid_client\\)"):
        device_login(client, NONCE, lambda _prompt: None)


def test_a_provider_that_names_no_pace_is_asked_every_five_seconds(start: Start) -> None:
    waits: list[float] = []
    assert _token(start(BANK, interval=0, pace=0), _logs_in("rosa"), waits.append).count(".") == 2
    assert waits == [5.0]


def test_a_provider_that_is_asked_too_soon_is_asked_five_seconds_later_from_then_on(start: Start) -> None:
    provider, waits = start(BANK, interval=1, pace=60, slower=1.4), list[float]()

    def four_times_as_fast(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds / 4)

    assert _token(provider, _logs_in("rosa"), four_times_as_fast).count(".") == 2
    assert provider.answers(2) == ["slow_down", "token"]
    assert waits == [1, 6]


def test_a_code_that_has_ended_is_good_for_nothing_at_either_side(start: Start) -> None:
    provider, shown = start(BANK, code_s=3, pace=0), list[Prompt]()

    def shows(_browser: Browser, prompt: Prompt) -> None:
        shown.append(prompt)

    with pytest.raises(Refused, match="the provider refuses \\(expired_token\\)"):
        _token(provider, shows, lambda _seconds: time.sleep(4))
    with Browser(provider) as browser:
        browser.open(shown[0].url)
        page = browser.send(user_code=shown[0].code)
    assert "The code you entered is incorrect" in page


def test_nobody_waits_longer_than_the_code_lives(start: Start) -> None:
    provider, waits = start(BANK, code_s=30, interval=7, pace=0), list[float]()
    client = Client(issuer=provider.issuer, client_id=CLIENT)
    with pytest.raises(Refused, match="nobody logged in in time"):
        device_login(client, NONCE, lambda _prompt: None, sleep=waits.append, clock=lambda: float(sum(waits)))
    assert waits == [7] * 4
    assert provider.answers(4) == ["authorization_pending"] * 4


def test_a_token_of_an_independent_provider_says_who_somebody_is(bank: RealProvider, tmp_path: Path) -> None:
    login = _login(bank, tmp_path, lambda: datetime.now(UTC))
    token = _token(bank, _logs_in("otto"))
    proven = login.prove(token, NONCE)
    assert (proven.spiffe_id.name, proven.standing) == ("otto", Standing("bank", "officer", "DE"))
    with pytest.raises(InvalidIdentity, match="for another key"):
        login.prove(token, "cd" * 32)


def test_keys_that_the_provider_changed_count_from_the_next_look_on(start: Start, tmp_path: Path) -> None:
    provider, ahead = start(BANK), timedelta(0)
    login = _login(provider, tmp_path, lambda: datetime.now(UTC) + ahead)
    first = _token(provider, _logs_in("rosa"))
    login.prove(first, NONCE)
    provider.stop()
    provider.start()
    token = _token(provider, _logs_in("rosa"))
    with pytest.raises(UnknownKey):
        login.prove(token, NONCE)
    ahead = KEYS_PAUSE + timedelta(seconds=1)
    assert login.prove(token, NONCE).spiffe_id.name == "rosa"
    with pytest.raises(UnknownKey):
        login.prove(first, NONCE)
