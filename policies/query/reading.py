"""Reading a statement: limits first, then the clauses of one SELECT of aggregates, as a value.

Learns nothing of any dataset: names, types and uses are checked when a query is bound to a catalogue. What is not
expressly recognised is refused here or there; the author's text never reaches a database.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from policies.query.literals import Parameter, bind_parameters
from policies.query.refusals import DIALECT, Refusals, render, shown

MAX_SQL_CHARACTERS = 8 * 1024
MAX_CANONICAL_CHARACTERS = 16 * 1024
MAX_TOKENS = 1024
MAX_NESTING = 32
MAX_DEPTH = 64
MAX_OUTPUTS = 64
MAX_TABLES = 8
MAX_NAME = 63
MAX_LIMIT = 2**31

Pair = tuple[exp.Column, exp.Column]


@dataclass(frozen=True)
class Table:
    """A dataset of the FROM clause and the name that the statement calls it by."""

    alias: str
    dataset: str


@dataclass(frozen=True)
class Output:
    """A column of the answer."""

    name: str
    expression: exp.Expr


@dataclass(frozen=True)
class Ordering:
    """One key of ORDER BY."""

    expression: exp.Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Query:
    """A statement as written: `conjuncts` are those of WHERE and of every ON, joined by AND.

    `group_aliases` are the outputs' names that GROUP BY uses: none may be the name of a column as well.
    """

    tables: tuple[Table, ...]
    conjuncts: tuple[exp.Expr, ...]
    groups: tuple[exp.Expr, ...]
    group_aliases: tuple[str, ...]
    outputs: tuple[Output, ...]
    having: exp.Expr | None
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int
    canonical_sql: str
    where: str = field(compare=False)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that a catalogue must know."""
        return tuple(table.dataset for table in self.tables)


_CLAUSES = {
    "laterals": ("LATERAL is not answered", "join datasets on keys"),
    "with_": ("WITH is not answered", "write one plain SELECT over the datasets"),
    "qualify": ("QUALIFY filters by a window function, which needs rows", "filter groups with HAVING"),
    "windows": ("windows need rows, and rows never leave their party", "aggregate with GROUP BY"),
    "distinct": ("SELECT DISTINCT returns rows", "aggregate with GROUP BY; COUNT(DISTINCT x) counts values"),
    "hint": ("hints are not read", "leave the hint out"),
    "sample": ("samples are not answered", "ask over all rows"),
    "into": ("INTO is not answered", "leave it out; the answer has a file of its own"),
}


def parse(sql: str, where: str = "--sql", parameters: Mapping[str, Parameter] | None = None) -> Query:
    """Recognise `sql` (DuckDB dialect), `$name` bound to `parameters`.

    Raises InvalidInput with what is wrong in `where` and a form that can be answered.
    """
    reader = _Reader(where)
    tree = bind_parameters(reader.statement(sql), parameters or {}, reader)
    reader.clauses(tree)
    tables, joined = reader.tables(tree)
    condition = tree.args.get("where")
    having = tree.args.get("having")
    outputs = reader.outputs(tree)
    groups, aliases = reader.grouping(tree, outputs)
    canonical = render(tree)
    if len(canonical) > MAX_CANONICAL_CHARACTERS:
        raise reader.refuse(f"{len(canonical)} characters with its parameters", f"at most {MAX_CANONICAL_CHARACTERS}")
    return Query(
        tables=tables,
        conjuncts=(*joined, *(_conjuncts(condition.this) if condition else ())),
        groups=groups,
        group_aliases=aliases,
        outputs=outputs,
        having=having.this if having else None,
        order=reader.ordering(tree),
        limit=reader.number(tree, "limit"),
        offset=reader.number(tree, "offset") or 0,
        canonical_sql=canonical,
        where=where,
    )


