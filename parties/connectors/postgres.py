"""A table of the owner's own PostgreSQL server, over libpq.

The server learns the fragment and this node's database user, nothing of other parties. Every statement runs in one
read-only, repeatable-read transaction with a time limit and an empty search path; values travel as bound parameters.
Answers are those of the other engines: text is compared by its bytes (collation "C"; ILIKE, LOWER and UPPER use the
database's own), times are UTC, backslash is no escape in LIKE, and halves round away from zero.
"""

import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import psycopg
import pyarrow as pa
from psycopg import IsolationLevel, RawCursor, errors
from psycopg.rows import TupleRow
from sqlglot import exp

from parties.connectors import base
from parties.connectors.base import DEFAULT_LIMITS, DataError, Limits, Relation
from parties.connectors.pushdown import Pushdown, statement
from parties.connectors.views import ALL, View
from policies.contract import CENTS, ColumnType, Source
from policies.query.literals import Parameter

DIALECT = "postgres"
CONNECT_SECONDS = 10
GRACE_SECONDS = 5  # what a server may take to stop a statement by itself, before it is cancelled from here
_ROWS_AT_ONCE = 10_000
_EPOCH = "1970-01-01"
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_COLUMNS = """
SELECT attribute.attname, pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
       pg_catalog.has_column_privilege(class.oid, attribute.attnum, 'SELECT')
FROM pg_catalog.pg_attribute AS attribute
JOIN pg_catalog.pg_class AS class ON class.oid = attribute.attrelid
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = $1 AND class.relname = $2 AND class.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND attribute.attnum > 0 AND NOT attribute.attisdropped
ORDER BY attribute.attnum
"""
_SETTINGS = """
SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true),
       pg_catalog.set_config('search_path', 'pg_catalog', true), pg_catalog.set_config('timezone', 'UTC', true),
       pg_catalog.set_config('datestyle', 'ISO, YMD', true)
"""


class PostgresConnector:
    """PostgreSQL 14 and later."""

    dialect = DIALECT

    def engine(self, source: Source, folder: Path) -> str:  # noqa: ARG002 - the server does not depend on the folder
        """Tables of one database, read by one user, can be joined with each other."""
        return f"{source.url} {source.tls} {source.ca} {source.password_env} {source.passfile}"

    def columns(self, source: Source, folder: Path) -> Mapping[str, str]:
        """Name -> PostgreSQL type of the columns that this node's user may read."""
        try:
            with _transaction(source, folder, DEFAULT_LIMITS) as cursor:
                return _readable(cursor, source)
        except psycopg.Error as error:
            raise _told(error, base.place(source)) from None

    def view(self, source: Source, columns: Mapping[str, ColumnType], folder: Path, view: View = ALL) -> pa.Table:
        """The named columns within `view`, cast to the contract's types."""
        relations = {"source": Relation(source, columns, view)}
        inner = _relation(relations["source"]).subquery("source")
        return _read(exp.select().from_(inner), columns, (), relations, folder, DEFAULT_LIMITS)

    def run(
        self, relations: Mapping[str, Relation], push: Pushdown, folder: Path, limits: Limits = DEFAULT_LIMITS
    ) -> pa.Table:
        """What `push` makes of tables of one database."""
        tree = statement(push, {name: _relation(one) for name, one in relations.items()}, limits.rows)
        _aligned(tree)
        names = _numbered(tree)
        values = [push.parameters[name] for name in names]
        found = _read(tree, push.outputs, values, relations, folder, limits)
        if found.num_rows > limits.rows:
            raise base.too_many(_where(relations), limits)
        return found


def _where(relations: Mapping[str, Relation]) -> str:
    return ", ".join(dict.fromkeys(base.place(one.source) for one in relations.values()))


# --- statements --------------------------------------------------------------------------------------------


def _table(source: Source) -> exp.Table:
    return exp.table_(str(source.table), db=source.schema_name, quoted=True)


def _relation(one: Relation) -> exp.Select:
    """The permitted columns in the contract's types; text in the order and equality of its bytes."""
    query = one.view.select(one.columns, _table(one.source))
    for column, kind in zip(query.expressions, one.columns.values(), strict=False):  # a NULL where there is no column
        if kind is ColumnType.TEXT:
            column.set("this", _collate(column.this, "C"))
    return query


def _collate(node: exp.Expr, collation: str) -> exp.Expr:
    return exp.Collate(this=exp.paren(node), expression=exp.to_identifier(collation, quoted=True))


def _numbered(tree: exp.Select) -> list[str]:
    """Turn named parameters into numbered ones, in place; return the names in that order."""
    names: list[str] = []
    for node in list(tree.find_all(exp.Placeholder)):
        if node.name not in names:
            names.append(node.name)
        node.replace(exp.Parameter(this=exp.Literal.number(names.index(node.name) + 1)))
    return names


