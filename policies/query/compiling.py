"""From a statement and the published contracts to a compiled query. Pure: no clock, no network, no data.

Names, types, uses and literals are checked first, against the contracts alone; then whether the statement can be
answered by sums over owners, and what each of them runs for it.
"""

from collections.abc import Mapping

from sqlglot import exp

from policies.contract import ColumnType
from policies.query.aggregates import Aggregates
from policies.query.compiled import Compiled, Side
from policies.query.finishing import Finish, Formula, Kind, Sort
from policies.query.formulas import Formulas
from policies.query.fragments import SidePlan, build
from policies.query.grouping import MAX_GROUPS, Group, Grouping
from policies.query.joining import Joining, assign_sides, join_tables
from policies.query.layout import Layout
from policies.query.reading import Query, is_aggregate
from policies.query.refusals import render, shown
from policies.query.scope import Offer, Scope
from policies.query.terms import Conjuncts, condition

MAX_CELLS = 2**18  # of an answer over one side; a contribution takes about 60 bytes for each
MAX_JOINED_CELLS = 2**10  # over two sides, where every pair of owners sends a ciphertext for each cell
MAX_CONDITIONS = 64
_KINDS: dict[ColumnType, Kind] = {ColumnType.TEXT: "text", ColumnType.INT: "number", ColumnType.BOOL: "bool"}
_ONE_OWNER = "conditions on one owner's columns each, joined by AND"


def compile_query(query: Query, catalogue: Mapping[str, Offer], *, noised: bool = False) -> Compiled:
    """Return `query` over the datasets of `catalogue` (dataset -> contract and owners).

    With `noised`, everything that is summed must have bounds, to which the owners clamp it. Raises InvalidInput with
    what is wrong and a form that can be answered.
    """
    return _Compiler(Scope(query, catalogue), noised=noised).compiled()


