"""Duties that admitted jobs left behind; the file itself refuses to change or drop any."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "duties_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "duties",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("exporter", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("duty", sa.Text, nullable=False),
    )
    op.create_index("duties_between", "duties", ["exporter", "recipient", "code"])
    forbid_changes(("duties",))


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("duties")
