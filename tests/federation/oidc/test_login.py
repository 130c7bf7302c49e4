"""`inbond login` between real processes: an authority, two independent providers, and people at their pages.

`bank` attests where its people are by a claim, `fund` for all of its own; each speaks for one organisation.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.consortium import AUTHORITY, NAME
from inbond.credentials import Credentials
from inbond.node import LOGIN_FILE
from policies.identity import Standing
from tests.federation.oidc.server import CLIENT, Browser, RealProvider
from tests.system.world import World

pytestmark = pytest.mark.oidc
BANK_MAPS = ("--organisation-claim", "org", "--map-organisation", "B.A.N.K. plc=bank", "--role-claim", "groups")
BANK_ROLES = ("--map-role", "inbond-r=researcher", "--map-role", "inbond-o=officer")
BANK_PLACES = (
    "--country-claim",
    "address.country",
    "--map-country",
    "Germany=DE",
    "--map-country",
    "United Kingdom=GB",
)
FUND_MAPS = ("--organisation-claim", "org", "--map-organisation", "fund=fund", "--role-claim", "groups")


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path], bank: RealProvider, fund: RealProvider
) -> Iterator[World]:
    """An authority that trusts both; people state the countries that they are in."""
    with World(tmp_path_factory.mktemp("login"), [], {"SSL_CERT_FILE": str(certificate[0])}) as running:
        running.make()
        wanted = ("--scopes", "openid profile address", "--issuer", bank.issuer, "--client-id", CLIENT)
        running.command("ca", "oidc", "set", "bank", *wanted, *BANK_MAPS, *BANK_ROLES, *BANK_PLACES, home=AUTHORITY)
        _trust_fund(running, fund)
        for name, country in (("rosa", "DE"), ("otto", "DE"), ("nils", "DE"), ("frida", "LU"), ("mole", "LU")):
            running.command("user", "init", name, "--consortium", NAME, "--country", country, home=name)
        yield running


def _trust_fund(house: World, fund: RealProvider, *changes: str) -> None:
    """Say what the fund's claims mean, and hand out a new card."""
    terms = ("--issuer", fund.issuer, "--client-id", CLIENT, *FUND_MAPS, "--country", "LU", *changes)
    house.command("ca", "oidc", "set", "fund", *terms, home=AUTHORITY)
    house.command("ca", "card", "--out", str(_card(house)), home=AUTHORITY)


def _card(house: World) -> Path:
    return house.root / "card.json"


class Ended:
    """How `inbond login` ended: exit code, what it printed and what it told."""

    def __init__(self, code: int, printed: str, told: str) -> None:
        self.code, self.printed, self.told = code, printed, " ".join(told.split())


