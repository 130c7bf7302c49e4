"""Which rows of a table may be read at all: a condition on one column, part of every statement over the table.

It stands in the innermost SELECT, beside the permitted columns, so that no fragment, count or view has a way past it.
The engine of the table's owner learns the listed values, nobody else does.
"""

from dataclasses import dataclass

from sqlglot import exp

from inbond.errors import InbondError
from parties.connectors.pushdown import SQL_TYPES, WRITTEN_IN
from policies.contract import ColumnType

MOST_VALUES = 100_000
KINDS = frozenset({ColumnType.INT, ColumnType.TEXT})


@dataclass(frozen=True)
class Rows:
    """All rows but those whose `column`, of type `kind`, is one of `values`; with `only`, these rows and no others.

    A row without a value stays where all but some are read: it is about nobody who could be told apart.
    """

    column: str
    kind: ColumnType
    values: tuple[int | str, ...]
    only: bool = False

    def checked(self) -> "Rows":
        """The same; raises InbondError where no statement could hold it."""
        if self.kind not in KINDS:
            raise InbondError(f"column {self.column} cannot tell people apart", right="a column of type int or text")
        if len(self.values) > MOST_VALUES:
            right = "remove those rows at the source"
            raise InbondError(f"more than {MOST_VALUES} people are to be told apart", where=self.column, right=right)
        return self

    def narrowed(self, query: exp.Select) -> exp.Select:
        """`query`, a SELECT over the table itself, with these rows alone."""
        if not self.values:
            return query.where(exp.false()) if self.only else query
        column = exp.cast(exp.column(self.column, quoted=True), SQL_TYPES[self.kind], dialect=WRITTEN_IN)
        listed = column.isin(*(_literal(one) for one in self.values))
        return query.where(listed if self.only else exp.or_(column.is_(exp.null()), listed.not_()))


def _literal(value: int | str) -> exp.Expr:
    if isinstance(value, str):
        return exp.Literal.string(value)
    number = exp.Literal.number(abs(value))
    return exp.Neg(this=number) if value < 0 else number
