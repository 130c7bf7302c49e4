"""An authority with accounts and a trusted provider on this machine, and people who log in over real TLS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from federation.accounts import Accounts
from federation.authority import Authority
from federation.authority_service import Serving, serve
from federation.logins import Logins
from federation.oidc import write_providers
from inbond.credentials import Credentials
from inbond.enrolment import LoginProof, login
from inbond.keystore import KeyStore, Unlock
from policies.certificates import key_binding
from policies.identity import SpiffeId
from policies.provider import Provider
from policies.providers import SOLE, Providers
from tests.support.provider import CLIENT, LocalProvider

DOMAIN = "acme.test"
PERSON = {"sub": "4711", "preferred_username": "rosa", "org": "bank", "roles": ["researcher"]}


@dataclass
class House:
    """A serving authority whose clock and evidence the test holds."""

    root: Path
    provider: LocalProvider
    ahead: timedelta = timedelta(0)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    unlock: Unlock = field(init=False)
    authority: Authority = field(init=False)
    logins: Logins = field(init=False)
    accounts: Accounts = field(init=False)
    serving: Serving = field(init=False)

    @property
    def home(self) -> Path:
        return self.root / "authority"

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def record(self, event: str, details: Mapping[str, Any]) -> None:
        self.events.append((event, details))

    def open(self) -> "House":
        """Found the authority, trust the provider, serve."""
        self.unlock = Unlock.new_file(self.root / "unlock.key")
        Authority.create(
            self.home,
            DOMAIN,
            self.unlock,
            enrol_address="localhost:1",
            address="localhost:2",
            dns=["localhost"],
            ips=["127.0.0.1"],
            clock=self.clock,
        )
        self.trust()
        self.start()
        return self

    def start(self) -> None:
        """Serve what is in the folder."""
        self.authority = Authority.open(self.home, self.unlock, clock=self.clock, record=self.record)
        self.logins = Logins(self.authority, self.home, clock=self.clock, record=self.record)
        self.accounts = Accounts(self.authority, self.clock, self.record)
        self.serving = serve(self.authority, "127.0.0.1:0", "127.0.0.1:0", clock=self.clock, login=self.logins)

    def close(self) -> None:
        """Serve no more."""
        self.serving.server.stop(None).wait()

    def trust(self, **changes: Any) -> None:
        """Trust the provider on these terms."""
        said = {"issuer": self.provider.issuer, "client_id": CLIENT, "organisation_claim": "org", "role_claim": "roles"}
        write_providers(self.home, Providers(providers={SOLE: Provider(**{**said, **changes})}))

    def keys(self, name: str = "rosa") -> KeyStore:
        """A machine's own keys, the same for one name."""
        folder = self.root / name
        return KeyStore.open(folder, self.unlock) if folder.exists() else KeyStore.create(folder, self.unlock)

    def binding(self, name: str = "rosa") -> str:
        """What a token for that machine has to name."""
        keystore = self.keys(name)
        return key_binding(keystore.tls_key.public_key(), keystore.signing_key.public_key())

    def token(self, machine: str = "rosa", algorithm: str = "RS256", **changes: Any) -> str:
        """A good token of the provider for the keys of `machine`, but for `changes`."""
        claims = self.provider.claims(PERSON, nonce=self.binding(machine))
        kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return self.provider.signing.sign(kept, algorithm)

    def show(self, proof: LoginProof, name: str = "rosa", machine: str = "rosa", country: str = "DE") -> Credentials:
        """Log in over the wire as `user/<name>` with the keys of `machine`, which states to be in `country`."""
        return login(
            SpiffeId(DOMAIN, f"/user/{name}"),
            proof,
            self.keys(machine),
            self.root / f"{machine}-certs",
            trust=self.authority.trust(),
            enrol_address=f"127.0.0.1:{self.serving.enrol_port}",
            authority_address=f"127.0.0.1:{self.serving.port}",
            country=country,
            clock=self.clock,
        )

    def show_token(self, token: str, name: str = "rosa", machine: str = "rosa") -> Credentials:
        """`show` of an ID token."""
        return self.show(LoginProof(id_token=token), name, machine)

    def named(self, event: str) -> list[Mapping[str, Any]]:
        """The details of every event of one name."""
        return [details for name, details in self.events if name == event]


@contextmanager
def running_house(root: Path) -> Iterator[House]:
    """A house that serves, beside its provider."""
    with LocalProvider() as provider:
        house = House(root, provider).open()
        try:
            yield house
        finally:
            house.close()
