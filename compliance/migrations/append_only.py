"""Tables that the file itself lets nobody change or shorten, whoever holds it open."""

from collections.abc import Iterable

from alembic import op


def forbid_changes(tables: Iterable[str]) -> None:
    """Refuse UPDATE and DELETE on `tables` from this revision on."""
    for table in tables:
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_{event.lower()} BEFORE {event} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END"
            )
