"""The device grant of RFC 8628 against a real provider on loopback; waiting is the test's to say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from federation.device_login import GRANT, Prompt, device_login
from inbond.errors import Refused, Unreachable
from policies.provider import Client
from tests.support.provider import CLIENT, LocalProvider

NONCE = "ab" * 32
ROSA = {"sub": "1", "preferred_username": "rosa"}
PENDING = (400, {"error": "authorization_pending"})


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with LocalProvider() as running:
        yield running


class Person:
    """Reads the prompt, and lets the time pass without waiting."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.waits: list[float] = []

    def log_in(self, provider: LocalProvider, **changes: Any) -> str:
        client = Client(**{"issuer": provider.issuer, "client_id": CLIENT, **changes})
        return device_login(
            client, NONCE, self.prompts.append, sleep=self.waits.append, clock=lambda: float(sum(self.waits))
        )


def _starts(provider: LocalProvider, **changes: Any) -> None:
    """The device endpoint answers with a sound beginning, but for `changes`."""
    value = {"device_code": "d", "user_code": "C", "verification_uri": f"{provider.issuer}/page", "expires_in": 60}
    provider.pages["/realm/device"] = (200, json.dumps({**value, **changes}).encode(), {})


def test_whoever_follows_the_prompt_gets_a_token_bound_to_the_nonce(provider: LocalProvider) -> None:
    provider.approve(ROSA)
    person = Person()
    assert person.log_in(provider).count(".") == 2
    page = f"{provider.issuer}/page"
    assert person.prompts == [Prompt(page, "WDJB-MJHT", f"{page}?user_code=WDJB-MJHT")]
    (_, asked), (_, polled) = provider.asked
    assert asked == {"client_id": CLIENT, "scope": "openid profile", "nonce": NONCE}
    assert set(polled) == {"grant_type", "client_id", "device_code"}
    assert polled["grant_type"] == GRANT


def test_pending_means_the_same_pace_and_slow_down_five_seconds_more(provider: LocalProvider) -> None:
    provider.answers += [PENDING, (400, {"error": "slow_down"}), PENDING, (200, {"id_token": "a.b.c"})]
    _starts(provider, interval=2)
    person = Person()
    assert person.log_in(provider) == "a.b.c"
    assert person.waits == [2, 2, 7, 7]


def test_without_an_interval_it_is_five_seconds(provider: LocalProvider) -> None:
    provider.answers += [(200, {"id_token": "a.b.c"})]
    _starts(provider)
    person = Person()
    person.log_in(provider)
    assert person.waits == [5]


def test_a_provider_that_is_away_for_a_moment_is_asked_less_often(provider: LocalProvider) -> None:
    _starts(provider, interval=1)
    provider.pages["/realm/token"] = (200, b"<html>", {})
    person = Person()

    def back(seconds: float) -> None:
        person.waits.append(seconds)
        if len(person.waits) == 3:
            provider.pages.pop("/realm/token")
            provider.answers.append((200, {"id_token": "a.b.c"}))

    client = Client(issuer=provider.issuer, client_id=CLIENT)
    device_login(client, NONCE, person.prompts.append, sleep=back, clock=lambda: sum(person.waits))
    assert person.waits == [1, 2, 4]


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "invalid_grant", "x" * 500, 7, None])
def test_every_other_answer_ends_it_in_one_line(provider: LocalProvider, error: Any) -> None:
    provider.answers += [PENDING, (400, {"error": error})]
    with pytest.raises(Refused, match="the provider refuses") as caught:
        Person().log_in(provider)
    assert len(str(caught.value)) < 300


def test_nobody_waits_longer_than_the_code_lives(provider: LocalProvider) -> None:
    _starts(provider, interval=10, expires_in=35)
    provider.answers += [PENDING] * 9
    person = Person()
    with pytest.raises(Refused, match="nobody logged in in time"):
        person.log_in(provider)
    assert person.waits == [10, 10, 10]


def test_a_client_that_the_provider_does_not_know_is_told(provider: LocalProvider) -> None:
    with pytest.raises(Refused, match="invalid_client"):
        Person().log_in(provider, client_id="stranger")


@pytest.mark.parametrize(
    "change",
    [
        {"verification_uri": "http://evil.example/"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri_complete": "http://evil.example/"},
        {"verification_uri": None},
        {"user_code": ""},
        {"user_code": "x" * 65},
        {"device_code": None},
    ],
)
def test_a_person_is_sent_to_no_unsafe_page(provider: LocalProvider, change: dict[str, Any]) -> None:
    _starts(provider, **change)
    person = Person()
    with pytest.raises(Unreachable, match="no page or no code"):
        person.log_in(provider)
    assert person.prompts == []


@pytest.mark.parametrize("answer", [{}, {"id_token": ""}, {"id_token": 5}, {"id_token": "x" * 20_000}])
def test_an_answer_without_a_token_is_refused(provider: LocalProvider, answer: dict[str, Any]) -> None:
    _starts(provider)
    provider.answers.append((200, answer))
    with pytest.raises(Refused, match="no ID token"):
        Person().log_in(provider)


@pytest.mark.parametrize("value", [-1, 0, True, "5", None])
def test_a_pace_that_makes_no_sense_is_five_seconds(provider: LocalProvider, value: Any) -> None:
    _starts(provider, interval=value)
    provider.answers.append((200, {"id_token": "a.b.c"}))
    person = Person()
    person.log_in(provider)
    assert person.waits == [5]


def test_no_provider_makes_a_person_wait_for_more_than_a_minute_at_a_time(provider: LocalProvider) -> None:
    _starts(provider, interval=1e9, expires_in=1e9)
    provider.answers += [PENDING, (200, {"id_token": "a.b.c"})]
    person = Person()
    person.log_in(provider)
    assert person.waits == [60, 60]
