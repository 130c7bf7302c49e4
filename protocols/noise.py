"""Whole-number noise for differential privacy, by OpenDP's exact samplers, and what it costs.

Who learns what: whoever sees a noised value learns about one subject no more than `NoiseSpec.loss` says, for
the sensitivity that the caller proved. Integers only: floating-point noise leaks through its low bits
(Mironov, CCS 2012). Relies on OpenDP and on Canonne, Kamath and Steinke, "The Discrete Gaussian for
Differential Privacy" (NeurIPS 2020): the discrete Gaussian of parameter sigma is (sensitivity**2 / (2
sigma**2))-zCDP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from protocols.errors import MisuseError
from protocols.packing import I64

_MARGIN = 1 + 1e-9  # computed scales are rounded up and losses too, by more than floating point can be off


def laplace_scale(sensitivity: int, epsilon: float) -> float:
    """Scale of the discrete Laplace that makes an L1 sensitivity (whole, at least 1) epsilon-DP.

    Raises:
        MisuseError: a sensitivity below 1 or an epsilon that is not positive and finite.
    """
    _check(sensitivity, epsilon)
    return sensitivity / epsilon * _MARGIN


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """Smallest sigma, to one part in 10**6, that makes an L2 sensitivity (epsilon, delta)-DP by way of zCDP.

    Raises:
        MisuseError: a sensitivity or epsilon that is not positive and finite, a delta outside (0, 1).
    """
    _check(sensitivity, epsilon)
    _check_delta(delta)
    low, high = 0.0, 1.0
    while zcdp_epsilon(high, delta) < epsilon:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if zcdp_epsilon(middle, delta) <= epsilon else (low, middle)
    return sensitivity / math.sqrt(2 * low) * _MARGIN


def zcdp_epsilon(rho: float, delta: float) -> float:
    """Epsilon at `delta` of a rho-zCDP mechanism (rho >= 0).

    The least over alpha > 1 of alpha*rho + ln((alpha-1)/alpha) - (ln delta + ln alpha)/(alpha-1) (Canonne,
    Kamath and Steinke, lemma 3.7 with proposition 3.3). Every alpha gives a valid bound, so an inexact
    minimum is safe.
    """
    if rho == 0:
        return 0.0
    gaps = math.sqrt(math.log(1 / delta) / rho) * np.geomspace(1e-3, 1e3, 4001) + 1e-12
    alphas = 1 + gaps
    bounds = alphas * rho + np.log(gaps / alphas) - (math.log(delta) + np.log(alphas)) / gaps
    return max(0.0, float(bounds.min())) * _MARGIN


@dataclass(frozen=True)
class NoiseSpec:
    """Discrete noise to add to whole numbers, and its privacy map.

    `scale` is the discrete Laplace's scale or the discrete Gaussian's sigma; `delta` (Gaussian only) is where
    `loss` reads the epsilon.
    """

    kind: Literal["laplace", "gaussian"]
    scale: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("laplace", "gaussian"):
            raise MisuseError("unknown noise", where="noise", right="use laplace or gaussian")
        if not 0 < self.scale < 2**40:
            raise MisuseError("the noise scale is out of range", where="noise", right="use 0 < scale < 2**40")
        if self.kind == "gaussian":
            _check_delta(self.delta)
        elif self.delta != 0:
            raise MisuseError("Laplace noise has no delta", where="noise", right="leave delta at 0")

    @classmethod
    def laplace(cls, sensitivity: int, epsilon: float) -> NoiseSpec:
        """The Laplace noise that makes an L1 sensitivity epsilon-DP."""
        return cls("laplace", laplace_scale(sensitivity, epsilon))

    @classmethod
    def gaussian(cls, sensitivity: float, epsilon: float, delta: float) -> NoiseSpec:
        """The Gaussian noise that makes an L2 sensitivity (epsilon, delta)-DP."""
        return cls("gaussian", gaussian_sigma(sensitivity, epsilon, delta), delta)

    def loss(self, sensitivity: float) -> tuple[float, float]:
        """(epsilon, delta) of one release with this L1 (Laplace) or L2 (Gaussian) sensitivity."""
        if sensitivity < 0 or not math.isfinite(sensitivity):
            raise MisuseError("an impossible sensitivity", where="noise", right="give a finite one, 0 or more")
        if sensitivity == 0:
            return 0.0, 0.0
        if self.kind == "laplace":
            return sensitivity / self.scale * _MARGIN, 0.0
        return zcdp_epsilon(self.rho(sensitivity), self.delta), self.delta

    def rho(self, sensitivity: float) -> float:
        """The zCDP cost of one release: sensitivity**2 / (2 scale**2), for Laplace epsilon**2 / 2."""
        return (sensitivity / self.scale) ** 2 / 2 * _MARGIN

    def add(self, values: I64) -> I64:
        """Values (any shape, int64) plus fresh noise, from the operating system's randomness.

        Raises:
            MisuseError: not int64, or so large that noise might overflow.
        """
        if values.dtype != np.int64:
            raise MisuseError(f"noise for {values.dtype}", where="noise", right="round to int64 first")
        if values.size and (int(values.max()) > 2**61 or int(values.min()) < -(2**61)):
            raise MisuseError("values too large for noise", where="noise", right="stay within +-2**61")
        noisy = self._measurement()(values.reshape(-1).tolist())
        return np.array(noisy, np.int64).reshape(values.shape)

    def _measurement(self) -> Any:
        # for those who add noise only; and by module, because opendp.prelude also loads scikit-learn: over a second
        from opendp.domains import atom_domain, vector_domain  # noqa: PLC0415 - see above
        from opendp.measurements import make_gaussian, make_laplace  # noqa: PLC0415 - see above
        from opendp.metrics import l1_distance, l2_distance  # noqa: PLC0415 - see above
        from opendp.mod import enable_features  # noqa: PLC0415 - see above

        enable_features("contrib")
        domain = vector_domain(atom_domain(T="i64"))
        if self.kind == "laplace":
            return make_laplace(domain, l1_distance(T="i64"), scale=self.scale)
        return make_gaussian(domain, l2_distance(T="f64"), scale=self.scale)


def _check(sensitivity: float, epsilon: float) -> None:
    if not (0 < sensitivity < math.inf and 0 < epsilon < math.inf):
        raise MisuseError("impossible sensitivity or epsilon", where="noise", right="give positive, finite numbers")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise MisuseError("an impossible delta", where="noise", right="give 0 < delta < 1")
