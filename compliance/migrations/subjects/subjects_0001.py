"""What people said of the use of their data, and their requests; the file itself refuses to change or drop either."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "subjects_0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("request_ends", "requests", "statements", "registry")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "registry",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "statements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("person", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_index("statements_by_person", "statements", ["person", "number"])
    op.create_table(
        "requests",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("person", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("regime", sa.Text, nullable=False),
        sa.Column("received", sa.Text, nullable=False),
        sa.Column("due", sa.Text, nullable=False),
    )
    op.create_table(
        "request_ends",
        sa.Column("number", sa.Integer, sa.ForeignKey("requests.number"), primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    forbid_changes(TABLES)


def downgrade() -> None:
    """Drop the tables."""
    for table in TABLES:
        op.drop_table(table)