class _Reader(Refusals):
    """Recognises the parts of one statement."""

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
        if isinstance(tree, exp.SetOperation):
            raise self.refuse(
                f"{tree.key.upper()} is not answered",
                "ask each SELECT by itself; a dataset that several owners offer is united by itself",
            )
        if not isinstance(tree, exp.Select):
            raise self.refuse(
                f"a {tree.key.upper()} statement is not a joint query",
                "write SELECT ... COUNT(*), SUM(x), AVG(x) FROM dataset",
            )
        self._shape(tree)
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

    def _shape(self, tree: exp.Select) -> None:
        """Refuse what no clause may hold, and trees too deep to walk; chains of AND or OR are one level."""
        pending: list[tuple[exp.Expr, int]] = [(tree, 0)]
        while pending:
            node, depth = pending.pop()
            if depth > MAX_DEPTH:
                raise self.refuse("nested too deeply", f"at most {MAX_DEPTH} operations inside each other")
            if isinstance(node, exp.Query | exp.Exists) and node is not tree:
                raise self.refuse("subqueries are not answered", "join datasets on keys, or ask two queries")
            if isinstance(node, exp.Window):
                raise self.refuse(f"`{shown(node)}` is a window function, which needs rows", "aggregate with GROUP BY")
            same = isinstance(node, exp.Connector)
            pending += [(child, depth + (not same)) for child in node.iter_expressions()]

    def clauses(self, tree: exp.Select) -> None:
        for clause, (what, right) in _CLAUSES.items():
            if tree.args.get(clause):
                raise self.refuse(what, right)
        self.only(tree, "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset")

    # --- FROM -------------------------------------------------------------------------------------------------

    def tables(self, tree: exp.Select) -> tuple[tuple[Table, ...], tuple[exp.Expr, ...]]:
        source = tree.args.get("from_")
        if source is None:
            raise self.refuse("no table is named", "write FROM dataset")
        self.only(source, "this")
        found = [self._table(source.this)]
        conjuncts: list[exp.Expr] = []
        for join in tree.args.get("joins") or ():
            table = self._table(join.this)
            conjuncts += self._join(join, table, found)
            found.append(table)
        self._distinct_tables(found)
        return tuple(found), tuple(conjuncts)

    def _distinct_tables(self, found: list[Table]) -> None:
        if len(found) > MAX_TABLES:
            raise self.refuse(f"{len(found)} tables is too many", f"at most {MAX_TABLES}")
        twice = _double(table.dataset for table in found)
        if twice:
            raise self.refuse(f"`{twice}` is joined to itself", "name each dataset once; self joins are not answered")
        twice = _double(table.alias.lower() for table in found)
        if twice:
            raise self.refuse(f"two tables are called `{twice}`", "give each its own alias with AS")

    def _table(self, node: exp.Expr) -> Table:
        if not isinstance(node, exp.Table):
            raise self.refuse("FROM holds something other than a table", "name datasets; no subqueries")
        self.only(node, "this", "alias")
        if not isinstance(node.this, exp.Identifier):
            raise self.refuse("functions in FROM are not run", "name one dataset of the consortium")
        alias = node.args.get("alias")
        if alias:
            self.only(alias, "this")
        if not node.name:
            raise self.refuse("a table has an empty name", "name a dataset")
        return Table(node.alias or node.name, node.name)

    def _join(self, join: exp.Join, table: Table, earlier: list[Table]) -> list[exp.Expr]:
        side, kind, method = (str(join.args.get(part) or "").upper() for part in ("side", "kind", "method"))
        if side or kind == "OUTER":
            raise self.refuse(
                f"a {side or kind} join would tell which rows have no partner", "write JOIN ... ON a.key = b.key"
            )
        if kind not in {"", "INNER"} or method:
            raise self.refuse(f"a {method or kind} join is not answered", "write JOIN ... ON a.key = b.key")
        self.only(join, "this", "on", "using", "kind")
        using = join.args.get("using") or ()
        if using and len(earlier) > 1:
            raise self.refuse("USING after two tables does not say which one is meant", "write ON a.key = b.key")
        equal = [exp.EQ(this=_qualified(key, earlier[0]), expression=_qualified(key, table)) for key in using]
        condition = join.args.get("on")
        if condition is not None and condition.find(exp.Column) is None:
            raise self.refuse(f"a join ON {shown(condition)} lets every row meet every other", "write ON a.key = b.key")
        return [*equal, *(_conjuncts(condition) if condition else ())]

    # --- SELECT, GROUP BY, ORDER BY, LIMIT ----------------------------------------------------------------------

    def outputs(self, tree: exp.Select) -> tuple[Output, ...]:
        items = tree.expressions
        if any(isinstance(item, exp.Star) or _is_starred(item) for item in items):
            raise self.refuse(
                "SELECT * would return rows, and rows never leave their party",
                "aggregate: SELECT COUNT(*), SUM(x) ... GROUP BY column",
            )
        if not any(is_aggregate(node) for item in items for node in item.walk()):
            raise self.refuse(
                "this would return rows, and rows never leave their party",
                "aggregate: SELECT COUNT(*), SUM(x), AVG(x) ... GROUP BY column",
            )
        if len(items) > MAX_OUTPUTS:
            raise self.refuse(f"{len(items)} outputs is too many", f"at most {MAX_OUTPUTS}")
        found = tuple(Output(self._name(item), item.this if isinstance(item, exp.Alias) else item) for item in items)
        twice = _double(output.name for output in found)
        if twice:
            raise self.refuse(f"two outputs are called `{twice}`", "give each its own alias with AS")
        return found

    def _name(self, item: exp.Expr) -> str:
        name = item.alias if isinstance(item, exp.Alias) else _default_name(item)
        if not name:
            raise self.refuse(f"`{shown(item)}` has no name", "give it one with AS")
        if len(name) > MAX_NAME or not name.isidentifier():
            raise self.refuse(f"output name `{name[:MAX_NAME]}` is not plain", "use letters, digits and _")
        return name

    def grouping(self, tree: exp.Select, outputs: tuple[Output, ...]) -> tuple[tuple[exp.Expr, ...], tuple[str, ...]]:
        """Return what is grouped by, positions and aliases resolved, and the aliases that were."""
        group = tree.args.get("group")
        if group is None:
            return (), ()
        if group.args.get("all"):
            self.only(group, "all")
            return tuple(o.expression for o in outputs if not any(map(is_aggregate, o.expression.walk()))), ()
        self.only(group, "expressions")
        named = {output.name: output.expression for output in outputs}
        found, aliases = [], []
        for node in group.expressions:
            if isinstance(node, exp.Literal):
                found.append(self.positioned(node, outputs))
            elif isinstance(node, exp.Column) and not node.table and named.get(node.name, node) != node:
                found.append(named[node.name])
                aliases.append(node.name)
            else:
                found.append(node)
        return tuple(found), tuple(aliases)

    def positioned(self, node: exp.Literal, outputs: tuple[Output, ...]) -> exp.Expr:
        position = int(node.name) if not node.is_string and node.name.isdigit() else 0
        if not 1 <= position <= len(outputs):
            raise self.refuse(
                f"`{shown(node)}` is no position of an output", f"write a number from 1 to {len(outputs)}"
            )
        return outputs[position - 1].expression

    def ordering(self, tree: exp.Select) -> tuple[Ordering, ...]:
        order = tree.args.get("order")
        if order is None:
            return ()
        self.only(order, "expressions")
        return tuple(self._ordered(node) for node in order.expressions)

    def _ordered(self, node: exp.Expr) -> Ordering:
        self.only(node, "this", "desc", "nulls_first")
        if isinstance(node.this, exp.Var):
            raise self.refuse(f"ORDER BY {shown(node.this)} is not answered", "name the outputs to order by")
        return Ordering(node.this, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))

    def number(self, tree: exp.Select, clause: str) -> int | None:
        node = tree.args.get(clause)
        if node is None:
            return None
        self.only(node, "expression")
        literal = node.expression
        if not isinstance(literal, exp.Literal) or literal.is_string or not literal.name.isdigit():
            raise self.refuse(f"{clause.upper()} `{shown(literal)}` is not a whole number", f"{clause.upper()} 10")
        if int(literal.name) > MAX_LIMIT:
            raise self.refuse(f"{clause.upper()} {literal.name} is too large", f"at most {MAX_LIMIT}")
        return int(literal.name)


