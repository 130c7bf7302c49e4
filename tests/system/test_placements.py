"""The answer of a join at the parties of one side, between real processes: they read it, and nobody else can."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from examples.consortium import Member
from federation.client import Delivered
from inbond import codec
from inbond.errors import ConfigError
from inbond.records import FIELD
from policies.plan import LeakKind, Role
from policies.protocols import ANSWER_STEP
from tests.system.capture import deviation, found_number, read_capture
from tests.system.retail import make_tables, member, united
from tests.system.world import PURPOSE, World

MERCHANTS, FIRMS = ("m2", "m3"), ("p2", "p3")
EVERYBODY = (*MERCHANTS, *FIRMS)
JOIN = "FROM orders o JOIN order_payments p ON o.order_id = p.order_id"
SQL = f"SELECT p.method, COUNT(*) AS n, SUM(o.amount_gbp) AS amount {JOIN} GROUP BY p.method ORDER BY p.method"
MINIMUM = 10
UNLIKELY = 6.0  # standard deviations


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tables(tmp_path_factory.mktemp("retail"))


@pytest.fixture(scope="module")
def wanted(tables: Path) -> list[dict[str, Any]]:
    """What one database says of all rows."""
    found = united(tables, MERCHANTS, FIRMS).sql(SQL).to_arrow_table().to_pylist()
    return [row for row in found if row["n"] >= MINIMUM]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> Iterator[World]:
    """Two merchants, two firms and a researcher."""
    members = [Member("rosa", "GB", user=True), *(member(name, tables) for name in EVERYBODY)]
    root = tmp_path_factory.mktemp("market")
    with World(root, members, {"INBOND_TEST_TAP": str(root / "tap.bin")}) as running:
        running.make()
        running.start()
        yield running


def answers_at(market: World, party: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(market.command("party", "answers", "list", "--json", home=party))
    return found


def rows_at(market: World, party: str, job: str) -> list[dict[str, Any]]:
    """The rows that a party's people see, money as a number."""
    printed = json.loads(market.command("party", "answers", "show", job[:12], "--json", home=party))
    return [{**row, "amount": Decimal(row["amount"])} for row in printed["rows"]]


@pytest.mark.parametrize("matching", ["fast", "hidden"])
@pytest.mark.parametrize("readers", [MERCHANTS, FIRMS])
def test_all_parties_of_one_side_read_the_exact_answer_and_no_other_party_has_it(
    market: World, wanted: list[dict[str, Any]], readers: tuple[str, ...], matching: str
) -> None:
    options = ("--purpose", PURPOSE, "--matching", matching, "--answer-at", ",".join(readers), "--json")
    said = json.loads(market.command("query", SQL, *options, home="rosa"))
    assert said["answer_at"] == list(readers)
    assert "rows" not in said
    for party in EVERYBODY:
        kept = {row["job"] for row in answers_at(market, party)}
        assert (said["job"] in kept) == (party in readers)
    for party in readers:
        assert rows_at(market, party, said["job"]) == wanted


def test_a_notebook_asks_for_it_too_and_neither_researcher_nor_coordinator_holds_the_answer(
    market: World, wanted: list[dict[str, Any]], tmp_path: Path
) -> None:
    with market.researcher() as rosa:
        spec = rosa.query_spec(SQL, purpose=PURPOSE, recipients=rosa.recipients(FIRMS))
        explained = rosa.explain(spec)
        job = rosa.submit(spec)
        rosa.wait(job)
        found = rosa.result(job)
    assert isinstance(found, Delivered)
    assert found.parties == FIRMS
    assert not [leak for leak in explained.plan.leaks() if leak.who is Role.RESEARCHER]
    told = [leak.learners for leak in explained.plan.leaks() if leak.what is LeakKind.EXACT_AGGREGATE]
    assert told == [FIRMS]
    capture = read_capture(market.tap, job)
    haystack = capture.haystack()
    assert not [row for row in wanted if found_number(haystack, int(row["amount"] * 100))]
    mails = [
        record[FIELD].numpy().tobytes()
        for body in capture.replies("query.release", 0).values()
        for record in codec.decode(body).array_records.values()
    ]
    assert len(mails) == len(FIRMS) * (len(EVERYBODY) - 1)
    assert abs(deviation(np.frombuffer(b"".join(mails), np.uint8))) < UNLIKELY
    assert set(capture.replies(ANSWER_STEP, 0)) == set(FIRMS)
    out = tmp_path / "answer.parquet"
    market.command("party", "answers", "show", job, "--out", str(out), home="p2")
    assert pq.read_table(out).to_pylist() == wanted


def test_half_a_side_or_a_stranger_reads_nothing_and_is_told_before_anything_runs(market: World) -> None:
    with market.researcher() as rosa:
        before = len(rosa.jobs())
        half = rosa.query_spec(SQL, purpose=PURPOSE, recipients=rosa.recipients(["p2"]))
        with pytest.raises(Exception, match=r"read by all parties of one side.*m2, m3 or p2, p3"):
            rosa.explain(half)
        with pytest.raises(ConfigError, match="no party `p9` publishes a table"):
            rosa.recipients(["p9"])
        with pytest.raises(ConfigError, match="the answer does not come here"):
            rosa.query(SQL, purpose=PURPOSE, recipients=rosa.recipients(FIRMS))
        assert len(rosa.jobs()) == before
    market.verify(*EVERYBODY)
