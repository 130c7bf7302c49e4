"""Parquet, CSV and DuckDB files through the embedded DuckDB engine, read-only and without network extensions."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from parties.connectors.base import DataError
from policies.contract import ColumnType, Source

SQL_TYPES = {
    ColumnType.INT: "BIGINT",
    ColumnType.FLOAT: "DOUBLE",
    ColumnType.MONEY: "DECIMAL(18,2)",
    ColumnType.TEXT: "VARCHAR",
    ColumnType.DATE: "DATE",
    ColumnType.DATETIME: "TIMESTAMP",
    ColumnType.BOOL: "BOOLEAN",
}
READERS = {"parquet": "read_parquet", "csv": "read_csv"}


class EmbeddedConnector:
    """DuckDB over files of the node."""

    def columns(self, source: Source, folder: Path) -> Mapping[str, str]:
        """Name -> DuckDB type of the source's columns."""
        with self._connect(source, folder) as connection:
            relation = self._relation(source, folder)
            described = self._run(connection, source, f"DESCRIBE SELECT * FROM {relation}")  # noqa: S608 - quoted
            return {
                str(name): str(kind)
                for name, kind in zip(described["column_name"], described["column_type"], strict=True)
            }

    def view(self, source: Source, columns: Mapping[str, ColumnType], folder: Path) -> pa.Table:
        """The named columns of every row, cast to the contract's types."""
        select = exp.select(
            *(
                exp.cast(exp.column(name, quoted=True), SQL_TYPES[kind], dialect="duckdb").as_(name, quoted=True)
                for name, kind in columns.items()
            )
        )
        statement = f"{select.sql('duckdb')} FROM {self._relation(source, folder)}"
        with self._connect(source, folder) as connection:
            return self._run(connection, source, statement)

    @staticmethod
    def _path(source: Source, folder: Path) -> Path:
        path = (folder / source.path).resolve()
        if not path.is_file():
            raise DataError("no such file", where=str(path), right="set `source.path` in the contract to the table")
        return path

    def _relation(self, source: Source, folder: Path) -> str:
        """The FROM clause, built as an expression: a path or table name is never pasted into SQL."""
        if source.kind == "duckdb":
            return exp.to_identifier(str(source.table), quoted=True).sql("duckdb")
        reader = exp.Anonymous(
            this=READERS[source.kind], expressions=[exp.Literal.string(str(self._path(source, folder)))]
        )
        return reader.sql("duckdb")

    def _connect(self, source: Source, folder: Path) -> duckdb.DuckDBPyConnection:
        options: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        try:
            if source.kind == "duckdb":
                return duckdb.connect(str(self._path(source, folder)), read_only=True, config=options)
            return duckdb.connect(":memory:", config=options)
        except duckdb.Error as error:
            raise DataError(str(error).splitlines()[0], where=source.path, right="a readable DuckDB file") from None

    @staticmethod
    def _run(connection: duckdb.DuckDBPyConnection, source: Source, statement: str) -> pa.Table:
        try:
            table: pa.Table = connection.sql(statement).to_arrow_table()
        except (duckdb.Error, OSError) as error:
            first = str(error).splitlines()[0]
            raise DataError(first, where=source.path, right="a table with the contract's columns and types") from None
        return table
