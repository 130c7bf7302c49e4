"""Conditions on rows: what WHERE, FILTER and CASE WHEN may say, checked against the contract and typed.

A column is compared with literals of its type, with a column of the same type, or (numbers) as exact arithmetic. The
result is a condition over resolved columns in which every literal of the author is cast to its type.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from policies.contract import ColumnType, Use
from policies.query.literals import fitting, is_literal
from policies.query.refusals import shown
from policies.query.scope import Ref, Scope

if TYPE_CHECKING:
    from policies.query.terms import Term

Arithmetic = Callable[[Scope, exp.Expr, Use], "Term"]

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_TURNED: dict[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.EQ,
    exp.NEQ: exp.NEQ,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
}
_FORMS = "write column = 'value', BETWEEN, IN (...), LIKE 'a%' or IS NULL"


def compile_condition(  # noqa: PLR0911 - one line per kind of condition
    scope: Scope, node: exp.Expr, arithmetic: Arithmetic
) -> exp.Expr:
    """Return `node` over resolved columns. Raises InvalidInput for what is not a condition on rows."""
    if isinstance(node, exp.And | exp.Or):
        scope.only(node, "this", "expression")
        parts = [exp.paren(compile_condition(scope, part, arithmetic)) for part in node.flatten()]
        return exp.and_(*parts, wrap=False) if isinstance(node, exp.And) else exp.or_(*parts, wrap=False)
    if isinstance(node, exp.Paren):
        return compile_condition(scope, node.this, arithmetic)
    if isinstance(node, exp.Not):
        scope.only(node, "this")
        return exp.Not(this=exp.paren(compile_condition(scope, node.this, arithmetic)))
    if isinstance(node, _COMPARISONS):
        scope.only(node, "this", "expression")
        return _comparison(scope, node, arithmetic)
    if isinstance(node, exp.Between):
        scope.only(node, "this", "low", "high")
        low, high = (
            _comparison(scope, kind(this=node.this, expression=node.args[bound]), arithmetic)
            for kind, bound in ((exp.GTE, "low"), (exp.LTE, "high"))
        )
        return exp.and_(low, high)
    if isinstance(node, exp.Column):
        return _flag(scope, node)
    return _membership(scope, node)


def _membership(scope: Scope, node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.In):
        scope.only(node, "this", "expressions")
        ref = _column(scope, node, node.this, node.expressions)
        return exp.In(this=ref.node, expressions=[_fit(scope, ref, value) for value in node.expressions])
    if isinstance(node, exp.Like | exp.ILike):
        scope.only(node, "this", "expression")
        ref = _column(scope, node, node.this, [node.expression])
        if ref.column.type is not ColumnType.TEXT:
            raise scope.refuse(f"LIKE on `{ref.name}`, which is {ref.column.type}", "use =, <, BETWEEN or IN")
        return type(node)(this=ref.node, expression=_fit(scope, ref, node.expression))
    if isinstance(node, exp.Is):
        scope.only(node, "this", "expression")
        if isinstance(node.expression, exp.Null):
            return exp.Is(this=_column(scope, node, node.this, ()).node, expression=exp.Null())
        if isinstance(node.expression, exp.Boolean):
            return exp.Is(this=exp.paren(_flag(scope, node.this)), expression=node.expression.copy())
    raise _not_a_condition(scope, node)


def _not_a_condition(scope: Scope, node: exp.Expr) -> Exception:
    return scope.refuse(f"`{shown(node)}` does not compare a column with literals", _FORMS)


def _column(scope: Scope, whole: exp.Expr, node: exp.Expr, literals: object) -> Ref:
    values = literals if isinstance(literals, list) else []
    if not isinstance(node, exp.Column) or not all(is_literal(value) for value in values):
        raise _not_a_condition(scope, whole)
    ref = scope.use(node, Use.FILTER)
    ordered = isinstance(whole, exp.GT | exp.GTE | exp.LT | exp.LTE)
    if ref.column.type is ColumnType.BOOL and ordered:
        raise scope.refuse(f"`{ref.name}` is bool and has no order", f"write {ref.name} = TRUE")
    return ref


def _flag(scope: Scope, node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Column):
        raise _not_a_condition(scope, node)
    ref = scope.use(node, Use.FILTER)
    if ref.column.type is not ColumnType.BOOL:
        raise scope.refuse(f"`{ref.name}` is {ref.column.type} and no condition by itself", _FORMS)
    return ref.node


def _fit(scope: Scope, ref: Ref, literal: exp.Expr) -> exp.Expr:
    return fitting(ref.column, ref.name, literal, scope)


def _comparison(scope: Scope, node: exp.Expr, arithmetic: Arithmetic) -> exp.Expr:
    left, right, kind = node.this.unnest(), node.args["expression"].unnest(), type(node)
    if is_literal(left) and not is_literal(right):
        left, right, kind = right, left, _TURNED[kind]
    if isinstance(left, exp.Column) and is_literal(right):
        ref = _column(scope, kind(this=left, expression=right), left, [right])
        return kind(this=ref.node, expression=_fit(scope, ref, right))
    if is_literal(left):
        raise _not_a_condition(scope, node)
    if isinstance(left, exp.Column) and isinstance(right, exp.Column):
        first, second = scope.find(left).column.type, scope.find(right).column.type
        if first == second:
            return kind(this=_column(scope, node, left, ()).node, expression=_column(scope, node, right, ()).node)
        if not (first.numeric and second.numeric):
            raise scope.refuse(
                f"`{left.name}` is {first} and is compared with `{right.name}`, which is {second}",
                "compare columns of one type",
            )
    plain = [scope.find(side).column.type for side in (left, right) if isinstance(side, exp.Column)]
    if not all(one.numeric for one in plain):
        raise _not_a_condition(scope, node)
    return _arithmetic(scope, kind, left, right, arithmetic)


def _arithmetic(
    scope: Scope, kind: type[exp.Expr], left: exp.Expr, right: exp.Expr, arithmetic: Arithmetic
) -> exp.Expr:
    """Numbers are compared as whole numbers of the same unit."""
    try:
        first, second = arithmetic(scope, left, Use.FILTER), arithmetic(scope, right, Use.FILTER)
    except NotArithmetic:
        raise _not_a_condition(scope, kind(this=left.copy(), expression=right.copy())) from None
    scale = max(first.scale, second.scale)
    return kind(this=exp.paren(first.at(scale).node), expression=exp.paren(second.at(scale).node))


class NotArithmetic(Exception):
    """An expression is not exact arithmetic; whoever asked says what would be."""
