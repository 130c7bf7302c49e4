"""Accounts at the authority: a password and one-time codes, for a consortium without an OpenID provider.

The authority sees a password when somebody logs in, and keeps scrypt of it; the secret of the codes it has to keep,
sealed by its key store. An unknown name, a wrong password, a wrong code and a locked account cost the same stretching
and end in the same refusal. An attempt is counted before it is judged, so that many at once are no more than five.
"""

import secrets
import threading
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import Connection, Row, Select, case, delete, insert, select, update

from federation.authority import Authority, Record, said_of
from federation.login_store import Proven, accounts, countries, keep_owner, owner_of
from inbond.enrolment import Clock
from inbond.errors import ConfigError, Refused
from inbond.keystore import SALT_BYTES, SCRYPT_COST
from policies import totp
from policies.identity import SpiffeId, Standing

HASH_BYTES = 32
MIN_PASSWORD, MAX_PASSWORD = 12, 256  # characters
MAX_FAILURES = 5
LOCKED_FOR = timedelta(minutes=15)
MADE_BYTES = 15  # of a password that is made here: 120 bits


@dataclass(frozen=True, slots=True)
class Made:
    """A new account's secrets, to be handed over in confidence; the authority shows them this once."""

    spiffe_id: SpiffeId
    password: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """What an operator may see of an account; `locked_until` only while it is locked."""

    name: str
    standing: Standing
    added: datetime
    locked_until: datetime | None


