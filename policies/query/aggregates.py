"""SQL's aggregates as slots of the joint table, and the values that are computed from them.

What an aggregate is of must be exact: whole numbers, money, flags and arithmetic over them. FILTER and conditional
parts become conditions, which the owners' policies see and which the minimum group applies to.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from sqlglot import exp

from policies.contract import ColumnType, Use
from policies.query.bins import Bins, bins_of, most_leaves
from policies.query.conditions import NotArithmetic
from policies.query.finishing import Formula, ValueType
from policies.query.layout import Cut, Layout
from policies.query.literals import is_literal, scale_of, value_of
from policies.query.refusals import shown
from policies.query.scope import Ref, Scope
from policies.query.suppression import Partition
from policies.query.terms import Conjuncts, Term, compile_term, is_known, multiplied
from policies.query.values import Count, Extreme, Histogram, Mean, Node, Present, Quantile, Slots, Spread, Sum

_SPREADS: dict[type[exp.Expr], tuple[bool, bool]] = {
    exp.Variance: (True, False),
    exp.VariancePop: (False, False),
    exp.Stddev: (True, True),
    exp.StddevSamp: (True, True),
    exp.StddevPop: (False, True),
}
_QUANTILES = (exp.Quantile, exp.PercentileCont, exp.PercentileDisc, exp.ApproxQuantile, exp.Median)
_FORMS = "use COUNT, SUM, AVG, VAR_*, STDDEV_*, MIN, MAX, MEDIAN, QUANTILE_CONT, QUANTILE_DISC and HISTOGRAM"
_WHOLE, _FLOAT = ValueType("number", 0), ValueType("number", None)
_MIXED = "one owner's columns in each condition; AND joins conditions of both"


class Value(Protocol):
    """Anything that makes a value of a group's slots."""

    def of(self, slots: Slots) -> object:
        """The value, None where hidden or NULL."""


