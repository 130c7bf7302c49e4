"""How the tables of a statement hang together: sides, the equalities within a side, and the keys across sides.

Tables of the same owners are joined by each owner on its own; a join across owners is on keys that both contracts
declare, with the same normalisation, and on nothing else.
"""

from dataclasses import dataclass, field

from sqlglot import exp

from policies.contract import Use
from policies.query.refusals import shown
from policies.query.scope import JOIN, Key, Ref, Scope

_RIGHT = "join owners ON a.key = b.key; every other condition reads the columns of one owner"


@dataclass
class Joining:
    """`keys` across sides, `links` within one, and the author's remaining `conditions`."""

    keys: list[Key] = field(default_factory=list)
    links: list[tuple[Ref, Ref]] = field(default_factory=list)
    conditions: list[exp.Expr] = field(default_factory=list)


def assign_sides(scope: Scope) -> None:
    """Put each table on a side, by its owners. Raises InvalidInput when there are more than two."""
    owners = [frozenset(offer.owners) for offer in scope.offers]
    different = list(dict.fromkeys(owners))
    for index, one in enumerate(different):
        for other in different[index + 1 :]:
            both = sorted(one & other)
            if both:
                names = " and ".join(f"`{scope.tables[owners.index(found)].dataset}`" for found in (one, other))
                raise scope.refuse(
                    f"{names}: `{both[0]}` has both, others only one", "name parties that have all of them, or one each"
                )
    if len(different) > 2:
        raise scope.refuse(f"tables of {len(different)} groups of owners are joined", "join two, in two queries")
    scope.sides = [different.index(found) for found in owners]


def join_tables(scope: Scope) -> Joining:
    """Sort the statement's conjuncts. Raises InvalidInput when tables are not joined, or not by equality of keys."""
    found = Joining()
    for conjunct in scope.query.conjuncts:
        _sort(scope, conjunct, found)
    if 1 in scope.sides and not found.keys:
        raise scope.refuse("no key joins the two owners' tables", _RIGHT)
    _refuse_loose_tables(scope, found)
    return found


def _sort(scope: Scope, conjunct: exp.Expr, found: Joining) -> None:
    left, right = (conjunct.this, conjunct.args.get("expression")) if isinstance(conjunct, exp.EQ) else (None, None)
    if isinstance(left, exp.Column) and isinstance(right, exp.Column):
        one, other = scope.find(left), scope.find(right)
        if one.table != other.table:
            _equal(scope, conjunct, one, other, found)
            return
    scope.one_side(conjunct, _RIGHT)
    found.conditions.append(conjunct)


def _equal(scope: Scope, conjunct: exp.Expr, one: Ref, other: Ref, found: Joining) -> None:
    if one.column.type != other.column.type:
        raise scope.refuse(
            f"`{shown(conjunct)}` compares {one.column.type} with {other.column.type}", "keys of one type"
        )
    if scope.sides[one.table] == scope.sides[other.table]:
        found.links.append((scope.used(one, JOIN, Use.FILTER), scope.used(other, JOIN, Use.FILTER)))
        return
    left, right = sorted((one, other), key=lambda ref: scope.sides[ref.table])
    found.keys.append(Key(left, right, _normalisation(scope, left, right)))


def _normalisation(scope: Scope, left: Ref, right: Ref) -> str:
    for ref in (left, right):
        if ref.column.key is None:
            raise scope.refuse(
                f"`{ref.dataset}.{ref.name}` is no join key", "a column whose contract has the use join, and `key`"
            )
        scope.joined(ref)
    kinds = [str(ref.column.key and ref.column.key.normalisation) for ref in (left, right)]
    if kinds[0] != kinds[1]:
        raise scope.refuse(
            f"`{left.name}` is compared as {kinds[0]} and `{right.name}` as {kinds[1]}",
            "keys that both owners declare alike",
        )
    return kinds[0]


def _refuse_loose_tables(scope: Scope, found: Joining) -> None:
    """Every two tables of a side must be connected by equalities within it."""
    reach = list(range(len(scope.tables)))
    for left, right in found.links:
        old, new = reach[right.table], reach[left.table]
        reach = [new if group == old else group for group in reach]
    for side in set(scope.sides):
        tables = [i for i, one in enumerate(scope.sides) if one == side]
        loose = next((i for i in tables if reach[i] != reach[tables[0]]), None)
        if loose is not None:
            first, second = scope.tables[tables[0]].alias, scope.tables[loose].alias
            raise scope.refuse(
                f"`{first}` and `{second}` are not joined to each other", f"ON {first}.key = {second}.key"
            )
