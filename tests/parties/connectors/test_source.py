"""Where a table is, as its contract says it: read strictly, and never with a password."""

from pathlib import Path
from typing import Any

import pytest

from parties.connectors.base import DataError, place
from parties.connectors.pushdown import Pushdown, checked
from policies.contract import ColumnType, Source, load_contract
from policies.errors import InvalidInput
from tests.policies.samples import CONTRACT

FILE = "source: {kind: parquet, path: orders.parquet}"
GOOD = "kind: postgres, url: 'postgresql://reader@db.example:5432/shop', table: orders"


def _source(text: str) -> Source:
    return load_contract(CONTRACT.replace(FILE, f"source: {{{text}}}"), "orders.yaml").source


def test_a_server_is_read_with_safe_defaults() -> None:
    source = _source(GOOD)
    assert (source.schema_name, source.table, source.tls, source.ca) == ("public", "orders", "verify-full", None)
    assert place(source) == "postgresql://reader@db.example:5432/shop public.orders"
    assert _source(f"{GOOD}, schema: sales, password_env: INBOND_PG_ORDERS").schema_name == "sales"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5433", "[::1]", "%2Frun%2Fpostgresql"])
def test_only_the_same_machine_may_go_without_tls(host: str) -> None:
    assert _source(GOOD.replace("db.example:5432", host) + ", tls: disable").tls == "disable"
    with pytest.raises(InvalidInput, match="for loopback and sockets only"):
        _source(GOOD + ", tls: disable")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: postgres, table: orders", "`url` goes with kind postgres; add it"),
        ("kind: postgres, url: 'postgresql://u@h/d'", "`table` goes with kind postgres; add it"),
        ("kind: parquet", "`path` goes with kind parquet; add it"),
        ("kind: duckdb, path: a", "`table` goes with kind duckdb; add it"),
        (f"{GOOD}, path: x", "`path` does not go with kind postgres"),
        ("kind: csv, path: a, url: 'postgresql://u@h/d'", "`url` does not go with kind csv, whose keys are path"),
        ("kind: csv, path: a, tls: disable", "`tls` does not go with kind csv"),
        (f"{GOOD}, tls: prefer", "'verify-full', 'verify-ca' or 'disable'"),
        (f"{GOOD}, tls: verify-ca", "needs `ca`"),
        (f"{GOOD}, password_env: A, passfile: b", "exclude each other"),
        (f"{GOOD}, password_env: lower", "password_env"),
        (f"{GOOD}, password: hunter2", "`source.password` is not known"),
        (f"{GOOD}, schema: 'a.b'", "schema"),
        (GOOD.replace("table: orders", "table: 'a; DROP TABLE b'"), "table"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=r"orders\.yaml:6") as caught:
        _source(text)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:hunter2@db.example/shop",
        "postgresql://db.example/shop?password=hunter2",
        "postgresql://reader@db.example/shop?host=evil.example",
        "postgresql://reader@a.example,b.example/shop",
        "postgresql://reader@db.example:70000/shop",
        "postgresql://reader@db.example",
        "postgresql://reader@/shop",
        "postgres://reader@db.example/shop",
        "host=db.example password=hunter2",
        "postgresql://reader@db.example/shop#x",
        "postgresql://reader@db.example/shop\n",
        "",
    ],
)
def test_an_address_holds_no_password_and_no_options(url: str) -> None:
    data: dict[str, Any] = {"kind": "postgres", "url": url, "table": "orders"}
    with pytest.raises(ValueError, match="is not of the form postgresql://user@host:port/database"):
        Source.model_validate(data)
    with pytest.raises(InvalidInput) as caught:
        load_contract(CONTRACT.replace(FILE, f"source: {data}"), "orders.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_pushdown_is_quoted_and_keeps_its_values_apart() -> None:
    push = Pushdown("SELECT SUM(N) AS a FROM Source WHERE n > $p0", {"p0": 1}, {"a": ColumnType.INT})
    tree = checked(push, {"Source": None})
    assert tree.sql("duckdb") == 'SELECT SUM("N") AS "a" FROM "Source" WHERE "n" > $p0'
    with pytest.raises(InvalidInput, match="does not name the promised outputs"):
        checked(Pushdown(push.sql, push.parameters, {"b": ColumnType.INT}), {"Source": None})


def test_a_kind_whose_driver_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    from parties.connectors.base import connector

    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "parties.connectors.postgres", raising=False)
    with pytest.raises(DataError, match=r"source kind postgres needs psycopg; pip install 'inbond\[postgres\]'"):
        connector("postgres")
