"""Joins of merchants' orders with payment firms' payments, through the command line and between real processes.

Answers are compared with one database over all rows; where the public data are there, with the published table too.
"""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from examples.consortium import COORDINATOR, Member
from inbond import codec
from inbond.answers import Answer
from inbond.records import FIELD
from policies.plan import LeakKind
from tests.system.capture import deviation, found_number, read_capture
from tests.system.retail import FIRMS, MERCHANTS, REAL, make_tables, member, united
from tests.system.world import PURPOSE, Followed, World

MINIMUM = 10
COLUMNS = "COUNT(*) AS orders, COUNT(DISTINCT o.customer_id) AS customers, SUM(p.amount_gbp) AS amount"
FLAGS = "COUNT(*) FILTER (WHERE p.refund_gbp > 0) AS refunded, SUM(p.chargeback) AS chargebacks"
JOIN = "FROM orders o JOIN order_payments p ON o.order_id = p.order_id"
PAIR = f"SELECT {COLUMNS}, {FLAGS} {JOIN}"

PAIR_OF_SMALL_ONES: dict[str, Any] = {"purpose": PURPOSE, "parties": ["m3", "p3"]}
UNLIKELY = 6.0  # standard deviations

# The table of section 3 of the data's README: orders, customers, amount, refunded, chargebacks
PUBLISHED = {
    ("m1", "p1"): (7819, 1824, "3809624.91", 1256, 149),
    ("m1", "p2"): (4431, 1103, "2078941.30", 704, 82),
    ("m1", "p3"): (2978, 739, "1453556.07", 471, 56),
    ("m2", "p1"): (817, 162, "586623.36", 168, 22),
    ("m2", "p2"): (434, 104, "442746.82", 53, 6),
    ("m2", "p3"): (179, 57, "112849.39", 21, 1),
    ("m3", "p1"): (103, 29, "209450.87", 22, 1),
    ("m3", "p2"): (46, 15, "36139.16", 8, 0),
    ("m3", "p3"): (26, 15, "32992.33", 2, 0),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tables(tmp_path_factory.mktemp("retail"))


@pytest.fixture(scope="module")
def everything(tables: Path) -> duckdb.DuckDBPyConnection:
    return united(tables)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> Iterator[World]:
    """Coordinator, three merchants, three firms and a researcher."""
    members = [Member("rosa", "GB", user=True), *(member(name, tables) for name in (*MERCHANTS, *FIRMS))]
    root = tmp_path_factory.mktemp("market")
    with World(root, members, {"INBOND_TEST_TAP": str(root / "tap.bin")}) as running:
        running.make()
        running.start()
        yield running


def ask(market: World, sql: str, *parties: str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What `inbond query` prints."""
    named = ("--parties", ",".join(parties)) if parties else ()
    printed = market.command("query", sql, "--purpose", PURPOSE, *named, *options, "--json", home="rosa")
    found: list[dict[str, Any]] = json.loads(printed)["rows"]
    return found


def plain(everything: duckdb.DuckDBPyConnection, sql: str, *parties: str) -> list[dict[str, Any]]:
    """What one database says of the rows of these parties."""
    chosen = parties or (*MERCHANTS, *FIRMS)
    owned = " AND ".join(f"{one}.owner IN {tuple(chosen)}" for one in ("o", "p"))
    head, _, rest = sql.partition(JOIN)
    rows: list[dict[str, Any]] = everything.sql(f"{head} {JOIN} AND {owned} {rest}").to_arrow_table().to_pylist()
    return rows


def kept(count: int) -> int | None:
    """A count as it is released: one below the minimum is not."""
    return count if count >= MINIMUM else None


@pytest.mark.parametrize("merchant", MERCHANTS)
@pytest.mark.parametrize("firm", FIRMS)
def test_every_pair_of_a_merchant_and_a_firm(
    market: World, everything: duckdb.DuckDBPyConnection, merchant: str, firm: str
) -> None:
    (ours,) = ask(market, PAIR, merchant, firm)
    (theirs,) = plain(everything, PAIR, merchant, firm)
    small = ("customers", "refunded", "chargebacks")
    assert (ours["orders"], Decimal(ours["amount"])) == (theirs["orders"], theirs["amount"])
    assert [ours[name] for name in small] == [kept(theirs[name]) for name in small]
    if REAL:
        orders, customers, amount, refunded, chargebacks = PUBLISHED[merchant, firm]
        assert (ours["orders"], ours["amount"]) == (orders, amount)
        assert [ours[name] for name in small] == [kept(customers), kept(refunded), kept(chargebacks)]


def test_three_merchants_with_three_firms(market: World, everything: duckdb.DuckDBPyConnection) -> None:
    sql = f"""
      SELECT p.method, COUNT(*) AS n, SUM(p.amount_gbp) AS amount, AVG(p.refund_gbp) AS refund, SUM(o.n_units) AS units
      {JOIN} WHERE o.n_lines > 3 GROUP BY p.method HAVING COUNT(*) >= 10 ORDER BY n DESC
    """
    ours, theirs = ask(market, sql), plain(everything, sql)
    assert [(row["method"], row["n"]) for row in ours] == [(row["method"], row["n"]) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (Decimal(one["amount"]), one["units"]) == (other["amount"], int(other["units"]))
        assert float(one["refund"]) == pytest.approx(float(other["refund"]))


def test_squares_take_a_second_modulus(market: World, everything: duckdb.DuckDBPyConnection) -> None:
    sql = f"SELECT o.country, COUNT(*) AS n, STDDEV_POP(p.amount_gbp) AS spread {JOIN} GROUP BY o.country ORDER BY 1"
    ours = ask(market, sql, "m3", "p1")
    theirs = [row for row in plain(everything, sql, "m3", "p1") if row["n"] >= MINIMUM]
    assert [(row["country"], row["n"]) for row in ours] == [(row["country"], row["n"]) for row in theirs]
    spreads = [float(row["spread"]) for row in theirs]
    assert [float(row["spread"]) for row in ours] == pytest.approx(spreads, rel=1e-9)


@pytest.mark.parametrize("firm", FIRMS)
def test_the_known_customers_of_a_firm_whoever_sold_to_them(
    market: World, everything: duckdb.DuckDBPyConnection, firm: str
) -> None:
    sql = f"SELECT COUNT(DISTINCT p.customer_id) AS customers {JOIN}"
    (ours,) = ask(market, sql, *MERCHANTS, firm)
    (theirs,) = plain(everything, sql, *MERCHANTS, firm)
    assert ours == theirs
    if REAL:
        assert ours["customers"] == {"p1": 2014, "p2": 1221, "p3": 811}[firm]


def test_the_totals(market: World, everything: duckdb.DuckDBPyConnection) -> None:
    sql = f"SELECT COUNT(*) AS orders, SUM(p.amount_gbp) AS amount, SUM(p.refund_gbp) AS back, {FLAGS} {JOIN}"
    ((ours,), (theirs,)) = ask(market, sql), plain(everything, sql)
    money = ("amount", "back")
    assert {**ours, **{name: Decimal(ours[name]) for name in money}} == theirs
    if REAL:
        wanted = (16833, "8762924.21", "252404.69", 2705, 317)
        assert (ours["orders"], ours["amount"], ours["back"], ours["refunded"], ours["chargebacks"]) == wanted


def test_the_coordinator_carries_no_key_no_row_and_no_number_of_a_join(market: World, tables: Path) -> None:
    """A join's mail is sealed for one reader: of bytes that are uniform, and hold nothing that either side has."""
    with market.researcher() as rosa:
        answer = rosa.query(f"SELECT COUNT(*) AS n, SUM(p.amount_gbp) AS amount {JOIN}", **PAIR_OF_SMALL_ONES)
    capture = read_capture(market.tap, answer.job)
    haystack = capture.haystack()
    keys = duckdb.connect().execute(f"SELECT order_id FROM '{tables / 'm3' / 'orders.parquet'}'").fetchall()
    forms = [form for (key,) in keys for form in (f'"{key}"'.encode(), len(key).to_bytes(2, "big") + key.encode())]
    assert not [form for form in forms if form in haystack]
    assert not found_number(haystack, int(answer.rows[0]["amount"] * 100))
    mails = [
        record[FIELD].numpy().tobytes()
        for turn in range(1, 5)
        for body in capture.replies("query.join", turn).values()
        for record in codec.decode(body).array_records.values()
    ]
    assert len(mails) == 6
    assert all(abs(deviation(np.frombuffer(mail, np.uint8))) < UNLIKELY for mail in mails if len(mail) > 10_000)


def test_a_party_killed_in_the_middle_of_a_join_ends_the_job_with_its_reason(market: World) -> None:
    sql = f"SELECT COUNT(*) AS n, SUM(p.amount_gbp) AS amount {JOIN}"
    with market.researcher() as rosa:
        followed = Followed(rosa, rosa.query_spec(sql, **PAIR_OF_SMALL_ONES))
        followed.step("query.join", 2)
        market.kill("p3")
        market.restart("p3")
        followed.state("failed")
        assert "party p3" in rosa.status(followed.job).reason
        market.wait_links(("m3", "p3"))
        assert rosa.query(sql, **PAIR_OF_SMALL_ONES).rows
    market.verify("m3", "p3")


def test_a_coordinator_killed_in_the_middle_of_a_join_goes_on_with_the_mail_that_parties_kept(
    market: World, everything: duckdb.DuckDBPyConnection
) -> None:
    sql = f"SELECT p.method, COUNT(*) AS n, SUM(o.amount_gbp) AS amount {JOIN} GROUP BY p.method ORDER BY p.method"
    with market.researcher() as rosa:
        followed = Followed(rosa, rosa.query_spec(sql, **(PAIR_OF_SMALL_ONES | {"parties": ["m2", "p2"]})))
        followed.step("query.join", 2)
        market.kill(COORDINATOR)
        market.restart(COORDINATOR)
        followed.state("finished")
        found = rosa.result(followed.job)
    assert isinstance(found, Answer)
    theirs = [row for row in plain(everything, sql, "m2", "p2") if row["n"] >= MINIMUM]
    assert [(row["method"], row["n"], Decimal(row["amount"])) for row in found.rows] == [
        tuple(r.values()) for r in theirs
    ]
    steps = [one.data for one in market.entries("p2", followed.job) if one.data.get("step") == "query.join"]
    assert max(Counter(one["round"] for one in steps).values()) == 1, "no turn was done twice"
    market.verify("m2", "p2")


def test_a_hidden_join_gives_the_same_and_tells_nobody_who_matched(
    market: World, everything: duckdb.DuckDBPyConnection
) -> None:
    sql = f"SELECT p.method, COUNT(*) AS n, SUM(o.amount_gbp) AS amount {JOIN} GROUP BY p.method ORDER BY p.method"
    asked: dict[str, Any] = {"purpose": PURPOSE, "parties": ["m3", "p3"], "matching": "hidden"}
    with market.researcher() as rosa:
        explained = rosa.explain(rosa.query_spec(sql, **asked))
        answer = rosa.query(sql, **asked)
    assert explained.permitted
    told = {leak.what for leak in explained.plan.leaks()}
    assert LeakKind.INTERSECTION_SIZE in told
    assert LeakKind.INTERSECTION_MEMBERS not in told
    assert answer.rows == [row for row in plain(everything, sql, "m3", "p3") if row["n"] >= MINIMUM]
