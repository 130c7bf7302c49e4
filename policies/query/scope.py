"""The names of a statement, resolved against the contracts that their owners published.

A side is what one fragment is run for: tables of the same owners that are joined to each other. A statement has one
side (the union over its owners) or two (a join across owners). Resolved columns are called `t0.column`, by the
position of their table.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from policies.contract import Column, PublishedContract, Use
from policies.query.reading import Query
from policies.query.refusals import Refusals, shown

JOIN = "join"
Normalisation = Callable[[str, str], str | None]
ColumnUse = tuple[str, str, str]


@dataclass(frozen=True)
class Offer:
    """What a catalogue knows of a dataset: one contract (all owners share its schema) and who holds rows of it."""

    contract: PublishedContract
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Ref:
    """A resolved column."""

    table: int
    dataset: str
    name: str
    column: Column

    @property
    def node(self) -> exp.Column:
        """The column as its table has it."""
        return exp.column(self.name, table=f"t{self.table}", quoted=True)

    @property
    def units(self) -> exp.Column:
        """The column as a whole number of its unit (cents for money, 0 or 1 for bool), as a fragment prepares it."""
        return exp.column(f"{self.name}#", table=f"t{self.table}", quoted=True)


@dataclass(frozen=True)
class Key:
    """A pair of columns that must be equal."""

    left: Ref
    right: Ref
    normalisation: str = ""


class Scope(Refusals):
    """Resolves names, collects the uses that policies decide on, and knows which side a table is on."""

    def __init__(self, query: Query, catalogue: Mapping[str, Offer]) -> None:
        super().__init__(query.where)
        self.query = query
        self.tables = query.tables
        self.offers = [self._offer(dataset, catalogue) for dataset in query.datasets]
        self.uses: set[ColumnUse] = set()
        self.sides: list[int] = [0] * len(self.tables)

    def _offer(self, dataset: str, catalogue: Mapping[str, Offer]) -> Offer:
        if dataset in catalogue and catalogue[dataset].owners:
            return catalogue[dataset]
        close = difflib.get_close_matches(dataset, catalogue, n=3, cutoff=0.6)
        right = f"did you mean {_any_of(close)}?" if close else f"there are: {', '.join(sorted(catalogue)) or 'none'}"
        raise self.refuse(f"no dataset `{dataset}` here", right)

    def find(self, node: exp.Column) -> Ref:
        """Return the column that `node` names; raises InvalidInput when there is none, or more than one."""
        self.only(node, "this", "table")
        if not isinstance(node.this, exp.Identifier):
            raise self.refuse(f"`{shown(node)}` would return rows, and rows never leave their party", "name columns")
        tables = [i for i, table in enumerate(self.tables) if not node.table or table.alias == node.table]
        if not tables:
            aliases = ", ".join(table.alias for table in self.tables)
            raise self.refuse(f"`{shown(node)}`: no table is called `{node.table}` here", f"the tables are {aliases}")
        found = [i for i in tables if node.name in self.offers[i].contract.columns]
        if len(found) > 1:
            forms = [f"{self.tables[i].alias}.{node.name}" for i in found]
            raise self.refuse(f"`{node.name}` is a column of several tables", f"write {_any_of(forms)}")
        if not found:
            raise self._no_column(node, tables)
        dataset = self.tables[found[0]].dataset
        return Ref(found[0], dataset, node.name, self.offers[found[0]].contract.columns[node.name])

    def has(self, name: str) -> bool:
        """Return whether any table has a column called `name`."""
        return any(name in offer.contract.columns for offer in self.offers)

    def _no_column(self, node: exp.Column, tables: list[int]) -> Exception:
        known = [name for i in tables for name in self.offers[i].contract.columns]
        lowered = {name.lower(): name for name in known}
        close = [lowered[found] for found in difflib.get_close_matches(node.name.lower(), lowered, n=3, cutoff=0.6)]
        right = f"did you mean {_any_of(close)}?" if close else f"its columns are {', '.join(known)}"
        datasets = " and ".join(f"`{self.tables[i].dataset}`" for i in tables)
        return self.refuse(f"dataset {datasets} has no column `{node.name}`", right)

    def use(self, node: exp.Column, use: Use) -> Ref:
        """Return the column that `node` names, noting that it is put to `use`; raises InvalidInput if it may not."""
        ref = self.find(node)
        return self.used(ref, use)

    def used(self, ref: Ref, *uses: str) -> Ref:
        """Note the first of `uses` that the contract allows; raises InvalidInput when it allows none of them."""
        allowed = next((use for use in uses if use in set(ref.column.uses)), None)
        if allowed is None:
            granted = ", ".join(sorted(ref.column.uses)) or "nothing"
            raise self.refuse(
                f"column `{ref.name}` may not be used to {' or '.join(uses)}", f"its contract allows: {granted}"
            )
        self.uses.add((ref.dataset, ref.name, str(allowed)))
        return ref

    def joined(self, ref: Ref) -> None:
        """Note that `ref` is a join key."""
        self.uses.add((ref.dataset, ref.name, JOIN))

    def sides_of(self, node: exp.Expr) -> set[int]:
        """Return the sides whose columns the author's `node` reads."""
        return {self.sides[self.find(column).table] for column in node.find_all(exp.Column)}

    def one_side(self, node: exp.Expr, right: str) -> int:
        """Return the side that `node` reads (side 0 when it reads no column); refuses a mixture."""
        sides = self.sides_of(node)
        if len(sides) > 1:
            raise self.refuse(f"`{shown(node)}` mixes columns of two owners", right)
        return next(iter(sides), 0)


def _any_of(names: list[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)
