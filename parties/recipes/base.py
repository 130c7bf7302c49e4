"""The recipe interface: training as data, bound to one party's permitted view.

Who learns what: a recipe sees the rows of its own party only, in a process without network. It hands out
(1) integer statistics that are sums over its rows (`census`, `evaluate`, `baselines`), made to travel inside
an encrypted exact sum, and (2) a model after local training, of which only the clipped, quantised and masked
difference leaves the party. So all learn the sums over the parties, nobody a row or a party's own share.

Relies on every party running the same recipe version with the same parameters and seed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from inbond.errors import InbondError
from policies.contract import ColumnType, Use
from policies.document import Document, Value, validate

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

SUM_LIMIT = 2**58  # an exact encrypted sum keeps integers below this in absolute value
FRACTION_BITS = 12  # fixed point: one unit is 2^-12; each sum is rounded once, so the error does not grow
FEATURE_LIMIT = 1024.0  # |feature| is cut here, so the squares of 2^26 rows still fit in an exact sum
FLAT = 1e-6  # a feature whose joint deviation is below this is constant: centred, not scaled


class RecipeError(InbondError):
    """A recipe is missing, or its columns, view, model or statistics are not what it needs."""


@dataclass(frozen=True)
class ColumnNeed:
    """One column that a recipe reads: the contract must give it this type and permit this use."""

    name: str
    type: ColumnType
    use: Use


class Parameters(Value):
    """Hyper-parameters that every neural recipe shares; a job may set them within these bounds.

    Attributes:
        local_epochs: passes over the own rows in each round.
        batch: rows per step.
        learning_rate: of Adam (Kingma and Ba 2015), which starts afresh in each round.
        clip: bound of each coordinate of the update that is sent.
        solo_epochs: passes over the own rows for the local-only baseline.
    """

    local_epochs: int = Field(default=1, ge=1, le=20)
    batch: int = Field(default=256, ge=8, le=65536)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    clip: float = Field(default=0.25, gt=0, le=100)
    solo_epochs: int = Field(default=10, ge=1, le=100)


P = TypeVar("P", bound=Parameters)


class LocalTask(ABC):
    """A recipe bound to one party's permitted view. The order of calls is census, begin, then the others."""

    @property
    @abstractmethod
    def examples(self) -> int:
        """Number of own training rows."""

    @abstractmethod
    def census(self) -> Int64s:
        """Return the additive statistics needed before round 1; element 0 is the number of training rows."""

    @abstractmethod
    def begin(self, total: Int64s) -> None:
        """Take the joint census (the sum over the parties) and standardise. Raises RecipeError."""

    @abstractmethod
    def initial(self) -> Float32s:
        """Return the flat initial model, the same at every party for one seed."""

    @abstractmethod
    def train(self, model: Float32s, round_number: int) -> Float32s:
        """Return the flat model after the local epochs of round 1, 2, ... Raises RecipeError."""

    @abstractmethod
    def evaluate(self, model: Float32s) -> Int64s:
        """Return the additive metric statistics of `model` over the own test rows. Raises RecipeError."""

    @abstractmethod
    def baselines(self) -> Int64s:
        """Return one block of metric statistics per name in the recipe's `baselines`, one after the other."""


class Recipe(ABC, Generic[P]):
    """What a party's administrator installs: a named, versioned way to train one kind of model.

    Attributes:
        name, version: what a job pins.
        parameters: the model of the job's hyper-parameters.
        columns: what the recipe needs from a data contract.
        baselines: names of the reference results that `LocalTask.baselines` measures.
        requires: modules that training needs and a query-only node may lack.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    columns: ClassVar[tuple[ColumnNeed, ...]]
    baselines: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]] = ()
    parameters: type[P]

    def parse(self, raw: Mapping[str, Any], where: str = "parameters") -> P:
        """Return the validated hyper-parameters; raises policies' InvalidInput for the first fault."""
        return validate(self.parameters, Document(dict(raw), where, {}))

    def clip(self, parameters: P) -> float:
        """Return the bound of each coordinate of the update that is sent."""
        return parameters.clip

    @abstractmethod
    def model_size(self, parameters: P) -> int:
        """Return the length of the flat model."""

    @abstractmethod
    def statistics(self, parameters: P) -> tuple[int, int]:
        """Return the lengths of the census and of one block of metric statistics."""

    @abstractmethod
    def bind(self, view: pa.Table, parameters: P, seed: int) -> LocalTask:
        """Return the task over `view`, a table with (at least) the needed columns. Raises RecipeError."""

    @abstractmethod
    def metrics(self, totals: Int64s) -> dict[str, float]:
        """Return named metrics from one block of summed metric statistics; undefined ones are left out.

        Raises RecipeError when `totals` cannot be such a sum.
        """

    def baseline_metrics(self, totals: Int64s) -> dict[str, float]:
        """Return `<baseline>_<metric>` from summed `LocalTask.baselines` statistics. Raises RecipeError."""
        blocks = np.split(np.asarray(totals), len(self.baselines)) if self.baselines else []
        return {
            f"{name}_{metric}": value
            for name, block in zip(self.baselines, blocks, strict=True)
            for metric, value in self.metrics(block).items()
        }


