"""Sources: a contract is held against the table, and only the columns that a job may use are read."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from parties.catalogue import Catalogue
from parties.connectors.base import DataError, check_source, connector, permitted_view
from policies.contract import DataContract, Source
from tests.bad_input.homes import LAW, furnish
from tests.policies.samples import contract


def _with(kind: str, path: str, table: str | None = None) -> DataContract:
    return contract(source=Source.model_validate({"kind": kind, "path": path, "table": table}))


@pytest.fixture(params=["parquet", "csv", "duckdb"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DataContract:
    """The same table in each kind of source."""
    furnish(tmp_path)
    with duckdb.connect(str(tmp_path / "orders.duckdb")) as connection:
        connection.execute(f"CREATE TABLE \"the orders\" AS FROM read_parquet('{tmp_path / 'orders.parquet'}')")
        connection.execute('CREATE VIEW orders AS FROM "the orders"')
        connection.execute(f"COPY orders TO '{tmp_path / 'orders.csv'}'")
    return _with(request.param, f"orders.{request.param}", "orders" if request.param == "duckdb" else None)


def test_every_kind_of_source_gives_the_same_typed_view(source: DataContract, tmp_path: Path) -> None:
    check_source(source, tmp_path)
    view = permitted_view(source, ["amount", "day", "paid"], tmp_path)
    assert view.column_names == ["amount", "day", "paid"]
    assert view.num_rows == 40
    assert view.slice(1, 1).to_pylist() == [{"amount": Decimal("20.50"), "day": dt.date(2026, 1, 1), "paid": False}]


def test_a_column_that_the_contract_does_not_name_is_not_read(source: DataContract, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column secret in the contract"):
        permitted_view(source, ["amount", "secret"], tmp_path)


@pytest.mark.parametrize("path", ["nowhere.parquet", ".", "orders.parquet'; DROP TABLE x; --"])
def test_a_table_that_is_not_there_is_told_with_its_path(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        check_source(_with("parquet", path), tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 8], ids=["empty", "garbage"])
def test_a_file_of_another_kind_is_told_in_one_line(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_source(_with(kind, "x", "orders" if kind == "duckdb" else None), tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.right


def test_a_contract_that_promises_a_column_too_many_is_found_out(source: DataContract, tmp_path: Path) -> None:
    columns = {**source.columns, "loyalty": source.columns["items"]}
    with pytest.raises(DataError, match="column loyalty is not in the source"):
        check_source(source.model_copy(update={"columns": columns}), tmp_path)


def test_a_value_of_another_type_than_promised_is_told_to_the_owner(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("items,amount\n1,10.00\nmany,20.00\n")
    with pytest.raises(DataError, match=r"x\.csv"):
        permitted_view(_with("csv", "x.csv"), ["items"], tmp_path)


def test_an_unknown_kind_names_what_is_installed() -> None:
    with pytest.raises(DataError, match=r"no connector for source kind excel; one of csv, duckdb, parquet"):
        connector("excel")


def test_the_catalogue_publishes_everything_but_where_the_table_is(tmp_path: Path) -> None:
    furnish(tmp_path)
    catalogue = Catalogue(tmp_path)
    catalogue.check(LAW)
    published = catalogue.published()["orders"]
    assert isinstance(published, dict)
    assert "source" not in published
    assert published["minimum_group"] == 5
