"""What is pushed into an owner's engine, and the one statement it becomes.

A pushdown is SQL that this project built from a checked query, never a job's own text. It is nevertheless taken apart
again here, because it runs next to the owner's rows: only the kinds of node listed below are let through, and only the
relations that the caller names. Each relation is a common table expression that holds the permitted columns, cast to
the contract's types, so a statement has no name by which it could reach anything else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from policies.contract import ColumnType
from policies.errors import InvalidInput
from policies.query.literals import Parameter

WRITTEN_IN = "duckdb"  # the dialect of every pushdown, whatever engine runs it
MAX_CHARACTERS = 256 * 1024
SQL_TYPES = {
    ColumnType.INT: "BIGINT",
    ColumnType.FLOAT: "DOUBLE",
    ColumnType.MONEY: "DECIMAL(18,2)",
    ColumnType.TEXT: "VARCHAR",
    ColumnType.DATE: "DATE",
    ColumnType.DATETIME: "TIMESTAMP",
    ColumnType.BOOL: "BOOLEAN",
}
_RESULT = "answer"
Shown = Callable[[exp.Expr], exp.Expr]


@dataclass(frozen=True, slots=True)
class Pushdown:
    """`sql`: one SELECT (DuckDB dialect) over relation names, values written `$name` and given in `parameters`.

    `outputs` names its columns in order, each with the type in which it is delivered.
    """

    sql: str
    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, ColumnType]


_SHAPE = (
    *(exp.Select, exp.Union, exp.Subquery, exp.From, exp.Join, exp.Table, exp.TableAlias, exp.Alias, exp.Where),
    *(exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Distinct, exp.Filter),
)
_ATOMS = (exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Placeholder, exp.Star, exp.DataTypeParam)
_OPERATORS = (
    *(exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In),
    *(exp.Like, exp.ILike, exp.Is, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Tuple),
)
_FUNCTIONS = (
    *(exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevSamp),
    *(exp.StddevPop, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Abs, exp.Round, exp.Floor, exp.Ceil),
    *(exp.Lower, exp.Upper, exp.Trim, exp.Length, exp.Substring, exp.Year, exp.Month, exp.Day),
    *(exp.Cast, exp.TimestampTrunc, exp.DateTrunc),
)
ALLOWED = frozenset({*_SHAPE, *_ATOMS, *_OPERATORS, *_FUNCTIONS})
_TYPES = frozenset(exp.DataType.build(name, dialect=WRITTEN_IN).this for name in SQL_TYPES.values())
_UNITS = frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR"})


def checked(push: Pushdown, relations: Mapping[str, object]) -> exp.Query:
    """The tree of a pushdown, every name quoted; raises InvalidInput for whatever is not expressly permitted."""
    if len(push.sql) > MAX_CHARACTERS:
        raise _refuse(f"{len(push.sql)} characters is too long", f"at most {MAX_CHARACTERS}")
    try:
        trees = sqlglot.parse(push.sql, read=WRITTEN_IN)
    except (SqlglotError, RecursionError):
        raise _refuse("is not readable as SQL", "one SELECT") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise _refuse("is not one SELECT", "one SELECT")
    tree = trees[0]
    for node in tree.walk():
        _check(node, push, relations)
        if isinstance(node, exp.Identifier):
            node.set("quoted", True)
    if tree.named_selects != list(push.outputs):
        raise _refuse("does not name the promised outputs", f"AS {', AS '.join(push.outputs)}")
    return tree


def _check(node: exp.Expr, push: Pushdown, relations: Mapping[str, object]) -> None:
    if isinstance(node, exp.Table):
        _check_table(node, relations)
    elif isinstance(node, exp.Placeholder) and node.name not in push.parameters:
        raise _refuse(f"has no value for ${node.name}", "a value for every parameter")
    elif type(node) in _PARTS:
        _PARTS[type(node)](node)
    elif type(node) not in ALLOWED:
        raise _refuse(f"holds {node.key.upper()}, which is not let through", "the plain forms of a joint query")


def _check_table(node: exp.Table, relations: Mapping[str, object]) -> None:
    if node.name not in relations or node.args.get("db") or not isinstance(node.this, exp.Identifier):
        raise _refuse("names a relation that it was not given", f"one of {', '.join(sorted(relations))}")


def _check_column(node: exp.Expr) -> None:
    if node.args.get("db") or not isinstance(node.this, exp.Identifier | exp.Star):
        raise _refuse(f"names the column {node.name} in a way that is not let through", "relation.column")


def _check_word(node: exp.Expr) -> None:
    if node.name.upper() not in _UNITS or not isinstance(node.parent, exp.TimestampTrunc | exp.DateTrunc):
        raise _refuse(f"holds the word {node.name}", f"a unit of DATE_TRUNC: {', '.join(sorted(_UNITS))}")


def _check_type(node: exp.Expr) -> None:
    if node.this not in _TYPES:
        raise _refuse("casts to a type of the engine", f"one of {', '.join(SQL_TYPES.values())}")


_PARTS: dict[type[exp.Expr], Callable[[exp.Expr], None]] = {
    exp.Column: _check_column,
    exp.Var: _check_word,
    exp.DataType: _check_type,
}


def _refuse(what: str, right: str) -> InvalidInput:
    return InvalidInput(what, where="pushdown", right=right)


def typed_columns(columns: Mapping[str, ColumnType], shown: Mapping[str, Shown] | None = None) -> list[exp.Expr]:
    """The columns under their own names, cast to the contract's types; a NULL where there is none (to count rows).

    `shown` makes of a column's value what may be seen of it.
    """
    typed = {name: _cast(name, kind) for name, kind in columns.items()}
    seen = {name: shown[name](value) if shown and name in shown else value for name, value in typed.items()}
    found: list[exp.Expr] = [exp.alias_(value, name, quoted=True) for name, value in seen.items()]
    return found or [exp.alias_(exp.null(), "no_column", quoted=True)]


def _cast(name: str, kind: ColumnType) -> exp.Expr:
    return exp.cast(exp.column(name, quoted=True), SQL_TYPES[kind], dialect=WRITTEN_IN)


def statement(push: Pushdown, relations: Mapping[str, exp.Query], rows: int) -> exp.Select:
    """The whole statement: the relations, the pushdown over them, its outputs cast, one row more than may come.

    The relations are not materialised, so that an engine reads only what the pushdown needs. A division by zero is NULL
    in every engine: an error would tell of a row.
    """
    answer = checked(push, relations)
    for node in answer.find_all(exp.Div, exp.IntDiv, exp.Mod):
        node.set("expression", exp.func("NULLIF", exp.paren(node.expression), exp.Literal.number(0)))
    inner = answer.subquery(exp.to_identifier(_RESULT, quoted=True), copy=False)
    tree = exp.select(*typed_columns(push.outputs)).from_(inner).limit(rows + 1)
    for name, relation in relations.items():
        tree = tree.with_(exp.to_identifier(name, quoted=True), as_=relation, materialized=False)
    return tree