def to_fixed(values: Float64s) -> Int64s:
    """Return `values` (any shape) in units of 2^-12, rounded to nearest. Raises RecipeError."""
    scaled = np.asarray(values, dtype=np.float64) * 2.0**FRACTION_BITS
    if not np.all(np.abs(scaled) < SUM_LIMIT):
        raise RecipeError(
            "a statistic does not fit into an exact sum",
            where="statistics",
            right=f"fewer rows, or values under 2^{58 - FRACTION_BITS}",
        )
    return np.rint(scaled).astype(np.int64)


def from_fixed(values: Int64s) -> Float64s:
    """Return fixed-point `values` (any shape) as floating point."""
    return np.asarray(values, dtype=np.float64) / 2.0**FRACTION_BITS


def moments(features: Float32s) -> Int64s:
    """Return the census of `features` (rows x f): row count, f sums, f sums of squares; length 1 + 2f."""
    wide = features.astype(np.float64)
    sums = np.concatenate([wide.sum(axis=0), np.einsum("ij,ij->j", wide, wide)])
    return np.concatenate([np.array([len(features)], dtype=np.int64), to_fixed(sums)])


def standardisation(total: Int64s, features: int) -> tuple[Float32s, Float32s]:
    """Return mean and deviation (f,) from a summed census; deviation 1 where a feature is constant.

    Raises RecipeError if `total` is not the sum of censuses of `features` features.
    """
    total = check_statistics(total, 1 + 2 * features, "census")
    if total[0] < 1:
        raise RecipeError("no party has training rows", where="census", right="see each party's filter")
    mean, square = np.split(from_fixed(total[1:]) / total[0], 2)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    deviation[deviation < FLAT] = 1.0
    return mean.astype(np.float32), deviation.astype(np.float32)


def check_statistics(values: Int64s, length: int, where: str) -> Int64s:
    """Return `values` if it is a vector of `length` exact sums within the limit. Raises RecipeError."""
    values = np.asarray(values)
    if values.shape != (length,) or values.dtype.kind != "i":
        shown = f"{values.dtype} of shape {values.shape}"
        raise RecipeError(f"{shown} is not a sum of statistics", where=where, right=f"int64 of shape ({length},)")
    if np.any(values >= SUM_LIMIT) or np.any(values <= -SUM_LIMIT):
        raise RecipeError("a sum is out of range", where=where, right="absolute values under 2^58")
    return values.astype(np.int64)


_ARROW = {
    ColumnType.INT: (pa.types.is_integer,),
    ColumnType.FLOAT: (pa.types.is_floating, pa.types.is_integer),
    ColumnType.MONEY: (pa.types.is_decimal, pa.types.is_floating, pa.types.is_integer),
    ColumnType.TEXT: (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    ColumnType.DATE: (pa.types.is_date,),
    ColumnType.DATETIME: (pa.types.is_timestamp,),
    ColumnType.BOOL: (pa.types.is_boolean,),
}


def needed_columns(view: pa.Table, needs: tuple[ColumnNeed, ...], where: str) -> pa.Table:
    """Return the needed columns of `view`, dictionaries decoded. Raises RecipeError for the first misfit."""
    for need in needs:
        if need.name not in view.column_names:
            raise RecipeError(f"column `{need.name}` is missing", where=where, right=f"a column of type {need.type}")
        kind = _plain_type(view.schema.field(need.name).type)
        if not any(fits(kind) for fits in _ARROW[need.type]):
            raise RecipeError(f"column `{need.name}` is {kind}", where=where, right=f"type {need.type}")
        if view[need.name].null_count:
            raise RecipeError(f"column `{need.name}` has empty cells", where=where, right="a filter without them")
    chosen = view.select([need.name for need in needs])
    return chosen.cast(pa.schema([pa.field(f.name, _plain_type(f.type)) for f in chosen.schema]))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
