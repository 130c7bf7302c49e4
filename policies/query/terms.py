"""Exact row expressions: what may be summed, as whole numbers of a decimal unit, with bounds by interval arithmetic.

A term that depends on a condition (CASE, COALESCE, a bool or 0/1 column) keeps the conditions under which each part
of it contributes, because each part must be carried by enough rows before the sum may be released: a sum of
CASE WHEN customer = 'a' THEN amount ELSE 0 END is over one customer however many rows are in the group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from sqlglot import exp

from policies.contract import Column, ColumnType, Use
from policies.query.conditions import NotArithmetic, compile_condition
from policies.query.literals import MAX_PLACES, integer, is_literal, places, scale_of, units, value_of
from policies.query.refusals import render, shown
from policies.query.scope import Ref, Scope

MAX_VALUE = 2**62

Bounds = tuple[int, int] | None
Conjuncts = tuple[exp.Expr, ...]
_FLAG = (0, 1)


@dataclass(frozen=True)
class Term:
    """A whole number per row, in units of 10**-scale, NULL where unknown; `bounds` are inclusive, None if unknown.

    It is known where all of `known` hold. Each of `branches` are the conditions under which one conditional part
    contributes; there is none when every known row does.
    """

    node: exp.Expr
    scale: int = 0
    bounds: Bounds = None
    known: Conjuncts = ()
    branches: tuple[Conjuncts, ...] = ()

    def at(self, scale: int) -> Term:
        """Return the same values in a unit at least as fine."""
        if scale == self.scale:
            return self
        factor = 10 ** (scale - self.scale)
        node = _binary(exp.Mul, self.node, number(factor))
        return replace(self, node=node, scale=scale, bounds=times(self.bounds, (factor,) * 2))

    @property
    def square(self) -> Term:
        """The value times itself."""
        bounds = self.bounds and _square(self.bounds)
        return replace(self, node=_binary(exp.Mul, self.node, self.node), scale=2 * self.scale, bounds=bounds)


def is_known(node: exp.Expr) -> exp.Expr:
    """Return the condition that `node` is not NULL."""
    return exp.Not(this=exp.paren(exp.Is(this=node.copy(), expression=exp.Null())))


def number(value: int) -> exp.Expr:
    """Return a whole number that comes from a contract or from the form of the expression, never from the author."""
    literal = exp.Literal.number(str(abs(value)))
    return exp.paren(exp.Neg(this=literal)) if value < 0 else literal


def condition(scope: Scope, node: exp.Expr) -> exp.Expr:
    """Return the author's condition over resolved columns. Raises InvalidInput."""
    return compile_condition(scope, node, compile_term)


def compile_term(scope: Scope, node: exp.Expr, use: Use = Use.AGGREGATE) -> Term:
    """Return the author's expression of one side as a term.

    Raises InvalidInput for what cannot be computed exactly, NotArithmetic where it is no arithmetic at all.
    """
    term = _Compiler(scope, use).compile(node.unnest())
    if term.scale > MAX_PLACES or (term.bounds and max(map(abs, term.bounds)) > MAX_VALUE):
        raise scope.refuse(f"`{shown(node)}` can grow too large to be summed exactly", "use fewer factors or places")
    return term


