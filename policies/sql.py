"""Joint queries: the SQL a researcher may write, as a value, and what each party runs for it.

One SELECT of aggregates over one table, horizontally partitioned. Everything that is not expressly recognised
is refused; the text of the author never reaches a database: a party's fragment is built anew from the
checked tree, with every literal as a named parameter. A fragment yields, per group, counts and exact integer
sums; for AVG, whoever opens the result divides.
"""

import difflib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from policies.contract import CENTS, Cell, Column, ColumnType, PublishedContract, Use, is_date
from policies.errors import InvalidInput

MAX_SQL_CHARACTERS = 8 * 1024
MAX_TOKENS = 1024
MAX_NESTING = 32
MAX_GROUPS = 4096
MAX_AGGREGATES = 16
MAX_NAME = 63
RELATION = "source"
DIALECT = "duckdb"

Parameter = int | float | str | bool


@dataclass(frozen=True)
class Aggregate:
    """One output value: `function` is count, sum or avg; `column` is None for COUNT(*)."""

    function: str
    column: str | None
    name: str


@dataclass(frozen=True)
class JointQuery:
    """A recognised query. `outputs` are the result's column names in the author's order."""

    dataset: str
    groups: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    outputs: tuple[str, ...]
    predicate: str | None
    filters: tuple[str, ...]
    canonical_sql: str
    where: str
    tree: exp.Select = field(repr=False, compare=False)

    @property
    def uses(self) -> tuple[tuple[str, Use], ...]:
        """Return each (column, use) once, sorted: what the policies of a party decide on."""
        summed = {(a.column, Use.AGGREGATE) for a in self.aggregates if a.column is not None}
        grouped = {(name, Use.GROUP) for name in self.groups}
        filtered = {(name, Use.FILTER) for name in self.filters}
        return tuple(sorted(summed | grouped | filtered))


@dataclass(frozen=True)
class Fragment:
    """What one party runs: `sql` over the relation `source`, with `parameters` by name.

    A row is the group key (one value per group column) followed by one integer per name in `columns`:
    `rows`, then `count_i` (non-null values) and, for SUM and AVG, `sum_i` (cents for money).
    """

    sql: str
    parameters: dict[str, Parameter]
    groups: tuple[tuple[Cell, ...], ...]
    columns: tuple[str, ...]

    def align(self, rows: Iterable[Sequence[object]]) -> tuple[tuple[int, ...], ...]:
        """Return the fragment's rows in the order of `groups`, zeros where the party has no such group."""
        width = len(self.groups[0])
        found = {tuple(row[:width]): tuple(int(str(cell or 0)) for cell in row[width:]) for row in rows}
        empty = (0,) * len(self.columns)
        return tuple(found.get(key, empty) for key in self.groups)


# --- reading -----------------------------------------------------------------------------------------------