class Aggregates:
    """Compiles the aggregates of one query into `layout`."""

    def __init__(self, scope: Scope, layout: Layout, filtered: Callable[[exp.Expr], Conjuncts]) -> None:
        self.scope, self.layout, self._filtered = scope, layout, filtered

    def formula(self, node: exp.Expr) -> Formula:
        """Return the value of an aggregate, with or without FILTER. Raises InvalidInput."""
        conditions: Conjuncts = ()
        if isinstance(node, exp.Filter):
            self.scope.only(node, "this", "expression")
            conditions, node = self._filtered(node.expression.this), node.this
        value, kind = self._value(node, conditions)
        return Formula(kind.kind, lambda released: value.of(released.slots), kind.scale, kind.labels)

    def _value(  # noqa: PLR0911 - one per aggregate
        self, node: exp.Expr, conditions: Conjuncts
    ) -> tuple[Value, ValueType]:
        if isinstance(node, exp.WithinGroup):
            node = self._within_group(node)
        if isinstance(node, exp.Count):
            return self._count(node, conditions), _WHOLE
        if isinstance(node, exp.CountIf):
            self.scope.only(node, "this")
            return Count(self.layout.count((*conditions, *self._filtered(node.this)))), _WHOLE
        if isinstance(node, exp.Sum):
            total, _, scale = self._sum(node, conditions)
            return Sum(total, scale), ValueType("number", scale)
        if isinstance(node, exp.Avg) or _is_called(node, "mean"):
            total, count, scale = self._sum(node, conditions)
            return Mean(total, count, scale), _FLOAT
        if type(node) in _SPREADS:
            return self._spread(node, conditions), _FLOAT
        if isinstance(node, exp.Min | exp.Max):
            self.scope.only(node, "this")
            ref, bins = self._bins(node, node.this)
            return Extreme(self._tree(bins, conditions), isinstance(node, exp.Max)), _type(ref)
        if isinstance(node, _QUANTILES):
            return self._quantile(node, conditions)
        if _is_called(node, "histogram"):
            return self._histogram(node, conditions)
        raise self.scope.refuse(f"`{shown(node)}` is not answered", _FORMS)

    def _argument(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Anonymous):
            if len(node.expressions) != 1:
                raise self.scope.refuse(f"`{shown(node)}` is not answered", _FORMS)
            only: exp.Expr = node.expressions[0].unnest()
            return only
        self.scope.only(node, "this", "big_int", "expression", "quantile")
        argument = node.this
        if isinstance(argument, exp.Distinct):
            raise self.scope.refuse(f"`{shown(node)}` is not answered", "COUNT(DISTINCT column) counts values once")
        if not isinstance(argument, exp.Expr) or isinstance(argument, exp.Order | exp.Star):
            raise self.scope.refuse(f"`{shown(node)}` is not answered", _FORMS)
        found: exp.Expr = argument.unnest()
        return found

    # --- counts ---

    def _count(self, node: exp.Count, conditions: Conjuncts) -> Value:
        self.scope.only(node, "this", "big_int")
        argument = node.this
        if isinstance(argument, exp.Distinct):
            return self._distinct(node, argument, conditions)
        if argument is None or isinstance(argument, exp.Star) or is_literal(argument):
            return Count(self.layout.count(conditions))
        if isinstance(argument, exp.Column):
            return Count(self.layout.count((*conditions, is_known(self.scope.use(argument, Use.AGGREGATE).node))))
        known = [condition for term in self._terms(node, argument.unnest()) if term for condition in term.known]
        return Count(self.layout.count((*conditions, *known)))

    def _distinct(self, node: exp.Count, argument: exp.Distinct, conditions: Conjuncts) -> Value:
        values = argument.expressions
        if len(values) != 1 or not isinstance(values[0], exp.Column):
            raise self.scope.refuse(f"`{shown(node)}` counts something other than a column", "COUNT(DISTINCT column)")
        ref = self.scope.find(values[0])
        most = most_leaves(joined=self.layout.joined, listed=True)
        if self.layout.joined and (ref.column.domain is None or len(ref.column.domain) > most):
            self.scope.used(ref, Use.AGGREGATE, Use.JOIN)
            if conditions:
                raise self.scope.refuse(f"`{shown(node)}` with FILTER needs a domain", "put the condition into WHERE")
            return Count(self.layout.counted_once(ref, self.scope.sides[ref.table]))
        self.scope.used(ref, Use.AGGREGATE, Use.GROUP)
        bins = bins_of(self.scope, ref, most, single=True)
        return Present(self._leaves(bins, conditions))

    # --- sums ---

    def _terms(self, node: exp.Expr, argument: exp.Expr) -> list[Term | None]:
        """The argument as one term per side (None where a side has no part in it): a product across sides."""
        sides: list[Term | None] = [None, None] if self.layout.joined else [None]
        factors = self._factors(argument)
        try:
            for factor in factors:
                term, side = compile_term(self.scope, factor), self.scope.one_side(factor, _MIXED)
                held = sides[side]
                sides[side] = term if held is None else multiplied(held, term)
        except NotArithmetic:
            raise self.scope.refuse(
                f"`{shown(node)}` is of something that is no exact number", "columns of numbers, + - *, CASE, COALESCE"
            ) from None
        if len([term for term in sides if term is not None and term.branches]) > 1:
            raise self.scope.refuse(f"`{shown(node)}` multiplies two conditions", "FILTER (WHERE a AND b)")
        return sides

    def _factors(self, argument: exp.Expr) -> list[exp.Expr]:
        if len(self.scope.sides_of(argument)) < 2:
            return [argument]
        if isinstance(argument, exp.Mul):
            return [part for side in (argument.this, argument.expression) for part in self._factors(side.unnest())]
        raise self.scope.refuse(
            f"`{shown(argument)}` mixes columns of two owners other than by a product",
            "aggregate each by itself, as in SUM(a) - SUM(b); products such as SUM(a * b) are answered",
        )

    def _sum(self, node: exp.Expr, conditions: Conjuncts) -> tuple[int, int, int]:
        """(slot of the sum, slot of the count of its values, scale)."""
        parts = self._terms(node, self._argument(node))
        terms = [part for part in parts if part is not None]
        known = [condition for term in terms for condition in term.known]
        total = self.layout.sum(parts, conditions, shown(node))
        return total, self.layout.count((*conditions, *known)), sum(term.scale for term in terms)

    def _spread(self, node: exp.Expr, conditions: Conjuncts) -> Spread:
        sample, root = _SPREADS[type(node)]
        total, count, scale = self._sum(node, conditions)
        squared: Sequence[Term | None] = [part and part.square for part in self._terms(node, self._argument(node))]
        squares = self.layout.sum(squared, conditions, shown(node))
        return Spread(squares, total, count, scale, sample, root)

    # --- bins ---

    def _bins(self, whole: exp.Expr, node: exp.Expr) -> tuple[Ref, Bins]:
        if not isinstance(node, exp.Column):
            raise self.scope.refuse(f"`{shown(whole)}` is of something other than a column", "name a column")
        ref = self.scope.used(self.scope.find(node), Use.AGGREGATE, Use.GROUP)  # counts by value are those of groups
        listed = ref.column.domain is not None
        return ref, bins_of(
            self.scope, ref, most_leaves(joined=self.layout.joined, listed=listed and not ref.column.bounds)
        )

    def _tree(self, bins: Bins, conditions: Conjuncts) -> Node:
        root = self.layout.count((*conditions, bins.listed()))

        def node(first: int, stop: int, level: int) -> Node:
            cut = Cut(bins, first, stop, level)
            slot = self.layout.cut(cut, root) if level else root
            low, high = bins.edges[first][0], bins.edges[stop - 1][1]
            if stop - first == 1:
                return Node(slot, low, high)
            middle = (first + stop) // 2
            halves = node(first, middle, level + 1), node(middle, stop, level + 1)
            self.layout.partitions.append(Partition(slot, (halves[0].slot, halves[1].slot), exhaustive=True))
            return Node(slot, low, high, halves)

        return node(0, len(bins.edges), 0)

    def _leaves(self, bins: Bins, conditions: Conjuncts) -> tuple[int, ...]:
        whole = self.layout.count((*conditions, bins.listed()))
        cuts = [Cut(bins, leaf, leaf + 1, -1) for leaf in range(len(bins.edges))]
        leaves = tuple(self.layout.cut(cut, whole) for cut in cuts)
        self.layout.partitions.append(Partition(whole, leaves, exhaustive=True))
        return leaves

    def _histogram(self, node: exp.Expr, conditions: Conjuncts) -> tuple[Value, ValueType]:
        ref, bins = self._bins(node, self._argument(node))
        labels = _type(ref)
        value = Histogram(self._leaves(bins, conditions), tuple(first for first, _ in bins.edges))
        return value, ValueType("map", labels.scale, labels.kind)

    def _quantile(self, node: exp.Expr, conditions: Conjuncts) -> tuple[Value, ValueType]:
        self.scope.only(node, "this", "expression", "quantile")
        ref, bins = self._bins(node, node.this)
        between = isinstance(node, exp.Median | exp.PercentileCont)
        if between and not bins.numeric:
            raise self.scope.refuse(
                f"`{shown(node)}` of `{ref.name}`, which is {ref.column.type}", "QUANTILE_DISC(x, 0.5)"
            )
        fraction = Fraction(1, 2) if isinstance(node, exp.Median) else self._fraction(node)
        return Quantile(self._tree(bins, conditions), fraction, between), _FLOAT if between else _type(ref)

    def _fraction(self, node: exp.Expr) -> Fraction:
        literal = node.args.get("quantile") or node.args.get("expression")
        value = value_of(literal, self.scope) if literal is not None and is_literal(literal) else None
        if not isinstance(value, Decimal) or not 0 <= value <= 1:
            raise self.scope.refuse(
                f"`{shown(node)}` has no fraction", "a number from 0 to 1, as in QUANTILE_CONT(x, 0.9)"
            )
        return Fraction(value)

    def _within_group(self, node: exp.WithinGroup) -> exp.Expr:
        """PERCENTILE_CONT(f) WITHIN GROUP (ORDER BY x) as QUANTILE_CONT(x, f)."""
        inner, order = node.this, node.expression
        ordered = order.expressions if isinstance(order, exp.Order) else []
        if (
            not isinstance(inner, exp.PercentileCont | exp.PercentileDisc)
            or len(ordered) != 1
            or ordered[0].args.get("desc")
        ):
            raise self.scope.refuse(f"`{shown(node)}` is not answered", "QUANTILE_CONT(x, 0.5)")
        return type(inner)(this=ordered[0].this.copy(), expression=inner.this.copy())


def _is_called(node: exp.Expr, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and str(node.this).lower() == name


def _type(ref: Ref) -> ValueType:
    if ref.column.type.numeric:
        return ValueType("number", None if ref.column.type is ColumnType.FLOAT else scale_of(ref.column.type))
    return ValueType("bool" if ref.column.type is ColumnType.BOOL else "text")
