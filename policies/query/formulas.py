"""The author's arithmetic over aggregates and groups, compiled to functions of a released group.

Three places use it: outputs, HAVING and ORDER BY. A column may stand there only as (part of) what is grouped by.
"""

import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from sqlglot import exp

from policies.query import arithmetic
from policies.query.finishing import Formula, Kind, Released
from policies.query.literals import is_literal, places, value_of
from policies.query.reading import is_aggregate
from policies.query.refusals import render, shown
from policies.query.scope import Scope
from policies.query.terms import case_parts

Places = Callable[..., arithmetic.Scale]  # from the places of the parts to those of the whole
_ARITHMETIC: dict[type[exp.Expr], tuple[Callable[..., Any], Places]] = {
    exp.Add: (arithmetic.add, arithmetic.finest),
    exp.Sub: (arithmetic.subtract, arithmetic.finest),
    exp.Mul: (arithmetic.multiply, arithmetic.added),
    exp.Div: (arithmetic.divide, lambda *_: None),
    exp.IntDiv: (arithmetic.divide_whole, lambda *_: 0),
    exp.Mod: (arithmetic.remainder, arithmetic.finest),
}
_COMPARISONS: dict[type[exp.Expr], Callable[..., Any]] = {
    exp.EQ: arithmetic.strict(operator.eq),
    exp.NEQ: arithmetic.strict(operator.ne),
    exp.GT: arithmetic.strict(operator.gt),
    exp.GTE: arithmetic.strict(operator.ge),
    exp.LT: arithmetic.strict(operator.lt),
    exp.LTE: arithmetic.strict(operator.le),
}
_FUNCTIONS: dict[type[exp.Expr], tuple[Callable[..., Any], Places]] = {
    exp.Abs: (arithmetic.strict(abs), arithmetic.finest),
    exp.Floor: (arithmetic.floor, arithmetic.cut),
    exp.Ceil: (arithmetic.ceiling, arithmetic.cut),
    exp.Sqrt: (arithmetic.root, lambda *_: None),
    exp.Neg: (arithmetic.strict(operator.neg), arithmetic.finest),
}
_FORMS = "use aggregates, what is grouped by, literals, + - * /, ROUND, COALESCE, NULLIF, CASE and comparisons"


class Formulas:
    """Compiles expressions of one query; `aggregate` makes the formula of an aggregate."""

    def __init__(
        self, scope: Scope, groups: Sequence[exp.Expr], aggregate: Callable[[exp.Expr], Formula], kinds: Sequence[Kind]
    ) -> None:
        self.scope, self._aggregate, self._kinds = scope, aggregate, kinds
        self._groups = {self.same(node): index for index, node in reversed(list(enumerate(groups)))}
        self.named: dict[str, Formula] = {}

    def same(self, node: exp.Expr) -> str:
        """Return a text that two expressions share when they mean the same columns in the same form."""

        def resolved(part: exp.Expr) -> exp.Expr:
            return self.scope.find(part).node if isinstance(part, exp.Column) else part

        return render(node.unnest().copy().transform(resolved))

    def known(self, node: exp.Expr) -> bool:
        """Whether `node` is one of what is grouped by (columns that do not exist are in none)."""
        columns = list(node.find_all(exp.Column))
        return all(self.scope.has(part.name) for part in columns) and self.same(node) in self._groups

    def formula(self, node: exp.Expr, *, aliases: bool = False) -> Formula:
        """Compile `node`; with `aliases`, outputs may be called by name. Raises InvalidInput."""
        return _Compiler(self, aliases).compile(node)

    def group(self, node: exp.Expr) -> Formula:
        """The cell of a group expression."""
        index = self._groups[self.same(node)]
        return Formula(self._kinds[index], lambda released: released.group[index])

    def aggregate(self, node: exp.Expr) -> Formula:
        """The value of an aggregate."""
        return self._aggregate(node)


