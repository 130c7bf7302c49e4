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
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=300), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("sum_key", sa.LargeBinary(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("changed", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
    )
    op.create_table(
        "orders_seen",
        sa.Column("issuer", sa.String(length=300), primary_key=True),
        sa.Column("jti", sa.String(length=64), primary_key=True),
        sa.Column("expires", sa.Float(), nullable=False),
    )
    op.create_table(
        "parties",
        sa.Column("name", sa.String(length=63), primary_key=True),
        sa.Column("catalogue", sa.Text(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("job", "number"),
    )
    op.create_table(
        "replies",
        sa.Column("request", sa.String(length=32), primary_key=True),
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("party", sa.String(length=63), nullable=False),
        sa.Column("step", sa.String(length=40), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("job", sa.String(length=32), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("party", sa.String(length=63), primary_key=True),
        sa.Column("token", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("verdicts")
    op.drop_table("replies")
    op.drop_table("events")
    op.drop_table("parties")
    op.drop_table("orders_seen")
    op.drop_table("jobs")
