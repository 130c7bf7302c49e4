"""What the commands of an authority's operator share: its folder, its unlock, its evidence, its output."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.audit.entry import Entry, EntryType
from compliance.audit.log import AuditLog
from federation.authority import KEYS, LEAF_LIFETIME, Authority, Record
from federation.logins import REFUSED
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
        with AuditLog.open(home / "audit.db", LOG_ORIGIN, keystore.signing_key) as log:
            data: dict[str, Any] = {"event": event, **{key: str(value) for key, value in details.items()}}
            log.append(Entry(kind, utc_now(), "authority", None, name, data))
            log.checkpoint()

    return record


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
