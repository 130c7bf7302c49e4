"""Accounts of the budget ledger: who spends from which, what was spent, and whether a release still fits.

Works inside the ledger's transaction, on its connection. An account is known by labels: the datasets, populations and
sources that spend from it. Where a dataset has labels of several accounts these become one, their spending added.
"""

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from compliance.budget_amounts import EPSILON_UNITS, Cost, Units, invalid
from compliance.budget_curves import Curve, Loss, curve_of_text, curve_to_text, epsilon_at, fits, plus

DATASET = "dataset:"


@dataclass(frozen=True)
class Spent:
    """What an account spent: epsilons and deltas added, and the Rényi loss by order."""

    units: Units
    curve: Curve

    def plus(self, loss: Loss, times: int = 1) -> "Spent":
        """This and `times` a release."""
        return Spent(self.units.plus(loss.units, times), plus(self.curve, loss.curve, times))

    def within(self, limit: Units) -> bool:
        """Whether the budget covers it, by either proof."""
        return self.units.within(limit) or fits(self.curve, limit)

    def proven(self, limit: Units) -> Cost:
        """(epsilon, delta) that covers what was spent, the least epsilon known."""
        if self.units.within(limit) or not limit.delta:
            return self.units.cost()
        epsilon = epsilon_at(self.curve, limit.cost().delta)
        worse = self.units.delta <= limit.delta and epsilon * EPSILON_UNITS >= self.units.epsilon
        if worse or not math.isfinite(epsilon):
            return self.units.cost()
        return Units(math.ceil(epsilon * EPSILON_UNITS), limit.delta).cost()


@dataclass(frozen=True)
class Account:
    """A dataset's budget: the limit, what is spent of it, and who else spends (`population`, other `datasets`)."""

    dataset: str
    limit: Cost
    spent: Cost
    population: str | None = None
    datasets: tuple[str, ...] = ()

    @property
    def remaining(self) -> Cost:
        """What may still be spent; zero, never less, where the limit was lowered below the spending."""
        zero = Decimal(0)
        return Cost(max(zero, self.limit.epsilon - self.spent.epsilon), max(zero, self.limit.delta - self.spent.delta))


def bind(base: sqlite3.Connection, labels: Sequence[str]) -> int:
    """The number of the one account of all `labels`, made or made one where needed."""
    marks = ", ".join("?" * len(labels))
    found = base.execute(f"SELECT DISTINCT account FROM bindings WHERE label IN ({marks})", labels)  # noqa: S608 - marks
    numbers: list[int] = sorted(row[0] for row in found)
    if not numbers:
        first = base.execute("INSERT INTO accounts (epsilon_spent, delta_spent, curve) VALUES (0, 0, '')").lastrowid
        numbers = [int(first or 0)]
    for other in numbers[1:]:
        _merge(base, numbers[0], other)
    base.executemany("INSERT OR IGNORE INTO bindings VALUES (?, ?)", [(label, numbers[0]) for label in labels])
    return numbers[0]


def _merge(base: sqlite3.Connection, into: int, other: int) -> None:
    """Different subjects may have been charged: added all the same, which never says too little."""
    spent = numbered(base, other)
    write(base, into, numbered(base, into).plus(Loss(spent.units, spent.curve)))
    base.execute("UPDATE bindings SET account = ? WHERE account = ?", (into, other))
    base.execute("DELETE FROM accounts WHERE number = ?", (other,))


def account_of(base: sqlite3.Connection, dataset: str) -> int:
    """The number of a dataset's account; raises InvalidBudget for an unknown dataset."""
    row = base.execute("SELECT account FROM bindings WHERE label = ?", (DATASET + dataset,)).fetchone()
    if row is None:
        raise invalid(f"no budget is registered for the dataset {dataset!r}", "a registered dataset")
    number: int = row[0]
    return number


def members(base: sqlite3.Connection, number: int) -> tuple[str, ...]:
    """The datasets of an account, in order."""
    found = base.execute("SELECT label FROM bindings WHERE account = ? ORDER BY label", (number,))
    return tuple(label.removeprefix(DATASET) for (label,) in found if label.startswith(DATASET))


def numbered(base: sqlite3.Connection, number: int) -> Spent:
    """What an account spent."""
    row = base.execute("SELECT epsilon_spent, delta_spent, curve FROM accounts WHERE number = ?", (number,)).fetchone()
    return Spent(Units(*row[:2]), curve_of_text(row[2]))


def write(base: sqlite3.Connection, number: int, spent: Spent) -> None:
    """Set what an account spent."""
    base.execute(
        "UPDATE accounts SET epsilon_spent = ?, delta_spent = ?, curve = ? WHERE number = ?",
        (spent.units.epsilon, spent.units.delta, curve_to_text(spent.curve), number),
    )
