"""Two providers at one authority, over real TLS: each certifies its own people, and neither is in the other's way."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from federation import oidc
from inbond.errors import Refused
from policies.identity import Standing, identify
from policies.provider import Provider
from policies.providers import Providers
from tests.support.logins import PERSON, House, running_house
from tests.support.provider import CLIENT, LocalProvider


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running_house(tmp_path) as running:
        yield running


def _trust_both(house: House, other: LocalProvider) -> None:
    """Trust the house's provider as `bank`, and another, whose people are the fund's, as `fund`."""
    terms: dict[str, Any] = {"client_id": CLIENT, "role_claim": "roles"}
    both = {
        "bank": Provider(issuer=house.provider.issuer, organisation="bank", **terms),
        "fund": Provider(issuer=other.issuer, organisation_claim="org", organisations={"fund": "fund"}, **terms),
    }
    oidc.write_providers(house.home, Providers(providers=both))


def _other_token(house: House, other: LocalProvider, machine: str, **changes: Any) -> str:
    return other.signing.sign(other.claims({**PERSON, **changes}, nonce=house.binding(machine)))


@pytest.fixture
def other() -> Iterator[LocalProvider]:
    with LocalProvider() as provider:
        yield provider


def test_each_of_two_providers_certifies_its_own_people_and_no_others(house: House, other: LocalProvider) -> None:
    _trust_both(house, other)
    house.show_token(house.token())
    made = house.show_token(
        _other_token(house, other, "frida", preferred_username="frida", org="fund"), "frida", "frida"
    )
    assert identify(made.tls_chain_pem, made.trust, house.clock()).standing == Standing("fund", "researcher")
    assert [one["provider"] for one in house.named("login.accepted")] == ["bank", "fund"]
    with pytest.raises(Refused):
        house.show_token(_other_token(house, other, "mole", preferred_username="mole", org="bank"), "mole", "mole")
    assert house.events[-1][1]["reason"] == "claim org: maps to nothing"


def test_the_same_name_and_subject_at_another_provider_is_another_person(house: House, other: LocalProvider) -> None:
    _trust_both(house, other)
    house.show_token(house.token())
    with pytest.raises(Refused):
        house.show_token(_other_token(house, other, "thief", org="fund"), machine="thief")
    assert "the name is another login's" in house.events[-1][1]["reason"]
    assert house.show_token(house.token())


def test_a_provider_cannot_sign_for_another(house: House, other: LocalProvider) -> None:
    _trust_both(house, other)
    forged = other.signing.sign(house.provider.claims(PERSON, nonce=house.binding()))
    with pytest.raises(Refused):
        house.show_token(forged)
    assert "signature does not verify" in house.events[-1][1]["reason"]
    assert house.named("login.accepted") == []
    assert other.fetched == [], "and the other is not even asked"


def test_a_provider_that_hangs_keeps_only_its_own_people_waiting(
    house: House, other: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    _trust_both(house, other)
    asked, go_on, plain = threading.Event(), threading.Event(), other.get

    def hang(path: str) -> tuple[int, Mapping[str, Any]]:
        asked.set()
        go_on.wait(20)
        return plain(path)

    monkeypatch.setattr(other, "get", hang)
    token = _other_token(house, other, "frida", preferred_username="frida", org="fund")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(house.show_token, token, "frida", "frida")
        assert asked.wait(10)
        assert house.show_token(house.token())
        assert not waiting.done()
        go_on.set()
        assert waiting.result(20).spiffe_id.name == "frida"
