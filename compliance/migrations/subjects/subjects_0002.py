"""The copies of people's data that were made: when, for which request, the digest of the files; never the data."""

import sqlalchemy as sa
from alembic import op

from compliance.migrations.append_only import forbid_changes

revision = "subjects_0002"
down_revision = "subjects_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "copies",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("person", sa.LargeBinary, nullable=False),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.number")),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_index("copies_by_request", "copies", ["request", "number"])
    forbid_changes(("copies",))


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("copies")