class Accounts:
    """The accounts in an authority's database. Safe to share between threads."""

    def __init__(self, authority: Authority, clock: Clock, record: Record) -> None:
        self._authority, self._clock, self._record = authority, clock, record
        self._stretching = threading.Lock()  # scrypt takes 128 MiB: one at a time, whoever asks
        self._nobody = secrets.token_bytes(HASH_BYTES)
        self._no_secret = totp.new_secret()

    def add(self, name: str, standing: Standing, password: str = "") -> Made:
        """Make an account with this password, or one of its own; raises ConfigError or InvalidIdentity."""
        spiffe_id = self._id(name)
        if not standing.office:
            raise ConfigError("an account without a role", where=name, right="--organisation and --role")
        if str(spiffe_id) in self._authority.denied().ids:
            raise ConfigError("revoked for ever", where=str(spiffe_id), right="another name")
        password, secret = check_password(password or secrets.token_urlsafe(MADE_BYTES)), totp.new_secret()
        salt = secrets.token_bytes(SALT_BYTES)
        row = {
            "name": name,
            "organisation": standing.organisation,
            "role": standing.office,
            "salt": salt,
            "password": self._stretched(password, salt),
            "cost": SCRYPT_COST,
            "secret": self._authority.keystore.encrypt(secret, _context(name)),
            "last_step": 0,
            "failures": 0,
            "locked_until": 0.0,
            "added": self._clock().timestamp(),
        }
        with self._authority.change() as connection:
            known = connection.execute(select(accounts.c.name).where(accounts.c.name == name)).first()
            if known is not None or self._authority.is_taken(connection, spiffe_id):
                right = f"another name, or first: inbond ca account remove {name}, inbond ca release user/{name}"
                raise ConfigError("the name is taken", where=name, right=right)
            connection.execute(insert(accounts).values(**row))
            if standing.country:
                connection.execute(insert(countries).values(name=name, country=standing.country))
            keep_owner(connection, spiffe_id, _owner(name))
            self._record("account.added", {"id": str(spiffe_id), **said_of(standing)})
        return Made(spiffe_id, password, totp.provisioning_uri(secret, name, spiffe_id.trust_domain))

    def remove(self, name: str) -> None:
        """End an account and the keys it had; certificates live on until they end. Raises ConfigError for none."""
        spiffe_id = self._id(name)
        with self._authority.change() as connection:
            if connection.execute(delete(accounts).where(accounts.c.name == name)).rowcount != 1:
                raise ConfigError("no such account", where=name[:80], right="one of: inbond ca account list")
            connection.execute(delete(countries).where(countries.c.name == name))
            if owner_of(connection, str(spiffe_id)) == _owner(name):
                self._authority.forget(connection, spiffe_id)
            self._record("account.removed", {"id": str(spiffe_id)})

    def all(self) -> list[Account]:
        """Every account, by name."""
        with self._authority.change() as connection:
            rows = connection.execute(_whole().order_by(accounts.c.name)).all()
        now = self._clock().timestamp()
        return [
            Account(
                row.name,
                _standing(row),
                datetime.fromtimestamp(row.added, UTC),
                datetime.fromtimestamp(row.locked_until, UTC) if row.locked_until > now else None,
            )
            for row in rows
        ]

    def prove(self, name: str, password: str, code: str) -> Proven:
        """Who logs in; raises Refused, with the reason for the operator's eyes alone."""
        now = self._clock()
        row, open_ = self._attempt(name, now)
        known = self._holds(row, password)
        step = totp.matching_step(self._secret(row), code, now)
        if row is None:
            raise Refused("no such account", where="login", right="an account of this authority")
        if not open_:
            raise Refused(f"locked after {MAX_FAILURES} failures", where="login", right="wait, or a new account")
        if not known or step is None:
            what = f"wrong password or code ({row.failures} of {MAX_FAILURES} failures)"
            raise Refused(what, where="login", right="the account's password and a fresh code")

        def spend(connection: Connection) -> None:
            mine = (accounts.c.name == name, accounts.c.last_step < step, accounts.c.password == row.password)
            fresh = update(accounts).where(*mine).values(last_step=step, failures=0, locked_until=0.0)
            if connection.execute(fresh).rowcount != 1:
                raise Refused("the code was used before", where="login", right="the next code")

        return Proven(self._id(name), _standing(row), _owner(name), spend)

    def _attempt(self, name: str, now: datetime) -> tuple[Row[Any] | None, bool]:
        """The account as it stands after counting this attempt, and whether it was open to it."""
        failures, until = accounts.c.failures, (now + LOCKED_FOR).timestamp()
        counted = (
            update(accounts)
            .where(accounts.c.name == name, accounts.c.locked_until <= now.timestamp())
            .values(
                failures=case((failures >= MAX_FAILURES, 1), else_=failures + 1),  # a lock that has ended starts anew
                locked_until=case((failures == MAX_FAILURES - 1, until), else_=0.0),
            )
        )
        with self._authority.change() as connection:
            open_ = connection.execute(counted).rowcount == 1
            return connection.execute(_whole().where(accounts.c.name == name)).first(), open_

    def _holds(self, row: Row[Any] | None, password: str) -> bool:
        """Whether the password is the account's; as much work for nobody's as for somebody's."""
        salt, wanted, cost = bytes(SALT_BYTES), self._nobody, SCRYPT_COST
        if row is not None:
            salt, wanted, cost = row.salt, row.password, row.cost
        with self._stretching:
            try:
                _scrypt(salt, cost).verify(_normal(password), wanted)
            except InvalidKey:
                return False
        return True

    def _secret(self, row: Row[Any] | None) -> bytes:
        if row is None:
            return self._no_secret
        return self._authority.keystore.decrypt(row.secret, _context(row.name))

    def _stretched(self, password: str, salt: bytes) -> bytes:
        with self._stretching:
            return _scrypt(salt, SCRYPT_COST).derive(_normal(password))

    def _id(self, name: str) -> SpiffeId:
        return SpiffeId(self._authority.trust_domain, f"/user/{name}")


def _whole() -> Select[Any]:
    """Accounts with the countries attested for them."""
    return select(accounts, countries.c.country).outerjoin(countries, countries.c.name == accounts.c.name)


def _standing(row: Row[Any]) -> Standing:
    return Standing(row.organisation, row.role, row.country or "")


def check_password(text: str) -> str:
    """`text` itself when it may be a password; raises ConfigError, without repeating it."""
    if not MIN_PASSWORD <= len(text) <= MAX_PASSWORD:
        raise ConfigError(
            "the password's length", where="password", right=f"{MIN_PASSWORD} to {MAX_PASSWORD} characters"
        )
    return text


def _scrypt(salt: bytes, cost: int) -> Scrypt:
    return Scrypt(salt=salt, length=HASH_BYTES, n=cost, r=8, p=1)


def _normal(password: str) -> bytes:
    """One text for what two keyboards spell in two ways."""
    return unicodedata.normalize("NFC", password).encode()


def _context(name: str) -> str:
    return f"one-time codes of {name}"


def _owner(name: str) -> str:
    return f"account:{name}"
