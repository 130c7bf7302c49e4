"""A real PostgreSQL server: the contract of connectors, and what only a server can get wrong."""

import json
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from inbond.node import utc_now
from parties.connectors import postgres
from parties.connectors.base import DataError, Limits, Relation, connector, run_pushdown
from parties.connectors.person import rows_of
from parties.connectors.postgres import PostgresConnector
from parties.connectors.pushdown import Pushdown
from parties.connectors.testing import ConnectorContract
from parties.subject_copy import copy_of
from parties.withheld import opened_registry
from policies.contract import ColumnType, Source
from tests.bad_input.homes import Party
from tests.parties.connectors.conftest import PASSWORD, PASSWORD_VARIABLE, READER
from tests.parties.connectors.fragments import QUERIES, answered, orders
from tests.parties.connectors.server import Server
from tests.policies.samples import CONTRACT

pytestmark = pytest.mark.postgres
INT, TEXT = ColumnType.INT, ColumnType.TEXT
UNHELD = re.compile("  (country|items|paid|day|seen|weight): ")  # columns that this server's table has not
NATIVE = {
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.decimal128(18, 2): "numeric(20,4)",
    pa.string(): "text",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
    pa.bool_(): "boolean",
}


def _address(server: Server, user: str = READER) -> str:
    found = psycopg.conninfo.conninfo_to_dict(server.url)
    return f"postgresql://{user}@{found['host']}:{found['port']}/{found['dbname']}"


def _source(server: Server, table: str, **more: Any) -> Source:
    keys = {"kind": "postgres", "url": _address(server), "schema": "shop", "table": table, "ca": str(server.ca)}
    return Source.model_validate({**keys, "password_env": PASSWORD_VARIABLE, **more})


