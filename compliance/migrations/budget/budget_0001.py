"""Datasets with their limits and spending, reservations, and the history of both.

Epsilon is counted in millionths and delta in 10^-15, as integers.
"""

import sqlalchemy as sa
from alembic import op

revision = "budget_0001"
down_revision = None
branch_labels = None
depends_on = None


def _amounts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "datasets",
        sa.Column("name", sa.Text, primary_key=True),
        *_amounts("epsilon_limit", "delta_limit", "epsilon_spent", "delta_spent"),
    )
    op.create_table(
        "reservations",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("dataset", sa.Text, sa.ForeignKey("datasets.name"), nullable=False),
        *_amounts("epsilon", "delta"),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, sa.ForeignKey("datasets.name"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("job", sa.Text),
        *_amounts("epsilon", "delta"),
    )
    op.create_index("history_of_dataset", "history", ["dataset"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("history", "reservations", "datasets"):
        op.drop_table(table)
