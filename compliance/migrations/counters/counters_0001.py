"""Accounts of counted people, the flows that were counted into them, and breaches with what was done about each.

A flow's people stand in `pending` until it is settled, and in `seen` afterwards, with the last day on which they were
sent. `unnamed` are people of whom only the number is known. What is said of a breach is never changed.
"""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "counters_0001"
down_revision = None
branch_labels = None
depends_on = None

KEPT = ("breaches", "breach_acts", "ledger")
TABLES = ("ledger", "accounts", "flows", "flow_accounts", "pending", "seen", "breaches", "breach_acts")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("exporter", sa.Text, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
        sa.Column("period", sa.Integer, nullable=False),  # a year, or 0 where the last twelve months count
        sa.Column("closed", sa.Integer),  # how many a year had when its people were forgotten
        sa.UniqueConstraint("exporter", "heading", "period"),
    )
    op.create_table(
        "flows",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("exporter", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),  # as date.toordinal, UTC
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "flow_accounts",
        sa.Column("account", sa.Integer, sa.ForeignKey("accounts.number"), primary_key=True),
        sa.Column("flow", sa.Integer, sa.ForeignKey("flows.number"), primary_key=True),
        sa.Column("unnamed", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    _people()
    _breaches()
    forbid_changes(KEPT)


def _people() -> None:
    op.create_table(
        "pending",
        sa.Column("flow", sa.Integer, sa.ForeignKey("flows.number"), primary_key=True),
        sa.Column("person", sa.LargeBinary, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "seen",
        sa.Column("account", sa.Integer, sa.ForeignKey("accounts.number"), primary_key=True),
        sa.Column("person", sa.LargeBinary, primary_key=True),
        sa.Column("last", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )


def _breaches() -> None:
    op.create_table(
        "breaches",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("opened", sa.Text, nullable=False),
        sa.Column("aware", sa.Text, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
    )
    op.create_table(
        "breach_acts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("breach", sa.Integer, sa.ForeignKey("breaches.number"), nullable=False),
        sa.Column("act", sa.Text, nullable=False),  # a duty, or `closed`
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("needed", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)