_CLAUSES = {
    "joins": ("joins are not answered by this protocol", "query one table"),
    "laterals": ("LATERAL is not answered", "query one table"),
    "with_": ("WITH is not answered", "write one plain SELECT"),
    "having": ("HAVING is not answered", "filter the result after it is released"),
    "order": ("ORDER BY is not answered", "sort the result after it is released"),
    "limit": ("LIMIT is not answered", "cut the result after it is released"),
    "offset": ("OFFSET is not answered", "cut the result after it is released"),
    "qualify": ("QUALIFY is not answered", "filter with WHERE"),
    "windows": ("windows are not answered", "aggregate with GROUP BY"),
    "distinct": ("SELECT DISTINCT returns rows", "aggregate with GROUP BY"),
    "hint": ("hints are not read", "leave the hint out"),
}
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_AGGREGATES: dict[type[exp.Expression], str] = {exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg"}


def parse_query(sql: str, where: str = "--sql") -> JointQuery:
    """Recognise `sql` (DuckDB dialect). Raises InvalidInput, with a form that can be answered."""
    reader = _Reader(where)
    tree = reader.statement(sql)
    reader.clauses(tree)
    dataset = reader.table(tree)
    groups, aggregates, outputs = reader.outputs(tree)
    reader.grouping(tree, groups)
    condition = tree.args.get("where")
    filters = sorted(set(reader.predicate(condition.this))) if condition else []
    return JointQuery(
        dataset=dataset,
        groups=groups,
        aggregates=aggregates,
        outputs=outputs,
        predicate=_render(condition.this) if condition else None,
        filters=tuple(filters),
        canonical_sql=_render(tree),
        where=where,
        tree=tree,
    )


def _render(tree: exp.Expression) -> str:
    return tree.sql(dialect=DIALECT, identify=True, comments=False)


class _Reader:
    """Recognises the parts of one statement; `where` names the text in errors."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, what: str, right: str) -> InvalidInput:
        return InvalidInput(what, where=self.where, right=right)

    def only(self, node: exp.Expression, *allowed: str) -> None:
        """Refuse `node` when it carries any argument that is not in `allowed`."""
        extra = [name for name, value in node.args.items() if value and name not in allowed]
        if extra:
            raise self.refuse(
                f"`{extra[0].strip('_')}` in `{_shown(node)}` is not answered",
                "write the plain form without it",
            )

    def statement(self, sql: str) -> exp.Select:
        if len(sql) > MAX_SQL_CHARACTERS:
            raise self.refuse(f"{len(sql)} characters is too long", f"at most {MAX_SQL_CHARACTERS} characters")
        try:
            self._limits(sql)
            trees = sqlglot.parse(sql, read=DIALECT)
        except (SqlglotError, RecursionError) as error:
            raise self.refuse(f"not readable as SQL: {_first_line(error)}", "mend the statement") from None
        if len(trees) != 1 or trees[0] is None:
            raise self.refuse(f"{len(trees)} statements, or an empty one", "write exactly one SELECT")
        tree = trees[0]
        if not isinstance(tree, exp.Select):
            raise self.refuse(
                f"a {tree.key.upper()} statement is not a joint query",
                "write SELECT ... COUNT(*), SUM(x), AVG(x) FROM dataset",
            )
        return tree

    def _limits(self, sql: str) -> None:
        tokens = sqlglot.tokenize(sql, read=DIALECT)
        if len(tokens) > MAX_TOKENS:
            raise self.refuse(f"{len(tokens)} words is too long", f"at most {MAX_TOKENS} words and signs")
        if any(token.comments for token in tokens) or "/*" in sql or "--" in sql:
            raise self.refuse("comments are not read", "leave comments (`--`, `/*`) out of the statement")
        opened = itertools.accumulate((t.text == "(") - (t.text == ")") for t in tokens)
        chained = sum(token.text.upper() in {"NOT", "-", "~"} for token in tokens)
        if max(opened, default=0) > MAX_NESTING or chained > 4 * MAX_NESTING:
            raise self.refuse("nested too deeply", f"at most {MAX_NESTING} parentheses inside each other")

    def clauses(self, tree: exp.Select) -> None:
        for clause, (what, right) in _CLAUSES.items():
            if tree.args.get(clause):
                raise self.refuse(what, right)
        self.only(tree, "expressions", "from_", "where", "group")

    def table(self, tree: exp.Select) -> str:
        source = tree.args.get("from_")
        if source is None:
            raise self.refuse("no table is named", "write FROM dataset")
        self.only(source, "this")
        if not isinstance(source.this, exp.Table):
            raise self.refuse("FROM holds something other than a table", "name one dataset; no subqueries")
        table = source.this
        if table.args.get("joins"):
            raise self.refuse(*_CLAUSES["joins"])
        self.only(table, "this")
        if not isinstance(table.this, exp.Identifier):
            raise self.refuse("functions in FROM are not run", "name one dataset of the consortium")
        return table.name

    def outputs(self, tree: exp.Select) -> tuple[tuple[str, ...], tuple[Aggregate, ...], tuple[str, ...]]:
        groups: list[str] = []
        aggregates: list[Aggregate] = []
        names: list[str] = []
        for item in tree.expressions:
            if isinstance(item, exp.Column):
                groups.append(self.column(item))
                names.append(groups[-1])
            else:
                aggregates.append(self.aggregate(item))
                names.append(aggregates[-1].name)
        self._refuse_rows(groups, aggregates, names)
        return tuple(groups), tuple(aggregates), tuple(names)

    def _refuse_rows(self, groups: list[str], aggregates: list[Aggregate], names: list[str]) -> None:
        if not aggregates:
            raise self.refuse(
                "this would return rows, and rows never leave their party",
                "aggregate: SELECT COUNT(*), SUM(x), AVG(x) ... GROUP BY column",
            )
        if len(aggregates) > MAX_AGGREGATES:
            raise self.refuse(f"{len(aggregates)} aggregates is too many", f"at most {MAX_AGGREGATES}")
        double = next((name for name in names if names.count(name) > 1), None)
        if double or len(set(groups)) != len(groups):
            raise self.refuse(f"two outputs are called `{double}`", "give each its own alias with AS")

    def column(self, node: exp.Column) -> str:
        if any(node.args.get(part) for part in ("table", "db", "catalog")):
            raise self.refuse(f"`{_shown(node)}` is qualified", f"write `{node.name}` alone")
        self.only(node, "this")
        if not isinstance(node.this, exp.Identifier):
            raise self.refuse(
                f"`{_shown(node)}` would return rows, and rows never leave their party",
                "name the columns to group by, and aggregates",
            )
        return node.name

    def aggregate(self, item: exp.Expression) -> Aggregate:
        alias, node = (item.alias, item.this) if isinstance(item, exp.Alias) else ("", item)
        if isinstance(node, exp.Star):
            raise self.refuse(
                "SELECT * would return rows, and rows never leave their party",
                "aggregate: SELECT COUNT(*), SUM(x) ... GROUP BY column",
            )
        function = _AGGREGATES.get(type(node))
        if function is None:
            raise self.refuse(
                f"`{_shown(node)}` is not answered",
                "use COUNT(*), COUNT(x), SUM(x), AVG(x) and plain columns that are grouped by",
            )
        self.only(node, "this", "big_int")
        return Aggregate(function, column := self._argument(node, function), self._output(alias, function, column))

    def _argument(self, node: exp.Expression, function: str) -> str | None:
        argument = node.this
        if function == "count" and isinstance(argument, exp.Star):
            self.only(argument)
            return None
        if not isinstance(argument, exp.Column):
            raise self.refuse(
                f"`{_shown(node)}` aggregates something other than a column",
                f"write {function.upper()}(column); DISTINCT and expressions are refused",
            )
        return self.column(argument)

    def _output(self, alias: str, function: str, column: str | None) -> str:
        name = alias or (f"{function}_{column}" if column else function)
        if len(name) > MAX_NAME or not name.isidentifier():
            raise self.refuse(f"output name `{name[:MAX_NAME]}` is not plain", "use letters, digits and _")
        return name

    def grouping(self, tree: exp.Select, groups: tuple[str, ...]) -> None:
        group = tree.args.get("group")
        nodes = group.expressions if group else []
        if group:
            self.only(group, "expressions")
        if any(not isinstance(node, exp.Column) for node in nodes):
            raise self.refuse("GROUP BY holds something other than a column", "write GROUP BY a, b")
        named = [self.column(node) for node in nodes]
        if set(named) != set(groups) or len(named) != len(groups):
            wanted = f"GROUP BY {', '.join(groups)}" if groups else "leave GROUP BY out, or select its columns"
            raise self.refuse("GROUP BY does not match the plain columns selected", wanted)

    def predicate(self, node: exp.Expression) -> list[str]:
        """Return the columns of a condition; refuses what is not a comparison of a column with literals."""
        if isinstance(node, exp.And | exp.Or):
            self.only(node, "this", "expression")
            parts = [part for part in node.flatten() if isinstance(part, exp.Expression)]
            return [name for part in parts for name in self.predicate(part)]
        if isinstance(node, exp.Not | exp.Paren):
            self.only(node, "this")
            return self.predicate(node.this)
        return [self.column(_condition(node, self)[0])]


def _shown(node: exp.Expression) -> str:
    text = _render(node)
    return text if len(text) <= MAX_NAME else text[:MAX_NAME] + "..."


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].replace("\x1b[4m", "").replace("\x1b[0m", "")[:200]


def _condition(node: exp.Expression, reader: _Reader) -> tuple[exp.Column, list[exp.Expression]]:
    """Return the column and the literals of one condition."""
    column, literals = _operands(node, reader)
    if not isinstance(column, exp.Column) or not all(_is_literal(value) for value in literals):
        raise reader.refuse(
            f"`{_shown(node)}` does not compare a column with literals",
            "write column = 'value', BETWEEN, IN (...), LIKE 'a%' or IS NULL",
        )
    return column, literals


def _operands(node: exp.Expression, reader: _Reader) -> tuple[exp.Expression, list[exp.Expression]]:
    if isinstance(node, _COMPARISONS):
        reader.only(node, "this", "expression")
        turned = isinstance(node.expression, exp.Column)
        return (node.expression, [node.this]) if turned else (node.this, [node.expression])
    if isinstance(node, exp.Between):
        reader.only(node, "this", "low", "high")
        return node.this, [node.args["low"], node.args["high"]]
    if isinstance(node, exp.In):
        reader.only(node, "this", "expressions")
        return node.this, list(node.expressions)
    if isinstance(node, exp.Like | exp.ILike):
        reader.only(node, "this", "expression")
        return node.this, [node.expression]
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        reader.only(node, "this", "expression")
        return node.this, []
    return node, [node]


def _is_literal(node: exp.Expression) -> bool:
    if isinstance(node, exp.Neg):
        return isinstance(node.this, exp.Literal) and not node.this.is_string
    if isinstance(node, exp.Cast):
        dated = node.to.this in {exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP}
        return dated and isinstance(node.this, exp.Literal) and node.this.is_string
    return isinstance(node, exp.Literal | exp.Boolean)


# --- checking against a contract ---------------------------------------------------------------------------


def check_against(query: JointQuery, contract: PublishedContract) -> None:
    """Raise InvalidInput when `query` does not fit `contract` (names, types, domains, uses)."""
    reader = _Reader(query.where)
    if query.dataset != contract.dataset:
        raise reader.refuse(f"no dataset `{query.dataset}` here", f"the contract is for `{contract.dataset}`")
    for name, use in query.uses:
        _check_use(reader, contract, name, use)
    for aggregate in query.aggregates:
        _check_aggregate(reader, contract, aggregate)
    for node in _conditions(query.tree, reader):
        _check_condition(reader, contract, node)
    _group_keys(query, contract)


def _find(reader: _Reader, contract: PublishedContract, name: str) -> Column:
    if name not in contract.columns:
        lowered = {known.lower(): known for known in contract.columns}
        close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
        right = " or ".join(f"`{lowered[match]}`" for match in close)
        raise reader.refuse(
            f"dataset `{contract.dataset}` has no column `{name}`",
            f"did you mean {right}?" if right else f"its columns are {', '.join(contract.columns)}",
        )
    return contract.columns[name]


def _check_use(reader: _Reader, contract: PublishedContract, name: str, use: Use) -> None:
    column = _find(reader, contract, name)
    if use is Use.GROUP and column.domain is None:
        raise reader.refuse(f"column `{name}` has no list of values", "group by a column with a domain")
    if use not in column.uses:
        allowed = ", ".join(sorted(column.uses)) or "nothing"
        raise reader.refuse(f"column `{name}` may not be used to {use}", f"its contract allows: {allowed}")


def _check_aggregate(reader: _Reader, contract: PublishedContract, aggregate: Aggregate) -> None:
    if aggregate.column is None or aggregate.function == "count":
        return
    kind = _find(reader, contract, aggregate.column).type
    if kind is ColumnType.FLOAT:
        raise reader.refuse(
            f"`{aggregate.column}` is a float, and exact sums are of integers",
            "its owner can declare it `money` (two decimal places) or `int`",
        )
    if kind not in {ColumnType.INT, ColumnType.MONEY}:
        raise reader.refuse(
            f"{aggregate.function.upper()} of `{aggregate.column}`, which is {kind}",
            "COUNT it",
        )


def _conditions(tree: exp.Select, reader: _Reader) -> list[exp.Expression]:
    condition = tree.args.get("where")
    pending, found = [condition.this] if condition else [], []
    while pending:
        node = pending.pop()
        if isinstance(node, exp.And | exp.Or):
            pending.extend(node.flatten())
        elif isinstance(node, exp.Not | exp.Paren):
            pending.append(node.this)
        else:
            _condition(node, reader)
            found.append(node)
    return found


def _check_condition(reader: _Reader, contract: PublishedContract, node: exp.Expression) -> None:
    column, literals = _condition(node, reader)
    kind = _find(reader, contract, column.name).type
    if isinstance(node, exp.Like | exp.ILike) and kind is not ColumnType.TEXT:
        raise reader.refuse(f"LIKE on `{column.name}`, which is {kind}", "use =, <, BETWEEN or IN")
    if kind is ColumnType.BOOL and not isinstance(node, exp.EQ | exp.NEQ | exp.Is | exp.In):
        raise reader.refuse(f"`{column.name}` is bool and has no order", f"write {column.name} = TRUE")
    for literal in literals:
        value = _value(literal)
        if not _FITS[kind](value):
            raise reader.refuse(
                f"`{column.name}` is {kind} and is compared with {value!r}",
                f"compare it with {_EXAMPLE[kind]}",
            )


def _value(node: exp.Expression) -> Parameter:
    if isinstance(node, exp.Neg):
        positive = _value(node.this)
        return -positive if isinstance(positive, int | float) else positive
    if isinstance(node, exp.Cast):
        return str(node.this.name)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if node.args.get("is_string"):
        return str(node.name)
    return int(node.name) if node.name.isdigit() else float(node.name)


def _is_number(value: Parameter) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _is_instant(value: Parameter) -> bool:
    try:
        return isinstance(value, str) and len(value) >= len("2026-01-31") and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


_FITS: dict[ColumnType, Callable[[Parameter], bool]] = {
    ColumnType.INT: _is_number,
    ColumnType.FLOAT: _is_number,
    ColumnType.MONEY: _is_number,
    ColumnType.TEXT: lambda value: isinstance(value, str),
    ColumnType.DATE: lambda value: isinstance(value, str) and is_date(value),
    ColumnType.DATETIME: _is_instant,
    ColumnType.BOOL: lambda value: isinstance(value, bool),
}
_EXAMPLE = {
    ColumnType.INT: "a number such as 3",
    ColumnType.FLOAT: "a number such as 0.5",
    ColumnType.MONEY: "a number such as 19.99",
    ColumnType.TEXT: "text such as 'DE'",
    ColumnType.DATE: "a date such as '2026-01-31'",
    ColumnType.DATETIME: "a time such as '2026-01-31 12:00:00'",
    ColumnType.BOOL: "TRUE or FALSE",
}


# --- what a party runs -------------------------------------------------------------------------------------


def fragment(query: JointQuery, contract: PublishedContract, *, noised: bool = False) -> Fragment:
    """Return one party's part of `query`; with `noised`, values are clamped to the contract's bounds.

    Raises InvalidInput when the query does not fit the contract, or a noised column has no bounds.
    """
    check_against(query, contract)
    reader = _Reader(query.where)
    keys = [_key(name, contract.columns[name]) for name in query.groups]
    names: list[str] = ["rows"]
    values: list[exp.Expression] = [exp.Count(this=exp.Star())]
    for index, aggregate in enumerate(query.aggregates):
        for name, value in _parts(reader, aggregate, contract, noised=noised):
            names.append(f"{name}_{index}")
            values.append(value)
    parameters: dict[str, Parameter] = {}
    outputs = [exp.alias_(key, f"key_{i}") for i, key in enumerate(keys)]
    outputs += [exp.alias_(value, name) for value, name in zip(values, names, strict=True)]
    tree = exp.select(*outputs).from_(exp.to_table(RELATION))
    for condition in _where(query, contract, parameters):
        tree = tree.where(condition)
    tree = tree.group_by(*(key.copy() for key in keys)) if keys else tree
    return Fragment(_render(tree), parameters, _group_keys(query, contract), tuple(names))


def _key(name: str, column: Column) -> exp.Expression:
    """Dates travel as text, so that a key equals the domain's spelling in every engine."""
    node = exp.column(name)
    return exp.cast(node, "VARCHAR") if column.type is ColumnType.DATE else node


def _parts(
    reader: _Reader, aggregate: Aggregate, contract: PublishedContract, *, noised: bool
) -> list[tuple[str, exp.Expression]]:
    if aggregate.column is None:
        return []
    counted = ("count", exp.Count(this=exp.column(aggregate.column)))
    if aggregate.function == "count":
        return [counted]
    units = _units(reader, aggregate.column, contract.columns[aggregate.column], noised=noised)
    return [counted, ("sum", exp.Sum(this=units))]


def _units(reader: _Reader, name: str, column: Column, *, noised: bool) -> exp.Expression:
    node: exp.Expression = exp.column(name)
    if column.type is ColumnType.MONEY:
        cents = exp.Mul(this=node, expression=exp.Literal.number(CENTS))
        node = exp.Round(this=cents)
    node = exp.cast(node, "BIGINT")
    if not noised:
        return node
    bounds = column.integer_bounds()
    if bounds is None:
        raise reader.refuse(f"noise on `{name}` needs its bounds", "its owner can declare `bounds: [lo, hi]`")
    return _clamp(node, *bounds)


def _clamp(node: exp.Expression, low: int, high: int) -> exp.Expression:
    """CASE keeps NULL a NULL; DuckDB's LEAST and GREATEST would turn it into a bound."""
    bottom, top = exp.convert(low), exp.convert(high)
    return (
        exp.Case()
        .when(exp.LT(this=node.copy(), expression=bottom), bottom.copy())
        .when(exp.GT(this=node.copy(), expression=top), top.copy())
        .else_(node.copy())
    )


def _where(query: JointQuery, contract: PublishedContract, parameters: dict[str, Parameter]) -> list[exp.Expression]:
    condition = query.tree.args.get("where")
    found: list[exp.Expression] = [exp.paren(_bind(condition.this.copy(), parameters))] if condition else []
    for name in query.groups:
        column = contract.columns[name]
        allowed = [_placeholder(value, parameters) for value in column.domain or ()]
        found.append(exp.In(this=_key(name, column), expressions=allowed))
    return found


def _bind(node: exp.Expression, parameters: dict[str, Parameter]) -> exp.Expression:
    """Replace every literal by a named parameter; a dated literal keeps its cast around the parameter."""

    def replace(part: exp.Expression) -> exp.Expression:
        if isinstance(part, exp.Neg | exp.Literal | exp.Boolean):
            return _placeholder(_value(part), parameters)
        return part

    return node.transform(replace)


def _placeholder(value: Parameter, parameters: dict[str, Parameter]) -> exp.Expression:
    name = f"p{len(parameters)}"
    parameters[name] = value
    return exp.Placeholder(this=name)


def _group_keys(query: JointQuery, contract: PublishedContract) -> tuple[tuple[Cell, ...], ...]:
    """Return the cross product of the domains in the contract's order: every key a party may report."""
    domains = [contract.columns[name].domain or () for name in query.groups]
    size = 1
    for domain in domains:
        size *= len(domain)
    if size > MAX_GROUPS:
        raise _Reader(query.where).refuse(
            f"the grouping has {size} possible groups", f"group by fewer columns; at most {MAX_GROUPS} groups"
        )
    return tuple(itertools.product(*domains))
