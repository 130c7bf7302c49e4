"""The authority's side of a login at an OpenID provider: which providers, their keys, what their word is worth here.

The authority learns from an ID token the person's name, organisation, role and subject at the provider; it keeps hashes
of subject and token. A provider does not learn what the certificate is used for, nor of the other providers.
"""

import threading
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from federation import web
from federation.login_store import Proven, spend_token
from inbond.config import read_text
from inbond.enrolment import Clock
from inbond.errors import Refused
from inbond.keystore import write_private
from policies.document import read_document, validate
from policies.errors import InvalidIdentity
from policies.id_token import ProviderKey, UnknownKey, claimed_issuer, read_keys, verify_id_token
from policies.provider import Provider, mapped, subject_of
from policies.providers import Providers

FILE = "oidc.json"
KEYS_LIFETIME = timedelta(minutes=10)  # a key that the provider withdraws is believed no longer than this
KEYS_PAUSE = timedelta(seconds=30)  # between two looks because of a token with an unknown key


def read_providers(home: Path) -> Providers:
    """Which providers the authority in `home` believes, by name; raises ConfigError or InvalidInput."""
    path = home / FILE
    if not path.exists():
        return Providers(providers={})
    return validate(Providers, read_document(read_text(path, "what `inbond ca oidc set` wrote"), str(path)))


def write_providers(home: Path, providers: Providers) -> None:
    """Believe these providers from now on, and no others."""
    write_private(home / FILE, providers.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n")


def fetch_keys(provider: Provider) -> tuple[ProviderKey, ...]:
    """The keys that the provider publishes now; raises Unreachable, or InvalidIdentity where none is usable."""
    description = web.discover(provider.issuer)
    return read_keys(web.get(web.endpoint(description, "jwks_uri", provider.issuer)))


class _Published:
    """One provider's keys as fetched last, with a lock of its own: who is away keeps no other's people waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: tuple[ProviderKey, ...] = ()
        self._fetched: datetime | None = None

    def current(self, provider: Provider, now: datetime, oldest: timedelta) -> tuple[ProviderKey, ...]:
        """The provider's keys, fetched at most `oldest` ago."""
        with self._lock:
            age = now - self._fetched if self._fetched else None
            if age is None or not timedelta(0) <= age < oldest:
                self._keys = fetch_keys(provider)
                self._fetched = now
            return self._keys


class OidcLogin:
    """Turns an ID token into who somebody is here. Safe to share between threads."""

    def __init__(self, home: Path, trust_domain: str, clock: Clock) -> None:
        self._home, self._trust_domain, self._clock = home, trust_domain, clock
        self._lock = threading.Lock()
        self._published: dict[str, _Published] = {}  # by issuer; only for those that the operator named

    def prove(self, token: str, binding: str) -> Proven:
        """Whose token it is, for a login with the keys that `binding` (SHA-256 in hex) stands for.

        Raises Refused or InvalidIdentity; Unreachable when the provider's keys cannot be had.
        """
        name, provider = self._provider(token)
        with self._lock:
            published = self._published.setdefault(provider.issuer, _Published())
        now = self._clock()

        def opened(pause: timedelta) -> Proven:
            good = verify_id_token(
                token,
                published.current(provider, now, pause),
                issuer=provider.issuer,
                client_id=provider.client_id,
                now=now,
                nonce=binding,
                bound=provider.binding == "nonce",
            )
            spiffe_id, standing = mapped(provider, good.claims, self._trust_domain)

            def spend(connection: Connection) -> None:
                spend_token(connection, good.digest, good.keep_until, now)

            owner = f"oidc:{subject_of(provider.issuer, good.subject)}"
            return Proven(spiffe_id, standing, owner, spend, provider=name)

        try:
            return opened(KEYS_LIFETIME)
        except UnknownKey:  # the provider may have changed its keys a moment ago
            return opened(KEYS_PAUSE)

    def _provider(self, token: str) -> tuple[str, Provider]:
        """Whose keys must have signed the token, by the issuer that it claims."""
        trusted = read_providers(self._home)
        if not trusted.providers:
            raise Refused("no provider is trusted here", where="ID token", right="inbond ca oidc set")
        found = trusted.issued(claimed_issuer(token))
        if found is None:
            right = ", ".join(one.issuer for one in trusted.providers.values())
            raise InvalidIdentity("of another issuer", where="ID token", right=right)
        return found
