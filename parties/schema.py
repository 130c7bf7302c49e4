"""The party's tables: what an agent must still know after a restart."""

from sqlalchemy import Column, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("token", Text, nullable=False),  # the owner's signed order, as received
    Column("plan", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # this party's signed verdict
    Column("state", String(16), nullable=False),  # admitted, running, closed, cancelled, failed, expired
    Column("secrets", LargeBinary, nullable=False),  # encrypted under the node's key: epoch key, job key
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("summary", Text, nullable=False, default="{}"),  # what the job gave and cost this party
)

orders_seen = Table(
    "orders_seen",
    metadata,
    Column("issuer", String(300), primary_key=True),
    Column("jti", String(64), primary_key=True),
    Column("expires", Float, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("request", String(32), primary_key=True),
    Column("job", String(32), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("step", String(40), nullable=False),
    Column("round", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # of the request's body: the same id never means another body
    Column("status", String(16), nullable=False),  # taken, or the reply's status
    Column("reason", Text, nullable=False, default=""),
    Column("size", Integer, nullable=False, default=0),
    Column("time", Float, nullable=False),
)
