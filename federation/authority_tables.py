"""What the authority keeps: its own certificates, members, what it issued and revoked, and hashes of invitations."""

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text

metadata = MetaData()
settings = Table(
    "settings", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False)
)
authorities = Table(
    "authorities",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("pem", Text, nullable=False),
    Column("active_from", Float, nullable=False),
)
members = Table(
    "members",
    metadata,
    Column("spiffe_id", String(300), primary_key=True),
    Column("bound", String(64), nullable=False),  # SHA-256 over both public keys
    Column(
        "hosts", Text, nullable=False
    ),  # JSON [[dns], [ips], organisation, role, country]: what its certificates say
    Column("joined", Float, nullable=False),
)
certificates = Table(
    "certificates",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("spiffe_id", String(300), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("not_after", Float, nullable=False),
)
invitations = Table(
    "invitations",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("spiffe_id", String(300), nullable=False),
    Column("hosts", Text, nullable=False),
    Column("expires", Float, nullable=False),
    Column("bound", String(64), nullable=True),  # set by the first use: the keys that took the place
)
revocations = Table(
    "revocations",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("target", String(300), nullable=False),  # a SPIFFE ID, or a serial in hex
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)
