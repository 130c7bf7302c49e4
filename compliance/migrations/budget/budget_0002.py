"""Accounts that several datasets may share, with their Rényi loss by order; and what was released under a key.

What was spent before has no curve: such an account goes on with the composition that it was promised, of epsilons and
deltas, because its loss is set above every limit at every order.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "budget_0002"
down_revision = "budget_0001"
branch_labels = None
depends_on = None

ORDERS = 156
UNKNOWN = 2**60


def upgrade() -> None:
    """One account for each dataset; its spending moves there."""
    op.create_table(
        "accounts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("epsilon_spent", sa.Integer, nullable=False),
        sa.Column("delta_spent", sa.Integer, nullable=False),
        sa.Column("curve", sa.Text, nullable=False),
    )
    op.create_table(
        "bindings",
        sa.Column("label", sa.Text, primary_key=True),
        sa.Column("account", sa.Integer, sa.ForeignKey("accounts.number"), nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("scope", "key"),
    )
    unknown = json.dumps([UNKNOWN] * ORDERS, separators=(",", ":"))
    op.execute("INSERT INTO accounts SELECT rowid, epsilon_spent, delta_spent, '' FROM datasets")
    spent = sa.table("accounts", sa.column("epsilon_spent"), sa.column("delta_spent"), sa.column("curve"))
    op.execute(spent.update().where(spent.c.epsilon_spent + spent.c.delta_spent > 0).values(curve=unknown))
    op.execute("INSERT INTO bindings SELECT 'dataset:' || name, rowid FROM datasets")
    op.execute("ALTER TABLE datasets DROP COLUMN epsilon_spent")
    op.execute("ALTER TABLE datasets DROP COLUMN delta_spent")
    op.add_column("datasets", sa.Column("population", sa.Text))
    op.add_column("reservations", sa.Column("curve", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Give every dataset its account's spending."""
    for column in ("epsilon_spent", "delta_spent"):
        op.add_column("datasets", sa.Column(column, sa.Integer, nullable=False, server_default="0"))
        op.execute(
            f"UPDATE datasets SET {column} = (SELECT a.{column} FROM accounts a JOIN bindings b"  # noqa: S608 - as above
            " ON b.account = a.number WHERE b.label = 'dataset:' || datasets.name)"
        )
    op.execute("ALTER TABLE datasets DROP COLUMN population")
    op.execute("ALTER TABLE reservations DROP COLUMN curve")
    for table in ("releases", "bindings", "accounts"):
        op.drop_table(table)
