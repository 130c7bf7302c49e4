"""Exact amounts of privacy loss: epsilon in millionths and delta in 10^-15, as integers. Learns nothing.

What a job spends is rounded up to the next unit and what a dataset allows is rounded down, so rounding never spends
less than was released.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, DecimalException

from compliance.errors import InvalidBudget

EPSILON_UNITS = 10**6
DELTA_UNITS = 10**15
MAX_EPSILON = 10**6
"""Larger epsilons protect nothing; the bound keeps every sum far inside 64 bits."""

Amount = Decimal | int | str
"""Exact amounts only: a float such as 0.1 is already another number."""

MAX_DECIMALS = 60
"""Decimal places an amount may have; with it every product below is exact."""
_EXACT = Context(prec=100)


@dataclass(frozen=True)
class Cost:
    """An (epsilon, delta) pair, exact."""

    epsilon: Decimal
    delta: Decimal

    def __str__(self) -> str:
        return f"epsilon {format(self.epsilon, 'f')}, delta {format(self.delta, 'f')}"


@dataclass(frozen=True)
class Units:
    """The same in whole units."""

    epsilon: int
    delta: int

    @classmethod
    def spent(cls, epsilon: Amount, delta: Amount) -> "Units":
        """An amount that is spent, rounded up. Raises InvalidBudget for one that is malformed or out of range."""
        return _units(epsilon, delta, ROUND_CEILING)

    @classmethod
    def allowed(cls, epsilon: Amount, delta: Amount) -> "Units":
        """An amount that may be spent, rounded down. Raises InvalidBudget as `spent` does."""
        return _units(epsilon, delta, ROUND_FLOOR)

    def cost(self) -> Cost:
        """The amount as decimals."""
        return Cost(
            _EXACT.divide(Decimal(self.epsilon), Decimal(EPSILON_UNITS)),
            _EXACT.divide(Decimal(self.delta), Decimal(DELTA_UNITS)),
        )

    def plus(self, other: "Units", times: int = 1) -> "Units":
        """This and `times` the other."""
        return Units(self.epsilon + times * other.epsilon, self.delta + times * other.delta)

    def within(self, limit: "Units") -> bool:
        """Whether neither part is above `limit`."""
        return self.epsilon <= limit.epsilon and self.delta <= limit.delta


def _units(epsilon: Amount, delta: Amount, rounding: str) -> Units:
    return Units(
        _whole(epsilon, EPSILON_UNITS, MAX_EPSILON, rounding, "epsilon"),
        _whole(delta, DELTA_UNITS, 1, rounding, "delta"),
    )


def _whole(amount: Amount, units: int, most: int, rounding: str, name: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        raise invalid(f"the {name} is a {type(amount).__name__}", "a Decimal, an integer or decimal text")
    try:
        value = Decimal(amount)
    except DecimalException as error:
        raise invalid(f"the {name} is not a number", "a decimal such as 0.5") from error
    if not value.is_finite() or not 0 <= value <= most:
        raise invalid(f"the {name} is out of range", f"0 to {most}")
    if int(value.as_tuple().exponent) < -MAX_DECIMALS:
        raise invalid(f"the {name} has too many decimals", f"at most {MAX_DECIMALS}")
    return int(_EXACT.multiply(value, Decimal(units)).to_integral_value(rounding, _EXACT))


def invalid(what: str, right: str) -> InvalidBudget:
    """The error for a malformed budget, charge or reservation."""
    return InvalidBudget(what, where="privacy budget", right=right)
