"""One-time codes by time (RFC 6238 over RFC 4226): six digits, 30 seconds, HMAC-SHA-1, as authenticators have them.

Whoever has the secret knows every code, so it is kept sealed. The caller owns the clock, and remembers the step of the
last code that was good: a code is good once.
"""

import hmac
import secrets
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

DIGITS = 6
STEP_S = 30
DRIFT = 1  # steps either way (RFC 6238 section 5.2 allows for slow fingers and clocks)
_HMAC = SHA1()  # noqa: S303  # what authenticators know; HMAC does not need SHA-1 to be free of collisions
SECRET_BYTES = 20  # RFC 4226 section 4: 160 bits are recommended


def new_secret() -> bytes:
    """160 fresh random bits."""
    return secrets.token_bytes(SECRET_BYTES)


def step_at(now: datetime) -> int:
    """The number of whole steps since 1970."""
    return int(now.timestamp()) // STEP_S


def code_of(secret: bytes, step: int, *, digits: int = DIGITS, algorithm: SHA1 | SHA256 | SHA512 = _HMAC) -> str:
    """The code of one step (RFC 6238 section 4.2)."""
    return HOTP(secret, digits, algorithm).generate(step).decode()


def matching_step(secret: bytes, given: str, now: datetime) -> int | None:
    """The newest step near `now` whose code was given; all are compared, each in constant time."""
    found = None
    for step in range(step_at(now) - DRIFT, step_at(now) + DRIFT + 1):
        if hmac.compare_digest(code_of(secret, step).encode(), given.encode()):
            found = step
    return found


def provisioning_uri(secret: bytes, name: str, consortium: str) -> str:
    """The `otpauth://` URI that an authenticator takes up; it holds the secret."""
    return TOTP(secret, DIGITS, _HMAC, STEP_S).get_provisioning_uri(name, consortium)