def _login(
    house: World, provider: RealProvider, home: str, act: Callable[[Browser, str, str], None], *arguments: str
) -> Ended:
    """`inbond login` in a process of its own, while a person does `act` with the page and the code that it shows."""
    command = [sys.executable, "-m", "inbond", "login", "--json", "--home", str(house.home(home)), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=house._environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = ""
        while "Waiting" not in told and (line := process.stderr.readline()):
            told += line
        found = re.search(r"Open (\S+) and enter the code (\S+)", " ".join(told.split()))
        assert found, told
        with Browser(provider) as browser:
            act(browser, found[1], found[2])
        printed, rest = process.communicate(timeout=60)
        return Ended(process.returncode, printed, told + rest)


def _as(name: str) -> Callable[[Browser, str, str], None]:
    def act(browser: Browser, url: str, code: str) -> None:
        browser.log_in(url, code, name)
        assert "Sign-in Success" in browser.agree()

    return act


def _standing(house: World, home: str) -> Standing:
    return Credentials.load(house.home(home) / "certs").standing


def _nothing_kept(house: World, home: str) -> bool:
    return not (house.home(home) / "certs").exists() and not (house.home(home) / LOGIN_FILE).exists()


def _events(house: World, event: str) -> list[dict[str, Any]]:
    return [dict(one.data) for one in house.entries(AUTHORITY) if one.data.get("event") == event]


def test_a_person_who_types_a_wrong_code_first_and_waits_gets_a_certificate_of_the_claims(
    house: World, bank: RealProvider
) -> None:
    def act(browser: Browser, url: str, code: str) -> None:
        browser.open(url)
        page = browser.send(user_code="BCDF-GHJK")
        assert "The code you entered is incorrect" in page
        assert bank.answers(1) == ["authorization_pending"]
        _as("rosa")(browser, url, code)

    done = _login(house, bank, "rosa", act, "--provider", "bank", "--card", str(_card(house)))
    assert done.code == 0, done.told
    assert json.loads(done.printed)["id"] == f"spiffe://{NAME}/user/rosa"
    assert _standing(house, "rosa") == Standing("bank", "researcher", "DE")
    (accepted,) = _events(house, "login.accepted")
    assert (accepted["provider"], accepted["organisation"], accepted["country"]) == ("bank", "bank", "DE")


def test_a_person_who_refuses_consent_gets_nothing_and_keeps_nothing(house: World, bank: RealProvider) -> None:
    def act(browser: Browser, url: str, code: str) -> None:
        browser.log_in(url, code, "nils")
        browser.refuse()

    done = _login(house, bank, "nils", act, "--provider", "bank", "--card", str(_card(house)))
    assert done.code == 3
    assert "the provider refuses (access_denied)" in done.told
    assert "Traceback" not in done.told
    assert _nothing_kept(house, "nils")


def test_a_stated_country_that_the_provider_denies_is_refused(house: World, bank: RealProvider) -> None:
    done = _login(house, bank, "otto", _as("otto"), "--provider", "bank", "--card", str(_card(house)))
    assert done.code != 0
    assert "[node] country: claims DE, and the authority attests GB; country = GB, or " in done.told
    assert _nothing_kept(house, "otto")


def test_a_provider_without_nonce_needs_single_use_and_certifies_only_its_own(house: World, fund: RealProvider) -> None:
    at = ("--provider", "fund", "--card", str(_card(house)))
    done = _login(house, fund, "frida", _as("frida"), *at)
    assert done.code == 3
    assert "the ID token is not bound to this machine's keys" in done.told
    assert "--binding single-use" in done.told
    before = len(_events(house, "login.refused"))

    _trust_fund(house, fund, "--binding", "single-use")
    done = _login(house, fund, "frida", _as("frida"), *at)
    assert done.code == 0, done.told
    assert _standing(house, "frida") == Standing("fund", "auditor", "LU")
    assert _events(house, "login.accepted")[-1]["provider"] == "fund"

    with ThreadPoolExecutor() as pool:  # at once: each is a process that starts for seconds
        ended = list(pool.map(lambda name: _login(house, fund, name, _as(name), *at), ("mole", "rosa")))
    assert [one.code for one in ended] == [3, 3], ended
    assert sorted(one["reason"] for one in _events(house, "login.refused")[before:]) == [
        "claim org: maps to nothing",
        f"spiffe://{NAME}/user/rosa: the name is another login's",
    ], "what the provider did not bind was not sent"
    assert _standing(house, "rosa").organisation == "bank"


def test_the_operator_sees_both_and_their_keys(house: World, bank: RealProvider) -> None:
    rows = json.loads(house.command("ca", "oidc", "list", "--json", home=AUTHORITY))
    assert [(row["name"], row["speaks_for"], row["country"]) for row in rows] == [
        ("bank", ["bank"], "claim address.country"),
        ("fund", ["fund"], "LU"),
    ]
    (key,) = house.json("ca", "oidc", "check", "bank", home=AUTHORITY)["keys"]
    assert key.endswith("(RS256)")
    house.verify(AUTHORITY)
