"""The facts that transfers of admitted jobs were judged on; the file itself refuses to change or drop any."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "past_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "judged",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.UniqueConstraint("job", "facts"),
    )
    forbid_changes(("judged",))


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("judged")
