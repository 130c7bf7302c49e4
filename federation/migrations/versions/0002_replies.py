"""A small reply is kept in its row."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the body."""
    op.add_column("replies", sa.Column("body", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Go back; replies whose bodies are in their rows are forgotten: a restarted runner asks for them again."""
    op.execute("DELETE FROM replies WHERE body IS NOT NULL")
    op.drop_column("replies", "body")
