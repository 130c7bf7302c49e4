"""The shape of the recipes' network and of its rows: what can be known without loading torch.

The agent reads a recipe's sizes at admission; only the worker trains, and only there torch is imported.
"""

from dataclasses import dataclass

import numpy as np

from parties.recipes.base import FEATURE_LIMIT, Float32s

HIDDEN = (64, 32)


def layer_shapes(inputs: int) -> list[tuple[int, int]]:
    """Return (outputs, inputs) of each layer of the `inputs`-64-32-1 network."""
    widths = (inputs, *HIDDEN, 1)
    return list(zip(widths[1:], widths[:-1], strict=True))


def model_length(inputs: int) -> int:
    """Return the number of parameters of the `inputs`-64-32-1 network."""
    return sum(outputs * (width + 1) for outputs, width in layer_shapes(inputs))


def initial_model(inputs: int, seed: int) -> Float32s:
    """Return a flat model drawn uniformly within 1/sqrt(fan-in), torch's rule for linear layers."""
    rng = np.random.default_rng(seed)
    layers = [rng.uniform(-1.0, 1.0, outputs * (width + 1)) / np.sqrt(width) for outputs, width in layer_shapes(inputs)]
    return np.concatenate(layers).astype(np.float32)


@dataclass(frozen=True)
class Rows:
    """Features (n x f) and targets (n,), both float32; features are cut to the limit of an exact sum."""

    features: Float32s
    targets: Float32s

    @classmethod
    def cut(cls, features: np.ndarray, targets: np.ndarray) -> "Rows":
        """Return the rows as float32, features cut to +-1024."""
        bounded = np.clip(features, -FEATURE_LIMIT, FEATURE_LIMIT)
        return cls(bounded.astype(np.float32), targets.astype(np.float32))
