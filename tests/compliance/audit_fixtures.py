"""Entries and logs that the audit tests share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.audit import AuditLog, Entry, EntryType

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ORIGIN = "inbond.example/audit/acme"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(number: int = 0, *, job: str | None = "job-1", kind: EntryType = EntryType.DECISION) -> Entry:
    return Entry(
        type=kind,
        time=NOON + timedelta(seconds=number),
        node="spiffe://acme.example/party/warehouse",
        job=job,
        subject=f"plan:{number}",
        data={"effect": "permit", "articles": ["GDPR 46(2)(c)"]},
    )


def open_log(path: Path, *, key: Ed25519PrivateKey = KEY, origin: str = ORIGIN) -> AuditLog:
    return AuditLog.open(path, origin, key, clock=lambda: NOON, busy_seconds=0.2)


def signed_log(path: Path, size: int) -> Path:
    """Write a log of `size` entries with a checkpoint over them all."""
    with open_log(path) as log:
        log.append_many([entry(number) for number in range(size)])
        log.checkpoint()
    return path
