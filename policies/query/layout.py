"""The joint table in the making: which whole numbers each side adds up, and the slots that are made of them.

Equal things are counted once: a FILTER and a CASE with the same condition share their count. Every sum is bound to the
counts of the rows that carry it, and to those of each conditional part of it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from policies.contract import Cell, ColumnType
from policies.query.bins import Bins
from policies.query.compiled import Bounds, SideColumn, Slot
from policies.query.refusals import render
from policies.query.scope import Ref, Scope
from policies.query.suppression import Partition
from policies.query.terms import Conjuncts, Term, fixed_value, is_known, number, times

_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Like, exp.ILike)


@dataclass
class SideDraft:
    """What one side's fragment gives: `values` (output -> row expression), `axes`, `distinct`, and columns of them."""

    values: dict[str, exp.Expr] = field(default_factory=dict)
    axes: dict[str, tuple[exp.Expr, ColumnType, tuple[Cell, ...]]] = field(default_factory=dict)
    distinct: dict[str, Ref] = field(default_factory=dict)
    columns: list[SideColumn] = field(default_factory=list)
    _known: dict[object, int] = field(default_factory=dict)
    _outputs: dict[str, str] = field(default_factory=dict)

    def column(self, term: Term | None, conditions: Conjuncts) -> int:
        """The position of the column that adds `term` (None: 1) over the rows where all `conditions` hold."""
        node = number(1) if term is None else term.node
        whole = exp.Case(ifs=[exp.If(this=_all(conditions), true=node.copy())]) if conditions else node
        source = self._output("v", render(whole))
        self.values.setdefault(source, whole)
        if term is None:
            return self._add(SideColumn("count", source, (0, 1)))
        return self._add(SideColumn("sum", source, _with_zero(term.bounds)))

    def cut(self, column: int, cut: "Cut") -> int:
        """The position of the column that counts what `column` counts, of one cut alone."""
        name = self._output("b", cut.bins.key)
        self.axes.setdefault(name, (cut.bins.node, cut.bins.kind, cut.bins.cells))
        return self._add(SideColumn("count", self.columns[column].source, (0, 1), name, cut.first, cut.stop))

    def _add(self, column: SideColumn) -> int:
        key = (column.source, column.axis, column.first, column.stop)
        if key not in self._known:
            self._known[key] = len(self.columns)
            self.columns.append(column)
        return self._known[key]

    def counted_once(self, ref: Ref) -> str:
        """The output that gives the values of a column that are to be counted once."""
        name = self._output("d", render(ref.node))
        self.distinct.setdefault(name, ref)
        return name

    def _output(self, prefix: str, meaning: str) -> str:
        taken = sum(name.startswith(prefix) for name in self._outputs.values())
        return self._outputs.setdefault(f"{prefix} {meaning}", f"{prefix}_{taken}")


@dataclass(frozen=True)
class Cut:
    """The rows whose bin is in [first, stop); `level` tells apart cuts that overlap."""

    bins: Bins
    first: int
    stop: int
    level: int = 0


