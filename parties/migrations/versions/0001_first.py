"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
    )
    op.create_table(
        "orders_seen",
        sa.Column("issuer", sa.String(length=300), primary_key=True),
        sa.Column("jti", sa.String(length=64), primary_key=True),
        sa.Column("expires", sa.Float(), nullable=False),
    )
    op.create_table(
        "inbox",
        sa.Column("request", sa.String(length=32), primary_key=True),
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("step", sa.String(length=40), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("inbox")
    op.drop_table("orders_seen")
    op.drop_table("jobs")
