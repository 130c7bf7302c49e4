"""An exact question as an owner remembers it, and the one statement that compares two of them on its rows.

Who learns what: nobody; the comparison runs in the owner's engine and its result stays there. It counts the rows of the
questions' tables by the group and the counts of either question that they are in: what differs between two answers.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp, parse_one

from policies.contract import Cell, ColumnType
from policies.query.compiled import Compiled, Fragment, Side
from policies.query.literals import Parameter
from policies.query.refusals import DIALECT, render

ROWS = "v_rows"


@dataclass(frozen=True)
class Count:
    """A count of a question: the fragment's output `source`, with an `axis` only of bins [`first`, `stop`)."""

    source: str
    axis: str | None
    first: int
    stop: int


@dataclass(frozen=True)
class Question:
    """One side's part in an exact query: what decides which of its rows are in which set. All of it is plain data.

    `groups` are (expression, cells) of the joint groups, of which [`first`, `stop`) are this side's; `counts` are the
    query's count slots as this side's; `axes` maps bin outputs to (expression, labels).
    """

    sql: str
    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, str]
    groups: tuple[tuple[str, tuple[Cell, ...]], ...]
    first: int
    stop: int
    counts: tuple[Count, ...]
    axes: Mapping[str, tuple[str, tuple[Cell, ...]]]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many cells each joint grouping has."""
        return tuple(len(cells) for _, cells in self.groups)

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The same for this side's groupings."""
        return self.shape[self.first : self.stop]


def question_of(query: Compiled, own: Side) -> Question:
    """The question that `query` asks of the side `own`."""
    groups = [_groups(side) for side in query.sides]
    first = len(groups[0]) if own.number else 0
    columns = [own.columns[query.slots[slot].columns[own.number] or 0] for slot in query.counts]
    expressions = _row_expressions(own.fragment)
    return Question(
        sql=_renamed(own.fragment),
        parameters=dict(own.fragment.parameters),
        outputs={name: str(kind) for name, kind in own.fragment.outputs.items() if name[:2] in {"g_", "b_", "v_"}},
        groups=tuple(itertools.chain.from_iterable(groups)),
        first=first,
        stop=first + len(own.domains),
        counts=tuple(Count(one.source, one.axis, one.first, one.stop) for one in columns),
        axes={name: (expressions[name], labels) for name, labels in own.axes.items()},
    )


def _groups(side: Side) -> list[tuple[str, tuple[Cell, ...]]]:
    expressions = _row_expressions(side.fragment)
    return [(expressions[f"g_{index}"], cells) for index, cells in enumerate(side.domains)]


def _row_expressions(fragment: Fragment) -> dict[str, str]:
    """Output -> its expression over a row, datasets and literals in their places."""
    inner = _rows_of(fragment.sql)
    names = {alias: dataset for alias, (dataset, _) in fragment.relations.items()}

    def told(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Placeholder):
            return exp.Literal.string(repr(fragment.parameters[node.name]))
        if isinstance(node, exp.Column) and node.table in names:
            return exp.column(node.name, table=names[node.table], quoted=True)
        return node

    return {one.alias: render(one.this.transform(told)) for one in inner.expressions}


def _rows_of(sql: str) -> exp.Select:
    """The innermost layer but one of a fragment: its rows, not yet added up."""
    found = parse_one(sql, dialect=DIALECT).find(exp.Subquery)
    assert found is not None and isinstance(found.this, exp.Select)  # noqa: S101, PT018 - fragments are made that way
    return found.this


def _renamed(fragment: Fragment) -> str:
    """The fragment's SQL with its relations called t0, t1 ... in order, whichever tables of the query they are."""
    names = {name: f"t{index}" for index, name in enumerate(sorted(fragment.relations))}
    tree = parse_one(fragment.sql, dialect=DIALECT)
    for node in tree.find_all(exp.Table, exp.Column, exp.TableAlias):
        key = "table" if isinstance(node, exp.Column) else "this"
        held = node.args.get(key)
        if isinstance(held, exp.Identifier) and held.name in names:
            held.set("this", names[held.name])
    return render(tree)


# --- what an engine is asked ---


def comparison(new: Question, old: Question) -> Fragment:
    """What counts the rows of the questions' tables (t0, t1 ...) by where they are in either (`n_...`, `o_...`).

    Its `relations` are left to the caller, who knows where the tables are by now.
    """
    rows = [_rows_of(new.sql), _prefixed(_rows_of(old.sql))]
    columns: dict[str, exp.Expr] = {}
    outputs: dict[str, ColumnType] = {}
    for prefix, question, inner in zip("no", (new, old), rows, strict=True):
        held = _condition(inner)
        for one in inner.expressions:
            if one.alias not in question.outputs or not _decides(question, one.alias):
                continue
            name = f"{prefix}_{one.alias}"
            columns[name] = exp.Case(ifs=[exp.If(this=held.copy(), true=one.this.copy())])
            outputs[name] = ColumnType(question.outputs[one.alias])
    tree = _grouped(columns, _sources(rows), _either(rows))
    given = {**new.parameters, **{f"o_{name}": value for name, value in old.parameters.items()}}
    parameters = {node.name: given[node.name] for node in tree.find_all(exp.Placeholder)}
    return Fragment(render(tree), parameters, {}, {**outputs, ROWS: ColumnType.INT})