@pytest.fixture(autouse=True)
def admin(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """The administrator's connection to an empty schema; the reader's password is in the environment."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with psycopg.connect(server.url, autocommit=True) as connection:
        for kind, name in connection.execute(
            "SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relname FROM pg_class "
            "WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r', 'v') ORDER BY relkind DESC"
        ).fetchall():
            connection.execute(f'DROP {kind} IF EXISTS shop."{name}" CASCADE')
        yield connection


class TestPostgres(ConnectorContract):
    connector = PostgresConnector()

    @pytest.fixture(autouse=True)
    def _server(self, server: Server, admin: psycopg.Connection[Any]) -> None:
        self.server, self.admin = server, admin

    def store(self, table: pa.Table, name: str, folder: Path) -> Source:
        columns = [sql.SQL("{} " + NATIVE[one.type]).format(sql.Identifier(one.name)) for one in table.schema]
        target = sql.Identifier("shop", name)
        self.admin.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(columns)))
        with self.admin.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(target)) as copy:
            for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                copy.write_row(row)
        return _source(self.server, name)

    def elsewhere(self, source: Source) -> Source:
        return source.model_copy(update={"table": "nowhere"})


def _run(server: Server, sql_text: str, columns: dict[str, ColumnType], table: str = "t", **limits: float) -> pa.Table:
    push = Pushdown(sql_text, {}, {"a": INT})
    relations = {"source": Relation(_source(server, table), columns)}
    return PostgresConnector().run(relations, push, Path(), Limits(**limits))  # type: ignore[arg-type]


def test_it_is_found_by_its_kind() -> None:
    assert isinstance(connector("postgres"), PostgresConnector)


def test_a_transaction_cannot_write(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE TABLE shop.t (n int)")
    with psycopg.connect(_address(server), password=PASSWORD) as mayhap:
        mayhap.execute("INSERT INTO shop.t VALUES (1)")  # the user may; the connector's transaction may not
    for text in ("INSERT INTO shop.t VALUES (2)", "CREATE TABLE shop.x (n int)", "SELECT nextval('shop.s')"):
        admin.execute("CREATE SEQUENCE IF NOT EXISTS shop.s")
        admin.execute(f"GRANT ALL ON SEQUENCE shop.s TO {READER}")
        with (
            postgres._transaction(_source(server, "t"), Path(), Limits()) as cursor,
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        ):
            cursor.execute(text)
    assert admin.execute("SELECT count(*) FROM shop.t").fetchone() == (1,)


def test_a_view_that_writes_is_stopped(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE TABLE shop.t (n int)")
    admin.execute(
        "CREATE OR REPLACE FUNCTION public.sneak() RETURNS int LANGUAGE sql VOLATILE SECURITY DEFINER "
        "AS 'INSERT INTO shop.t VALUES (1) RETURNING n'"
    )
    admin.execute("CREATE VIEW shop.v AS SELECT public.sneak() AS n")
    with pytest.raises(DataError, match="the source tries to write"):
        _run(server, "SELECT n AS a FROM source", {"n": INT}, "v")
    assert admin.execute("SELECT count(*) FROM shop.t").fetchone() == (0,)


def test_the_session_has_its_limits_and_no_search_path(server: Server) -> None:
    with postgres._transaction(_source(server, "t"), Path(), Limits(seconds=7)) as cursor:
        names = (
            "statement_timeout",
            "search_path",
            "transaction_read_only",
            "default_transaction_read_only",
            "timezone",
        )
        found = [cursor.execute(f"SHOW {name}").fetchone() for name in names]
    assert found == [("7s",), ("pg_catalog",), ("on",), ("on",), ("UTC",)]


def test_a_stopped_statement_is_gone_from_the_server(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE TABLE shop.t AS SELECT i AS n FROM generate_series(1, 3000) AS i")
    text = "SELECT COUNT(*) AS a FROM source AS x, source AS y, source AS z WHERE x.n * y.n = z.n + 5"
    with pytest.raises(DataError, match=r"stopped after 0\.3 s"):
        _run(server, text, {"n": INT}, seconds=0.3)
    time.sleep(0.2)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'inbond' AND state = 'active'"
    assert admin.execute(busy).fetchone() == (0,)


def test_only_granted_columns_are_needed_and_seen(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute("CREATE TABLE shop.t AS SELECT 1 AS n, 'x'::text AS name")
    admin.execute(f"REVOKE ALL ON shop.t FROM {READER}; GRANT SELECT (n) ON shop.t TO {READER}")
    assert PostgresConnector().columns(_source(server, "t"), Path()) == {"n": "integer"}
    assert _run(server, "SELECT COUNT(*) AS a FROM source", {"n": INT})["a"].to_pylist() == [1]
    with pytest.raises(DataError, match="column name is not in the source; the source has n"):
        PostgresConnector().view(_source(server, "t"), {"n": INT, "name": TEXT}, Path())
    admin.execute(f"REVOKE SELECT (n) ON shop.t FROM {READER}")
    with pytest.raises(DataError, match="may not read it; GRANT SELECT"):
        PostgresConnector().columns(_source(server, "t"), Path())


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("'infinity'::timestamp", ColumnType.DATETIME),
        ("'-infinity'::date", ColumnType.DATE),
        ("'NaN'::numeric", ColumnType.MONEY),
        ("1e20::numeric", ColumnType.MONEY),
        ("1e300::float8", ColumnType.INT),
        ("'secret value'::text", ColumnType.DATE),
        ("'\\x00'::bytea", ColumnType.DATE),
    ],
)
def test_what_no_contract_can_hold_is_told_by_column(
    server: Server, admin: psycopg.Connection[Any], value: str, kind: ColumnType
) -> None:
    admin.execute(f"CREATE TABLE shop.t AS SELECT 1 AS n, {value} AS odd")
    with pytest.raises(DataError, match=f"column odd holds a value that is no {kind}") as caught:
        PostgresConnector().view(_source(server, "t"), {"n": INT, "odd": kind}, Path())
    assert "secret value" not in str(caught.value)


def test_other_native_types_come_as_the_contract_says(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute("SET TIME ZONE 'Asia/Shanghai'")
    admin.execute(
        "CREATE TABLE shop.t AS SELECT 7::smallint AS n, '2026-01-01 00:30:00'::timestamptz AS s, 'ab'::char(5) AS t, "
        "12.345::numeric AS m, '6f1e8a52-0000-4000-8000-000000000001'::uuid AS u, '2026-03-01'::text AS d"
    )
    types = {"n": INT, "s": ColumnType.DATETIME, "t": TEXT, "m": ColumnType.MONEY, "u": TEXT, "d": ColumnType.DATE}
    row = PostgresConnector().view(_source(server, "t"), types, Path()).to_pylist()[0]
    assert list(map(str, row.values())) == [
        *("7", "2025-12-31 16:30:00", "ab", "12.35", "6f1e8a52-0000-4000-8000-000000000001", "2026-03-01")
    ]
    assert isinstance(row["m"], Decimal)


def test_a_persons_rows_come_by_exact_id_whatever_the_column_holds_equal(
    server: Server, admin: psycopg.Connection[Any]
) -> None:
    """A case-blind column would hand one person's rows to another; padding is no part of an id."""
    admin.execute("DROP COLLATION IF EXISTS shop.blind CASCADE")
    admin.execute("CREATE COLLATION shop.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    admin.execute("CREATE TABLE shop.t (who text COLLATE shop.blind, padded char(9), n int)")
    admin.execute("INSERT INTO shop.t VALUES ('ann', 'ann', 1), ('Ann', 'Ann', 2), (NULL, NULL, 3)")
    assert admin.execute("SELECT count(*) FROM shop.t WHERE who = 'ann'").fetchone() == (2,)
    columns = {"who": TEXT, "padded": TEXT, "n": INT}
    for subject in ("who", "padded"):
        relations = {"source": Relation(_source(server, "t"), columns)}
        found = PostgresConnector().run(relations, rows_of("ann", subject, columns), Path())
        assert found.to_pylist() == [{"who": "ann", "padded": "ann", "n": 1}]


def test_a_copy_of_a_persons_data_is_read_from_a_server(
    server: Server, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    admin.execute("CREATE TABLE shop.orders (customer varchar(9), amount numeric, secret text)")
    admin.execute("INSERT INTO shop.orders VALUES ('o''b', 10.5, 'x'), ('b', 1, 'x'), ('%', 2, 'x')")
    party = Party.make(tmp_path / "p1")
    try:
        source = json.dumps(_source(server, "orders").model_dump(by_alias=True, exclude_defaults=True))
        text = CONTRACT.replace("{kind: parquet, path: orders.parquet}", source)
        text = text.replace("law:\n", "law:\n  subject: customer\n")
        kept = [line for line in text.splitlines() if not line.startswith("  ") or not UNHELD.match(line)]
        (party.home / "contracts" / "orders.yaml").write_text("\n".join(kept) + "\n")
        with opened_registry(party.node) as registry:
            made = copy_of(party.node, registry, "o'b", tmp_path / "copy", now=utc_now())
    finally:
        party.close()
    assert made.rows == {"orders": 1}
    found = json.loads((tmp_path / "copy" / "tables" / "orders.json").read_text())
    assert found == {"dataset": "orders", "rows": [{"amount": "10.50", "customer": "o'b"}]}
    assert admin.execute("SELECT count(*) FROM shop.orders").fetchone() == (3,)


def test_a_table_here_is_joined_with_a_file_there(
    server: Server, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    admin.execute("CREATE TABLE shop.t AS SELECT i AS n FROM generate_series(1, 10) AS i")
    pq.write_table(pa.table({"key": [2, 3, 11]}), tmp_path / "keys.parquet")
    relations = {
        "x": Relation(_source(server, "t"), {"n": INT}),
        "y": Relation(Source(kind="parquet", path="keys.parquet"), {"key": INT}),
    }
    push = Pushdown("SELECT SUM(x.n) AS a FROM x JOIN y ON x.n = y.key", {}, {"a": INT})
    assert run_pushdown(relations, push, tmp_path)["a"].to_pylist() == [5]


@pytest.mark.parametrize("noised", [False, True])
@pytest.mark.parametrize("sql_text", QUERIES)
def test_fragments_are_answered_as_from_a_file(
    server: Server, admin: psycopg.Connection[Any], tmp_path: Path, sql_text: str, noised: bool
) -> None:
    table = orders()
    pq.write_table(table, tmp_path / "orders.parquet")
    admin.execute(
        "CREATE TABLE shop.orders (country text, amount numeric, customer varchar(9), items smallint, paid boolean, "
        "day date, seen timestamptz, weight real)"
    )
    admin.execute("SET TIME ZONE 'UTC'")
    with admin.cursor().copy("COPY shop.orders FROM STDIN") as copy:
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            copy.write_row(row)
    file = answered(sql_text, Source(kind="parquet", path="orders.parquet"), tmp_path, noised=noised)
    assert answered(sql_text, _source(server, "orders"), tmp_path, noised=noised) == file


def test_a_million_rows_come_whole(server: Server, admin: psycopg.Connection[Any]) -> None:
    admin.execute(
        "CREATE TABLE shop.t AS SELECT i AS n, 'customer-' || i AS t, (i % 100000) / 100.0 AS m "
        "FROM generate_series(1, 1000000) AS i"
    )
    view = PostgresConnector().view(_source(server, "t"), {"n": INT, "t": TEXT, "m": ColumnType.MONEY}, Path())
    assert view.num_rows == 1_000_000
    total = sum(view["m"].to_pylist()[:3], Decimal())
    assert total == Decimal("0.06")


# --- getting in --------------------------------------------------------------------------------------------


def _refused(source: Source, folder: Path = Path()) -> str:
    with pytest.raises(DataError) as caught:
        PostgresConnector().columns(source, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.right
    return text


def test_a_wrong_password_is_told_and_never_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "not-the-password")
    text = _refused(_source(server, "t"))
    assert "password authentication failed" in text
    assert "not-the-password" not in text


def test_a_password_that_is_not_set_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert f"the variable {PASSWORD_VARIABLE} is not set" in _refused(_source(server, "t"))


def test_a_passfile_serves_when_nobody_else_can_read_it(
    server: Server, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    admin.execute("CREATE TABLE shop.t AS SELECT 1 AS n")
    path = tmp_path / "pass"
    path.write_text(f"*:*:*:{READER}:{PASSWORD}\n")
    path.chmod(0o600)
    source = _source(server, "t", password_env=None, passfile="pass")
    assert PostgresConnector().columns(source, tmp_path) == {"n": "integer"}
    path.chmod(0o644)
    assert "others may read the passfile" in _refused(source, tmp_path)
    path.unlink()
    assert "no such file" in _refused(source, tmp_path)


def test_tls_is_verified(server: Server, admin: psycopg.Connection[Any], tmp_path: Path) -> None:
    admin.execute("CREATE TABLE shop.t AS SELECT 1 AS n")
    with postgres._transaction(_source(server, "t"), Path(), Limits()) as cursor:
        assert cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    assert "certificate verify failed" in _refused(_source(server, "t", ca=None))
    assert "no such file" in _refused(_source(server, "t", ca="nowhere.pem"), tmp_path)


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    source = _source(server, "t", url=f"postgresql://{READER}@127.0.0.1:9/shop")
    assert "Connection refused" in _refused(source)


def test_a_database_that_is_not_there_is_told(server: Server) -> None:
    source = _source(server, "t", url=_address(server).replace("/postgres", "/nowhere"))
    assert 'database "nowhere" does not exist' in _refused(source)
