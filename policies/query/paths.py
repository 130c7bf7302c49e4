"""From a column to the parts of the statement that read it: the way a refusal is traced back to what was asked.

Pure, and only for words: nothing is decided here. The parts are as the author wrote them, cut when long.
"""

from collections.abc import Iterator

from sqlglot import exp

from policies.query.reading import Query
from policies.query.refusals import shown

SEVERAL = 3  # parts that are named; of more the number is told


def readers_of(query: Query, dataset: str, column: str) -> tuple[str, ...]:
    """Return the parts of `query` that read `column` of `dataset`, outputs first, as text.

    A name without its table is this column's where the dataset has it: a name of two tables is refused earlier.
    """
    aliases = {table.alias for table in query.tables if table.dataset == dataset}
    return tuple(text for text, node in _parts(query) if _reads(node, aliases, column))


def path_of(query: Query, dataset: str, column: str) -> str:
    """Return those parts as one phrase, empty where there are none."""
    parts = readers_of(query, dataset, column)
    more = f" and {len(parts) - SEVERAL} more" if len(parts) > SEVERAL else ""
    return ", ".join(f"`{part}`" for part in parts[:SEVERAL]) + more


def outputs_of(query: Query) -> str:
    """Return the outputs of `query` as one phrase: what a join is planned for."""
    names = [f"`{_titled(output.expression, output.name)}`" for output in query.outputs]
    more = f" and {len(names) - SEVERAL} more" if len(names) > SEVERAL else ""
    return ", ".join(names[:SEVERAL]) + more


def _parts(query: Query) -> Iterator[tuple[str, exp.Expr]]:
    for output in query.outputs:
        yield _titled(output.expression, output.name), output.expression
    for clause, nodes in (("WHERE", query.conjuncts), ("GROUP BY", query.groups)):
        for node in nodes:
            yield f"{clause} {shown(node)}", node
    if query.having is not None:
        yield f"HAVING {shown(query.having)}", query.having
    for ordering in query.order:
        yield f"ORDER BY {shown(ordering.expression)}", ordering.expression


def _titled(expression: exp.Expr, name: str) -> str:
    text = shown(expression)
    return text if text in {name, f"{expression.text('table')}.{name}"} else f"{text} AS {name}"


def _reads(node: exp.Expr, aliases: set[str], column: str) -> bool:
    return any(one.name == column and (not one.table or one.table in aliases) for one in node.find_all(exp.Column))