def _decides(question: Question, name: str) -> bool:
    return name[:2] != "v_" or any(count.source == name for count in question.counts)


def _prefixed(rows: exp.Select) -> exp.Select:
    for node in rows.find_all(exp.Placeholder):
        node.set("this", f"o_{node.name}")
    return rows


def _condition(rows: exp.Select) -> exp.Expr:
    where = rows.args.get("where")
    return exp.paren(where.this.copy()) if where is not None else exp.true()


def _conjuncts(rows: exp.Select) -> dict[str, exp.Expr]:
    where = rows.args.get("where")
    if where is None:
        return {}
    parts = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    return {render(part): part for part in parts}


def _either(rows: Sequence[exp.Select]) -> list[exp.Expr]:
    """Conditions of the rows that are in either: what both say (which an engine can join by), and what one says."""
    first, second = map(_conjuncts, rows)
    common = [part for text, part in first.items() if text in second]
    rest = [
        [part for text, part in one.items() if text not in other] for one, other in ((first, second), (second, first))
    ]
    if all(rest):
        common.append(exp.or_(*(exp.and_(*(exp.paren(part.copy()) for part in parts)) for parts in rest)))
    return common


def _sources(rows: Sequence[exp.Select]) -> list[exp.Expr]:
    """Each relation once, with the columns that either question reads."""
    found: dict[str, dict[str, exp.Expr]] = {}
    for select in rows:
        for table in (select.args["from_"].this, *(join.this for join in select.args.get("joins") or ())):
            held = found.setdefault(table.alias_or_name, {})
            held |= {one.alias_or_name: one for one in table.this.expressions} if table.find(exp.Select) else {}
    return [
        exp.select(*(one.copy() for one in columns.values())).from_(exp.to_table(name)).subquery(name)
        if columns
        else exp.to_table(name)
        for name, columns in found.items()
    ]


def _grouped(columns: Mapping[str, exp.Expr], sources: Sequence[exp.Expr], conditions: Sequence[exp.Expr]) -> exp.Expr:
    inner = exp.select(*(exp.alias_(node, name, quoted=True) for name, node in columns.items()))
    inner = inner.from_(sources[0])
    for source in sources[1:]:
        inner = inner.join(source, join_type="cross")
    if conditions:
        inner = inner.where(*(exp.paren(one.copy()) for one in conditions))
    names = [exp.column(name, table="r", quoted=True) for name in columns]
    count = exp.alias_(exp.Count(this=exp.Star()), ROWS, quoted=True)
    return exp.select(*names, count).from_(inner.subquery("r")).group_by(*(name.copy() for name in names))


# --- ranges of columns ---


def apart(new: Question, old: Question) -> bool:
    """Whether the ranges of a column that the questions ask for have nothing in common."""
    ours, theirs = _ranges(new), _ranges(old)
    return any(name in theirs and _disjoint(span, theirs[name]) for name, span in ours.items())


_Span = tuple[list[Any], list[Any]]  # lower bounds, upper bounds, each (value, open)


def _ranges(question: Question) -> dict[str, _Span]:
    found: dict[str, _Span] = {}
    for part in _conjuncts(_rows_of(question.sql)).values():
        for node in part.unnest().flatten() if isinstance(part.unnest(), exp.And) else [part.unnest()]:
            _note_range(node.unnest(), question.parameters, found)
    return found


def _note_range(node: exp.Expr, parameters: Mapping[str, Parameter], found: dict[str, _Span]) -> None:
    if not isinstance(node, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE) or not isinstance(node.this, exp.Column):
        return
    literal = node.expression.unnest()
    if not isinstance(literal, exp.Cast) or not isinstance(literal.this, exp.Placeholder):
        return
    low, high = found.setdefault(render(node.this), ([], []))
    bound = (parameters[literal.this.name], isinstance(node, exp.GT | exp.LT))
    if isinstance(node, exp.EQ | exp.GT | exp.GTE):
        low.append(bound)
    if isinstance(node, exp.EQ | exp.LT | exp.LTE):
        high.append(bound)


def _disjoint(one: _Span, other: _Span) -> bool:
    return any(
        type(low) is type(high) and (low > high or (low == high and (open_low or open_high)))
        for lows, highs in ((one[0], other[1]), (other[0], one[1]))
        for low, open_low in lows
        for high, open_high in highs
    )