class _Compiler:
    def __init__(self, scope: Scope, use: Use) -> None:
        self.scope, self.use = scope, use

    def compile(self, node: exp.Expr) -> Term:  # noqa: PLR0911, C901 - one line per kind of expression
        if isinstance(node, exp.Paren):
            return self.compile(node.this)
        if is_literal(node) and isinstance(value := value_of(node, self.scope), Decimal):
            return constant(value)
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Neg):
            inner = self.compile(node.this)
            return replace(
                inner,
                node=exp.Neg(this=exp.paren(inner.node)),
                bounds=inner.bounds and _span(*(-b for b in inner.bounds)),
            )
        if isinstance(node, exp.Add | exp.Sub | exp.Mul):
            return self._binary(node)
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        if isinstance(node, exp.Coalesce):
            return self._coalesce(node)
        if isinstance(node, exp.Abs):
            return self._absolute(self.compile(node.this))
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Column) and _is_integer(node):
            return self._cast(node)
        if isinstance(node, exp.Div | exp.IntDiv | exp.Mod):
            raise self.scope.refuse(
                f"`{shown(node)}` divides within a row, which is not exact",
                "divide aggregates, as in SUM(a) / SUM(b), or multiply by a decimal such as 0.5",
            )
        raise NotArithmetic(shown(node))

    def _column(self, node: exp.Column) -> Term:
        ref = self.scope.use(node, self.use)
        kind = ref.column.type
        if kind is ColumnType.FLOAT:
            raise self.scope.refuse(
                f"`{ref.name}` is a float, and exact sums are of integers",
                "its owner can declare it `money` (two decimal places) or `int`",
            )
        if kind not in {ColumnType.INT, ColumnType.MONEY, ColumnType.BOOL}:
            raise self.scope.refuse(f"arithmetic on `{ref.name}`, which is {kind}", "COUNT it")
        return unit_term(ref)

    def _binary(self, node: exp.Expr) -> Term:
        left, right = self.compile(node.this), self.compile(node.args["expression"])
        if isinstance(node, exp.Mul):
            if left.branches and right.branches:
                raise self.scope.refuse(
                    f"`{shown(node)}` multiplies two conditions", "write one CASE WHEN a AND b THEN ... END"
                )
            return multiplied(left, right)
        scale = max(left.scale, right.scale)
        left, right = left.at(scale), right.at(scale)
        sign = 1 if isinstance(node, exp.Add) else -1
        bounds = None
        if left.bounds and right.bounds:
            other = _span(*(sign * b for b in right.bounds))
            bounds = left.bounds[0] + other[0], left.bounds[1] + other[1]
        whole = _binary(exp.Add if sign > 0 else exp.Sub, left.node, right.node)
        return Term(whole, scale, bounds, (*left.known, *right.known), (*left.branches, *right.branches))

    def _case(self, node: exp.Expr) -> Term:
        whens, default = case_parts(self.scope, node)
        conditions = [condition(self.scope, when) for when, _ in whens]
        results = [self._result(result) for _, result in whens]
        otherwise = self._result(default)
        known = [term for term in (*results, otherwise) if term is not None]
        if not known:
            raise self.scope.refuse(f"`{shown(node)}` is NULL for every row", "give THEN a number")
        scale = max(term.scale for term in known)
        results = [term and term.at(scale) for term in results]
        otherwise = otherwise and otherwise.at(scale)
        known = [term for term in (*results, otherwise) if term is not None]
        bounds = _union([term.bounds for term in known])
        if bounds and len(known) <= len(results):
            bounds = min(0, bounds[0]), max(0, bounds[1])
        nodes = [term.node if term else exp.Null() for term in results]
        whole = _case(*zip(conditions, nodes, strict=True), default=otherwise.node if otherwise else None)
        always = otherwise is not None and len(known) > len(results) and not any(term.known for term in known)
        only = len(results) == 1 and otherwise is None and not known[0].known
        certain = () if always else (conditions[0],) if only else (is_known(whole),)
        return Term(whole, scale, bounds, certain, _branches(conditions, results, otherwise))

    def _result(self, node: exp.Expr | None) -> Term | None:
        if node is None or isinstance(node, exp.Null):
            return None
        term = self.compile(node.unnest())
        if term.branches:
            raise self.scope.refuse(
                f"`{shown(node)}` is a condition inside a CASE", "write one CASE, with AND in its conditions"
            )
        return term

    def _coalesce(self, node: exp.Coalesce) -> Term:
        self.scope.only(node, "this", "expressions")
        if len(node.expressions) != 1 or not is_literal(node.expressions[0]):
            raise self.scope.refuse(f"`{shown(node)}` has no literal to fall back to", "write COALESCE(x, 0)")
        inner, other = self.compile(node.this), self.compile(node.expressions[0])
        scale = max(inner.scale, other.scale)
        inner, other = inner.at(scale), other.at(scale)
        branches = inner.branches or (inner.known,)
        if not _is_zero(other):
            branches = (*branches, (exp.Is(this=exp.paren(inner.node.copy()), expression=exp.Null()),))
        whole = exp.Coalesce(this=inner.node.copy(), expressions=[other.node.copy()])
        return Term(whole, scale, _union([inner.bounds, other.bounds]), (), branches)

    @staticmethod
    def _absolute(inner: Term) -> Term:
        bounds = None
        if inner.bounds:
            low, high = inner.bounds
            bounds = (0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        return replace(inner, node=exp.Abs(this=inner.node.copy()), bounds=bounds)

    def _cast(self, node: exp.Cast) -> Term:
        self.scope.only(node, "this", "to")
        ref = self.scope.find(node.this)
        if ref.column.type not in {ColumnType.BOOL, ColumnType.INT}:
            raise self.scope.refuse(f"`{shown(node)}` would round", "leave the cast out, or round the aggregate")
        return self._column(node.this)


def unit_term(ref: Ref) -> Term:
    """Return a column of whole numbers, money or flags as a term."""
    scale, bounds = scale_of(ref.column.type), column_bounds(ref.column)
    branches: tuple[Conjuncts, ...] = ()
    if ref.column.type is ColumnType.BOOL:
        branches = ((ref.node,),)
    elif bounds == _FLAG and scale == 0:
        branches = ((exp.EQ(this=ref.node, expression=integer(1)),),)
    return Term(ref.units, scale, bounds, (is_known(ref.node),), branches)


def multiplied(left: Term, right: Term) -> Term:
    """Return the product of two terms, of which at most one is conditional."""
    whole, bounds = _binary(exp.Mul, left.node, right.node), times(left.bounds, right.bounds)
    known, branches = (*left.known, *right.known), left.branches or right.branches
    return Term(whole, left.scale + right.scale, bounds, known, branches)


def column_bounds(column: Column) -> Bounds:
    """Return what is known of the values in their unit: the contract's bounds, or the type's or domain's own."""
    if column.type is ColumnType.BOOL:
        return _FLAG
    if column.bounds is not None and column.type is not ColumnType.FLOAT:
        return column.integer_bounds()
    if column.type is ColumnType.INT and set(column.domain or (None,)) <= {0, 1}:
        return _FLAG
    return None


def constant(value: Decimal) -> Term:
    """Return the author's number as a term."""
    scale = places(value)
    whole = units(value, scale)
    return Term(integer(whole), scale, (whole, whole))


def case_parts(scope: Scope, node: exp.Expr) -> tuple[list[tuple[exp.Expr, exp.Expr]], exp.Expr | None]:
    """Return a CASE (either form) or IF as its (condition, result) pairs and its ELSE."""
    if isinstance(node, exp.If):
        scope.only(node, "this", "true", "false")
        return [(node.this, node.args["true"])], node.args.get("false")
    scope.only(node, "this", "ifs", "default")
    subject = node.args.get("this")
    whens = [
        (exp.EQ(this=subject.copy(), expression=part.this.copy()) if subject else part.this, part.args["true"])
        for part in node.args["ifs"]
    ]
    return whens, node.args.get("default")


def _branches(conditions: list[exp.Expr], results: list[Term | None], otherwise: Term | None) -> tuple[Conjuncts, ...]:
    """The conditions of every part that adds something other than zero; a part that adds nothing isolates nobody."""
    parts, marks = [*results, otherwise], when_marks(conditions)
    return tuple(
        (mark, *part.known) for mark, part in zip(marks, parts, strict=True) if part is not None and not _is_zero(part)
    )


def when_marks(conditions: list[exp.Expr]) -> list[exp.Expr]:
    """For each WHEN and for ELSE, the condition that a row gets there.

    A WHEN that can take no row from another is its own condition, so that equal conditions count as one.
    """
    arms = [number(index) for index in range(len(conditions))]
    which = _case(*zip(conditions, arms, strict=True), default=number(len(conditions)))
    marks: list[exp.Expr] = [
        exp.EQ(this=which.copy(), expression=number(index)) for index in range(len(conditions) + 1)
    ]
    if len(conditions) == 1:
        marks[0] = conditions[0].copy()
    values = [fixed_value(condition) for condition in conditions]
    if None not in values and len({value[0] for value in values if value}) == 1 and len(set(values)) == len(values):
        marks[:-1] = [condition.copy() for condition in conditions]
    return marks


def fixed_value(node: exp.Expr) -> tuple[str, str] | None:
    """Return (what, value) as text when `node` says that something equals one literal, else None."""
    node = node.unnest()
    if isinstance(node, exp.EQ) and not node.expression.find(exp.Column):
        return render(node.this.unnest()), render(node.expression.unnest())
    return None


def _is_zero(term: Term) -> bool:
    return term.bounds == (0, 0)


def _is_integer(node: exp.Cast) -> bool:
    return node.to.this in exp.DataType.INTEGER_TYPES


def _case(*whens: tuple[exp.Expr, exp.Expr], default: exp.Expr | None = None) -> exp.Case:
    case = exp.Case(ifs=[exp.If(this=when.copy(), true=then.copy()) for when, then in whens])
    if default is not None:
        case.set("default", default.copy())
    return case


def _binary(kind: type[exp.Expr], left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return kind(this=exp.paren(left.copy()), expression=exp.paren(right.copy()))


def _span(*values: int) -> tuple[int, int]:
    return min(values), max(values)


def times(left: Bounds, right: Bounds) -> Bounds:
    """Return the bounds of a product, None where one is unknown."""
    return _span(*(a * b for a in left for b in right)) if left and right else None


def _square(bounds: tuple[int, int]) -> tuple[int, int]:
    low, high = _span(bounds[0] ** 2, bounds[1] ** 2)
    return (0 if bounds[0] <= 0 <= bounds[1] else low), high


def _union(bounds: list[Bounds]) -> Bounds:
    known = [pair for pair in bounds if pair is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(bounds) else None
