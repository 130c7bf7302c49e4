"""Agreements as they were signed, their revocations, and each use; the file refuses to change or drop any."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "agreements_0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("agreements", "signatures", "revocations", "uses", "use_ends")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "agreements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("added", sa.Text, nullable=False),
        sa.Column("agreement", sa.Text, nullable=False),
    )
    for table in ("signatures", "revocations"):
        op.create_table(
            table,
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("id", sa.Text, sa.ForeignKey("agreements.id"), nullable=False),
            sa.Column("signer", sa.Text, nullable=False),
            sa.Column("at", sa.Text, nullable=False),
            sa.Column("token", sa.Text, nullable=False),
            sa.UniqueConstraint("id", "token"),
        )
    op.create_table(
        "uses",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, sa.ForeignKey("agreements.id"), nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("asked", sa.Text, nullable=False),  # digest of what was to become known
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_table(
        "use_ends",
        sa.Column("use", sa.Integer, sa.ForeignKey("uses.number"), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),  # committed or rolled_back; without one, a use counts
        sa.Column("at", sa.Text, nullable=False),
    )
    forbid_changes(TABLES)


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)
