"""What a query may group by: expressions of which every cell is known before a row is read.

A group's cells come from the contract (a domain, bounds), from the statement's own literals (CASE, a range of dates)
or from the calendar, never from the rows: which values occur would itself tell of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlglot import exp

from policies.contract import Cell, ColumnType, Use
from policies.query.literals import boolean, integer, is_literal, places, scale_of, text, units, value_of
from policies.query.ranges import literal_range, starts, truncated, unit_of
from policies.query.refusals import shown
from policies.query.scope import Ref, Scope
from policies.query.terms import case_parts, column_bounds, condition, number

MAX_GROUPS = 4096
Cells = tuple[exp.Expr, ColumnType, tuple[Cell, ...]]  # what gives a row's cell, its kind, all cells
_DATES = {ColumnType.DATE, ColumnType.DATETIME}
_PARTS: dict[type[exp.Expr], str] = {exp.Year: "YEAR", exp.Month: "MONTH", exp.Day: "DAY"}
_FORMS = (
    "group by a column with a domain, CASE, DATE_TRUNC('month', d) with a range of d in WHERE, or FLOOR(x / 10) of a"
    " column with bounds"
)


@dataclass(frozen=True)
class Group:
    """One expression of GROUP BY: `node` gives each row's cell (NULL: in no group), `cells` are all there are."""

    side: int
    node: exp.Expr
    kind: ColumnType
    cells: tuple[Cell, ...]