def _aligned(tree: exp.Select) -> None:
    """Give, in place, what sqlglot leaves with PostgreSQL's meaning the embedded engine's; innermost nodes first."""
    for cased in reversed(list(tree.find_all(exp.ILike, exp.Lower, exp.Upper))):
        cased.set("this", _collate(cased.this, "default"))  # "C" knows the case of ASCII letters only
    for like in reversed(list(tree.find_all(exp.Like, exp.ILike))):
        like.replace(exp.paren(exp.Escape(this=like.copy(), expression=exp.Literal.string(""))))
    for rounded in tree.find_all(exp.Round):
        rounded.set("this", exp.cast(rounded.this, "DECIMAL", dialect=DIALECT))  # floats would round half to even


def _carried(name: str, kind: ColumnType) -> exp.Expr:
    """A column as integers where that is exact: cents, microseconds and days since 1970, far faster than objects."""
    column = exp.column(name, quoted=True)
    carried: exp.Expr = column
    if kind is ColumnType.MONEY:
        carried = exp.cast(exp.Mul(this=column, expression=exp.Literal.number(CENTS)), "BIGINT")
    elif kind is ColumnType.DATETIME:
        seconds = exp.Extract(this=exp.var("EPOCH"), expression=column)
        carried = exp.cast(exp.Mul(this=seconds, expression=exp.Literal.number(10**6)), "BIGINT")
    elif kind is ColumnType.DATE:
        carried = exp.Sub(this=column, expression=exp.cast(exp.Literal.string(_EPOCH), "DATE"))
    return exp.alias_(carried, name, quoted=True)


def _delivered(values: Sequence[object], kind: ColumnType) -> pa.Array:
    """One column of carried values in the type of its kind."""
    if kind is ColumnType.MONEY:
        whole = pa.array(values, pa.int64()).cast(pa.decimal128(19, 0))
        cents = pa.Array.from_buffers(pa.decimal128(19, 2), len(whole), whole.buffers(), whole.null_count, whole.offset)
        return cents.cast(base.ARROW_TYPES[kind])
    if kind is ColumnType.DATETIME:
        return pa.array(values, pa.int64()).cast(base.ARROW_TYPES[kind])
    if kind is ColumnType.DATE:
        return pa.array(values, pa.int32()).cast(base.ARROW_TYPES[kind])
    return pa.array(values, base.ARROW_TYPES[kind])


def _read(
    tree: exp.Select,
    outputs: Mapping[str, ColumnType],
    values: Sequence[Parameter],
    relations: Mapping[str, Relation],
    folder: Path,
    limits: Limits,
) -> pa.Table:
    """The rows of `tree`, whose outputs are carried as integers where they can be."""
    carried = exp.select(*(_carried(name, kind) for name, kind in outputs.items()))
    named = exp.select(*(exp.column(name, quoted=True) for name in outputs))
    inner = tree if tree.expressions else named.from_(tree.args["from_"].this)
    sql = carried.from_(inner.subquery("carried")).sql(DIALECT)
    schema, where = base.schema_of(outputs), _where(relations)
    first = next(iter(relations.values())).source
    try:
        with (
            _transaction(first, folder, limits) as cursor,
            closing(_batches(cursor, sql, values, outputs, schema)) as batches,
        ):
            return pa.Table.from_batches(batches, schema)
    except errors.QueryCanceled:
        raise base.too_long(where, limits) from None
    except (psycopg.Error, pa.ArrowException) as error:
        raise _diagnosed(error, relations, folder) from None


def _batches(
    cursor: RawCursor[TupleRow],
    sql: str,
    values: Sequence[Parameter],
    outputs: Mapping[str, ColumnType],
    schema: pa.Schema,
) -> Generator[pa.RecordBatch]:
    rows = cursor.stream(sql.encode(), values, binary=True, size=_ROWS_AT_ONCE)
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        columns = zip(zip(*chunk, strict=True), outputs.values(), strict=True)
        yield pa.RecordBatch.from_arrays([_delivered(column, kind) for column, kind in columns], schema=schema)


# --- the connection ----------------------------------------------------------------------------------------


@contextmanager
def _transaction(source: Source, folder: Path, limits: Limits) -> Iterator[RawCursor[TupleRow]]:
    """A cursor in a read-only transaction that is rolled back; raises DataError when there is no connection."""
    with _connect(source, folder) as connection:
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        alarm = threading.Timer(limits.seconds + GRACE_SECONDS, connection.cancel)
        alarm.daemon = True
        alarm.start()
        try:
            cursor = RawCursor(connection)
            cursor.execute(_SETTINGS, [str(max(1, round(limits.seconds * 1000)))])
            yield cursor
        finally:
            alarm.cancel()
            if not connection.broken:
                connection.rollback()