@dataclass
class Layout:
    """Slots over the sides of `scope`; `noised` wants bounds of everything that is summed."""

    scope: Scope
    joined: bool
    noised: bool
    slots: list[Slot] = field(default_factory=list)
    partitions: list[Partition] = field(default_factory=list)
    _known: dict[object, int] = field(default_factory=dict)
    _families: dict[object, int] = field(default_factory=dict)
    _conditions: dict[int, Conjuncts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sides = [SideDraft() for _ in range(2 if self.joined else 1)]
        self.count(())

    def count(self, conditions: Conjuncts) -> int:
        """The slot that counts the (joined) rows where all `conditions` hold."""
        conditions = distinct_conditions(conditions)
        key = frozenset(map(render, conditions))
        if key not in self._known:
            columns = self._columns((None, None), conditions)
            slot = self._add(Slot("count", columns, (0,), (0, 1), 0, self._family(key)), key)
            self._conditions[slot] = conditions
        return self._known[key]

    def sum(self, parts: Sequence[Term | None], conditions: Conjuncts, shown: str) -> int:
        """The slot that adds the product of the sides' `parts` (None: 1) over the rows where all `conditions` hold.

        Raises InvalidInput when noise needs bounds and there are none.
        """
        terms = [part for part in parts if part is not None]
        known = [condition for term in terms for condition in term.known]
        carriers = (*conditions, *known)
        governing = {0, self.count(carriers)}
        for term in terms:
            governing |= {self.count((*conditions, *known, *branch)) for branch in term.branches}
        bounds: Bounds = (1, 1)
        for term in terms:
            bounds = times(bounds, _with_zero(term.bounds))
        if self.noised and bounds is None:
            raise self.scope.refuse(f"noise on `{shown}` needs its bounds", "its owner can declare `bounds: [lo, hi]`")
        columns = self._columns(parts, distinct_conditions(conditions))
        scale = sum(term.scale for term in terms)
        key = ("sum", columns, scale)
        if key not in self._known:
            slot = Slot("sum", columns, tuple(sorted(governing)), bounds, scale, self._family(key))
            self._add(slot, key)
        return self._known[key]

    def cut(self, cut: Cut, root: int) -> int:
        """The slot that counts, of the rows that count slot `root` counts, those of one cut of a column's bins."""
        key = (root, cut.bins.key, cut.first, cut.stop)
        if key not in self._known:
            if self.joined:
                within = cut.bins.within(cut.first, cut.stop)
                columns = self._columns((None, None), distinct_conditions((*self._conditions[root], within)))
            else:
                columns = (self.sides[0].cut(self.slots[root].columns[0] or 0, cut), None)
            family = self._family((root, cut.bins.key, "level", cut.level))
            self._add(Slot("count", columns, (0,), (0, 1), 0, family), key)
        return self._known[key]

    def counted_once(self, ref: Ref, side: int) -> int:
        """The slot of the number of different values of a column among the joined rows.

        It governs itself: fewer different values than the minimum are told no more than fewer rows.
        """
        name = self.sides[side].counted_once(ref)
        key = ("distinct", side, name)
        if key not in self._known:
            governing, family = (0, len(self.slots)), self._family(key)
            slot = Slot("distinct", (None, None), governing, (0, 1), 0, family, distinct=(side, name))
            self._add(slot, key)
        return self._known[key]

    def _columns(self, parts: Sequence[Term | None], conditions: Conjuncts) -> tuple[int | None, int | None]:
        sides = self._split(conditions)
        left = self.sides[0].column(parts[0], sides[0])
        return left, (self.sides[1].column(parts[1], sides[1]) if self.joined else None)

    def _split(self, conditions: Conjuncts) -> tuple[Conjuncts, Conjuncts]:
        found: tuple[list[exp.Expr], list[exp.Expr]] = ([], [])
        for condition in conditions:
            found[side_of(self.scope, condition)].append(condition)
        return tuple(found[0]), tuple(found[1])

    def _add(self, slot: Slot, key: object) -> int:
        self._known[key] = len(self.slots)
        self.slots.append(slot)
        return self._known[key]

    def _family(self, key: object) -> int:
        return self._families.setdefault(key, len(self._families))

    # --- what may not be told apart ---

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Count slots that may count the same rows; bins are left out, their parts are known exactly."""
        found = itertools.combinations(self._conditions, 2)
        return tuple(pair for pair in found if not self._apart(*pair))

    def _apart(self, one: int, other: int) -> bool:
        """Whether the conditions of two slots exclude each other for all to see."""
        first, second = ({fixed_value(node) for node in self._conditions[slot]} - {None} for slot in (one, other))
        return any(a and b and a[0] == b[0] and a[1] != b[1] for a in first for b in second)

    def all_partitions(self) -> tuple[Partition, ...]:
        """Those of bins, and every greedy set of slots that exclude each other, within each slot that they imply."""
        return tuple(dict.fromkeys((*self.partitions, *self._wider(), *self._exclusive())))

    def _wider(self) -> Iterable[Partition]:
        """The bins of a column as parts of every other count that holds their rows: their own may be hidden."""
        closed = {slot: _closure(conditions) for slot, conditions in self._conditions.items()}
        for root, parts, _ in self.partitions:
            if root in closed:
                yield from (Partition(slot, parts) for slot in closed if closed[slot] < closed[root])

    def _exclusive(self) -> Iterable[Partition]:
        closed = {slot: _closure(conditions) for slot, conditions in self._conditions.items()}
        for first in self._conditions:
            chosen = [first]
            for other in self._conditions:
                if other != first and all(self._apart(other, one) for one in chosen):
                    chosen.append(other)
            if len(chosen) == 1:
                continue
            parts = tuple(sorted(chosen))
            for whole in self._conditions:
                if whole not in parts and all(closed[whole] <= closed[part] for part in parts):
                    yield Partition(whole, parts)


def side_of(scope: Scope, resolved: exp.Expr) -> int:
    """The side of a resolved expression (0 when it reads no column)."""
    return next((scope.sides[int(column.table[1:])] for column in resolved.find_all(exp.Column)), 0)


def distinct_conditions(conditions: Conjuncts) -> Conjuncts:
    """The conditions, each once, chains of AND taken apart, in one order."""
    found: dict[str, exp.Expr] = {}
    pending = list(reversed(conditions))
    while pending:
        node = pending.pop().unnest()
        if isinstance(node, exp.And):
            pending += [node.expression, node.this]
        else:
            found[render(node)] = node
    return tuple(found[text] for text in sorted(found))


def _closure(conditions: Conjuncts) -> frozenset[str]:
    """What the conditions say and, for comparisons of a column, that it is known."""
    found = {render(node) for node in conditions}
    compared = [node for node in conditions if isinstance(node, _COMPARED)]
    return frozenset(found | {render(is_known(column)) for node in compared for column in node.find_all(exp.Column)})


def _all(conditions: Conjuncts) -> exp.Expr:
    parts = [exp.paren(condition.copy()) for condition in conditions]
    return parts[0] if len(parts) == 1 else exp.and_(*parts, wrap=False)


def _with_zero(bounds: Bounds) -> Bounds:
    """A row that a condition leaves out adds nothing."""
    return bounds and (min(0, bounds[0]), max(0, bounds[1]))
