"""What a connector is, and how one is found.

A connector runs in the agent, on the owner's own data. It hands out the columns that a job may use (`view`), or what a
checked fragment makes of them where the data lives (`run`), and nothing else: no text of a job reaches an engine, and
what an engine sees of the owner's tables is the columns that the contract lists. Its errors are for the owner's eyes
and hold no value of a row and no password.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from inbond.errors import InbondError
from parties.connectors.pushdown import Pushdown
from parties.connectors.views import ALL, View
from policies.contract import ColumnType, DataContract, Source

GROUP = "inbond.connectors"
ARROW_TYPES = {
    ColumnType.INT: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.MONEY: pa.decimal128(18, 2),
    ColumnType.TEXT: pa.string(),
    ColumnType.DATE: pa.date32(),
    ColumnType.DATETIME: pa.timestamp("us"),
    ColumnType.BOOL: pa.bool_(),
}


class DataError(InbondError):
    """The source does not hold what its contract says, or does not give it; for the owner's eyes only."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take: seconds, rows of its result, and memory (MiB) of an embedded engine."""

    seconds: float = 600
    rows: int = 50_000_000
    memory_mib: int = 4096


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Relation:
    """What a pushdown sees under one name: these columns of a source, with the contract's types, within its `view`."""

    source: Source
    columns: Mapping[str, ColumnType]
    view: View = ALL


class Connector(Protocol):
    """One kind of source. `dialect` is sqlglot's name for the engine's SQL."""

    dialect: str

    def engine(self, source: Source, folder: Path) -> str:
        """What must be equal for two sources to be joined by this connector in one `run`."""

    def columns(self, source: Source, folder: Path) -> Mapping[str, str]:
        """Name -> type, as the source itself reports; raises DataError."""

    def view(self, source: Source, columns: Mapping[str, ColumnType], folder: Path, view: View = ALL) -> pa.Table:
        """The named columns within `view`, cast to the contract's types (`ARROW_TYPES`); raises DataError."""

    def run(
        self, relations: Mapping[str, Relation], push: Pushdown, folder: Path, limits: Limits = DEFAULT_LIMITS
    ) -> pa.Table:
        """What `push` makes of relations of one engine: read-only, within `limits`, nothing else within reach.

        Raises DataError, also above `limits.rows` rows, and InvalidInput for a pushdown that is not let through.
        """


def connector(kind: str) -> Connector:
    """The installed connector for a source kind; raises DataError naming what is installed."""
    points = entry_points(group=GROUP)
    for point in points:
        if point.name == kind:
            try:
                found: Connector = point.load()()
            except ImportError as error:
                right = f"pip install 'inbond[{kind}]'"
                raise DataError(f"source kind {kind} needs {error.name}", where="contract", right=right) from None
            return found
    right = f"one of {', '.join(sorted(points.names)) or 'none'}"
    raise DataError(f"no connector for source kind {kind}", where="contract", right=right)


def relation(contract: DataContract, columns: Sequence[str], view: View = ALL) -> Relation:
    """These columns of the contract's table; raises DataError for one that the contract does not name."""
    unknown = sorted(set(columns) - set(contract.columns))
    if unknown:
        right = f"one of {', '.join(sorted(contract.columns))}"
        raise DataError(f"no column {unknown[0]} in the contract", where=contract.dataset, right=right)
    return Relation(contract.source, {name: contract.columns[name].type for name in columns}, view)


def permitted_view(contract: DataContract, columns: Sequence[str], folder: Path, view: View = ALL) -> pa.Table:
    """The rows of `columns` of the contract's table; relative paths are relative to the node's `folder`."""
    wanted = relation(contract, columns, view)
    return connector(contract.source.kind).view(wanted.source, wanted.columns, folder, wanted.view)


def run_pushdown(
    relations: Mapping[str, Relation], push: Pushdown, folder: Path, limits: Limits = DEFAULT_LIMITS
) -> pa.Table:
    """What `push` makes of `relations` (name -> `relation(...)`), in the engine that holds them all.

    Relations of several engines are read as views and joined in an embedded one. Raises as `Connector.run`.
    """
    used = {name: connector(one.source.kind) for name, one in relations.items()}
    engines = {used[name].engine(one.source, folder) for name, one in relations.items()}
    if len(engines) == 1:
        return next(iter(used.values())).run(relations, push, folder, limits)
    from parties.connectors.embedded import run_over_views  # noqa: PLC0415 - embedded imports this module

    views = {name: used[name].view(one.source, one.columns, folder, one.view) for name, one in relations.items()}
    return run_over_views(views, push, limits)


def check_source(contract: DataContract, folder: Path) -> None:
    """Raise DataError when the source is not there or lacks a column that the contract promises."""
    present = connector(contract.source.kind).columns(contract.source, folder)
    missing = sorted(set(contract.columns) - set(present))
    if missing:
        raise missing_column(contract.source, missing[0], present)


def place(source: Source) -> str:
    """Where a table is, as its owner is told: the path, or the server's address and the table; no secret."""
    return source.path or f"{source.url} {source.schema_name}.{source.table}"


def missing_column(source: Source, name: str, present: Mapping[str, str]) -> DataError:
    """The error for a column that the contract promises and the source lacks."""
    right = f"the source has {', '.join(sorted(present)[:12])}"
    return DataError(f"column {name} is not in the source", where=place(source), right=right)


def misfit(where: str, kind: ColumnType | None = None, name: str = "") -> DataError:
    """The error for a value that is not of its column's type; it tells the column, never the value."""
    if kind is None:
        return DataError("a result does not fit its type", where=where, right="values within the type's range")
    return DataError(f"column {name} holds a value that is no {kind}", where=where, right=f"only {kind} values or NULL")


def too_many(where: str, limits: Limits) -> DataError:
    """The error for a result above the limit."""
    return DataError(f"more than {limits.rows} rows", where=where, right="a narrower question, or a higher limit")


def too_long(where: str, limits: Limits) -> DataError:
    """The error for a run that was stopped."""
    right = "a smaller table, an index, or a higher limit"
    return DataError(f"stopped after {limits.seconds:g} s", where=where, right=right)


def schema_of(columns: Mapping[str, ColumnType]) -> pa.Schema:
    """The Arrow schema in which columns of these types are delivered."""
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
