"""The example tables, contracts and jobs fit together: what a contract promises, its table holds."""

import datetime
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from examples.datasets import (
    FIRMS,
    MERCHANTS,
    ONLINE_RETAIL,
    ORDER_PAYMENTS,
    ORDERS,
    PAYMENTS,
    WAREHOUSES,
    bucket,
    main,
    make_synthetic,
    partition_real,
)
from inbond.errors import ConfigError
from parties.recipes.base import Recipe, needed_columns
from parties.recipes.demand import recipe as demand
from parties.recipes.fraud import recipe as fraud
from policies.contract import ColumnType, DataContract, load_contract
from policies.job import JobSpec, load_job
from policies.query.compiling import compile_query
from policies.query.reading import parse
from policies.query.scope import Offer

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTRACTS = sorted((EXAMPLES / "contracts").glob("*.yaml"))
JOBS = sorted((EXAMPLES / "jobs").glob("*.yaml"))
TABLES = (
    *((party, "sales") for party in WAREHOUSES),
    *((party, table) for party in FIRMS for table in ("payments", "order_payments")),
    *((party, "orders") for party in MERCHANTS),
)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    make_synthetic(folder, seed=7, scale=0.2)
    return folder


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder with the layout and column types of the public data sets."""
    folder = tmp_path_factory.mktemp("public")
    when = pa.array([datetime.datetime(2011, 1, 3, 9)] * 4, pa.timestamp("us"))  # noqa: DTZ001  the data have no zone
    lines = {
        "InvoiceNo": ["536365", "C536366", "536367", "536368"],
        "StockCode": ["85123A", "71053", "84406B", "POST"],
        "Quantity": pa.array([6, -2, 8, 1], pa.int32()),
        "InvoiceDate": when,
        "UnitPrice": [2.55, 3.39, 0.001, 18.0],
        "Country": ["United Kingdom", "France", "EIRE", "Japan"],
    }
    paid = {
        "payment_firm": ["P1", "P2", "P3", "P1"],
        "order_id": ["1", "2", "3", "4"],
        "customer_id": pa.array([12346, None, 12348, 12349], pa.int32()),
        "order_time": when,
        "amount_gbp": [139.12, 22.2, 0.1 + 0.2, 77183.6],
        "method": ["card"] * 4,
        "refund_gbp": [0.0, -0.0, 0.0, 77183.6],
        "chargeback": pa.array([0, 0, 0, 1], pa.int8()),
    }
    orders = {
        "merchant": ["M1", "M2", "M3", "M1"],
        "country": ["United Kingdom", "Germany", "Japan", "Channel Islands"],
        "n_lines": [1, 2, 3, 4],
        "n_units": [5, 6, 7, 8],
    } | {name: paid[name] for name in ("order_id", "customer_id", "order_time", "amount_gbp")}
    payments = {
        "tx_id": [0, 1, 2],
        "payment_firm": pa.array(["P2", "P1", "P3"]).dictionary_encode(),
        "t_seconds": [0, 1, 2],
        "customer_id": [1, 2, 3],
        "shop_id": [4, 5, 6],
        "customer_country": pa.array(["DE", "GB", "SG"]).dictionary_encode(),
        "shop_country": pa.array(["DE", "US", "CN"]).dictionary_encode(),
        "amount_cents": [100, 200, 300],
        "fraud": pa.array([0, 1, 0], pa.int8()),
        "scenario": [0, 1, 0],
        "chargeback_t": [-1, 9, -1],
    }
    for name, content in (
        (ONLINE_RETAIL, lines),
        (ORDERS, orders),
        (ORDER_PAYMENTS, paid),
        (PAYMENTS, payments),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(content), folder / name)
    return folder


@pytest.fixture(scope="module")
def partitioned(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("partitioned")
    partition_real(public, folder)
    return folder


def read(folder: Path, party: str, table: str) -> pa.Table:
    return pq.read_table(folder / party / f"{table}.parquet")


def contract(path: Path) -> DataContract:
    return load_contract(path.read_text(encoding="utf-8"), path.name)


def job(name: str) -> JobSpec:
    return load_job((EXAMPLES / "jobs" / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def test_every_party_has_its_tables_and_no_other(synthetic: Path, partitioned: Path) -> None:
    for folder in (synthetic, partitioned):
        found = {(path.parent.name, path.stem) for path in folder.rglob("*.parquet")}
        assert found == set(TABLES)


def test_one_seed_gives_the_same_tables_and_another_seed_others(synthetic: Path, tmp_path: Path) -> None:
    make_synthetic(tmp_path / "same", seed=7, scale=0.2)
    make_synthetic(tmp_path / "other", seed=8, scale=0.2)
    for party, table in TABLES:
        assert read(tmp_path / "same", party, table).equals(read(synthetic, party, table))
        assert not read(tmp_path / "other", party, table).equals(read(synthetic, party, table))


def test_synthetic_and_real_tables_have_the_same_columns(synthetic: Path, partitioned: Path) -> None:
    for party, table in TABLES:
        ours, theirs = read(synthetic, party, table).schema, read(partitioned, party, table).schema
        assert ours.names == theirs.names


def test_warehouses_are_split_by_the_hash_of_the_stock_code(partitioned: Path) -> None:
    first = int.from_bytes(hashlib.sha256(b"wh|85123A").digest()[:8], "big")
    assert bucket("wh", "85123A", 3) == first % 3
    for number, party in enumerate(WAREHOUSES):
        codes = read(partitioned, party, "sales")["stock_code"].to_pylist()
        assert [bucket("wh", code, 3) for code in codes] == [number] * len(codes)
    assert sum(len(read(partitioned, party, "sales")) for party in WAREHOUSES) == 4


def test_firms_and_merchants_get_the_rows_that_name_them(partitioned: Path) -> None:
    assert [read(partitioned, party, "payments")["tx_id"].to_pylist() for party in FIRMS] == [[1], [0], [2]]
    paid = [read(partitioned, party, "order_payments")["order_id"].to_pylist() for party in FIRMS]
    assert paid == [["1", "4"], ["2"], ["3"]]
    assert [read(partitioned, party, "orders")["order_id"].to_pylist() for party in MERCHANTS] == [
        ["1", "4"],
        ["2"],
    ]


def test_money_is_exact_to_the_cent(partitioned: Path) -> None:
    assert [str(value) for value in read(partitioned, "p3", "order_payments")["amount_gbp"].to_pylist()] == ["0.30"]
    assert str(pc.sum(read(partitioned, "p1", "order_payments")["amount_gbp"]).as_py()) == "77322.72"


def test_an_order_is_with_one_merchant_and_one_firm(synthetic: Path) -> None:
    orders = [code for party in MERCHANTS for code in read(synthetic, party, "orders")["order_id"].to_pylist()]
    paid = [code for party in FIRMS for code in read(synthetic, party, "order_payments")["order_id"].to_pylist()]
    assert len(set(orders)) == len(orders)
    assert sorted(orders) == sorted(paid)


def test_a_fraud_is_reported_after_its_payment_and_never_for_an_honest_one(synthetic: Path) -> None:
    for party in FIRMS:
        table = read(synthetic, party, "payments")
        known, time, fraud_ = (table[name].to_numpy() for name in ("chargeback_t", "t_seconds", "fraud"))
        assert np.all(known[known >= 0] > time[known >= 0])
        assert np.all(fraud_[known >= 0] == 1)
        assert 0.005 < fraud_.mean() < 0.06


def test_there_is_one_contract_per_table() -> None:
    assert {path.stem for path in CONTRACTS} == {f"{party}-{table}" for party, table in TABLES}


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_a_contract_promises_the_columns_and_values_of_its_table(path: Path, synthetic: Path) -> None:
    found, (party, table) = contract(path), path.stem.split("-", 1)
    content = read(synthetic, party, table)
    assert found.dataset == table
    assert found.source.path == f"{table}.parquet"
    assert set(found.columns) == set(content.column_names)
    for name, column in found.columns.items():
        values = content[name].drop_null()
        if column.domain is not None:
            assert set(values.unique().to_pylist()) <= set(column.domain), name
        if column.bounds is not None:
            extremes = [float(value) for value in pc.min_max(values).as_py().values()]
            assert column.bounds[0] <= extremes[0] <= extremes[1] <= column.bounds[1], name


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_contracts_of_one_table_agree_on_columns(path: Path) -> None:
    _, table = path.stem.split("-", 1)
    first = contract(next(other for other in CONTRACTS if other.stem.endswith(f"-{table}")))
    assert contract(path).columns == first.columns
    assert contract(path).schema_name == first.schema_name


def test_jurisdictions_and_minimum_parties_are_those_of_the_story() -> None:
    homes = {path.stem.split("-")[0]: contract(path).jurisdiction for path in CONTRACTS}
    assert homes == {
        "w1": "DE",
        "w2": "GB",
        "w3": "CN",
        "p1": "GB",
        "p2": "DE",
        "p3": "SG",
        "m1": "GB",
        "m2": "DE",
    }
    least = {path.stem: contract(path).minimum_parties for path in CONTRACTS}
    assert all(least[name] == (2 if name.startswith("m") else 3) for name in least)


@pytest.mark.parametrize(("name", "recipe"), [("demand", demand), ("fraud", fraud)])
def test_a_training_job_is_within_the_contracts_and_fits_the_recipe(
    name: str, recipe: Recipe[Any], synthetic: Path
) -> None:
    spec = job(name)
    assert spec.recipe is not None
    assert (spec.recipe.name, str(spec.recipe.version)) == (recipe.name, recipe.version)
    recipe.parse(spec.recipe.parameters)
    for path in (path for path in CONTRACTS if path.stem.endswith(f"-{spec.dataset}")):
        found = contract(path)
        assert spec.purpose in found.purposes
        assert spec.minimum_parties >= found.minimum_parties
        for need in recipe.columns:
            assert (found.columns[need.name].type, need.use in found.columns[need.name].uses) == (
                need.type,
                True,
            )
        needed_columns(read(synthetic, path.stem.split("-")[0], spec.dataset), recipe.columns, path.stem)


def test_trainers_may_read_the_model_in_each_other_s_country() -> None:
    for table in ("sales", "payments"):
        found = [contract(path) for path in CONTRACTS if path.stem.endswith(f"-{table}")]
        for one in found:
            assert {other.jurisdiction for other in found} <= set(one.recipients.countries)


def test_the_query_uses_only_what_every_contract_allows() -> None:
    spec = job("payments_by_country")
    assert spec.sql is not None
    query = parse(spec.sql, where="payments_by_country.yaml")
    for party in FIRMS:
        found = contract(EXAMPLES / "contracts" / f"{party}-payments.yaml")
        compiled = compile_query(query, {"payments": Offer(found, FIRMS)})
        assert all(use in found.columns[column].uses for _, column, use in compiled.uses)
        assert {recipient.country for recipient in spec.recipients} <= set(found.recipients.countries)


def test_the_refused_job_differs_in_its_reader_whom_every_contract_allows() -> None:
    allowed, refused = job("payments_by_country"), job("refused")
    assert refused.sql == allowed.sql
    countries = {recipient.country for recipient in refused.recipients}
    refusing = [
        party
        for party in FIRMS
        if not countries <= set(contract(EXAMPLES / "contracts" / f"{party}-payments.yaml").recipients.countries)
    ]
    assert refusing == []


def test_money_columns_are_declared_as_money() -> None:
    for path in CONTRACTS:
        for name, column in contract(path).columns.items():
            assert (column.type is ColumnType.MONEY) == (name.endswith("_gbp") or name == "unit_price")


def test_a_missing_folder_gives_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "out"), "--data", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "no such file; give the folder that holds the public data sets" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_parquet_is_named(public: Path, tmp_path: Path) -> None:
    for name in (ONLINE_RETAIL, ORDERS, ORDER_PAYMENTS, PAYMENTS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((public / name).read_bytes())
    (tmp_path / ORDERS).write_bytes(b"order_id,merchant\n")
    with pytest.raises(ConfigError, match=r"orders_derived\.parquet: not readable as Parquet"):
        partition_real(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("seed", "scale"), [(-1, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_seed_or_scale_out_of_range_is_refused(seed: int, scale: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        make_synthetic(tmp_path, seed=seed, scale=scale)


def test_the_command_writes_the_tables(tmp_path: Path, public: Path) -> None:
    assert main(["--out", str(tmp_path), "--data", str(public)]) == 0
    assert read(tmp_path, "m2", "orders")["country"].to_pylist() == ["Germany"]
