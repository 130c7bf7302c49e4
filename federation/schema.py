"""The coordinator's tables: what it must still know after a restart. No row, key or result in the clear is here."""

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

parties = Table(
    "parties",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("catalogue", Text, nullable=False),  # the party's signed catalogue, as received
    Column("seen", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("owner", String(300), nullable=False),
    Column("token", Text, nullable=False),  # the signed order, as received
    Column("sum_key", LargeBinary, nullable=True),  # the researcher's public BFV key, for a query
    Column("plan", Text, nullable=True),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

orders_seen = Table(
    "orders_seen",
    metadata,
    Column("issuer", String(300), primary_key=True),
    Column("jti", String(64), primary_key=True),
    Column("expires", Float, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("party", String(63), primary_key=True),
    Column("token", Text, nullable=False),
)

waits = Table(  # jobs that people must approve: until when, and the rules as the contracts had them
    "waits",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("until", Float, nullable=False),
    Column("rules", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id"), primary_key=True),
    Column("person", String(300), primary_key=True),
    Column("token", Text, nullable=False),  # as signed, as received
)

replies = Table(
    "replies",
    metadata,
    Column("request", String(32), primary_key=True),
    Column("job", String(32), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("party", String(63), nullable=False),
    Column("step", String(40), nullable=False),
    Column("round", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("up", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", String(32), ForeignKey("jobs.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("time", Float, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("job", "number"),
)
