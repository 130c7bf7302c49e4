"""A small multilayer perceptron as a local task: flat parameters in, flat parameters out.

Who learns what: as in `base`; this module sees one party's feature matrix and gives out sums and models only.
One thread, deterministic for a seed: two parties, or two runs, on one version of torch get the same numbers.

The flat model is, layer after layer, the weights (outputs x inputs, row by row) and then the biases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from parties.recipes.base import (
    Float32s,
    Int64s,
    LocalTask,
    Parameters,
    RecipeError,
    moments,
    standardisation,
)
from parties.recipes.shape import Rows, initial_model, layer_shapes, model_length

ROUND_STRIDE = 1_000_003  # a prime: seeds of different jobs' rounds rarely meet
Loss = Literal["absolute", "logistic"]


def forward(flat: Tensor, rows: Tensor) -> Tensor:
    """Return the outputs (n,) of the flat model for `rows` (n x inputs)."""
    shapes = layer_shapes(rows.shape[1])
    sizes = [size for outputs, width in shapes for size in (outputs * width, outputs)]
    parts = torch.split(flat, sizes)
    hidden = rows
    for index, shape in enumerate(shapes):
        hidden = functional.linear(hidden, parts[2 * index].view(shape), parts[2 * index + 1])
        if index < len(shapes) - 1:
            hidden = torch.relu(hidden)
    return hidden.squeeze(1)


@dataclass(frozen=True)
class Fit:
    """How one local fit runs: loss, batch size (rows) and Adam's learning rate."""

    loss: Loss
    batch: int
    learning_rate: float


def fit(model: Float32s, rows: tuple[Tensor, Tensor], how: Fit, *, epochs: int, seed: int) -> Float32s:
    """Return the flat model after `epochs` of Adam over `rows`, permuted afresh in each epoch."""
    features, targets = rows
    flat = torch.from_numpy(model.copy()).requires_grad_()
    adam = torch.optim.Adam([flat], lr=how.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(features), generator=generator), how.batch):
            adam.zero_grad()
            _loss(forward(flat, features[chosen]), targets[chosen], how.loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            adam.step()
    return flat.detach().numpy()


def _loss(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    if loss == "absolute":
        return functional.l1_loss(outputs, targets)
    return functional.binary_cross_entropy_with_logits(outputs, targets)


class MlpTask(LocalTask):
    """One party's rows and the 64-32 network over them.

    Args:
        train: the own training rows (at least one).
        test: the own test rows (possibly none).
        loss: `absolute` (the median) or `logistic`.
        parameters: the job's hyper-parameters.
        seed: the job's seed, the same at every party; at least 0.
        measure: from outputs (n,) over the test rows to metric statistics.
        naive: metric statistics of the rule of thumb to beat.
    """

    def __init__(
        self,
        *,
        train: Rows,
        test: Rows,
        loss: Loss,
        parameters: Parameters,
        seed: int,
        measure: Callable[[Float32s], Int64s],
        naive: Int64s,
    ) -> None:
        if not len(train.targets):
            raise RecipeError("no training rows", where="view", right="other dates, or a wider filter")
        torch.set_num_threads(1)
        self._train, self._test, self._seed, self._parameters = train, test, seed, parameters
        self._how = Fit(loss, parameters.batch, parameters.learning_rate)
        self._measure, self._naive = measure, naive
        self._joint: tuple[Float32s, Float32s] | None = None

    @property
    def examples(self) -> int:
        """Number of own training rows."""
        return len(self._train.targets)

    @property
    def _inputs(self) -> int:
        return int(self._train.features.shape[1])

    def census(self) -> Int64s:
        """Return row count, sums and sums of squares of the training features; length 1 + 2f."""
        return moments(self._train.features)

    def begin(self, total: Int64s) -> None:
        """Take the joint census and standardise with its means and deviations. Raises RecipeError."""
        joint = standardisation(total, self._inputs)
        if total[0] < self.examples:
            raise RecipeError(
                "the joint census counts fewer rows than this party has",
                where="census",
                right="its own rows are in it",
            )
        self._joint = joint
        self.__dict__.pop("_prepared", None)

    def initial(self) -> Float32s:
        """Return the flat initial model, the same at every party for one seed."""
        return initial_model(self._inputs, self._seed)

    def train(self, model: Float32s, round_number: int) -> Float32s:
        """Return the flat model after the local epochs, with a fresh Adam and the round's own permutation."""
        rows, _ = self._prepared
        seed = (self._seed * ROUND_STRIDE + round_number) % 2**63
        return fit(self._checked(model), rows, self._how, epochs=self._parameters.local_epochs, seed=seed)

    def evaluate(self, model: Float32s) -> Int64s:
        """Return the metric statistics of `model` over the own test rows."""
        _, test = self._prepared
        return self._score(self._checked(model), test)

    def baselines(self) -> Int64s:
        """Return the statistics of the rule of thumb and of a model trained on the own rows alone."""
        return np.concatenate([self._naive, self._solo])

    @cached_property
    def _prepared(self) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if self._joint is None:
            raise RecipeError("the joint census is not known yet", where="task", right="call begin() first")
        return self._standardised(*self._joint)

    @cached_property
    def _solo(self) -> Int64s:
        rows, test = self._standardised(*standardisation(self.census(), self._inputs))
        epochs = self._parameters.solo_epochs
        return self._score(fit(self.initial(), rows, self._how, epochs=epochs, seed=self._seed), test)

    def _standardised(self, mean: Float32s, deviation: Float32s) -> tuple[tuple[Tensor, Tensor], Tensor]:
        train, test = (torch.from_numpy((part.features - mean) / deviation) for part in (self._train, self._test))
        return (train, torch.from_numpy(self._train.targets)), test

    def _score(self, model: Float32s, test: Tensor) -> Int64s:
        with torch.no_grad():
            outputs = forward(torch.from_numpy(model), test).numpy()
        if not np.isfinite(outputs).all():
            raise RecipeError("the model's outputs are not finite", where="model", right="a smaller learning rate")
        return self._measure(outputs)

    def _checked(self, model: Float32s) -> Float32s:
        length = model_length(self._inputs)
        if model.shape != (length,) or model.dtype != np.float32 or not np.isfinite(model).all():
            shown = f"{model.dtype} of shape {model.shape}"
            raise RecipeError(
                f"{shown} is not a model", where="model", right=f"{length} finite float32 numbers, one axis"
            )
        return model
