"""Arithmetic of answers as DuckDB has it: exact over whole numbers and decimals, floats where it divides.

NULL (None) in, NULL out. Works on released values only.
"""

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any

Number = int | float | Decimal
Scale = int | None  # of a number: its decimal places, 0 of whole numbers, None of floats
_EXACT = Context(prec=100)
MAX_ROUNDED = 18


def finest(*scales: Scale) -> Scale:
    """The places of sums and choices: those of the part that has most; a float makes floats."""
    known = [scale for scale in scales if scale is not None]
    return max(known, default=0) if len(known) == len(scales) else None


def added(*scales: Scale) -> Scale:
    """The places of products."""
    return None if None in scales else sum(scale or 0 for scale in scales)


def cut(scale: Scale, digits: int = 0) -> Scale:
    """The places of what is rounded to `digits`; a float stays one."""
    return None if scale is None else min(scale, max(0, digits))


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` that gives None when any argument is None."""

    def checked(*values: Any) -> Any:
        return None if any(value is None for value in values) else function(*values)

    return checked


def _either(exact: Callable[[Any, Any], Any], floats: Callable[[float, float], float]) -> Callable[..., Any]:
    def combined(left: Number, right: Number) -> Number:
        if isinstance(left, float) or isinstance(right, float):
            return floats(float(left), float(right))
        if isinstance(left, int) and isinstance(right, int):
            return int(floats(left, right))
        decimal: Decimal = exact(left, right)
        return decimal

    return strict(combined)


add = _either(_EXACT.add, lambda a, b: a + b)
subtract = _either(_EXACT.subtract, lambda a, b: a - b)
multiply = _either(_EXACT.multiply, lambda a, b: a * b)


@strict
def divide(left: Number, right: Number) -> float | None:
    """The quotient as a float, NULL for a division by zero."""
    return float(left) / float(right) if right else None


@strict
def divide_whole(left: Number, right: Number) -> Number | None:
    """The quotient rounded towards zero."""
    if not right:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    return math.trunc(float(left) / float(right))


@strict
def remainder(left: Number, right: Number) -> Number | None:
    """What a division towards zero leaves."""
    if not right:
        return None
    if isinstance(left, float) or isinstance(right, float):
        return math.fmod(float(left), float(right))
    return _EXACT.remainder(Decimal(left), Decimal(right)) if isinstance(left, Decimal) else _whole_rest(left, right)


def _whole_rest(left: int, right: int | Decimal) -> Number:
    if isinstance(right, Decimal):
        return _EXACT.remainder(Decimal(left), right)
    return int(math.copysign(1, left)) * (abs(left) % abs(right))


@strict
def rounded(value: Number, digits: int = 0) -> Number:
    """Rounded to `digits` decimal places, halves away from zero."""
    if isinstance(value, float):
        return _rounded_float(value, digits)
    if isinstance(value, int) and digits >= 0:
        return value
    found = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)
    return int(found) if isinstance(value, int) else found


def _rounded_float(value: float, digits: int) -> float:
    factor = 10.0**digits
    scaled = abs(value) * factor
    return math.copysign(math.floor(scaled + 0.5) / factor, value) if math.isfinite(scaled) else value


@strict
def floor(value: Number) -> Number:
    """The largest whole number that is not above, in the kind of `value`."""
    return _to_whole(value, ROUND_FLOOR, math.floor)


@strict
def ceiling(value: Number) -> Number:
    """The smallest whole number that is not below, in the kind of `value`."""
    return _to_whole(value, ROUND_CEILING, math.ceil)


def _to_whole(value: Number, mode: str, whole: Callable[[float], int]) -> Number:
    if isinstance(value, Decimal):
        return value.quantize(Decimal(1), mode, _EXACT)
    return float(whole(value)) if isinstance(value, float) and math.isfinite(value) else value


@strict
def root(value: Number) -> float | None:
    """The square root, NULL of a negative number."""
    return math.sqrt(value) if value >= 0 else None


def all_true(*values: bool | None) -> bool | None:
    """AND with NULL as unknown."""
    if any(value is False for value in values):
        return False
    return None if any(value is None for value in values) else True


def any_true(*values: bool | None) -> bool | None:
    """OR with NULL as unknown."""
    if any(value is True for value in values):
        return True
    return None if any(value is None for value in values) else False


def first_known(*values: Any) -> Any:
    """COALESCE."""
    return next((value for value in values if value is not None), None)


def null_if(value: Any, other: Any) -> Any:
    """NULLIF."""
    return None if value is not None and value == other else value
