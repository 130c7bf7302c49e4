"""Files through the embedded engine: the contract of connectors, and what only files can get wrong."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parties.connectors.base import DataError, Limits, Relation, run_pushdown
from parties.connectors.embedded import EmbeddedConnector, run_over_views
from parties.connectors.pushdown import Pushdown
from parties.connectors.testing import ConnectorContract
from policies.contract import ColumnType, Source
from tests.parties.connectors.fragments import QUERIES, answered, orders

N = {"n": ColumnType.INT}
COUNT = Pushdown("SELECT COUNT(*) AS a FROM source", {}, {"a": ColumnType.INT})


class _Files(ConnectorContract):
    connector = EmbeddedConnector()

    def elsewhere(self, source: Source) -> Source:
        return source.model_copy(update={"path": "nowhere"})


class TestParquet(_Files):
    def store(self, table: pa.Table, name: str, folder: Path) -> Source:
        pq.write_table(table, folder / f"{name}.parquet")
        return Source(kind="parquet", path=f"{name}.parquet")


class TestCsv(_Files):
    def store(self, table: pa.Table, name: str, folder: Path) -> Source:
        with duckdb.connect() as connection:
            connection.register("stored", table)
            connection.execute(f"COPY stored TO '{folder}/{name}.csv'")
        return Source(kind="csv", path=f"{name}.csv")


class TestDuckdb(_Files):
    def store(self, table: pa.Table, name: str, folder: Path) -> Source:
        with duckdb.connect(str(folder / "shop.duckdb")) as connection:
            connection.register("stored", table)
            connection.execute(f'CREATE TABLE "{name}" AS FROM stored')
        return Source(kind="duckdb", path="shop.duckdb", table=name)

    def elsewhere(self, source: Source) -> Source:
        return source.model_copy(update={"table": "nowhere"})


def test_files_of_three_kinds_are_joined_in_one_run(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2, 3]})
    stored = [one().store(table, "t", tmp_path) for one in (TestParquet, TestCsv, TestDuckdb)]
    relations = {name: Relation(source, N) for name, source in zip("xyz", stored, strict=True)}
    push = Pushdown(
        "SELECT SUM(x.n * y.n) AS a FROM x JOIN y ON x.n = y.n JOIN z ON y.n = z.n", {}, {"a": ColumnType.INT}
    )
    assert run_pushdown(relations, push, tmp_path)["a"].to_pylist() == [14]


def test_order_numbers_keep_their_zeros_and_prices_their_cents(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("order,price\n007,0.29\n,90071992547409.93\n")
    source = Source(kind="csv", path="x.csv")
    view = EmbeddedConnector().view(source, {"order": ColumnType.TEXT, "price": ColumnType.MONEY}, tmp_path)
    assert view.to_pylist() == [
        {"order": "007", "price": Decimal("0.29")},
        {"order": None, "price": Decimal("90071992547409.93")},
    ]


@pytest.mark.parametrize("name", ["*.parquet", "[ab].parquet", "a?.parquet"])
def test_a_path_is_one_file_and_never_a_pattern(tmp_path: Path, name: str) -> None:
    for path in ("a.parquet", "ab.parquet", name):
        pq.write_table(pa.table({"n": [1]}), tmp_path / path)
    with pytest.raises(DataError, match="the path holds one of"):
        EmbeddedConnector().view(Source(kind="parquet", path=name), N, tmp_path)


def test_a_quote_in_a_path_is_a_quote(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [4]}), tmp_path / "it's'); --.parquet")
    source = Source(kind="parquet", path="it's'); --.parquet")
    assert EmbeddedConnector().view(source, N, tmp_path)["n"].to_pylist() == [4]


def test_an_owners_view_reaches_no_other_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "other.parquet")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute(f"CREATE VIEW orders AS FROM read_parquet('{tmp_path}/other.parquet')")
    with pytest.raises(DataError, match="the view reads files of its own"):
        EmbeddedConnector().view(Source(kind="duckdb", path="shop.duckdb", table="orders"), N, tmp_path)


def test_the_engine_has_no_more_memory_than_it_was_given(tmp_path: Path) -> None:
    many = pa.table({"n": list(range(2_000_000))})
    push = Pushdown(
        "SELECT COUNT(*) AS a FROM (SELECT n, COUNT(*) AS c FROM source GROUP BY n) AS g", {}, {"a": ColumnType.INT}
    )
    assert run_over_views({"source": many}, push)["a"].to_pylist() == [2_000_000]
    with pytest.raises(DataError, match="more than 24 MiB"):
        run_over_views({"source": many}, push, Limits(memory_mib=24))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_written_to_elsewhere_is_told(tmp_path: Path) -> None:
    source = TestDuckdb().store(pa.table({"n": [1]}), "t", tmp_path)
    with duckdb.connect(str(tmp_path / "shop.duckdb")), pytest.raises(DataError, match="cannot be opened"):
        EmbeddedConnector().view(source, N, tmp_path)


def test_fragments_count_what_is_there(tmp_path: Path) -> None:
    source = TestParquet().store(orders(), "orders", tmp_path)
    by_country = answered("SELECT country, COUNT(*), SUM(amount) FROM orders GROUP BY country", source, tmp_path)
    assert by_country == ((16, 16, 8 * (1000 + 49999)), (8, 8, 8 * 2050), (0, 0, 0))
    assert answered("SELECT COUNT(*) FROM orders", source, tmp_path) == ((40,),)


@pytest.mark.parametrize("sql", QUERIES)
def test_fragments_are_answered_alike_from_every_kind_of_file(tmp_path: Path, sql: str) -> None:
    sources = [one().store(orders(), "orders", tmp_path) for one in (TestParquet, TestCsv, TestDuckdb)]
    first, *others = [answered(sql, source, tmp_path) for source in sources]
    assert others == [first, first]
    assert any(map(any, first))
