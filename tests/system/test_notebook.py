"""What a notebook and the command line have of a real consortium: exact tables, files, and clear refusals."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import federation
from examples.consortium import CommandFailed
from federation.notebook import Session
from policies.plan import LeakKind, Role
from tests.system.world import FIRMS, PURPOSE, World

SQL = """
  SELECT customer_country AS land, COUNT(*) AS n, SUM(amount_cents) * 0.01 AS money, AVG(amount_cents) AS mean,
         HISTOGRAM(fraud) AS frauds FROM payments WHERE amount_cents > $low GROUP BY land ORDER BY land
"""
LOW = 2000


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    world.wait_links()
    with federation.connect(world.home("rosa")) as session:
        yield session


def test_a_session_and_a_command_have_the_same_exact_answer(session: Session, world: World, tmp_path: Path) -> None:
    answer = session.query(SQL, purpose=PURPOSE, parameters={"low": LOW}, parties=FIRMS, minimum_parties=3)
    assert answer.rows
    table = answer.to_arrow()
    whole = pa.map_(pa.int64(), pa.int64())
    assert table.schema.types == [pa.string(), pa.int64(), pa.decimal128(38, 2), pa.float64(), whole]
    assert answer.to_polars()["money"].to_list() == [row["money"] for row in answer.rows]
    assert answer.to_pandas()["n"].sum() == sum(row["n"] for row in answer.rows)
    out = tmp_path / "answer.parquet"
    asked = ["--purpose", PURPOSE, "--param", f"low={LOW}", "--parties", ",".join(FIRMS), "--minimum-parties", "3"]
    said = world.json("query", SQL, *asked, "--out", str(out), home="rosa")
    assert pq.read_table(out).equals(table)
    assert [Decimal(row["money"]) for row in said["rows"]] == table.column("money").to_pylist()


def test_the_catalogue_names_owners_and_rules_and_no_number_of_rows(session: Session, world: World) -> None:
    one = session.catalogue()["payments"]
    assert set(FIRMS) <= set(one.owners)
    told = world.cli("catalog", "show", "payments", home="rosa")
    assert "customer_country" in told
    assert "about" not in told
    assert max(map(len, told.splitlines())) <= 80


def test_explaining_runs_nothing_and_says_who_would_learn_what(session: Session) -> None:
    before = len(session.researcher.jobs())
    found = session.explain(SQL, purpose=PURPOSE, parameters={"low": LOW}, parties=FIRMS, minimum_parties=3)
    assert found.permitted
    assert (Role.RESEARCHER, LeakKind.EXACT_AGGREGATE) in {(leak.who, leak.what) for leak in found.plan.leaks()}
    assert len(session.researcher.jobs()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--parties", "p1,p2,p33"), "party `p33` offers no dataset `payments`; did you mean `p3`?"),
        (("--param", "low=DE"), "compare it with a number such as 3"),
    ],
)
def test_what_contracts_do_not_have_is_told_before_anything_runs(
    world: World, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    given = options if "--param" in options else ("--param", "low=1", *options)
    with pytest.raises(CommandFailed) as failed:
        world.cli("query", SQL, "--purpose", PURPOSE, *given, "--out", str(tmp_path / "a.csv"), home="rosa")
    assert told in str(failed.value)
    assert not list(tmp_path.iterdir())
