"""Stretches of time: the range that a statement's own WHERE gives a column, and the calendar units within it."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlglot import exp

from policies.query.literals import day, instant, is_literal, value_of
from policies.query.scope import Ref, Scope

Range = tuple[datetime, datetime]  # both inclusive
_UNITS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR")
_FIRST, _LAST = datetime.min, datetime.max  # noqa: DTZ901 - data have no zone
_INSTANT = timedelta(microseconds=1)
_UP, _DOWN = (exp.GT, exp.GTE), (exp.LT, exp.LTE)
_TURNED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.EQ: exp.EQ,
}


def literal_range(scope: Scope, ref: Ref, conjuncts: Iterable[exp.Expr]) -> Range | None:
    """Return the times between which `conjuncts` keep the column, None when they leave an end open."""
    low, high = _FIRST, _LAST
    for conjunct in conjuncts:
        for kind, moment in _limits(scope, ref, conjunct):
            if kind in {*_UP, exp.EQ}:
                low = max(low, moment + _INSTANT if kind is exp.GT else moment)
            if kind in {*_DOWN, exp.EQ}:
                high = min(high, moment - _INSTANT if kind is exp.LT else moment)
    return None if low == _FIRST or high == _LAST else (low, high)


def _limits(scope: Scope, ref: Ref, node: exp.Expr) -> list[tuple[type[exp.Expr], datetime]]:
    """What a conjunct says of the column, as (comparison, time)."""
    if isinstance(node, exp.Between):
        pairs = ((exp.GTE, node.this, node.args["low"]), (exp.LTE, node.this, node.args["high"]))
    elif type(node) in _TURNED:
        left, right = node.this.unnest(), node.expression.unnest()
        pairs = ((type(node), left, right), (_TURNED[type(node)], right, left))  # type: ignore[assignment]
    else:
        return []
    return [
        (kind, moment)
        for kind, column, literal in pairs
        if isinstance(column, exp.Column) and is_literal(literal) and scope.find(column) == ref
        for moment in [_moment(scope, literal)]
        if moment is not None
    ]


def _moment(scope: Scope, node: exp.Expr) -> datetime | None:
    value = value_of(node, scope)
    if not isinstance(value, str):
        return None
    date = day(value)
    return datetime(date.year, date.month, date.day) if date else instant(value)  # noqa: DTZ001 - data have no zone


def truncated(moment: datetime, unit: str) -> datetime:
    """Return the start of the calendar unit that holds `moment`, as DATE_TRUNC has it (weeks begin on Monday)."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "HOUR":
        return midnight + timedelta(hours=moment.hour)
    if unit == "WEEK":
        return midnight - timedelta(days=midnight.weekday())
    if unit == "DAY":
        return midnight
    months = {"YEAR": 12, "QUARTER": 3, "MONTH": 1}[unit]
    return midnight.replace(day=1, month=(midnight.month - 1) // months * months + 1)


def starts(span: Range, unit: str, most: int) -> list[datetime]:
    """Return the starts of all units that touch `span`, in order; more than `most` are cut after one more."""
    found: list[datetime] = []
    moment = truncated(span[0], unit)
    while moment <= span[1] and len(found) <= most:
        found.append(moment)
        moment = _next(moment, unit)
    return found


def _next(moment: datetime, unit: str) -> datetime:
    steps = {"HOUR": timedelta(hours=1), "DAY": timedelta(days=1), "WEEK": timedelta(days=7)}
    longer = {"MONTH": timedelta(days=31), "QUARTER": timedelta(days=93), "YEAR": timedelta(days=366)}
    return moment + steps[unit] if unit in steps else truncated(moment + longer[unit], unit)


def unit_of(node: exp.Expr) -> str | None:
    """Return the calendar unit that DATE_TRUNC names, None for one that is not answered."""
    unit = node.args.get("unit")
    name = str(unit.name).upper() if isinstance(unit, exp.Expr) else ""
    return name if name in _UNITS else None
