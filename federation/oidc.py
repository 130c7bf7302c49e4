"""The authority's side of a login at an OpenID provider: which provider, its keys, and what its word is worth here.

The authority learns from an ID token the person's name, organisation, role and subject at the provider; it keeps hashes
of subject and token. The provider does not learn what the certificate is used for.
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
from policies.id_token import ProviderKey, UnknownKey, read_keys, verify_id_token
from policies.provider import Provider, mapped, subject_of

FILE = "oidc.json"
KEYS_LIFETIME = timedelta(minutes=10)  # a key that the provider withdraws is believed no longer than this
KEYS_PAUSE = timedelta(seconds=30)  # between two looks because of a token with an unknown key


def read_provider(home: Path) -> Provider | None:
    """Which provider the authority in `home` believes; None for none. Raises ConfigError or InvalidInput."""
    path = home / FILE
    if not path.exists():
        return None
    return validate(Provider, read_document(read_text(path, "what `inbond ca oidc set` wrote"), str(path)))


def write_provider(home: Path, provider: Provider) -> None:
    """Believe this provider from now on."""
    write_private(home / FILE, provider.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n")


def fetch_keys(provider: Provider) -> tuple[ProviderKey, ...]:
    """The keys that the provider publishes now; raises Unreachable, or InvalidIdentity where none is usable."""
    description = web.discover(provider.issuer)
    return read_keys(web.get(web.endpoint(description, "jwks_uri", provider.issuer)))


class OidcLogin:
    """Turns an ID token into who somebody is here. Safe to share between threads."""

    def __init__(self, home: Path, trust_domain: str, clock: Clock) -> None:
        self._home, self._trust_domain, self._clock = home, trust_domain, clock
        self._lock = threading.Lock()
        self._issuer = ""
        self._keys: tuple[ProviderKey, ...] = ()
        self._fetched: datetime | None = None

    def prove(self, token: str, binding: str) -> Proven:
        """Whose token it is, for a login with the keys that `binding` (SHA-256 in hex) stands for.

        Raises Refused or InvalidIdentity; Unreachable when the provider's keys cannot be had.
        """
        provider = read_provider(self._home)
        if provider is None:
            raise Refused("no provider is trusted here", where="ID token", right="inbond ca oidc set")
        now = self._clock()

        def opened(pause: timedelta) -> Proven:
            good = verify_id_token(
                token,
                self._current_keys(provider, now, pause),
                issuer=provider.issuer,
                client_id=provider.client_id,
                now=now,
                nonce=binding,
                bound=provider.binding == "nonce",
            )
            spiffe_id, standing = mapped(provider, good.claims, self._trust_domain)

            def spend(connection: Connection) -> None:
                spend_token(connection, good.digest, good.keep_until, now)

            return Proven(spiffe_id, standing, f"oidc:{subject_of(provider.issuer, good.subject)}", spend)

        try:
            return opened(KEYS_LIFETIME)
        except UnknownKey:  # the provider may have changed its keys a moment ago
            return opened(KEYS_PAUSE)

    def _current_keys(self, provider: Provider, now: datetime, oldest: timedelta) -> tuple[ProviderKey, ...]:
        """The provider's keys, fetched at most `oldest` ago."""
        with self._lock:
            age = now - self._fetched if self._fetched and self._issuer == provider.issuer else None
            if age is None or not timedelta(0) <= age < oldest:
                self._keys = fetch_keys(provider)
                self._issuer, self._fetched = provider.issuer, now
            return self._keys
