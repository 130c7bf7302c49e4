"""Records of evidence and their ends; the file itself refuses to change or drop either."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "law_0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("record_ends", "records")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "records",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("added", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_table(
        "record_ends",
        sa.Column("id", sa.Text, sa.ForeignKey("records.id"), primary_key=True),
        sa.Column("ended", sa.Text, nullable=False),
    )
    forbid_changes(TABLES)


def downgrade() -> None:
    """Drop the tables."""
    for table in TABLES:
        op.drop_table(table)
