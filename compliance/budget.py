"""Privacy budget of a party's datasets: every release is charged here first, durably, or does not happen.

The party's own ledger; officers see what each job cost. Relies on basic composition (Dwork and Roth 2014,
theorem 3.16): epsilons add and deltas add, whatever the jobs and however they were chosen. Amounts are exact:
epsilon in millionths and delta in 10^-15, as integers; what a job spends is rounded up to the next unit and
what a dataset allows is rounded down, so rounding never spends less than was released.

Order of use: `reserve`, then release, then `commit` at the first byte released; `rollback` only where nothing
left the party. A crash in between leaves the reservation, and a reservation is spent.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, DecimalException
from enum import StrEnum
from pathlib import Path
from typing import Self

from compliance.database import BUSY_SECONDS, open_database, open_read_only, translated
from compliance.errors import BudgetExceeded, InvalidBudget, LedgerUnavailable

EPSILON_UNITS = 10**6
DELTA_UNITS = 10**15
MAX_EPSILON = 10**6
"""Larger epsilons protect nothing; the bound keeps every sum far inside 64 bits."""

Amount = Decimal | int | str
"""Exact amounts only: a float such as 0.1 is already another number."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,255}")
MAX_DECIMALS = 60
"""Decimal places an amount may have; with it every product below is exact."""
_EXACT = Context(prec=100)


class State(StrEnum):
    """What became of a reservation."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Cost:
    """An (epsilon, delta) pair, exact."""

    epsilon: Decimal
    delta: Decimal

    def __str__(self) -> str:
        return f"epsilon {_plain(self.epsilon)}, delta {_plain(self.delta)}"


@dataclass(frozen=True)
class Reservation:
    """A charge: who asked (`key`, `job`), on what, how much, and what became of it."""

    key: str
    dataset: str
    cost: Cost
    job: str
    state: State


@dataclass(frozen=True)
class Account:
    """A dataset's budget: the limit and what is spent of it."""

    dataset: str
    limit: Cost
    spent: Cost

    @property
    def remaining(self) -> Cost:
        """What may still be spent; zero, never less, where the limit was lowered below the spending."""
        zero = Decimal(0)
        return Cost(max(zero, self.limit.epsilon - self.spent.epsilon), max(zero, self.limit.delta - self.spent.delta))


@dataclass(frozen=True)
class Event:
    """One line of a dataset's history: `registered`, `limit_changed`, or a state a reservation reached."""

    time: datetime
    dataset: str
    event: str
    key: str | None
    job: str | None
    cost: Cost


@dataclass(frozen=True)
class _Units:
    epsilon: int
    delta: int

    def cost(self) -> Cost:
        return Cost(
            _EXACT.divide(Decimal(self.epsilon), Decimal(EPSILON_UNITS)),
            _EXACT.divide(Decimal(self.delta), Decimal(DELTA_UNITS)),
        )


