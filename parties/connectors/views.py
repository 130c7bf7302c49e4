"""What may be seen of a table at all: which rows, and how its columns are shown; part of every statement over it.

It is the innermost SELECT, so that no fragment, count or view has a way past it. The engine of the table's owner learns
the listed values, nobody else does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from sqlglot import exp

from parties.connectors.masks import masked
from parties.connectors.pushdown import typed_columns
from parties.connectors.rows import Rows
from policies.contract import ColumnType
from policies.views import Cut


@dataclass(frozen=True)
class View:
    """Rows for which all of `rows` hold, with `masks` on columns by name."""

    rows: tuple[Rows, ...] = ()
    masks: Mapping[str, Cut] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The columns that the row conditions read, with their types."""
        return {one.column: one.kind for one in self.rows}

    def select(self, columns: Mapping[str, ColumnType], origin: exp.Expr) -> exp.Select:
        """These columns of `origin`, the table itself, as they may be seen."""
        held = {name: (kind, self.masks[name]) for name, kind in columns.items() if name in self.masks}
        shown = {name: partial(masked, kind=kind, mask=mask) for name, (kind, mask) in held.items()}
        query = exp.select(*typed_columns(columns, shown)).from_(origin)
        for one in self.rows:
            query = one.narrowed(query)
        return query


ALL = View()
"""Every row, as it is."""
