"""One person's rows of a table, for the person: the pushdown that every connector carries out as it does any other.

The engine of the table's owner learns the id, as a bound parameter and never as part of a statement.
"""

from collections.abc import Mapping

from sqlglot import exp

from parties.connectors.pushdown import WRITTEN_IN, Pushdown
from policies.contract import ColumnType

RELATION = "source"
_ID = "p0"


def rows_of(person: int | str, subject: str, columns: Mapping[str, ColumnType]) -> Pushdown:
    """All `columns` of the rows of `RELATION` whose column `subject`, one of them, is exactly `person`."""
    named = (exp.alias_(exp.column(name, quoted=True), name, quoted=True) for name in columns)
    theirs = exp.column(subject, quoted=True).eq(exp.Placeholder(this=_ID))
    return Pushdown(exp.select(*named).from_(RELATION).where(theirs).sql(WRITTEN_IN), {_ID: person}, columns)
