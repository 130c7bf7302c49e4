"""A table is the same whatever it is called and however it is written down; budgets go with it."""

from pathlib import Path
from typing import Any

import pytest

from compliance.budget import BudgetLedger
from inbond.errors import ConfigError
from parties.sources import identity, register_budgets, stamp
from policies.contract import Source
from tests.policies.samples import contract


def source(**fields: Any) -> Source:
    return Source.model_validate({"kind": "parquet", "path": "orders.parquet"} | fields)


def server(url: str, **fields: Any) -> Source:
    return Source.model_validate({"kind": "postgres", "url": url, "table": "orders"} | fields)


def test_a_file_is_the_same_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").touch()
    (tmp_path / "link.parquet").symlink_to("orders.parquet")
    wanted = identity(source(), tmp_path)
    for path in (
        "./orders.parquet",
        str(tmp_path / "orders.parquet"),
        "link.parquet",
        f"../{tmp_path.name}/orders.parquet",
    ):
        assert identity(source(path=path), tmp_path) == wanted
    assert identity(source(path="other.parquet"), tmp_path) != wanted


def test_a_servers_table_is_the_same_whoever_asks(tmp_path: Path) -> None:
    wanted = identity(server("postgresql://ana@db.example/shop"), tmp_path)
    for url in ("postgresql://ben@db.example/shop", "postgresql://ana@DB.example:5432/shop"):
        assert identity(server(url), tmp_path) == wanted
    others = (server("postgresql://ana@db.example:5433/shop"), server("postgresql://ana@db.example/shop", schema="old"))
    assert all(identity(other, tmp_path) != wanted for other in others)


def test_a_stamp_changes_whenever_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    path.write_bytes(b"rows")
    first = stamp(source(), tmp_path)
    assert stamp(source(), tmp_path) == first
    path.with_suffix(".new").write_bytes(b"rows")
    path.with_suffix(".new").rename(path)
    assert stamp(source(), tmp_path) != first
    assert stamp(server("postgresql://ana@db.example/shop"), tmp_path) == ""


def test_tables_of_one_population_have_one_budget(tmp_path: Path) -> None:
    budget = {"epsilon": 2.0, "delta": 1e-6, "population": "customers-eu"}
    orders = contract(budget=budget)
    returns = contract(dataset="returns", source={"kind": "csv", "path": "returns.csv"}, budget=budget)
    with BudgetLedger.open(tmp_path / "budget.db") as ledger:
        register_budgets(ledger, [orders, returns, contract(dataset="free")], tmp_path)
        ledger.reserve("k", "orders", "0.5", 0, "job")
        assert ledger.account("returns").datasets == ("orders", "returns")
        assert str(ledger.remaining("returns").epsilon) == "1.5"
        assert ledger.datasets() == ["orders", "returns"]
        other = contract(dataset="visits", budget={**budget, "epsilon": 3.0})
        with pytest.raises(ConfigError, match="population customers-eu has two budgets"):
            register_budgets(ledger, [orders, other], tmp_path)


def test_the_population_is_published(tmp_path: Path) -> None:
    published = contract(budget={"epsilon": 2.0, "population": "customers-eu"}).published()
    assert published["budget"] == {"epsilon": 2.0, "delta": 0.0, "population": "customers-eu"}
    assert "source" not in published