@contextmanager
def _connect(source: Source, folder: Path) -> Iterator[psycopg.Connection[TupleRow]]:
    options: dict[str, str | int] = {
        "application_name": "inbond",
        "connect_timeout": CONNECT_SECONDS,
        "options": "-c default_transaction_read_only=on",
        "sslmode": source.tls,
        **_KEEPALIVE,
        **_secret(source, folder),
    }
    if source.tls != "disable":
        options["sslrootcert"] = str(_file(source, source.ca, folder, "ca")) if source.ca else "system"
    try:
        connection = psycopg.connect(str(source.url), **options)  # type: ignore[arg-type]  # libpq's own options
    except psycopg.Error as error:
        raise DataError(_first_line(error, options), where=base.place(source), right=_REMEDY) from None
    try:
        yield connection
    finally:
        connection.close()


_REMEDY = "an address, user, password and `tls`/`ca` that the server accepts"


def _secret(source: Source, folder: Path) -> dict[str, str]:
    """How libpq gets the password; without either key, by its own ways (peer, certificate, ~/.pgpass)."""
    if source.password_env is not None:
        password = os.environ.get(source.password_env)
        if not password:
            right = f"set it to the password of {source.url}"
            raise DataError(f"the variable {source.password_env} is not set", where=base.place(source), right=right)
        return {"password": password}
    if source.passfile is None:
        return {}
    path = _file(source, source.passfile, folder, "passfile")
    if path.stat().st_mode & 0o077:
        raise DataError("others may read the passfile", where=str(path), right="chmod 600")
    return {"passfile": str(path)}


def _file(source: Source, name: str | None, folder: Path, key: str) -> Path:
    path = (folder / str(name)).resolve()
    if not path.is_file():
        raise DataError(f"no such file: {path}", where=base.place(source), right=f"set `source.{key}` in the contract")
    return path


def _first_line(error: psycopg.Error, options: Mapping[str, str | int]) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    password = str(options.get("password") or "")
    return "cannot connect" if password and (password in text or quote(password) in text) else text


# --- what went wrong ---------------------------------------------------------------------------------------

_SQLSTATES = {
    "25006": ("the source tries to write", "a table, or a view that only reads"),
    "53": ("the server has no room for this", "a smaller question, or a larger server"),
    "57": ("the server ended the connection", "try again"),
    "08": ("the connection broke", "try again"),
}


def _diagnosed(error: Exception, relations: Mapping[str, Relation], folder: Path) -> DataError:
    """What is wrong, found out by asking the source: the server's own words may hold values of rows."""
    ours = not isinstance(error, psycopg.Error)  # a number that Arrow cannot hold
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else "22"
    if state[:2] in {"0A", "22", "42"}:  # 0A: NaN and infinity have no integer
        try:
            for one in relations.values():
                _examine(one, folder)
        except DataError as found:
            return found
        except psycopg.Error as second:
            return _told(second, _where(relations))
    return base.misfit(_where(relations)) if ours or state[:2] == "22" else _told(error, _where(relations))


def _told(error: Exception, where: str) -> DataError:
    """The server's error by its class alone (PostgreSQL, appendix A)."""
    state = getattr(error, "sqlstate", None) or "08000"
    default = (f"the server refuses the statement (SQLSTATE {state})", "columns and types of the contract")
    what, right = _SQLSTATES.get(state, _SQLSTATES.get(state[:2], default))
    return DataError(what, where=where, right=right)


def _examine(one: Relation, folder: Path) -> None:
    """Raise DataError for the first column that is missing, unreadable, or holds a value of another type."""
    with _transaction(one.source, folder, DEFAULT_LIMITS) as cursor:
        present = _readable(cursor, one.source)
        for name, kind in one.columns.items():
            if name not in present:
                raise base.missing_column(one.source, name, present)
            typed = _relation(Relation(one.source, {name: kind})).subquery("typed")
            counted = exp.select(exp.Count(this=_carried(name, kind).this)).from_(typed)
            try:
                cursor.execute(counted.sql(DIALECT).encode())
            except psycopg.Error:
                raise base.misfit(base.place(one.source), kind, name) from None


def _readable(cursor: RawCursor[TupleRow], source: Source) -> dict[str, str]:
    rows = cursor.execute(_COLUMNS, [source.schema_name, source.table]).fetchall()
    if not rows:
        right = "set `source.schema` and `source.table` in the contract"
        raise DataError("no such table", where=base.place(source), right=right)
    readable = {str(name): str(kind) for name, kind, may in rows if may}
    if not readable:
        raise DataError("the database user may not read it", where=base.place(source), right="GRANT SELECT to the user")
    return readable
