"""What one side's owners run, built anew from checked expressions: the author's text never reaches an engine.

Three layers: each relation's columns with whole units beside them (clamped to the contract's bounds where noise is
drawn for them), the joined and filtered rows with their cells and values, and the sums. Every literal of the author
becomes a named parameter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from policies.contract import CENTS, Cell, Column, ColumnType, PublishedContract
from policies.query.compiled import Fragment
from policies.query.grouping import Group
from policies.query.layout import SideDraft
from policies.query.literals import Parameter, text
from policies.query.refusals import render
from policies.query.scope import Ref, Scope
from policies.query.terms import column_bounds, is_known, number

_ROWS = "r"
_UNIT = "#"


@dataclass(frozen=True)
class SidePlan:
    """What a fragment is made of: `tables` (positions), `keys` (of a join across owners), `groups`, `conditions`."""

    tables: tuple[int, ...]
    keys: tuple[Ref, ...]
    groups: tuple[Group, ...]
    conditions: tuple[exp.Expr, ...]
    draft: SideDraft


def build(scope: Scope, plan: SidePlan, *, noised: bool) -> Fragment:
    """Return the fragment of one side."""
    rows = _outputs(plan)
    names = [*rows, *plan.draft.values]
    inner = exp.select(*(exp.alias_(node.copy(), name, quoted=True) for name, node in _row_expressions(plan).items()))
    conditions = [*plan.conditions, *(is_known(key.node) for key in plan.keys)]
    used = _used_columns([*inner.expressions, *conditions])
    sources = [_prepared(scope, table, used.get(f"t{table}", []), noised=noised) for table in plan.tables]
    inner = inner.from_(sources[0], copy=False)
    for source in sources[1:]:
        inner = inner.join(source, join_type="cross", copy=False)
    if conditions:
        inner = inner.where(*(exp.paren(condition.copy()) for condition in conditions), copy=False)
    tree = _summed(inner, plan, list(rows))
    parameters: dict[str, Parameter] = {}
    sql = render(_parametrised(tree, parameters))
    outputs = {name: rows.get(name, ColumnType.INT) for name in names}
    return Fragment(sql, parameters, _relations(scope, plan.tables, used), outputs)


def _outputs(plan: SidePlan) -> dict[str, ColumnType]:
    """What the sums are grouped by, with types."""
    draft = plan.draft
    return {
        **{f"key_{i}": key.column.type for i, key in enumerate(plan.keys)},
        **{f"g_{i}": group.kind for i, group in enumerate(plan.groups)},
        **{name: kind for name, (_, kind, _) in draft.axes.items()},
        **{name: ref.column.type for name, ref in draft.distinct.items()},
    }


def _row_expressions(plan: SidePlan) -> dict[str, exp.Expr]:
    draft = plan.draft
    return {
        **{f"key_{i}": key.node for i, key in enumerate(plan.keys)},
        **{f"g_{i}": group.node for i, group in enumerate(plan.groups)},
        **{name: node for name, (node, _, _) in draft.axes.items()},
        **{name: ref.node for name, ref in draft.distinct.items()},
        **draft.values,
    }


def _summed(inner: exp.Select, plan: SidePlan, grouped: Sequence[str]) -> exp.Select:
    sums = [
        exp.alias_(exp.Coalesce(this=exp.Sum(this=_column(name)), expressions=[number(0)]), name, quoted=True)
        for name in plan.draft.values
    ]
    tree = exp.select(*(_column(name) for name in grouped), *sums).from_(inner.subquery(_ROWS, copy=False), copy=False)
    cells = [_among(f"g_{i}", group) for i, group in enumerate(plan.groups)]
    if cells:
        tree = tree.where(*cells, copy=False)
    return tree.group_by(*(_column(name) for name in grouped), copy=False) if grouped else tree


def _among(name: str, group: Group) -> exp.Expr:
    """Rows of no declared cell stay at home."""
    if group.kind is ColumnType.BOOL:
        return is_known(_column(name))
    return exp.In(this=_column(name), expressions=[_cell(cell) for cell in group.cells])


def _cell(cell: Cell) -> exp.Expr:
    return text(cell) if isinstance(cell, str) else number(int(cell))


def _column(name: str) -> exp.Column:
    return exp.column(name, table=_ROWS, quoted=True)


def _used_columns(nodes: Iterable[exp.Expr]) -> dict[str, list[str]]:
    """Table -> the columns that are read of it, as they are called in expressions, sorted."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        for column in node.find_all(exp.Column):
            found.setdefault(column.table, set()).add(column.name)
    return {table: sorted(names) for table, names in found.items()}


def _plain(name: str) -> str:
    return name.removesuffix(_UNIT)


def _relations(
    scope: Scope, tables: Iterable[int], used: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        f"t{table}": (scope.tables[table].dataset, tuple(sorted({_plain(name) for name in used.get(f"t{table}", ())})))
        for table in tables
    }


def _prepared(scope: Scope, table: int, columns: Sequence[str], *, noised: bool) -> exp.Expr:
    """A relation with whole units of its columns beside them."""
    name, contract = f"t{table}", scope.offers[table].contract
    source = exp.to_table(name)
    if not columns:
        return source
    outputs = [_prepared_column(contract, column, noised=noised) for column in columns]
    return exp.select(*outputs).from_(source).subquery(name)


def _prepared_column(contract: PublishedContract, name: str, *, noised: bool) -> exp.Expr:
    node = exp.column(_plain(name), quoted=True)
    if not name.endswith(_UNIT):
        return node
    return exp.alias_(_units(contract.columns[_plain(name)], node, noised=noised), name, quoted=True)


def _units(column: Column, node: exp.Expr, *, noised: bool) -> exp.Expr:
    if column.type is ColumnType.BOOL:
        negated = exp.If(this=exp.Not(this=node.copy()), true=number(0))
        return exp.Case(ifs=[exp.If(this=node.copy(), true=number(1)), negated])
    if column.type is ColumnType.MONEY:
        node = exp.Round(this=exp.Mul(this=node, expression=number(CENTS)))
    whole = exp.cast(node, "BIGINT")
    bounds = column_bounds(column)
    return _clamped(whole, *bounds) if noised and bounds else whole


def _clamped(node: exp.Expr, low: int, high: int) -> exp.Expr:
    """CASE keeps NULL a NULL; DuckDB's LEAST and GREATEST would turn it into a bound."""
    below = exp.If(this=exp.LT(this=node.copy(), expression=number(low)), true=number(low))
    above = exp.If(this=exp.GT(this=node.copy(), expression=number(high)), true=number(high))
    return exp.Case(ifs=[below, above], default=node.copy())


def _parametrised(tree: exp.Select, parameters: dict[str, Parameter]) -> exp.Select:
    """Replace the literal in each CAST of a literal by a named parameter; equal values share one."""
    names: dict[tuple[type, Parameter], str] = {}

    def replace(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Cast) or not isinstance(node.this, exp.Literal | exp.Boolean):
            return node
        value = _value(node)
        name = names.setdefault((type(value), value), f"p{len(names)}")
        parameters[name] = value
        node.set("this", exp.Placeholder(this=name))
        return node

    bound = tree.transform(replace, copy=False)
    assert isinstance(bound, exp.Select)  # noqa: S101 - the root is no cast
    return bound


def _value(node: exp.Cast) -> Parameter:
    if isinstance(node.this, exp.Boolean):
        return bool(node.this.this)
    if node.to.this is exp.DataType.Type.BIGINT:
        return int(node.this.name)
    return float(node.this.name) if node.to.this is exp.DataType.Type.DOUBLE else str(node.this.name)
