"""Bins of a column: how extremes, quantiles, histograms and distinct values are answered from counts.

The leaves are the values of a domain, or equal stretches between the contract's bounds (each value by itself where
they are few). Counts are taken over leaves and, for extremes and quantiles, over ever larger ranges of them, so that
an answer is as fine as the minimum group allows, and no finer.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from sqlglot import exp

from policies.contract import MAX_DOMAIN, Cell, ColumnType
from policies.query.literals import boolean, integer, scale_of, text
from policies.query.refusals import render
from policies.query.scope import Ref, Scope
from policies.query.terms import column_bounds, number

MAX_LEAVES = 256
MAX_JOINED_LEAVES = 64  # each costs a ciphertext per group in a join
_RIGHT = "its owner can declare `bounds: [lo, hi]` or a `domain` on an int, money, text, date or bool column"


@dataclass(frozen=True)
class Bins:
    """The leaves of one column.

    `edges` are each leaf's first and last value: of a domain the same twice. `node` (of `kind`, one of `cells`) tells
    a row's leaf; `conditions` say it without an output of its own. `numeric` values can be interpolated.
    """

    ref: Ref
    edges: tuple[tuple[Cell | Decimal, Cell | Decimal], ...]
    node: exp.Expr
    kind: ColumnType
    cells: tuple[Cell, ...]
    numeric: bool
    width: int = 0
    low: int = 0

    @cached_property
    def key(self) -> str:
        """A text that tells these leaves from others."""
        return f"{render(self.node)} {len(self.edges)}"

    def listed(self) -> exp.Expr:
        """The condition that a row is in any leaf."""
        return self.within(0, len(self.edges))

    def within(self, first: int, stop: int) -> exp.Expr:
        """The condition that a row's leaf is in [first, stop)."""
        if not self.width:
            values = [_bound(self.ref, cell) for cell in self.cells[first:stop]]
            return exp.In(this=self.ref.node, expressions=values)
        limits: list[exp.Expr] = []
        if first > 0:
            limits.append(exp.GTE(this=self.ref.units, expression=number(self.low + first * self.width)))
        if stop < len(self.edges):
            limits.append(exp.LT(this=self.ref.units, expression=number(self.low + stop * self.width)))
        known = exp.Not(this=exp.paren(exp.Is(this=self.ref.node, expression=exp.Null())))
        return exp.and_(*limits) if limits else known


def bins_of(scope: Scope, ref: Ref, most: int, *, single: bool = False) -> Bins:
    """The leaves of a column, at most `most` (a domain counts its values, one by one, up to its own limit).

    With `single`, only leaves that are one value. Raises InvalidInput when the contract tells too little.
    """
    domain = ref.column.domain
    if domain is not None and len(domain) <= most:
        return _of_domain(ref, domain)
    bounds = column_bounds(ref.column) if ref.column.type in {ColumnType.INT, ColumnType.MONEY} else None
    if bounds is None:
        what = f"`{ref.name}` has {'too many values' if domain else 'no list of values and no bounds'}"
        raise scope.refuse(what, f"a domain of at most {most} values" if domain else _RIGHT)
    low, high = bounds
    width = -(-(high - low + 1) // most)
    if single and width > 1:
        raise scope.refuse(f"`{ref.name}` has {high - low + 1} possible values", f"at most {most} values")
    return _of_bounds(ref, low, high, width)


def _of_domain(ref: Ref, domain: tuple[Cell, ...]) -> Bins:
    cells = tuple(sorted(domain))  # by code point, which is the order of UTF-8 bytes that engines compare by
    kind = ref.column.type
    node: exp.Expr = exp.cast(ref.node, "VARCHAR") if kind is ColumnType.DATE else ref.node
    told = ColumnType.TEXT if kind is ColumnType.DATE else kind
    return Bins(ref, tuple((cell, cell) for cell in cells), node, told, cells, kind is ColumnType.INT)


def _of_bounds(ref: Ref, low: int, high: int, width: int) -> Bins:
    leaves = -(-(high - low + 1) // width)
    scale = scale_of(ref.column.type)

    def value(units: int) -> Cell | Decimal:
        return Decimal(units).scaleb(-scale) if scale else units

    starts = [low + leaf * width for leaf in range(leaves)]
    edges = tuple((value(start), value(min(start + width - 1, high))) for start in starts)
    index = exp.IntDiv(this=exp.paren(exp.Sub(this=ref.units, expression=number(low))), expression=number(width))
    clamped = exp.Case(
        ifs=[
            exp.If(this=exp.LT(this=ref.units, expression=number(low)), true=number(0)),
            exp.If(this=exp.GT(this=ref.units, expression=number(high)), true=number(leaves - 1)),
        ],
        default=index,
    )
    return Bins(
        ref,
        edges,
        exp.cast(clamped, "BIGINT"),
        ColumnType.INT,
        tuple(range(leaves)),
        numeric=True,
        width=width,
        low=low,
    )


def _bound(ref: Ref, cell: Cell) -> exp.Expr:
    if isinstance(cell, bool):
        return boolean(cell)
    if isinstance(cell, int):
        return integer(cell)
    return exp.cast(exp.Literal.string(cell), "DATE") if ref.column.type is ColumnType.DATE else text(cell)


def most_leaves(*, joined: bool, listed: bool = False) -> int:
    """How many leaves a column may have: the values of a domain are answered one by one up to its own limit."""
    if joined:
        return MAX_JOINED_LEAVES
    return MAX_DOMAIN if listed else MAX_LEAVES