def is_aggregate(node: exp.Expr) -> bool:
    """Return whether `node` is a call that makes one value of many rows."""
    return isinstance(node, exp.AggFunc | exp.WithinGroup) or (
        isinstance(node, exp.Anonymous) and str(node.this).lower() in {"histogram", "mean"}
    )


def _is_starred(item: exp.Expr) -> bool:
    return isinstance(item, exp.Column) and isinstance(item.this, exp.Star)


def _default_name(item: exp.Expr) -> str:
    """`column`, `count`, or `function_column`, as the author would say it."""
    if isinstance(item, exp.Column):
        return item.name
    if isinstance(item, exp.Filter):
        return _default_name(item.this)
    if not is_aggregate(item):
        return ""
    argument = item.this if isinstance(item.this, exp.Expr) else None
    name = str(item.this if isinstance(item, exp.Anonymous) else item.key).lower()
    if isinstance(item, exp.Anonymous) and len(item.expressions) == 1:
        argument = item.expressions[0]
    if isinstance(argument, exp.Distinct) and len(argument.expressions) == 1:
        argument, name = argument.expressions[0], f"{name}_distinct"
    return f"{name}_{argument.name}" if isinstance(argument, exp.Column) else name


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    node = node.unnest()
    if not isinstance(node, exp.And):
        return [node]
    return [part for piece in node.flatten() for part in _conjuncts(piece)]


def _qualified(key: exp.Identifier, table: Table) -> exp.Column:
    return exp.column(key.name, table=table.alias)


def _double(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].replace("\x1b[4m", "").replace("\x1b[0m", "")[:200]