class _Compiler:
    def __init__(self, scope: Scope, *, noised: bool) -> None:
        self.scope, self.query, self.noised = scope, scope.query, noised
        self._check_names()
        assign_sides(scope)
        self.joined = 1 in scope.sides
        self.joining: Joining = join_tables(scope)
        self.pushed: dict[tuple[str, str], None] = {}

    def _check_names(self) -> None:
        """Every column must be one of its dataset before anything else is said."""
        query, named = self.query, {output.name for output in self.query.outputs}
        for name in query.group_aliases:
            if self.scope.has(name):
                raise self.scope.refuse(f"`{name}` is an output and a column", "call the output otherwise")
        own = [*query.conjuncts, *(output.expression for output in query.outputs), *query.groups]
        late = [order.expression for order in query.order] + ([query.having] if query.having is not None else [])
        for node in own:
            self._find_columns(node, frozenset())
        for node in late:
            self._find_columns(node, frozenset(named))

    def _find_columns(self, node: exp.Expr, named: frozenset[str]) -> None:
        for column in node.find_all(exp.Column):
            if column.table or column.name not in named:
                self.scope.find(column)

    def compiled(self) -> Compiled:
        conditions = [self._condition(node) for node in self.joining.conditions]
        groups = self._groups()
        layout = Layout(self.scope, self.joined, self.noised)
        finish = self._finish(groups, layout)
        numbers = (0, 1) if self.joined else (0,)
        sides = tuple(self._side(number, groups, conditions, layout) for number in numbers)
        self._refuse_too_much(sides, layout)
        return Compiled(
            query=self.query,
            outputs=tuple(output.name for output in self.query.outputs),
            uses=tuple(sorted(self.scope.uses)),
            pushed=tuple(self.pushed),
            keys=tuple(key.normalisation for key in self.joining.keys),
            sides=sides,
            slots=tuple(layout.slots),
            noised=self.noised,
            pairs=layout.pairs(),
            partitions=layout.all_partitions(),
            finish=finish,
        )

    # --- conditions ---

    def _condition(self, node: exp.Expr) -> exp.Expr:
        """A condition of the author's over resolved columns, noted for the owners whose rows it reads."""
        self.scope.one_side(node, _ONE_OWNER)
        for column in node.find_all(exp.Column):
            self.pushed[self.scope.find(column).dataset, render(node)] = None
        if len(self.pushed) > MAX_CONDITIONS:
            raise self.scope.refuse("the statement has too many conditions", f"at most {MAX_CONDITIONS}")
        return condition(self.scope, node)

    def _filtered(self, node: exp.Expr) -> Conjuncts:
        """The conjuncts of FILTER."""
        parts = node.unnest().flatten() if isinstance(node.unnest(), exp.And) else [node.unnest()]
        return tuple(self._condition(part.unnest()) for part in parts)

    # --- groups ---

    def _groups(self) -> list[tuple[exp.Expr, Group]]:
        """The author's expressions of GROUP BY with their cells, those of side 0 first."""
        grouping = Grouping(self.scope, self.joining.conditions)
        for node in self.query.groups:
            if any(is_aggregate(part) for part in node.walk()):
                raise self.scope.refuse(f"GROUP BY `{shown(node)}` is an aggregate", "group by columns")
        found = [(node, grouping.group(node)) for node in dict.fromkeys(self.query.groups)]
        return sorted(found, key=lambda pair: pair[1].side)

    def _refuse_too_much(self, sides: tuple[Side, ...], layout: Layout) -> None:
        groups = 1
        for side in sides:
            groups *= side.size
        if groups > MAX_GROUPS:
            raise self.scope.refuse(
                f"the grouping has {groups} possible groups", f"group by fewer columns; at most {MAX_GROUPS} groups"
            )
        most = MAX_JOINED_CELLS if self.joined else MAX_CELLS
        if groups * len(layout.slots) > most:
            raise self.scope.refuse(
                f"the answer needs {groups} x {len(layout.slots)} values", f"fewer groups or outputs; at most {most}"
            )

    # --- the answer ---

    def _finish(self, groups: list[tuple[exp.Expr, Group]], layout: Layout) -> Finish:
        aggregates = Aggregates(self.scope, layout, self._filtered)
        kinds = [_KINDS[group.kind] for _, group in groups]
        formulas = Formulas(self.scope, [node for node, _ in groups], aggregates.formula, kinds)
        outputs = [(output.name, formulas.formula(output.expression)) for output in self.query.outputs]
        formulas.named = dict(outputs)
        having = None
        if self.query.having is not None:
            having = formulas.formula(self.query.having, aliases=True)
            if having.kind not in {"bool", None}:
                raise self.scope.refuse(f"HAVING `{shown(self.query.having)}` is no condition", "HAVING COUNT(*) > 10")
        order = tuple(
            Sort(self._order(formulas, order.expression, outputs), order.descending, order.nulls_first)
            for order in self.query.order
        )
        return Finish(tuple(outputs), having, order, self.query.limit, self.query.offset)

    def _order(self, formulas: Formulas, node: exp.Expr, outputs: list[tuple[str, Formula]]) -> Formula:
        found = formulas.formula(node, aliases=True)
        if isinstance(node, exp.Literal):
            position = int(node.name) if not node.is_string and node.name.isdigit() else 0
            if not 1 <= position <= len(outputs):
                raise self.scope.refuse(f"`{shown(node)}` is no position of an output", f"1 to {len(outputs)}")
            found = outputs[position - 1][1]
        if found.kind == "map":
            raise self.scope.refuse(f"ORDER BY `{shown(node)}`: histograms have no order", "order by a number")
        return found

    # --- sides ---

    def _side(
        self, number: int, groups: list[tuple[exp.Expr, Group]], conditions: list[exp.Expr], layout: Layout
    ) -> Side:
        scope = self.scope
        tables = tuple(index for index, side in enumerate(scope.sides) if side == number)
        own = tuple(group for _, group in groups if group.side == number)
        links = [(a, b) for a, b in self.joining.links if a.table in tables]
        equal: list[exp.Expr] = [exp.EQ(this=left.node, expression=right.node) for left, right in links]
        read = [one for one in conditions if _tables(one) <= set(tables) and (_tables(one) or number == 0)]
        keys = tuple(key.left if number == 0 else key.right for key in self.joining.keys)
        draft = layout.sides[number]
        plan = SidePlan(tables, keys, own, (*equal, *read), draft)
        return Side(
            number=number,
            datasets=tuple(scope.tables[index].dataset for index in tables),
            owners=tuple(sorted(scope.offers[tables[0]].owners)),
            fragment=build(scope, plan, noised=self.noised),
            domains=tuple(group.cells for group in own),
            columns=tuple(draft.columns),
            axes={name: cells for name, (_, _, cells) in draft.axes.items()},
        )


def _tables(resolved: exp.Expr) -> set[int]:
    return {int(column.table[1:]) for column in resolved.find_all(exp.Column)}
