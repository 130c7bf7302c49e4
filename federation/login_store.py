"""What the authority remembers of logins, beside its members: accounts, whose a name is, and which tokens were used.

Nothing here lets anybody in: of a password it has scrypt, of a one-time secret a sealed text, of a token a hash. All
changes run in the authority's own transactions, so a certificate and what was spent for it come together or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, Float, Integer, LargeBinary, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

from inbond.errors import Refused
from policies.identity import SpiffeId, Standing

metadata = MetaData()
owners = Table(
    "login_owners",
    metadata,
    Column("spiffe_id", String(300), primary_key=True),
    Column("owner", String(80), nullable=False),  # oidc:<hash of provider and subject>, or account:<name>
)
tokens = Table(
    "login_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("keep_until", Float, nullable=False, index=True),
)
accounts = Table(
    "login_accounts",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("organisation", String(63), nullable=False),
    Column("role", String(16), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("password", LargeBinary, nullable=False),  # scrypt, at this cost
    Column("cost", Integer, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # of the one-time codes, sealed by the key store
    Column("last_step", Integer, nullable=False),  # of the last code that was good
    Column("failures", Integer, nullable=False),
    Column("locked_until", Float, nullable=False),
    Column("added", Float, nullable=False),
)
countries = Table(  # beside `accounts`, which authorities of before have without a country
    "login_countries",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("country", String(2), nullable=False),  # attested for this account
)


@dataclass(frozen=True, slots=True)
class Proven:
    """Somebody proved to be `owner`, who is `spiffe_id` here; `spend` takes what is good once, or raises Refused.

    `provider` is the name of the one whose word it was; empty for an account.
    """

    spiffe_id: SpiffeId
    standing: Standing
    owner: str
    spend: Callable[[Connection], None]
    provider: str = ""


def check_owner(connection: Connection, proven: Proven, *, taken: bool) -> None:
    """Raise Refused when the name is another's: of another account or subject, or of a member by invitation."""
    owner = owner_of(connection, str(proven.spiffe_id))
    if taken and owner != proven.owner:
        what = "the name is another login's" if owner else "the name joined by invitation"
        raise Refused(what, where=str(proven.spiffe_id), right="another name, or: inbond ca release NAME")


def owner_of(connection: Connection, spiffe_id: str) -> str:
    """Whose a name is; empty where nobody logs in with it."""
    found = connection.execute(select(owners.c.owner).where(owners.c.spiffe_id == spiffe_id)).first()
    return str(found.owner) if found else ""


def keep_owner(connection: Connection, spiffe_id: SpiffeId, owner: str) -> None:
    """The name, which is nobody's, is its owner's from now on."""
    connection.execute(insert(owners).values(spiffe_id=str(spiffe_id), owner=owner))


def forget_owner(connection: Connection, spiffe_id: str) -> None:
    """The name is nobody's."""
    connection.execute(delete(owners).where(owners.c.spiffe_id == spiffe_id))


def spend_token(connection: Connection, digest: str, keep_until: datetime, now: datetime) -> None:
    """Use a token up; raises Refused when it was used before. Those that have ended anyway are forgotten."""
    connection.execute(delete(tokens).where(tokens.c.keep_until < now.timestamp()))
    try:
        connection.execute(insert(tokens).values(digest=digest, keep_until=keep_until.timestamp()))
    except IntegrityError:
        raise Refused("the token was used before", where="ID token", right="a fresh login") from None
