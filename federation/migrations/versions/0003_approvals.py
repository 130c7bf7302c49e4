"""Jobs that wait for people, and what people signed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "waits",
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("person", sa.String(length=300), primary_key=True),
        sa.Column("token", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables; waiting jobs are planned again and wait anew."""
    op.drop_table("approvals")
    op.drop_table("waits")