class BudgetLedger:
    """Open with `BudgetLedger.open`; safe for any number of threads and processes on one file."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], datetime]) -> None:
        self._path, self._connection, self._clock = path, connection, clock
        self._lock = threading.Lock()
        with translated(path, LedgerUnavailable):
            self._inode = path.stat().st_ino

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open or create the ledger; raises LedgerUnavailable where the file cannot be used."""
        connection = open_database(path, "budget", LedgerUnavailable, busy_seconds=busy_seconds)
        return cls(path, connection, clock)

    @classmethod
    def read_only(cls, path: Path) -> Self:
        """Open an existing ledger for looking only; raises LedgerUnavailable where there is none."""
        return cls(path, open_read_only(path, "budget", LedgerUnavailable), lambda: datetime.now(UTC))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; whatever is reserved stays spent."""
        with self._lock:
            self._connection.close()

    def register(self, dataset: str, epsilon: Amount, delta: Amount) -> Account:
        """Set a dataset's limit; what was spent under that name stays spent, and a change is recorded.

        Raises InvalidBudget for a malformed name or amount.
        """
        _check_name(dataset, "dataset")
        limit = _units(epsilon, delta, ROUND_FLOOR)
        with self._transaction():
            row = self._connection.execute(
                "SELECT epsilon_limit, delta_limit FROM datasets WHERE name = ?", (dataset,)
            ).fetchone()
            if row is None:
                self._connection.execute(
                    "INSERT INTO datasets VALUES (?, ?, ?, 0, 0)", (dataset, limit.epsilon, limit.delta)
                )
                self._record(dataset, "registered", limit)
            elif row != (limit.epsilon, limit.delta):
                self._connection.execute(
                    "UPDATE datasets SET epsilon_limit = ?, delta_limit = ? WHERE name = ?",
                    (limit.epsilon, limit.delta, dataset),
                )
                self._record(dataset, "limit_changed", limit)
            return self._account(dataset)

    def reserve(self, key: str, dataset: str, epsilon: Amount, delta: Amount, job: str) -> Reservation:
        """Charge a release before it happens; the same key returns the same reservation, charged once.

        Raises BudgetExceeded, saying what is left, where it does not fit; InvalidBudget for an unknown
        dataset, a key used for something else, or a key that was rolled back; LedgerUnavailable where the
        charge cannot be made durable.
        """
        for value, name in ((key, "key"), (dataset, "dataset"), (job, "job")):
            _check_name(value, name)
        units = _units(epsilon, delta, ROUND_CEILING)
        asked = Reservation(key, dataset, units.cost(), job, State.RESERVED)
        with self._transaction():
            known = self._find(key)
            if known is not None:
                return _same(known, asked)
            self._charge(dataset, units)
            self._connection.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?)",
                (key, dataset, units.epsilon, units.delta, job, State.RESERVED.value),
            )
            self._record(dataset, State.RESERVED.value, units, key, job)
        return asked

    def commit(self, key: str) -> Reservation:
        """Say that something was released; again is no change. Raises InvalidBudget if it was rolled back."""
        return self._settle(key, State.COMMITTED)

    def rollback(self, key: str) -> Reservation:
        """Give a reservation back, only where provably nothing left the party; again is no change.

        Raises InvalidBudget where it was committed.
        """
        return self._settle(key, State.ROLLED_BACK)

    def account(self, dataset: str) -> Account:
        """Return limit and spending; raises InvalidBudget for an unknown dataset."""
        with self._reading():
            return self._account(dataset)

    def remaining(self, dataset: str) -> Cost:
        """Return what may still be spent; raises InvalidBudget for an unknown dataset."""
        return self.account(dataset).remaining

    def datasets(self) -> list[str]:
        """Return the registered names, in order."""
        with self._reading():
            return [row[0] for row in self._connection.execute("SELECT name FROM datasets ORDER BY name")]

    def history(self, dataset: str) -> list[Event]:
        """Return everything that happened to a dataset's budget, oldest first."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT time, dataset, event, key, job, epsilon, delta FROM history WHERE dataset = ? ORDER BY number",
                (dataset,),
            ).fetchall()
        return [
            Event(datetime.fromisoformat(time), name, event, key, job, _Units(epsilon, delta).cost())
            for time, name, event, key, job, epsilon, delta in rows
        ]

    def _settle(self, key: str, state: State) -> Reservation:
        with self._transaction():
            known = self._find(key)
            if known is None:
                raise _invalid(f"no reservation has the key {key!r}", "a key that was reserved")
            if known.state is state:
                return known
            if known.state is not State.RESERVED:
                raise _invalid(f"the reservation {key!r} is already {known.state}", "one that is still reserved")
            self._connection.execute("UPDATE reservations SET state = ? WHERE key = ?", (state.value, key))
            units = _units(known.cost.epsilon, known.cost.delta, ROUND_CEILING)
            if state is State.ROLLED_BACK:
                self._connection.execute(
                    "UPDATE datasets SET epsilon_spent = epsilon_spent - ?, delta_spent = delta_spent - ? "
                    "WHERE name = ?",
                    (units.epsilon, units.delta, known.dataset),
                )
            self._record(known.dataset, state.value, units, key, known.job)
        return Reservation(known.key, known.dataset, known.cost, known.job, state)

    def _charge(self, dataset: str, units: _Units) -> None:
        """Spend if it fits: one statement decides and writes."""
        account = self._account(dataset)
        spent = self._connection.execute(
            "UPDATE datasets SET epsilon_spent = epsilon_spent + :e, delta_spent = delta_spent + :d "
            "WHERE name = :n AND epsilon_spent + :e <= epsilon_limit AND delta_spent + :d <= delta_limit",
            {"e": units.epsilon, "d": units.delta, "n": dataset},
        )
        if spent.rowcount != 1:
            raise BudgetExceeded(
                f"this release costs {units.cost()}; {account.remaining} is left",
                where=f"dataset {dataset}",
                right="a release within what is left, or a larger budget set by the dataset's officer",
            )

    def _account(self, dataset: str) -> Account:
        row = self._connection.execute(
            "SELECT epsilon_limit, delta_limit, epsilon_spent, delta_spent FROM datasets WHERE name = ?",
            (dataset,),
        ).fetchone()
        if row is None:
            raise _invalid(f"no budget is registered for the dataset {dataset!r}", "a registered dataset")
        return Account(dataset, _Units(*row[:2]).cost(), _Units(*row[2:]).cost())

    def _find(self, key: str) -> Reservation | None:
        row = self._connection.execute(
            "SELECT dataset, epsilon, delta, job, state FROM reservations WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        return Reservation(key, row[0], _Units(row[1], row[2]).cost(), row[3], State(row[4]))

    def _record(self, dataset: str, event: str, units: _Units, key: str | None = None, job: str | None = None) -> None:
        self._connection.execute(
            "INSERT INTO history (time, dataset, event, key, job, epsilon, delta) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._clock().astimezone(UTC).isoformat(), dataset, event, key, job, units.epsilon, units.delta),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the ledger alone, across threads and processes; durable on leaving, or nothing changed."""
        with self._reading():
            # SQLite goes on writing to a file that was deleted: such a charge would be durable nowhere.
            if self._path.stat().st_ino != self._inode:
                raise OSError("the file was replaced while in use")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, translated(self._path, LedgerUnavailable):
            yield


def _same(known: Reservation, asked: Reservation) -> Reservation:
    if known.state is State.ROLLED_BACK:
        raise _invalid(f"the reservation {known.key!r} was rolled back", "a new key for a new attempt")
    if (known.dataset, known.cost, known.job) != (asked.dataset, asked.cost, asked.job):
        raise _invalid(f"the key {known.key!r} was used for another charge", "one key for one release")
    return known


def _units(epsilon: Amount, delta: Amount, rounding: str) -> _Units:
    return _Units(
        _whole(epsilon, EPSILON_UNITS, MAX_EPSILON, rounding, "epsilon"),
        _whole(delta, DELTA_UNITS, 1, rounding, "delta"),
    )


def _whole(amount: Amount, units: int, most: int, rounding: str, name: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        raise _invalid(f"the {name} is a {type(amount).__name__}", "a Decimal, an integer or decimal text")
    try:
        value = Decimal(amount)
    except DecimalException as error:
        raise _invalid(f"the {name} is not a number", "a decimal such as 0.5") from error
    if not value.is_finite() or not 0 <= value <= most:
        raise _invalid(f"the {name} is out of range", f"0 to {most}")
    if int(value.as_tuple().exponent) < -MAX_DECIMALS:
        raise _invalid(f"the {name} has too many decimals", f"at most {MAX_DECIMALS}")
    return int(_EXACT.multiply(value, Decimal(units)).to_integral_value(rounding, _EXACT))


def _check_name(value: object, name: str) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _invalid(f"the {name} is malformed", "1 to 256 letters, digits and . _ : / + = -")


def _plain(amount: Decimal) -> str:
    return format(amount, "f")


def _invalid(what: str, right: str) -> InvalidBudget:
    return InvalidBudget(what, where="privacy budget", right=right)
