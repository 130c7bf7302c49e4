"""The answer of a joint query: the rows released to its readers, and to nobody else, as tables of any kind.

Types come from the compiled query, never from the rows: an answer without rows, or whose values are all suppressed, has
the same table as any other. Whole numbers and decimals (money) stay exact.
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from inbond.errors import ConfigError, InbondError
from inbond.joint_query import Hidden, Table
from policies.plan import Plan
from policies.query.compiled import ROWS, Compiled
from policies.query.finishing import Kind, ValueType

DIGITS = 38  # of Arrow's decimal128 (Columnar.fbs, table Decimal), as many as DuckDB's widest DECIMAL has
NOTEBOOK = "pip install inbond[notebook]"
_OTHERS: Mapping[Kind | None, pa.DataType] = {"text": pa.string(), "bool": pa.bool_(), None: pa.null()}


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's released rows, None where a value is suppressed or NULL.

    `types` are the columns' types; `suppressed` counts the groups that were too small (or empty).
    """

    job: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    suppressed: int
    plan: Plan
    types: tuple[ValueType, ...]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table: int64, decimal128 with the exact places, float64, string, bool, map.

        Raises InbondError for a number that its type cannot hold; `rows` has it exactly.
        """
        arrays = [self._array(*column) for column in zip(self.columns, self.types, strict=True)]
        return pa.Table.from_arrays(arrays, names=list(self.columns))

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame over Arrow types: nothing is rounded. Raises ConfigError without pandas."""
        pandas = _installed("pandas")
        return self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)

    def to_polars(self) -> Any:
        """The rows as a Polars DataFrame. Raises ConfigError without Polars."""
        return _installed("polars").from_arrow(self.to_arrow())

    def _array(self, name: str, of: ValueType) -> pa.Array:
        values, kind = [exact(row[name], of) for row in self.rows], arrow_type(of)
        try:
            return pa.array(values, kind)
        except (pa.ArrowInvalid, OverflowError):
            right = "CAST(.. AS DOUBLE) in the SQL, or `rows`, which have it exactly"
            raise InbondError(f"`{name}` has a number that does not fit {kind}", where="answer", right=right) from None


def answer_of(query: Compiled, job: str, plan: Plan, joint: Table, hidden: Hidden) -> Answer:
    """The answer that the joint table (groups, slots) gives, without its `hidden` cells."""
    suppressed = int(hidden[:, ROWS].sum())
    return Answer(job, query.outputs, query.rows(joint, hidden), suppressed, plan, query.finish.types)


def arrow_type(of: ValueType) -> pa.DataType:
    """The Arrow type of values of `of`; a map's keys are of its labels' kind, its values int64."""
    if of.kind == "map":
        return pa.map_(arrow_type(ValueType(of.labels, of.scale)), pa.int64())
    if of.kind != "number":
        return _OTHERS[of.kind]
    if of.scale is None:
        return pa.float64()
    return pa.decimal128(DIGITS, of.scale) if of.scale else pa.int64()


def exact(value: Any, of: ValueType) -> Any:
    """One value as Arrow takes it: a float where the column is of floats, a map as its pairs."""
    if value is None:
        return None
    if of.kind == "map":
        return list(value.items())
    return float(value) if of.kind == "number" and of.scale is None else value


def as_json(value: Any) -> Any:
    """One value as JSON data: decimals, which JSON would make floats, as text; a map's keys as text."""
    if isinstance(value, dict):
        return {as_text(key): count for key, count in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def as_text(value: Any) -> str:
    """One value as text: nothing for None, a map as JSON, flags as in JSON."""
    if value is None:
        return ""
    return json.dumps(as_json(value), ensure_ascii=False) if isinstance(value, dict | bool) else str(value)


def _installed(name: str) -> Any:
    """An optional library; raises ConfigError with the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{name} is not installed", where="answer", right=NOTEBOOK) from None
