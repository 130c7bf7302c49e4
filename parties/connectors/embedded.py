"""Parquet, CSV and DuckDB files through the embedded DuckDB engine.

Read-only; once the owner's files are bound, the engine is shut off from every other file, from the network and from
its own settings, and it never spills rows to disk.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from parties.connectors import base
from parties.connectors.base import DEFAULT_LIMITS, DataError, Limits, Relation
from parties.connectors.pushdown import SQL_TYPES, Pushdown, statement, typed_columns
from parties.connectors.views import ALL, View
from policies.contract import ColumnType, Source
from policies.query.literals import Parameter

DIALECT = "duckdb"
_CHECK_SECONDS = 0.05
_PATTERN = re.compile(r"[*?\[\]{}]")  # DuckDB reads such a path as a pattern for many files
_SEALED = {
    "TimeZone": "'UTC'",
    "enable_external_access": "false",
    "lock_configuration": "true",
}


class EmbeddedConnector:
    """DuckDB over files of the node."""

    dialect = DIALECT

    def engine(self, source: Source, folder: Path) -> str:  # noqa: ARG002 - all files meet in one engine
        """All files can be joined with each other."""
        return DIALECT

    def columns(self, source: Source, folder: Path) -> Mapping[str, str]:
        """Name -> DuckDB type of the source's columns."""
        with _Session.open({"source": Relation(source, {})}, folder, DEFAULT_LIMITS) as session:
            return session.described("source")

    def view(self, source: Source, columns: Mapping[str, ColumnType], folder: Path, view: View = ALL) -> pa.Table:
        """The named columns within `view`, cast to the contract's types."""
        with _Session.open({"source": Relation(source, columns, view)}, folder, DEFAULT_LIMITS) as session:
            return session.table(session.relation("source"), {}, columns)

    def run(
        self, relations: Mapping[str, Relation], push: Pushdown, folder: Path, limits: Limits = DEFAULT_LIMITS
    ) -> pa.Table:
        """What `push` makes of files of this node."""
        with _Session.open(relations, folder, limits) as session:
            return session.answer(push)


def run_over_views(views: Mapping[str, pa.Table], push: Pushdown, limits: Limits = DEFAULT_LIMITS) -> pa.Table:
    """What `push` makes of tables in memory, by name; raises DataError and InvalidInput."""
    with _Session.over(views, limits) as session:
        return session.answer(push)


@dataclass(slots=True)
class _Bound:
    """One relation: how to read it, with which columns (None: all), and where its owner finds it."""

    origin: exp.Expr
    plain: exp.Expr  # the same, with no assumption about its columns
    columns: Mapping[str, ColumnType] | None
    source: Source | None
    view: View = ALL

    @property
    def description(self) -> str:
        return f"DESCRIBE {exp.select('*').from_(self.plain.copy()).sql(DIALECT)}"

    @property
    def query(self) -> exp.Select:
        if self.columns is None:
            return exp.select(exp.Star()).from_(self.origin.copy())
        return self.view.select(self.columns, self.origin.copy())


