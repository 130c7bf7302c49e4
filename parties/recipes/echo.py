"""Recipe `echo`: sends back what it gets. A connection test for operators, and the yardstick of a round.

Who learns what: nobody anything; the recipe reads no column, and its worker is given no view of any table. In a plain
job it shows that coordinator and parties reach each other, and how fast; in an encrypted one, that the whole
encrypted path works: the joint model stays zero up to the rounding of the sums, and the joint metric is the number of
parties.
"""

import numpy as np
import pyarrow as pa
from pydantic import Field

from parties.recipes.base import Float32s, Int64s, LocalTask, Parameters, Recipe, check_statistics

ONE = 1  # each party counts itself, once, wherever a statistic is summed


class EchoParameters(Parameters):
    """The size of what is sent.

    Attributes:
        values: float32 numbers of the array, 4 bytes each.
    """

    values: int = Field(default=10, ge=1, le=25_000_000)


class EchoTask(LocalTask):
    """The task of one party: an array of zeros at first, and then whatever arrives."""

    def __init__(self, values: int) -> None:
        self._values = values

    @property
    def examples(self) -> int:
        """One: a party weighs as much as any other."""
        return ONE

    def census(self) -> Int64s:
        """Return the count of this party."""
        return np.array([ONE], np.int64)

    def begin(self, total: Int64s) -> None:
        """Check the number of parties. Raises RecipeError."""
        check_statistics(total, ONE, "census")

    def initial(self) -> Float32s:
        """Return zeros."""
        return np.zeros(self._values, np.float32)

    def train(self, model: Float32s, round_number: int) -> Float32s:  # noqa: ARG002 - every round is the same
        """Return `model` itself."""
        return model

    def evaluate(self, model: Float32s) -> Int64s:  # noqa: ARG002 - there is nothing to measure it on
        """Return the count of this party."""
        return np.array([ONE], np.int64)

    def baselines(self) -> Int64s:
        """Return nothing: there is nothing to compare with."""
        return np.array([], np.int64)


class Echo(Recipe[EchoParameters]):
    """Back comes what was sent."""

    name = "echo"
    version = "1"
    parameters = EchoParameters
    baselines = ()
    columns = ()

    def model_size(self, parameters: EchoParameters) -> int:
        """Return the length of the array."""
        return parameters.values

    def statistics(self, parameters: EchoParameters) -> tuple[int, int]:  # noqa: ARG002 - the same for all parameters
        """Return the lengths of the census and of one block of metric statistics."""
        return ONE, ONE

    def bind(self, view: pa.Table, parameters: EchoParameters, seed: int) -> LocalTask:  # noqa: ARG002 - no data, no chance
        """Return the task; `view` is not looked at."""
        return EchoTask(parameters.values)

    def metrics(self, totals: Int64s) -> dict[str, float]:
        """Return `parties`, the number of parties that answered. Raises RecipeError."""
        return {"parties": float(check_statistics(totals, ONE, "metrics")[0])}


recipe = Echo()