class Grouping:
    """Compiles the expressions of GROUP BY; `conjuncts` are the author's, in which ranges of dates are found."""

    def __init__(self, scope: Scope, conjuncts: Sequence[exp.Expr]) -> None:
        self.scope, self.conjuncts = scope, conjuncts

    def group(self, node: exp.Expr) -> Group:
        """Return `node` as a group. Raises InvalidInput when its cells cannot be known."""
        node = node.unnest()
        side = self.scope.one_side(node, "group by expressions of one owner's columns each")
        found, kind, cells = self._compiled(node)
        return Group(side, found, kind, cells)

    def _compiled(self, node: exp.Expr) -> Cells:  # noqa: PLR0911 - one line per kind of expression
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.TimestampTrunc | exp.DateTrunc):
            return self._truncated(node)
        if type(node) in _PARTS:
            self.scope.only(node, "this")
            return self._part(node, node.this, type(node))
        if isinstance(node, exp.Extract):
            kinds = {name: kind for kind, name in _PARTS.items()}
            return self._part(node, node.expression, kinds.get(node.name.upper()))
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        if isinstance(node, exp.Predicate | exp.Connector | exp.Not):
            return condition(self.scope, node), ColumnType.BOOL, (False, True)
        return self._bins(node)

    def _column(self, node: exp.Column) -> Cells:
        ref = self.scope.find(node)
        if ref.column.domain is None:
            raise self.scope.refuse(f"column `{ref.name}` has no list of values", _FORMS)
        self.scope.used(ref, Use.GROUP)
        if ref.column.type is ColumnType.DATE:  # as text, so that a cell equals the domain's spelling in every engine
            return exp.cast(ref.node, "VARCHAR"), ColumnType.TEXT, ref.column.domain
        return ref.node, ref.column.type, ref.column.domain

    # --- dates ---

    def _dated(self, whole: exp.Expr, node: exp.Expr) -> Ref:
        ref = self.scope.find(node) if isinstance(node, exp.Column) else None
        if ref is None or ref.column.type not in _DATES:
            raise self.scope.refuse(f"`{shown(whole)}` is not of a date column", _FORMS)
        return self.scope.used(ref, Use.GROUP, Use.FILTER)

    def _moments(self, ref: Ref, whole: exp.Expr, unit: str) -> list[datetime]:
        span = literal_range(self.scope, ref, self.conjuncts)
        if span is not None:
            found = starts(span, unit, MAX_GROUPS)
        elif ref.column.domain is not None:
            days = {datetime.fromisoformat(str(value)) for value in ref.column.domain}
            found = sorted({truncated(value, unit) for value in days})
        else:
            right = f"give it a range in WHERE: {ref.name} >= '2026-01-01' AND {ref.name} < '2027-01-01'"
            raise self.scope.refuse(f"`{shown(whole)}` has no known first and last value", right)
        if not found or len(found) > MAX_GROUPS:
            raise self.scope.refuse(f"`{shown(whole)}` has {len(found) or 'no'} values", f"1 to {MAX_GROUPS}")
        return found

    def _truncated(self, node: exp.Expr) -> Cells:
        self.scope.only(node, "this", "unit")
        ref, unit = self._dated(node, node.this), unit_of(node)
        if unit is None:
            raise self.scope.refuse(
                f"`{shown(node)}`: the unit is not answered", "year, quarter, month, week, day, hour"
            )
        moments = self._moments(ref, node, unit)
        cut: exp.Expr = exp.TimestampTrunc(this=ref.node, unit=exp.var(unit))
        if unit == "HOUR":
            cells = tuple(moment.isoformat(" ") for moment in moments)
            return exp.cast(exp.cast(cut, "TIMESTAMP"), "VARCHAR"), ColumnType.TEXT, cells
        return (
            exp.cast(exp.cast(cut, "DATE"), "VARCHAR"),
            ColumnType.TEXT,
            tuple(moment.date().isoformat() for moment in moments),
        )

    def _part(self, whole: exp.Expr, column: exp.Expr, kind: type[exp.Expr] | None) -> Cells:
        if kind is None:
            raise self.scope.refuse(f"`{shown(whole)}` is not answered", "YEAR, MONTH or DAY of a date, or DATE_TRUNC")
        ref = self._dated(whole, column)
        cells: tuple[Cell, ...] = tuple(range(1, 13 if kind is exp.Month else 32))
        if kind is exp.Year:
            cells = tuple(moment.year for moment in self._moments(ref, whole, "YEAR"))
        return exp.cast(kind(this=ref.node), "BIGINT"), ColumnType.INT, cells

    # --- the author's own classes ---

    def _case(self, node: exp.Expr) -> Cells:
        whens, default = case_parts(self.scope, node)
        if default is None:
            raise self.scope.refuse(f"`{shown(node)}` leaves rows in no group", "add ELSE 'other'")
        cells = [self._label(node, result) for result in (*(result for _, result in whens), default)]
        if len({type(cell) for cell in cells}) > 1:
            raise self.scope.refuse(f"`{shown(node)}` mixes kinds of labels", "all text, or all whole numbers")
        case = exp.Case(default=_bound(cells[-1]))
        for (when, _), cell in zip(whens, cells, strict=False):
            case.append("ifs", exp.If(this=condition(self.scope, when), true=_bound(cell)))
        kinds = {bool: ColumnType.BOOL, int: ColumnType.INT, str: ColumnType.TEXT}
        return case, kinds[type(cells[0])], tuple(dict.fromkeys(cells))

    def _label(self, whole: exp.Expr, node: exp.Expr) -> Cell:
        value = value_of(node, self.scope) if is_literal(node) else None
        if isinstance(value, Decimal) and places(value) == 0:
            return int(value)
        if isinstance(value, str | bool):
            return value
        raise self.scope.refuse(f"`{shown(whole)}` has a label that is no literal", "THEN 'text' or a whole number")

    # --- bins of numbers ---

    def _bins(self, node: exp.Expr) -> Cells:
        """FLOOR(x / n), x // n, each perhaps cast to a whole number and times a whole number."""
        times = 1
        if isinstance(node, exp.Mul):
            inner, factor = node.this.unnest(), node.expression.unnest()
            if is_literal(inner):
                inner, factor = factor, inner
            times = self._whole(node, factor)
            node = inner
        while isinstance(node, exp.Cast) and node.to.this in exp.DataType.INTEGER_TYPES:
            node = node.this.unnest()
        division = node.this.unnest() if isinstance(node, exp.Floor) else node
        if not isinstance(division, exp.Div | exp.IntDiv) or isinstance(division, exp.Div) != isinstance(
            node, exp.Floor
        ):
            raise self.scope.refuse(f"`{shown(node)}` has no list of values", _FORMS)
        return self._cut(division, times)

    def _whole(self, whole: exp.Expr, node: exp.Expr) -> int:
        value = value_of(node, self.scope) if is_literal(node) else None
        if not isinstance(value, Decimal) or places(value) or value <= 0:
            raise self.scope.refuse(f"`{shown(whole)}` has no list of values", "FLOOR(x / 10) * 10")
        return int(value)

    def _cut(self, node: exp.Expr, times: int) -> Cells:
        column, width = node.this.unnest(), node.expression.unnest()
        value = value_of(width, self.scope) if is_literal(width) else None
        if not isinstance(column, exp.Column) or not isinstance(value, Decimal) or value <= 0:
            raise self.scope.refuse(f"`{shown(node)}` has no list of values", "FLOOR(x / 10) * 10")
        ref = self.scope.used(self.scope.find(column), Use.GROUP, Use.FILTER)
        low, high, step = *self._bounds(ref, node), self._step(ref, value, node)
        if isinstance(node, exp.IntDiv) and (low < 0 or ref.column.type is not ColumnType.INT):
            raise self.scope.refuse(f"`{shown(node)}` rounds towards zero", f"FLOOR({shown(column)} / {value})")
        first = math.floor(low / Decimal(step))
        count = math.floor(high / Decimal(step)) - first + 1
        if count > MAX_GROUPS:
            raise self.scope.refuse(f"`{shown(node)}` has {count} values", f"wider bins; at most {MAX_GROUPS}")
        shifted = exp.Sub(this=ref.units, expression=number(first * step))
        index = exp.Add(this=exp.IntDiv(this=exp.paren(shifted), expression=number(step)), expression=number(first))
        cell = exp.Case(
            ifs=[exp.If(this=inside(ref, low, high), true=exp.Mul(this=exp.paren(index), expression=number(times)))]
        )
        return exp.cast(cell, "BIGINT"), ColumnType.INT, tuple((first + i) * times for i in range(count))

    def _bounds(self, ref: Ref, whole: exp.Expr) -> tuple[int, int]:
        bounds = column_bounds(ref.column)
        if bounds is None and ref.column.type is ColumnType.INT and ref.column.domain:
            listed = [int(value) for value in ref.column.domain]
            bounds = min(listed), max(listed)
        if bounds is None or ref.column.type not in {ColumnType.INT, ColumnType.MONEY}:
            right = "its owner can declare `bounds: [lo, hi]` on an int or money column"
            raise self.scope.refuse(f"`{shown(whole)}` has no known first and last value", right)
        return bounds

    def _step(self, ref: Ref, value: Decimal, whole: exp.Expr) -> int:
        scale = scale_of(ref.column.type)
        if places(value) > scale:
            raise self.scope.refuse(f"`{shown(whole)}` cuts finer than `{ref.name}` is kept", f"{scale} decimal places")
        return units(value, scale)


def inside(ref: Ref, low: int, high: int) -> exp.Expr:
    """Return the condition that a column of whole units lies within its bounds."""
    above = exp.GTE(this=ref.units, expression=number(low))
    return exp.and_(above, exp.LTE(this=ref.units, expression=number(high)))


def _bound(cell: Cell) -> exp.Expr:
    if isinstance(cell, bool):
        return boolean(cell)
    return text(cell) if isinstance(cell, str) else integer(cell)
