"""What every connector must do, as tests that its author inherits.

    class TestMyConnector(ConnectorContract):
        connector = MyConnector()

        def store(self, table, name, folder): ...  # put the table into the engine, in the engine's own types
        def elsewhere(self, source): ...  # the same source, but of a table that is not there

Needs pytest; `pytest.register_assert_rewrite("parties.connectors.testing")` in conftest.py makes failures readable.
The reference for answers is the embedded engine over the same rows.
"""
# ruff: noqa: S101, S608 - these are tests, which write their own SQL

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from parties.connectors.base import Connector, DataError, Limits, Relation, schema_of
from parties.connectors.embedded import run_over_views
from parties.connectors.person import rows_of
from parties.connectors.pushdown import Pushdown
from parties.connectors.rows import Rows
from parties.connectors.views import View
from policies.contract import ColumnType, Source
from policies.errors import InvalidInput
from policies.query.literals import Parameter
from policies.views import Mask

COLUMNS = {
    "n": ColumnType.INT,
    "f": ColumnType.FLOAT,
    "m": ColumnType.MONEY,
    "t": ColumnType.TEXT,
    "d": ColumnType.DATE,
    "s": ColumnType.DATETIME,
    "b": ColumnType.BOOL,
}
MARKED = 'Zo\u00eb\'s "p\u00e4ck", \u5305\u88f9\nline; --'  # what no error may repeat
_ROWS: dict[str, list[Any]] = {
    "n": [1, -2, None, 2**62, 5],
    "f": [0.5, -1.25, None, 1e300, 2.5],
    "m": [Decimal("19.99"), Decimal("-0.01"), None, Decimal("9007199254740993.97"), Decimal("0.29")],
    "t": ["007", MARKED, None, "50%\\off", "Abc"],
    "d": [dt.date(2026, 1, 31), dt.date(1969, 12, 31), None, dt.date(2024, 2, 29), dt.date(2026, 2, 1)],
    "s": [
        dt.datetime(2026, 1, 31, 23, 59, 59, 999_999),  # noqa: DTZ001 - a DATETIME has no zone
        dt.datetime(1969, 12, 31, 23, 59, 59, 1),  # noqa: DTZ001
        None,
        dt.datetime(2300, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
        dt.datetime(2026, 2, 1),  # noqa: DTZ001
    ],
    "b": [True, False, None, True, False],
}
TABLE = pa.table(_ROWS, schema_of(COLUMNS))
WITH_MORE = TABLE.append_column("secret", pa.array(["x"] * len(TABLE)))
INT, FLOAT, MONEY, TEXT, DATE, DATETIME, BOOL = COLUMNS.values()

CLASSES = "CASE WHEN n > $p0 THEN 'high' WHEN n IS NULL THEN 'none' ELSE 'low' END"
ANSWERS: list[tuple[str, dict[str, Parameter], dict[str, ColumnType]]] = [
    ("SELECT COUNT(*) AS a, COUNT(t) AS c FROM source", {}, {"a": INT, "c": INT}),
    ("SELECT SUM(CAST(ROUND(m * 100) AS BIGINT)) AS a FROM source WHERE m < $p0", {"p0": 100}, {"a": INT}),
    ("SELECT n AS a FROM source WHERE m = $p0 OR m = $p1", {"p0": 19.99, "p1": 0.29}, {"a": INT}),
    ("SELECT CAST(d AS VARCHAR) AS k, COUNT(*) AS a FROM source GROUP BY CAST(d AS VARCHAR)",
     {}, {"k": TEXT, "a": INT}),
    ("SELECT b AS k, AVG(f) AS a FROM source WHERE f < 10 GROUP BY b", {}, {"k": BOOL, "a": FLOAT}),
    ("SELECT n AS a FROM source WHERE d >= $p0 AND s < $p1",
     {"p0": "2024-02-29", "p1": "2026-02-01 00:00:00"}, {"a": INT}),
    ("SELECT n AS a FROM source WHERE t LIKE $p0", {"p0": "50%\\%"}, {"a": INT}),
    ("SELECT n AS a FROM source WHERE t ILIKE $p0", {"p0": "zO\u00cb%"}, {"a": INT}),
    ("SELECT n AS a FROM source WHERE t > $p0", {"p0": "B"}, {"a": INT}),
    ("SELECT MIN(t) AS a, MAX(t) AS c, LOWER(MAX(t)) AS e FROM source", {}, {"a": TEXT, "c": TEXT, "e": TEXT}),
    ("SELECT n AS a FROM source WHERE t IN ($p0, $p1) AND NOT b", {"p0": "Abc", "p1": "007"}, {"a": INT}),
    ("SELECT n / 2 AS a, n // 2 AS c, n % 2 AS e FROM source WHERE n < 10", {}, {"a": FLOAT, "c": INT, "e": INT}),
    ("SELECT n / (n - 5) AS a, n // (n - 5) AS c, n % (n - 5) AS e, f / (n - 5) AS g FROM source WHERE n < 10", {},
     {"a": FLOAT, "c": INT, "e": INT, "g": FLOAT}),
    ("SELECT CAST(f AS BIGINT) AS a, CAST(m AS BIGINT) AS c FROM source WHERE n < 10", {}, {"a": INT, "c": INT}),
    ("SELECT ROUND(f) AS a, ROUND(f, 1) AS c FROM source WHERE n < 10", {}, {"a": FLOAT, "c": FLOAT}),
    ("SELECT DATE_TRUNC('month', d) AS a, YEAR(d) AS c FROM source", {}, {"a": DATE, "c": INT}),
    (f"SELECT {CLASSES} AS k, COUNT(*) AS a FROM source GROUP BY {CLASSES}", {"p0": 1}, {"k": TEXT, "a": INT}),
    ("SELECT VAR_SAMP(f) AS a, STDDEV_POP(n) AS c FROM source WHERE n < 10", {}, {"a": FLOAT, "c": FLOAT}),
    ("SELECT COALESCE(t, $p0) AS a, LENGTH(t) AS c FROM source", {"p0": "none"}, {"a": TEXT, "c": INT}),
    ("SELECT COUNT(DISTINCT b) AS a, SUM(n) FILTER (WHERE b) AS c FROM source", {}, {"a": INT, "c": INT}),
    ("SELECT x.n AS a, y.m AS c FROM source AS x JOIN source AS y ON x.t = y.t AND x.d = y.d",
     {}, {"a": INT, "c": MONEY}),
    ("SELECT b AS k, COUNT(*) AS a FROM source GROUP BY b HAVING COUNT(*) > 1", {}, {"k": BOOL, "a": INT}),
    ("SELECT s AS a, d AS c FROM (SELECT s, d, b FROM source) AS inner_rows WHERE b = $p0",
     {"p0": True}, {"a": DATETIME, "c": DATE}),
    ("SELECT n AS a FROM source UNION ALL SELECT CAST(m AS BIGINT) AS a FROM source", {}, {"a": INT}),
]  # fmt: skip

REFUSED = {
    "another table": "SELECT COUNT(*) AS a FROM orders",
    "a catalogue": "SELECT COUNT(*) AS a FROM pg_catalog.pg_user",
    "a schema": "SELECT COUNT(*) AS a FROM main.source",
    "a table function": "SELECT COUNT(*) AS a FROM read_csv('/etc/passwd')",
    "a file": "SELECT COUNT(*) AS a FROM '/etc/passwd'",
    "rows of everything": "SELECT * FROM source",
    "a function of the engine": "SELECT pg_sleep(1) AS a FROM source",
    "a setting": "SELECT set_config('a', 'b', true) AS a FROM source",
    "a variable": "SELECT getvariable('x') AS a FROM source",
    "a subquery elsewhere": "SELECT (SELECT COUNT(*) FROM pg_user) AS a FROM source",
    "a hidden table": "SELECT COUNT(*) AS a FROM source, (WITH pg_user AS (SELECT 1) SELECT 1) AS x, pg_user",
    "WITH": "WITH x AS (SELECT 1 AS a) SELECT a FROM source",
    "a catalogue cast": "SELECT CAST('pg_user' AS REGCLASS) AS a FROM source",
    "a write": "DELETE FROM source",
    "a copy": "COPY source TO '/tmp/a'",
    "two statements": "SELECT COUNT(*) AS a FROM source; DROP TABLE source",
    "a lock": "SELECT n AS a FROM source FOR UPDATE",
    "an unknown value": "SELECT n AS a FROM source WHERE n = $p9",
    "a system column": "SELECT COLUMNS('n') AS a FROM source",
    "no SQL": "SELECT (((",
    "nothing": "",
}


class ConnectorContract:
    """Inherit, set `connector`, write `store` and `elsewhere`."""

    connector: Connector

    def store(self, table: pa.Table, name: str, folder: Path) -> Source:
        """Put `table` into the engine under `name`, in the engine's own types; return where it is."""
        raise NotImplementedError

    def elsewhere(self, source: Source) -> Source:
        """The same source, but of a table that is not there."""
        raise NotImplementedError

    def _run(self, source: Source, push: Pushdown, folder: Path, **limits: float) -> pa.Table:
        limit = Limits(**{"seconds": 60, "rows": 1000, **limits})  # type: ignore[arg-type]  # whole numbers where needed
        return self.connector.run({"source": Relation(source, COLUMNS)}, push, folder, limit)

    def test_it_names_a_dialect_and_its_columns(self, tmp_path: Path) -> None:
        """`dialect` is one of sqlglot's; `columns` finds what is there."""
        source = self.store(WITH_MORE, "things", tmp_path)
        assert set(self.connector.columns(source, tmp_path)) == {*COLUMNS, "secret"}
        assert self.connector.dialect in {
            "duckdb",
            "postgres",
            "mysql",
            "sqlite",
            "clickhouse",
            "snowflake",
            "bigquery",
        }

    def test_rows_that_may_not_be_read_are_in_no_answer_and_no_view(self, tmp_path: Path) -> None:
        """`rows` holds for views and pushdowns, also where its column is not among the permitted ones."""
        source, few = self.store(WITH_MORE, "things", tmp_path), {"m": COLUMNS["m"]}
        n, m = _ROWS["n"], _ROWS["m"]
        for rows, kept in (
            (Rows("n", INT, (1, -2)), [one for one, number in zip(m, n, strict=True) if number not in {1, -2}]),
            (Rows("n", INT, (1, -2), only=True), m[:2]),
            (Rows("t", TEXT, (MARKED, "nobody' OR '1'='1")), [m[0], *m[2:]]),
            (Rows("t", TEXT, ("007",), only=True), m[:1]),
            (Rows("t", TEXT, (), only=True), []),
            (Rows("t", TEXT, ()), m),
        ):
            view = View((rows,))
            assert self.connector.view(source, few, tmp_path, view)["m"].to_pylist() == kept
            push = Pushdown("SELECT COUNT(*) AS a FROM source", {}, {"a": INT})
            counted = self.connector.run({"source": Relation(source, {}, view)}, push, tmp_path)
            assert counted["a"].to_pylist() == [len(kept)]
        both = View((Rows("n", INT, (1,)), Rows("t", TEXT, ("Abc",), only=True)))
        assert self.connector.view(source, few, tmp_path, both)["m"].to_pylist() == m[4:]

    @pytest.mark.parametrize(
        ("subject", "person"),
        [
            *(("n", number) for number in (1, -2, 5, 2**62, 7, 2**63 - 1, -(2**63))),
            *(("t", text) for text in ("007", MARKED, "50%\\off", "Abc")),  # those who are there
            *(("t", text) for text in ("7", "abc", "Abc ", "%", "_bc", "50%", "50%\\\\off", "*", "", "NULL", "$p0")),
            *(("t", text) for text in ("' OR '1'='1", "Abc' --", 'Abc"; DROP TABLE things; --', "A" * 256)),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_one_persons_rows_are_those_with_exactly_that_id(
        self, tmp_path: Path, subject: str, person: int | str
    ) -> None:
        """What a person is given: every column, as it is; nothing of anybody else, whatever the id is."""
        source = self.store(WITH_MORE, "things", tmp_path)
        found = self._run(source, rows_of(person, subject, COLUMNS), tmp_path)
        wanted = [row for row in TABLE.to_pylist() if row[subject] == person]
        assert found.schema == TABLE.schema
        assert found.to_pylist() == wanted
        assert self.connector.view(source, COLUMNS, tmp_path).num_rows == len(TABLE)

    @pytest.mark.parametrize(
        ("column", "form", "size", "shown"),
        [
            ("n", "round", 4, [0, 0, None, 2**62, 4]),
            (
                "m",
                "round",
                1,
                [Decimal("19.00"), Decimal("0.00"), None, Decimal("9007199254740993.00"), Decimal("0.00")],
            ),
            ("t", "prefix", 2, ["00", MARKED[:2], None, "50", "Ab"]),
            (
                "d",
                "month",
                None,
                [dt.date(2026, 1, 1), dt.date(1969, 12, 1), None, dt.date(2024, 2, 1), dt.date(2026, 2, 1)],
            ),
            (
                "d",
                "year",
                None,
                [dt.date(2026, 1, 1), dt.date(1969, 1, 1), None, dt.date(2024, 1, 1), dt.date(2026, 1, 1)],
            ),
            ("s", "day", None, [one and one.replace(hour=0, minute=0, second=0, microsecond=0) for one in _ROWS["s"]]),
            *((column, "nothing", None, [None] * 5) for column in COLUMNS),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_masked_columns_are_shown_so_in_views_and_answers(
        self, tmp_path: Path, column: str, form: Any, size: int | None, shown: list[Any]
    ) -> None:
        """A mask changes what is seen, in the column's own type; row conditions read the source as it is."""
        source, kind = self.store(WITH_MORE, "things", tmp_path), COLUMNS[column]
        view = View((), {column: Mask(column=column, form=form, size=size)})
        seen = self.connector.view(source, {column: kind}, tmp_path, view)
        assert seen.schema == schema_of({column: kind})
        assert seen[column].to_pylist() == shown
        push = Pushdown(f"SELECT {column} AS a FROM source", {}, {"a": kind})
        assert self.connector.run({"source": Relation(source, COLUMNS, view)}, push, tmp_path)["a"].to_pylist() == shown
        alone = View((Rows("t", TEXT, ("Abc",), only=True),), view.masks)
        assert self.connector.view(source, {column: kind}, tmp_path, alone)[column].to_pylist() == shown[4:]

    def test_every_type_makes_the_round_trip(self, tmp_path: Path) -> None:
        """Values, NULLs and Arrow types are exactly those that were stored."""
        view = self.connector.view(self.store(WITH_MORE, "things", tmp_path), COLUMNS, tmp_path)
        assert view.schema == TABLE.schema
        assert view.to_pylist() == TABLE.to_pylist()

    def test_every_type_comes_out_of_a_run(self, tmp_path: Path) -> None:
        """As for a view."""
        push = Pushdown(f"SELECT {', '.join(COLUMNS)} FROM source", {}, COLUMNS)
        found = self._run(self.store(WITH_MORE, "things", tmp_path), push, tmp_path)
        assert found.schema == TABLE.schema
        assert found.to_pylist() == TABLE.to_pylist()

    def test_an_empty_table_has_the_types_too(self, tmp_path: Path) -> None:
        """No row is no reason for another schema."""
        source = self.store(TABLE, "things", tmp_path)
        push = Pushdown(f"SELECT {', '.join(COLUMNS)} FROM source WHERE n = $p0", {"p0": 77}, COLUMNS)
        assert self._run(source, push, tmp_path).equals(TABLE.slice(0, 0))

    @pytest.mark.parametrize(("sql", "parameters", "outputs"), ANSWERS, ids=[sql[:60] for sql, _, _ in ANSWERS])
    def test_answers_are_those_of_the_embedded_engine(
        self, sql: str, parameters: dict[str, Parameter], outputs: dict[str, ColumnType], tmp_path: Path
    ) -> None:
        """One fragment has one answer, whatever engine its owner keeps."""
        push = Pushdown(sql, parameters, outputs)
        found = self._run(self.store(WITH_MORE, "things", tmp_path), push, tmp_path)
        wanted = run_over_views({"source": TABLE}, push)
        assert found.schema == wanted.schema
        assert _sorted(found) == _sorted(wanted)
        assert len(wanted)

    def test_two_tables_are_joined(self, tmp_path: Path) -> None:
        """Relations keep their names apart; each shows its own columns only."""
        first = self.store(WITH_MORE, "things", tmp_path)
        second = self.store(pa.table({"key": [1, 5], "label": ["one", "five"]}), "labels", tmp_path)
        assert self.connector.engine(first, tmp_path) == self.connector.engine(second, tmp_path)
        relations = {"x": Relation(first, {"n": INT}), "y": Relation(second, {"key": INT, "label": TEXT})}
        push = Pushdown("SELECT y.label AS a FROM x JOIN y ON x.n = y.key ORDER BY x.n", {}, {"a": TEXT})
        found = self.connector.run(relations, push, tmp_path, Limits(seconds=60))
        assert found["a"].to_pylist() == ["one", "five"]

    def test_rows_are_counted_without_any_column(self, tmp_path: Path) -> None:
        """A relation may permit no column at all."""
        source = self.store(WITH_MORE, "things", tmp_path)
        push = Pushdown("SELECT COUNT(*) AS a FROM source", {}, {"a": INT})
        found = self.connector.run({"source": Relation(source, {})}, push, tmp_path)
        assert found["a"].to_pylist() == [len(TABLE)]

    def test_a_column_that_is_not_permitted_is_not_there(self, tmp_path: Path) -> None:
        """The source has it, the relation does not."""
        source = self.store(WITH_MORE, "things", tmp_path)
        push = Pushdown("SELECT COUNT(secret) AS a FROM source", {}, {"a": INT})
        with pytest.raises(DataError) as caught:
            self._run(source, push, tmp_path)
        _one_line_without_data(caught.value)

    @pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
    def test_what_is_not_let_through(self, sql: str, tmp_path: Path) -> None:
        """Refused before the engine sees it; the table is as it was."""
        source = self.store(TABLE, "things", tmp_path)
        with pytest.raises(InvalidInput, match="pushdown"):
            self._run(source, Pushdown(sql, {}, {"a": INT}), tmp_path)
        assert self.connector.view(source, COLUMNS, tmp_path).to_pylist() == TABLE.to_pylist()

    @pytest.mark.parametrize("value", ["' OR TRUE --", "007' OR '1'='1", "$p0", "%s", "\\' OR 1=1 --", "{}"])
    def test_a_parameter_is_a_value_and_nothing_else(self, value: str, tmp_path: Path) -> None:
        """It matches no row, because no row holds it."""
        source = self.store(TABLE, "things", tmp_path)
        push = Pushdown("SELECT COUNT(*) AS a FROM source WHERE t = $p0", {"p0": value}, {"a": INT})
        assert self._run(source, push, tmp_path)["a"].to_pylist() == [0]

    @pytest.mark.parametrize(
        "name", ['n" FROM things; DROP TABLE things; --', "n' --", "n); DROP TABLE things; --", "$1"]
    )
    def test_a_name_is_a_name_and_nothing_else(self, name: str, tmp_path: Path) -> None:
        """There is no such column; the table is as it was."""
        source = self.store(TABLE, "things", tmp_path)
        with pytest.raises(DataError, match="is not in the source"):
            self.connector.view(source, {name: INT}, tmp_path)
        assert self.connector.view(source, COLUMNS, tmp_path).num_rows == len(TABLE)

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        """One line for the owner, with the columns that there are."""
        source = self.store(TABLE, "things", tmp_path)
        with pytest.raises(DataError, match="column nowhere is not in the source; the source has b, d") as caught:
            self.connector.view(source, {"n": INT, "nowhere": INT}, tmp_path)
        _one_line_without_data(caught.value)

    def test_a_missing_table_is_told(self, tmp_path: Path) -> None:
        """By `columns`, `view` and `run` alike."""
        gone = self.elsewhere(self.store(TABLE, "things", tmp_path))
        push = Pushdown("SELECT n AS a FROM source", {}, {"a": INT})
        for ask in (
            lambda: self.connector.columns(gone, tmp_path),
            lambda: self.connector.view(gone, {"n": INT}, tmp_path),
            lambda: self._run(gone, push, tmp_path),
        ):
            with pytest.raises(DataError, match="no such") as caught:
                ask()
            _one_line_without_data(caught.value)

    def test_a_value_of_another_type_is_told_by_its_column_only(self, tmp_path: Path) -> None:
        """The owner learns which column; the message holds no value of a row."""
        source = self.store(TABLE, "things", tmp_path)
        with pytest.raises(DataError, match="column t holds a value that is no int") as caught:
            self.connector.view(source, {"n": INT, "t": INT}, tmp_path)
        _one_line_without_data(caught.value)

    def test_a_result_that_does_not_fit_is_told(self, tmp_path: Path) -> None:
        """A sum beyond 64 bits is an error, never another number."""
        source = self.store(TABLE, "things", tmp_path)
        push = Pushdown("SELECT SUM(x.n) AS a FROM source AS x, source AS y", {}, {"a": INT})
        with pytest.raises(DataError, match="a result does not fit its type") as caught:
            self._run(source, push, tmp_path)
        _one_line_without_data(caught.value)

    def test_a_result_above_the_limit_of_rows_is_refused(self, tmp_path: Path) -> None:
        """Exactly the limit passes."""
        source = self.store(TABLE, "things", tmp_path)
        push = Pushdown("SELECT n AS a FROM source", {}, {"a": INT})
        assert self._run(source, push, tmp_path, rows=len(TABLE)).num_rows == len(TABLE)
        with pytest.raises(DataError, match=f"more than {len(TABLE) - 1} rows"):
            self._run(source, push, tmp_path, rows=len(TABLE) - 1)

    def test_a_run_that_takes_too_long_is_stopped(self, tmp_path: Path) -> None:
        """The engine is free again at once."""
        many = pa.table({"n": list(range(3000))})
        relations = {"source": Relation(self.store(many, "many", tmp_path), {"n": INT})}
        tables = ", ".join(f"source AS {name}" for name in "xyzu")
        sql = f"SELECT COUNT(*) AS a FROM {tables} WHERE x.n * y.n - z.n = u.n + 7"
        started = dt.datetime.now(dt.UTC)
        with pytest.raises(DataError, match=r"stopped after 0\.5 s"):
            self.connector.run(relations, Pushdown(sql, {}, {"a": INT}), tmp_path, Limits(seconds=0.5))
        assert dt.datetime.now(dt.UTC) - started < dt.timedelta(seconds=20)
        assert self.connector.view(relations["source"].source, {"n": INT}, tmp_path).num_rows == len(many)


def _sorted(table: pa.Table) -> list[str]:
    """Rows in some order; floats to 12 digits, for engines add in different orders."""
    rows = [
        [float(f"{cell:.12g}") if isinstance(cell, float) else cell for cell in row.values()]
        for row in table.to_pylist()
    ]
    return sorted(map(repr, rows))


def _one_line_without_data(error: DataError) -> None:
    text = str(error)
    assert "\n" not in text
    assert error.where
    assert error.right
    said = text.replace(str(error.where), "")  # the place may have such digits: a server's port, a folder
    assert not any(part in said for part in (MARKED, "Zo\u00eb", "007", "19.99", "50%"))
