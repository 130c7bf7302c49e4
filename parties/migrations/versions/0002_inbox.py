"""A small reply is kept in its row, and a step's reply is found by job, step and round."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the body, and put the index by step in the place of the one by job, which it begins with."""
    op.add_column("inbox", sa.Column("body", sa.LargeBinary(), nullable=True))
    op.drop_index("ix_inbox_job", "inbox")
    op.create_index("ix_inbox_step", "inbox", ["job", "step", "round"])


def downgrade() -> None:
    """Go back; a reply whose body is in its row loses the body, as in an ended job."""
    op.execute("UPDATE inbox SET size = 0 WHERE body IS NOT NULL")
    op.drop_index("ix_inbox_step", "inbox")
    op.create_index("ix_inbox_job", "inbox", ["job"])
    op.drop_column("inbox", "body")
