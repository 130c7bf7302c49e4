"""Rényi privacy loss on a grid of orders: what a release costs, and what an (epsilon, delta) budget allows.

Learns nothing. Relies on the Rényi filter on a grid of orders (Feldman and Zrnic 2021; Lécuyer 2021): releases go on
while at some order what was spent stays within what that order allows. Amounts are billionths, as integers: spending
rounded up, allowances rounded down.

The curve of a pure release is that of randomised response, the worst of all epsilon-DP mechanisms (Kairouz, Oh and
Viswanath 2015), and not the continuous Laplace mechanism's: the discrete Laplace with sensitivity 1 is randomised
response between neighbours, and its loss is above the continuous one's. A discrete Gaussian has the continuous one's
(Canonne, Kamath and Steinke 2020, theorem 4).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from compliance.budget_amounts import Amount, Units, invalid

ORDERS = (*(1 + step / 10 for step in range(1, 100)), *map(float, range(11, 64)), 128.0, 256.0, 512.0, 1024.0)
"""The orders of dp-accounting 0.6 (`DEFAULT_RDP_ORDERS`)."""
UNIT = 10**9
UNKNOWN = 2**60
"""More than any budget allows at any order: the loss of a release of which only epsilon and delta are known."""
_MARGIN = 1 + 1e-9  # more than floating point can be off in the formulas below

Curve = tuple[int, ...]
NOTHING: Curve = (0,) * len(ORDERS)

_ORDERS: NDArray[np.float64] = np.array(ORDERS)


@dataclass(frozen=True)
class Loss:
    """What a release costs: (epsilon, delta) in units, and its Rényi curve."""

    units: Units
    curve: Curve

    @classmethod
    def pure(cls, epsilon: Amount, parts: int = 1) -> "Loss":
        """A release of `parts` independent answers, each (epsilon / parts)-DP. Raises InvalidBudget."""
        if parts < 1:
            raise invalid("a release has no parts", "one or more")
        units = Units.spent(epsilon, 0)
        share = float(units.cost().epsilon) / parts
        return cls(units, _rounded_up(parts * _randomised_response(share)))

    @classmethod
    def gaussian(cls, epsilon: Amount, delta: Amount, rho: float) -> "Loss":
        """A release by Gaussian noise that is rho-zCDP altogether, and (epsilon, delta)-DP. Raises InvalidBudget."""
        if not 0 <= rho < math.inf:
            raise invalid("the zCDP cost is out of range", "0 or more, finite")
        return cls(Units.spent(epsilon, delta), _rounded_up(rho * _ORDERS))

    @classmethod
    def of(cls, epsilon: Amount, delta: Amount) -> "Loss":
        """Any (epsilon, delta)-DP release; with a delta nothing more is known of it. Raises InvalidBudget."""
        units = Units.spent(epsilon, delta)
        return cls(units, (UNKNOWN,) * len(ORDERS)) if units.delta else cls.pure(epsilon)


def plus(one: Curve, other: Curve, times: int = 1) -> Curve:
    """The loss of `one` and `times` the other."""
    return tuple(a + times * b for a, b in zip(one, other, strict=True))


def allowance(limit: Units) -> Curve:
    """What each order may spend under an (epsilon, delta) limit with a delta above 0; below zero: nothing."""
    found = np.floor((float(limit.cost().epsilon) - _conversion(float(limit.cost().delta))) / _MARGIN * UNIT)
    return tuple(int(one) for one in found)


def fits(spent: Curve, limit: Units) -> bool:
    """Whether at some order `spent` is within the limit; never without a delta, which every order needs."""
    return limit.delta > 0 and any(a <= b for a, b in zip(spent, allowance(limit), strict=True))


def epsilon_at(spent: Curve, delta: Decimal) -> float:
    """The least epsilon at `delta` that the curve proves; infinite at delta 0 unless nothing was spent."""
    if not any(spent):
        return 0.0
    if not delta:
        return math.inf
    losses = np.array(spent, np.float64) / UNIT
    return max(0.0, float((losses + _conversion(float(delta))).min())) * _MARGIN


def curve_to_text(curve: Curve) -> str:
    """A curve as it is kept."""
    return json.dumps(curve, separators=(",", ":"))


def curve_of_text(text: str) -> Curve:
    """A kept curve; empty text is no loss."""
    return tuple(json.loads(text)) if text else NOTHING


def _conversion(delta: float) -> NDArray[np.float64]:
    """Per order, epsilon less the Rényi loss (Canonne, Kamath and Steinke 2020, proposition 12)."""
    ln_delta = np.full(len(ORDERS), math.log(delta))
    found: NDArray[np.float64] = np.log((_ORDERS - 1) / _ORDERS) - (ln_delta + np.log(_ORDERS)) / (_ORDERS - 1)
    return found


def _randomised_response(epsilon: float) -> NDArray[np.float64]:
    """Rényi divergence of a coin of odds e^epsilon from its mirror image, per order."""
    both: NDArray[np.float64] = np.logaddexp((_ORDERS - 1) * epsilon, -_ORDERS * epsilon) - np.log1p(np.exp(-epsilon))
    found: NDArray[np.float64] = np.minimum(both / (_ORDERS - 1), epsilon)
    return found


def _rounded_up(losses: NDArray[np.float64]) -> Curve:
    scaled: Sequence[float] = np.ceil(np.maximum(losses, 0) * _MARGIN * UNIT).tolist()
    return tuple(min(int(one), UNKNOWN) for one in scaled)
