"""The real providers for tests marked `oidc`: `bank` carries the nonce, `fund` does not; none outlives its file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.federation.oidc.server import NoProvider, RealProvider, Settings
from tests.support.certificate import self_signed
from tests.support.servers import NotInstalled, left_out

Start = Callable[..., RealProvider]
BANK = {
    "rosa": {"org": "B.A.N.K. plc", "groups": ["staff", "inbond-r"], "address": {"country": "Germany"}},
    "otto": {"org": "B.A.N.K. plc", "groups": ["staff", "inbond-o"], "address": {"country": "United Kingdom"}},
    "nils": {"org": "B.A.N.K. plc", "groups": ["staff", "inbond-r"], "address": {"country": "Germany"}},
}
FUND = {
    "rosa": {"org": "fund", "groups": ["researcher"]},
    "frida": {"org": "fund", "groups": ["auditor"]},
    "mole": {"org": "B.A.N.K. plc", "groups": ["officer"]},
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "oidc: needs Node.js and oidc-provider, which .ci/oidc installs")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The providers' certificate, which is its own authority, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def start(certificate: tuple[Path, Path]) -> Iterator[Start]:
    """Starts providers, which have all ended when the file has."""
    running: list[RealProvider] = []

    def one(people: dict[str, Any], **settings: Any) -> RealProvider:
        named = {name: {"preferred_username": name, **claims} for name, claims in people.items()}
        made = RealProvider(Settings(*certificate, named, **settings))
        running.append(made)
        try:
            made.start()
        except NotInstalled as error:
            left_out(error)
        except NoProvider as error:
            pytest.fail(str(error), pytrace=False)
        return made

    yield one
    for provider in running:
        provider.stop()
    assert all(provider.process is None or provider.process.poll() is not None for provider in running)


@pytest.fixture(scope="module")
def bank(start: Start) -> RealProvider:
    """Carries `nonce` through the device grant; its codes live two minutes."""
    return start(BANK)


@pytest.fixture(scope="module")
def fund(start: Start) -> RealProvider:
    """Carries no `nonce`, as oidc-provider by itself."""
    return start(FUND, nonce=False)
