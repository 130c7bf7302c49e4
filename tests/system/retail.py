"""Merchants and payment firms of the retail orders, as members of a consortium: the public data, or made ones."""

from pathlib import Path

import duckdb

from examples.consortium import Member
from examples.datasets import ORDER_PAYMENTS, ORDERS, make_synthetic
from examples.members import FOLDER
from tests.parties.test_quality import DATA

MERCHANTS, FIRMS = ("m1", "m2", "m3"), ("p1", "p2", "p3")
COUNTRIES = {"m1": "GB", "m2": "DE", "m3": "DE", "p1": "GB", "p2": "DE", "p3": "SG"}
REAL = (DATA / ORDERS).is_file()
_MONEY = "DECIMAL(18, 2)"
_ORDERS = f"""
  SELECT order_id, customer_id::BIGINT AS customer_id, country, order_time, amount_gbp::{_MONEY} AS amount_gbp,
         n_lines::BIGINT AS n_lines, n_units::BIGINT AS n_units FROM '{{table}}' WHERE merchant = '{{owner}}'
"""
_PAYMENTS = f"""
  SELECT order_id, customer_id::BIGINT AS customer_id, order_time, amount_gbp::{_MONEY} AS amount_gbp,
         refund_gbp::{_MONEY} AS refund_gbp, method, chargeback::BIGINT AS chargeback
  FROM '{{table}}' WHERE payment_firm = '{{owner}}'
"""


def make_tables(folder: Path) -> Path:
    """`folder`/<party>/<table>.parquet for everybody; without the public data m3 has some of m2's orders."""
    if REAL:
        for owners, name, source, sql in (
            (MERCHANTS, "orders", ORDERS, _ORDERS),
            (FIRMS, "order_payments", ORDER_PAYMENTS, _PAYMENTS),
        ):
            for owner in owners:
                (folder / owner).mkdir(parents=True, exist_ok=True)
                rows = sql.format(table=DATA / source, owner=owner.upper())
                duckdb.sql(f"COPY ({rows}) TO '{folder / owner / name}.parquet' (FORMAT parquet)")
        return folder
    make_synthetic(folder, seed=11, scale=0.2)
    (folder / "m3").mkdir()
    for owner, last in (("m3", "IN (5, 6, 7, 8)"), ("m2", "NOT IN (5, 6, 7, 8)")):
        table = folder / "m2" / "orders.parquet"
        rows = f"SELECT * FROM '{table}' WHERE right(order_id, 1)::INT {last}"
        duckdb.sql(f"COPY ({rows}) TO '{folder / owner / 'new.parquet'}' (FORMAT parquet)")
        (folder / owner / "new.parquet").rename(folder / owner / "orders.parquet")
    return folder


def member(name: str, data: Path) -> Member:
    """A merchant or a firm; two of them may ask something together, and customers may be matched as well as orders."""
    table = "orders" if name in MERCHANTS else "order_payments"
    text = (FOLDER / "contracts" / f"{'m2' if name == 'm3' else name}-{table}.yaml").read_text("utf-8")
    text = text.replace("minimum_parties: 3", "minimum_parties: 2")
    text = text.replace("countries: [GB, DE]", "countries: [GB, DE, SG]").replace("[DE, GB]", "[DE, GB, SG]")
    return Member(
        name, COUNTRIES[name], {f"{table}.yaml": text}, {f"{table}.parquet": data / name / f"{table}.parquet"}
    )


def united(
    data: Path, merchants: tuple[str, ...] = MERCHANTS, firms: tuple[str, ...] = FIRMS
) -> duckdb.DuckDBPyConnection:
    """All rows of these parties in one place, with their `owner`: what nobody has."""
    connection = duckdb.connect(":memory:")
    for owners, name in ((merchants, "orders"), (firms, "order_payments")):
        rows = " UNION ALL ".join(f"SELECT *, '{one}' AS owner FROM '{data / one / name}.parquet'" for one in owners)
        connection.execute(f"CREATE TABLE {name} AS {rows}")
    return connection
