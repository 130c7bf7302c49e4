"""What a connector is, and how one is found.

A connector reads the columns that a job may use from the owner's source and nothing else. It runs in the agent, on
the owner's own data; no name or text of a job reaches it except column names that the contract lists.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from inbond.errors import InbondError
from policies.contract import ColumnType, DataContract, Source

GROUP = "inbond.connectors"


class DataError(InbondError):
    """The source does not hold what its contract says; for the owner's eyes only."""


class Connector(Protocol):
    """One kind of source."""

    def columns(self, source: Source, folder: Path) -> Mapping[str, str]:
        """Name -> type, as the source itself reports; raises DataError."""

    def view(self, source: Source, columns: Mapping[str, ColumnType], folder: Path) -> pa.Table:
        """All rows of the named columns, cast to the contract's types; raises DataError."""


def connector(kind: str) -> Connector:
    """The installed connector for a source kind; raises DataError naming what is installed."""
    points = entry_points(group=GROUP)
    for point in points:
        if point.name == kind:
            found: Connector = point.load()()
            return found
    right = f"one of {', '.join(sorted(points.names)) or 'none'}"
    raise DataError(f"no connector for source kind {kind}", where="contract", right=right)


def permitted_view(contract: DataContract, columns: Sequence[str], folder: Path) -> pa.Table:
    """The rows of `columns` of the contract's table; relative paths are relative to the node's `folder`."""
    unknown = sorted(set(columns) - set(contract.columns))
    if unknown:
        right = f"one of {', '.join(sorted(contract.columns))}"
        raise DataError(f"no column {unknown[0]} in the contract", where=contract.dataset, right=right)
    types = {name: contract.columns[name].type for name in columns}
    return connector(contract.source.kind).view(contract.source, types, folder)


def check_source(contract: DataContract, folder: Path) -> None:
    """Raise DataError when the source is not there or lacks a column that the contract promises."""
    present = connector(contract.source.kind).columns(contract.source, folder)
    missing = sorted(set(contract.columns) - set(present))
    if missing:
        right = f"the source has {', '.join(sorted(present)[:12])}"
        raise DataError(f"column {missing[0]} is not in the source", where=contract.source.path, right=right)