class _Session:
    """One engine with its relations bound and everything else shut off."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, bound: Mapping[str, _Bound], limits: Limits) -> None:
        self._connection, self._bound, self._limits = connection, bound, limits
        self._where = (
            ", ".join(dict.fromkeys(base.place(one.source) for one in bound.values() if one.source)) or "views"
        )

    @classmethod
    @contextmanager
    def open(cls, relations: Mapping[str, Relation], folder: Path, limits: Limits) -> Iterator["_Session"]:
        """An engine over files."""
        paths = {name: _path(one.source, folder) for name, one in relations.items()}
        databases = {path: f"d{i}" for i, path in enumerate(sorted({str(path) for path in paths.values()}))}
        bound = {}
        with _engine(limits) as connection:
            for name, one in relations.items():
                path = str(paths[name])
                if one.source.kind == "duckdb":
                    _attach(connection, one.source, path, databases[path])
                plain = _origin(Relation(one.source, {}), path, databases[path])
                bound[name] = _Bound(_origin(one, path, databases[path]), plain, one.columns, one.source, one.view)
            connection.execute("SET allowed_paths = $paths", {"paths": sorted(map(str, paths.values()))})
            _seal(connection)
            yield cls(connection, bound, limits)

    @classmethod
    @contextmanager
    def over(cls, views: Mapping[str, pa.Table], limits: Limits) -> Iterator["_Session"]:
        """An engine over tables in memory, whose columns are all permitted."""
        bound = {}
        with _engine(limits) as connection:
            for index, (name, view) in enumerate(views.items()):
                connection.register(f"view_{index}", view)
                table = exp.to_table(f"view_{index}")
                bound[name] = _Bound(table, table, None, None)
            _seal(connection)
            yield cls(connection, bound, limits)

    def relation(self, name: str) -> exp.Select:
        return self._bound[name].query

    def described(self, name: str) -> dict[str, str]:
        """Name -> DuckDB type."""
        found = self._execute(self._bound[name].description, {})
        return dict(zip(found["column_name"].to_pylist(), found["column_type"].to_pylist(), strict=True))

    def answer(self, push: Pushdown) -> pa.Table:
        """The outputs of a pushdown; raises DataError above the limit of rows."""
        tree = statement(push, {name: one.query for name, one in self._bound.items()}, self._limits.rows)
        used = {node.name for node in tree.find_all(exp.Placeholder)}
        given = {name: value for name, value in push.parameters.items() if name in used}
        found = self.table(tree, given, push.outputs)
        if found.num_rows > self._limits.rows:
            raise base.too_many(self._where, self._limits)
        return found

    def table(
        self, tree: exp.Query, parameters: Mapping[str, Parameter], outputs: Mapping[str, ColumnType]
    ) -> pa.Table:
        """The result of a statement in the delivered types."""
        return self._execute(tree.sql(DIALECT), parameters).cast(base.schema_of(outputs))

    def _execute(self, sql: str, parameters: Mapping[str, Parameter]) -> pa.Table:
        try:
            with _deadline(self._connection, self._limits.seconds):
                found: pa.Table = self._connection.sql(sql, params=dict(parameters)).to_arrow_table()
        except duckdb.InterruptException:
            raise base.too_long(self._where, self._limits) from None
        except duckdb.OutOfMemoryException:
            right = "a smaller question, or a higher limit"
            raise DataError(f"more than {self._limits.memory_mib} MiB", where=self._where, right=right) from None
        except (duckdb.Error, OSError) as error:
            raise self._fault(error) from None
        return found

    def _fault(self, error: Exception) -> DataError:
        """What is wrong, found out by asking the source: the engine's own words may hold values of rows."""
        if sql_only := isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ConversionException):
            for one in self._bound.values():
                if one.source is not None and (found := self._wrong_column(one, one.source)):
                    return found
        if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
            return base.misfit(self._where)
        if isinstance(error, duckdb.PermissionException):
            right = "a table, or the files themselves as source"
            return DataError("the view reads files of its own", where=self._where, right=right)
        right = "columns and types of the contract" if sql_only else "a readable table of its kind"
        return DataError(f"cannot be read ({type(error).__name__})", where=self._where, right=right)

    def _wrong_column(self, one: _Bound, source: Source) -> DataError | None:
        try:
            rows = self._connection.sql(one.description).fetchall()
        except duckdb.Error:
            return DataError("no such table", where=base.place(source), right="set `source.table` in the contract")
        present = {str(name): str(kind) for name, kind, *_ in rows}
        lowered = {name.lower() for name in present}
        for name, kind in (one.columns or {}).items():
            if name.lower() not in lowered:
                return base.missing_column(source, name, present)
            typed = exp.select(*typed_columns({name: kind})).from_(one.origin.copy())
            counted = exp.select(exp.Count(this=exp.column(name, quoted=True))).from_(typed.subquery("typed"))
            try:
                self._connection.sql(counted.sql(DIALECT)).fetchall()
            except duckdb.Error:
                return base.misfit(base.place(source), kind, name)
        return None


@contextmanager
def _engine(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    options: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": f"{limits.memory_mib}MiB",
        "python_enable_replacements": "false",
        "temp_directory": "",
    }
    with duckdb.connect(":memory:", config=options) as connection:
        yield connection


def _seal(connection: duckdb.DuckDBPyConnection) -> None:
    for setting, value in _SEALED.items():
        connection.execute(f"SET {setting} = {value}")


@contextmanager
def _deadline(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt what runs on `connection` after `seconds`, again and again until the block is left."""
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            connection.interrupt()
            wait = _CHECK_SECONDS  # an interrupt before a statement has begun is lost

    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _path(source: Source, folder: Path) -> Path:
    path = (folder / str(source.path)).resolve()
    if not path.is_file():
        raise DataError("no such file", where=str(path), right="set `source.path` in the contract to the table")
    if _PATTERN.search(str(path)):
        raise DataError("the path holds one of *?[]{}", where=str(path), right="rename the file or folder")
    return path


def _attach(connection: duckdb.DuckDBPyConnection, source: Source, path: str, name: str) -> None:
    try:
        connection.execute(f"ATTACH IF NOT EXISTS {exp.Literal.string(path).sql(DIALECT)} AS {name} (READ_ONLY)")
    except (duckdb.Error, OSError):
        right = "a DuckDB file that no other process writes to"
        raise DataError("cannot be opened", where=base.place(source), right=right) from None


def _origin(one: Relation, path: str, database: str) -> exp.Expr:
    """What stands after FROM, built as an expression: a path or table name is never pasted into SQL."""
    if one.source.kind == "duckdb":
        return exp.table_(str(one.source.table), db="main", catalog=database, quoted=True)
    if one.source.kind == "parquet":
        return exp.Table(this=exp.func("read_parquet", exp.Literal.string(path), dialect=DIALECT))
    return exp.Table(this=_read_csv(path, {**one.view.columns, **one.columns}))


def _read_csv(path: str, columns: Mapping[str, ColumnType] | None) -> exp.Expr:
    """Text and money are read as written: guessing would make 7 of the order number 007, and a float of a price."""
    exact = [name for name, kind in (columns or {}).items() if kind in {ColumnType.TEXT, ColumnType.MONEY}]
    text = exp.Literal.string(SQL_TYPES[ColumnType.TEXT])
    options: dict[str, exp.Expr] = {"header": exp.true()}
    if exact:
        fields = [exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=text.copy()) for name in exact]
        options["types"] = exp.Struct(expressions=fields)
    named = [exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()]
    return exp.ReadCSV(this=exp.Literal.string(path), expressions=named)