class _Compiler:
    def __init__(self, formulas: Formulas, aliases: bool) -> None:
        self.formulas, self.aliases, self.scope = formulas, aliases, formulas.scope

    def compile(self, node: exp.Expr) -> Formula:  # noqa: PLR0911 - one line per kind of expression
        if isinstance(node, exp.Paren):
            return self.compile(node.this)
        if is_literal(node):
            return _literal(value_of(node, self.scope))
        if isinstance(node, exp.Null):
            return Formula(None, lambda _: None)
        if isinstance(node, exp.Column) and self.aliases and not node.table and node.name in self.formulas.named:
            return self.formulas.named[node.name]
        if self.formulas.known(node):
            return self.formulas.group(node)
        if is_aggregate(node) or isinstance(node, exp.Filter):
            return self.formulas.aggregate(node)
        if isinstance(node, exp.Column):
            raise self._not_grouped(node)
        return self._operator(node)

    def _not_grouped(self, node: exp.Column) -> Exception:
        self.scope.find(node)
        return self.scope.refuse(
            f"`{shown(node)}` is neither grouped by nor aggregated", f"add it to GROUP BY, or write SUM({shown(node)})"
        )

    def _operator(self, node: exp.Expr) -> Formula:
        kind = type(node)
        if kind in _ARITHMETIC:
            self.scope.only(node, "this", "expression", "typed", "safe")
            function, scale = _ARITHMETIC[kind]
            return self._apply(node, "number", function, (node.this, node.expression), ("number",), scale)
        if kind in _COMPARISONS:
            self.scope.only(node, "this", "expression")
            return self._apply(node, "bool", _COMPARISONS[kind], (node.this, node.expression), None)
        if kind in _FUNCTIONS:
            self.scope.only(node, "this")
            function, scale = _FUNCTIONS[kind]
            return self._apply(node, "number", function, (node.this,), ("number",), scale)
        return self._function(node)

    def _function(self, node: exp.Expr) -> Formula:  # noqa: PLR0911 - one line per function
        if isinstance(node, exp.Round):
            return self._round(node)
        if isinstance(node, exp.Coalesce):
            self.scope.only(node, "this", "expressions")
            return self._apply(node, None, arithmetic.first_known, (node.this, *node.expressions), None)
        if isinstance(node, exp.Nullif):
            return self._apply(node, None, arithmetic.null_if, (node.this, node.expression), None)
        if isinstance(node, exp.And | exp.Or):
            function = arithmetic.all_true if isinstance(node, exp.And) else arithmetic.any_true
            return self._apply(node, "bool", function, tuple(node.flatten()), ("bool",))
        if isinstance(node, exp.Not):
            return self._apply(node, "bool", arithmetic.strict(operator.not_), (node.this,), ("bool",))
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        return self._test(node)

    def _test(self, node: exp.Expr) -> Formula:
        if isinstance(node, exp.Between):
            self.scope.only(node, "this", "low", "high")
            low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
            high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
            return self.compile(exp.and_(low, high))
        if isinstance(node, exp.In) and node.expressions:
            self.scope.only(node, "this", "expressions")
            equal = [exp.EQ(this=node.this.copy(), expression=value.copy()) for value in node.expressions]
            return self.compile(exp.or_(*equal))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            inner = self.compile(node.this)
            return Formula("bool", lambda released: inner.of(released) is None)
        if isinstance(node, exp.Cast):
            return self._cast(node)
        raise self.scope.refuse(f"`{shown(node)}` is not answered", _FORMS)

    def _apply(
        self,
        node: exp.Expr,
        kind: Kind | None,
        function: Callable[..., Any],
        parts: Sequence[exp.Expr],
        wanted: Sequence[Kind] | None,
        scale: Places = arithmetic.finest,
    ) -> Formula:
        """`function` of `parts`, all of one kind: one of `wanted`, or any; `kind` None: the result is of that kind."""
        found = [self.compile(part) for part in parts]
        kinds: dict[Kind, None] = {one.kind: None for one in found if one.kind is not None}
        if len(kinds) > 1 or "map" in kinds or (wanted and any(one not in wanted for one in kinds)):
            right = f"give it {' or '.join(wanted)} values" if wanted else "give it values of one kind"
            raise self.scope.refuse(f"`{shown(node)}` does not go with {' and '.join(kinds)}", right)
        common = next(iter(kinds), None)
        digits = scale(*(one.scale for one in found))
        return Formula(kind or common, lambda released: function(*(one.of(released) for one in found)), digits)

    def _round(self, node: exp.Round) -> Formula:
        self.scope.only(node, "this", "decimals")
        decimals = node.args.get("decimals")
        value = value_of(decimals, self.scope) if decimals is not None and is_literal(decimals) else Decimal(0)
        plain = decimals is None or is_literal(decimals)
        if not plain or not isinstance(value, Decimal) or places(value) or abs(value) > arithmetic.MAX_ROUNDED:
            raise self.scope.refuse(f"`{shown(node)}`: the places are no small whole number", "ROUND(x, 2)")
        digits = int(value)
        return self._apply(
            node,
            "number",
            lambda x: arithmetic.rounded(x, digits),
            (node.this,),
            ("number",),
            lambda scale: arithmetic.cut(scale, digits),
        )

    def _cast(self, node: exp.Cast) -> Formula:
        self.scope.only(node, "this", "to")
        to = node.to.this
        if to in {exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT}:
            return self._apply(node, "number", arithmetic.strict(float), (node.this,), ("number",), lambda _: None)
        raise self.scope.refuse(f"`{shown(node)}` casts to another type", "CAST(x AS DOUBLE), or ROUND(x, 2)")

    def _case(self, node: exp.Expr) -> Formula:
        whens, default = case_parts(self.scope, node)
        conditions = [self.compile(when) for when, _ in whens]
        results = [self.compile(result) for _, result in whens]
        otherwise = self.compile(default if default is not None else exp.Null())
        kinds = {one.kind for one in (*results, otherwise) if one.kind is not None}
        if len(kinds) > 1 or any(one.kind not in {"bool", None} for one in conditions):
            raise self.scope.refuse(
                f"`{shown(node)}` mixes kinds of values", "WHEN a condition THEN values of one kind"
            )

        def choose(released: Released) -> Any:
            taken = (result for when, result in zip(conditions, results, strict=True) if when.of(released) is True)
            return next(taken, otherwise).of(released)

        scale = arithmetic.finest(*(one.scale for one in (*results, otherwise)))
        return Formula(next(iter(kinds), None), choose, scale)


def _literal(value: Any) -> Formula:
    if isinstance(value, bool):
        return Formula("bool", lambda _: value)
    if isinstance(value, str):
        return Formula("text", lambda _: value)
    number = int(value) if not places(value) and value.as_tuple().exponent == 0 else value
    return Formula("number", lambda _: number, places(value))
