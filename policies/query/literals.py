"""The author's literals: read exactly, checked against a column's type, and typed for every engine.

Numbers are read as decimals, never as floats, so that 19.99 means 1999 cents. A bound literal is always a CAST of a
literal to its type: that is how a fragment knows what to turn into a parameter.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from sqlglot import exp

from policies.contract import CENTS, Column, ColumnType, is_date
from policies.query.refusals import Refusals, shown

Parameter = int | float | str | bool
Constant = Decimal | str | bool

MAX_PLACES = 9
MAX_TEXT = 1024
_CENT_PLACES = 2
_DATED = {
    exp.DataType.Type.DATE,
    exp.DataType.Type.TIMESTAMP,
    exp.DataType.Type.TIMESTAMPNTZ,
    exp.DataType.Type.DATETIME,
}
_EXAMPLES = {
    ColumnType.INT: "a number such as 3",
    ColumnType.FLOAT: "a number such as 0.5",
    ColumnType.MONEY: "a number such as 19.99",
    ColumnType.TEXT: "text such as 'DE'",
    ColumnType.DATE: "a date such as '2026-01-31'",
    ColumnType.DATETIME: "a time without zone such as '2026-01-31 12:00:00'",
    ColumnType.BOOL: "TRUE or FALSE",
}


def bind_parameters(tree: exp.Select, parameters: Mapping[str, Parameter], refusals: Refusals) -> exp.Select:
    """Return `tree` with every `$name` replaced by its literal; refuses what is missing, unused or no literal."""
    used: set[str] = set()

    def replace(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Placeholder):
            return node
        name = str(node.args.get("this") or "?")
        if name not in parameters:
            known = ", ".join(f"${known}" for known in parameters) or "none is given"
            raise refusals.refuse(f"parameter `${name}` has no value", f"give it one; given: {known}")
        used.add(name)
        return _literal(name, parameters[name], refusals)

    bound = tree.transform(replace)
    unused = [name for name in parameters if name not in used]
    if unused:
        raise refusals.refuse(f"parameter `${unused[0]}` is not in the statement", "leave it out, or use it")
    assert isinstance(bound, exp.Select)  # noqa: S101 - the root is no placeholder
    return bound


def _literal(name: str, value: Parameter, refusals: Refusals) -> exp.Expr:
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return exp.Literal.string(value)
    if isinstance(value, int | float) and math.isfinite(value):
        positive = exp.Literal.number(str(abs(value)))
        return exp.Neg(this=positive) if value < 0 else positive
    raise refusals.refuse(
        f"parameter `${name}` is not a value that can be bound", f"a finite number, TRUE, FALSE or text of {MAX_TEXT}"
    )


def is_literal(node: exp.Expr) -> bool:
    """Return whether `node` is a number (also negative), text, boolean, or DATE/TIMESTAMP text."""
    if isinstance(node, exp.Neg):
        return isinstance(node.this, exp.Literal) and not node.this.is_string
    if isinstance(node, exp.Cast):
        return node.to.this in _DATED and isinstance(node.this, exp.Literal) and bool(node.this.is_string)
    return isinstance(node, exp.Literal | exp.Boolean)


def value_of(node: exp.Expr, refusals: Refusals) -> Constant:
    """Return the value of a literal: exact Decimal, text or bool."""
    if isinstance(node, exp.Neg):
        positive = value_of(node.this, refusals)
        assert isinstance(positive, Decimal)  # noqa: S101 - is_literal said so
        return -positive
    if isinstance(node, exp.Cast):
        return str(node.this.name)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if node.args.get("is_string"):
        return str(node.name)
    try:
        value = Decimal(str(node.name))
    except InvalidOperation:
        raise refusals.refuse(f"`{shown(node)}` is not a number", "write digits and a point") from None
    if places(value) > MAX_PLACES or abs(value) >= 2**63:
        raise refusals.refuse(f"`{shown(node)}` is too long a number", f"at most {MAX_PLACES} places, below 2**63")
    return value


def places(value: Decimal) -> int:
    """Return the decimal places that `value` needs."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else MAX_PLACES + 1


def fitting(column: Column, name: str, node: exp.Expr, refusals: Refusals) -> exp.Expr:
    """Return the literal `node` cast to what `column` is compared with; raises InvalidInput when it does not fit."""
    value = value_of(node, refusals)
    found = _typed(column.type, value)
    if found is None:
        said = str(value) if isinstance(value, Decimal) else repr(value)
        raise refusals.refuse(
            f"`{name}` is {column.type} and is compared with {said}", f"compare it with {_EXAMPLES[column.type]}"
        )
    return found


def _typed(kind: ColumnType, value: Constant) -> exp.Expr | None:
    if kind is ColumnType.BOOL:
        return boolean(value) if isinstance(value, bool) else None
    if kind.numeric:
        return _number(kind, value) if isinstance(value, Decimal) else None
    if not isinstance(value, str):
        return None
    if kind is ColumnType.TEXT:
        return text(value)
    if kind is ColumnType.DATE:
        return exp.cast(exp.Literal.string(value), "DATE") if is_date(value) else None
    moment = instant(value)
    return exp.cast(exp.Literal.string(moment.isoformat(" ")), "TIMESTAMP") if moment else None


def _number(kind: ColumnType, value: Decimal) -> exp.Expr:
    """Typed as the column is, where it fits, so that the engine can compare (and skip) without casting rows."""
    if kind is ColumnType.FLOAT:
        return exp.cast(exp.Literal.number(repr(float(value))), "DOUBLE")
    if kind is ColumnType.INT and places(value) == 0:
        return integer(int(value))
    small = places(value) <= _CENT_PLACES and abs(value) < 10**16
    width = "18, 2" if kind is ColumnType.MONEY and small else f"38, {places(value)}"
    return exp.cast(exp.Literal.string(f"{value:f}"), f"DECIMAL({width})")


def integer(value: int) -> exp.Expr:
    """Return an author's whole number as a bound literal."""
    return exp.cast(exp.Literal.number(str(value)), "BIGINT")


def text(value: str) -> exp.Expr:
    """Return an author's text as a bound literal."""
    return exp.cast(exp.Literal.string(value), "VARCHAR")


def boolean(value: bool) -> exp.Expr:
    """Return an author's TRUE or FALSE as a bound literal."""
    return exp.cast(exp.Boolean(this=value), "BOOLEAN")


def instant(value: str) -> datetime | None:
    """Return the time that `value` (ISO 8601, without zone; a date is its midnight) says, or None."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if len(value) >= len("2026-01-31") and moment.tzinfo is None else None


def day(value: str) -> date | None:
    """Return the calendar date that `value` says, or None."""
    return date.fromisoformat(value) if is_date(value) else None


def units(value: Decimal, scale: int) -> int:
    """Return `value` in units of 10**-scale; it must need no more places."""
    return int(value.scaleb(scale))


def scale_of(kind: ColumnType) -> int:
    """Return the decimal places of the unit in which columns of `kind` are summed exactly."""
    return len(str(CENTS)) - 1 if kind is ColumnType.MONEY else 0
