"""What the commands of an authority's operator share: its folder, its unlock, its evidence, its output."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.audit.entry import Entry, EntryType
from compliance.audit.log import AuditLog
from federation.authority import KEYS, LEAF_LIFETIME, Authority, Record
from federation.logins import REFUSED
from inbond.acting import Place, decided_at
from inbond.config import authority_people
from inbond.console import emit, facts
from inbond.enrolment import utc_now
from inbond.keystore import KeyStore, Unlock
from policies.identity import SpiffeId

UNLOCK_FILE = "unlock.key"
LOG_ORIGIN = "audit/authority"
DEFAULT_HOME = Path("authority")
DEFAULT_UNLOCK = f"file:{UNLOCK_FILE}"

Home = Annotated[Path, typer.Option("--home", help="Folder of the authority.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
UnlockSetting = Annotated[
    str,
    typer.Option("--unlock", envvar="INBOND_CA_UNLOCK", help="file:PATH (from --home) or env:VARIABLE."),
]

Organisation = Annotated[str, typer.Option("--organisation", help="A person's organisation, such as bank.")]
Office = Annotated[str, typer.Option("--role", help="A person's role there: researcher, operator, officer, auditor.")]
Country = Annotated[
    str,
    typer.Option("--country", help="Where the member is, as the authority attests it: ISO 3166-1 alpha-2, such as DE."),
]


def open_authority(home: Path, unlock: str, leaf_lifetime: timedelta = LEAF_LIFETIME) -> Authority:
    """The authority in `home`, which records what it does; raises ConfigError."""
    record = recorder(home, unlock)
    return Authority.open(home, unlocked(unlock, home), record=record, leaf_lifetime=leaf_lifetime)


def recorder(home: Path, unlock: str) -> Record:
    """Where events go: the authority's own evidence log, opened for each (commands and server share it)."""

    def record(event: str, details: Mapping[str, Any]) -> None:
        keystore = KeyStore.open(home / KEYS, unlocked(unlock, home))
        name = str(details.get("id") or details.get("target") or details.get("trust_domain") or "authority")
        kind = EntryType.REFUSAL if event == REFUSED else EntryType.CERTIFICATE
        _append(home, keystore, kind, name, {"event": event, **{key: str(value) for key, value in details.items()}})

    return record


def _append(home: Path, keystore: KeyStore, kind: EntryType, subject: str, data: Mapping[str, Any]) -> None:
    """One entry in the authority's own evidence log, and a checkpoint over it."""
    with AuditLog.open(home / "audit.db", LOG_ORIGIN, keystore.signing_key) as log:
        log.append(Entry(kind, utc_now(), "authority", None, subject, dict(data)))
        log.checkpoint()


@contextmanager
def _at_authority(given: Mapping[str, Any]) -> Iterator[Place]:
    """The authority that a command's `home` and `unlock` name."""
    home: Path = given["home"]
    authority = Authority.open(home, unlocked(given["unlock"], home))
    yield Place(
        home,
        SpiffeId(authority.trust_domain, "/authority"),
        authority_people(home).organisation,
        trust=authority.trust(),
        keystore=authority.keystore,
        record=partial(_append, home, authority.keystore),
    )


decided = partial(decided_at, _at_authority)
"""A command at an authority's folder: decided before it does anything (`inbond.acting`)."""


def unlocked(setting: str, home: Path) -> Unlock:
    """What `--unlock` says."""
    return Unlock.from_setting(setting, home, os.environ)


def named(name: str, authority: Authority) -> SpiffeId:
    """A name such as user/rosa, or the whole SPIFFE ID; raises InvalidIdentity."""
    return SpiffeId.parse(name) if name.startswith("spiffe://") else SpiffeId(authority.trust_domain, f"/{name}")


def show(value: dict[str, Any], json: bool) -> None:
    """Facts for a person, or all of them as JSON."""
    shown = {name: text for name, text in value.items() if name != "certificate"}
    emit(value, json=json, human=lambda console: console.print(facts(shown)))
