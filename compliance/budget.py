"""Privacy budget of a party's datasets: every release is charged here first, durably, or does not happen.

The party's own ledger; officers see what each job cost, nobody else sees anything. A dataset spends from an account.
Datasets with one population, or with one source (a table that was registered again under another name), share an
account, and datasets once joined are never parted. A release is let through while what an account spent is within the
dataset's (epsilon, delta) by one of two proofs: basic composition (Dwork and Roth 2014, theorem 3.16), in which
epsilons add and deltas add, or the Rényi filter of `compliance.budget_curves`.

Order of use: `reserve`, then release, then `commit` at the first byte released; `rollback` only where nothing
left the party. A crash in between leaves the reservation, and a reservation is spent.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from compliance.budget_accounts import DATASET, Account, account_of, bind, members, numbered, write
from compliance.budget_amounts import Amount, Cost, Units, invalid
from compliance.budget_curves import Loss, curve_of_text, curve_to_text
from compliance.database import BUSY_SECONDS, open_database, open_read_only, translated
from compliance.errors import BudgetExceeded, LedgerUnavailable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,255}")


class State(StrEnum):
    """What became of a reservation."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Reservation:
    """A charge: who asked (`key`, `job`), on what, how much, and what became of it."""

    key: str
    dataset: str
    cost: Cost
    job: str
    state: State


@dataclass(frozen=True)
class Event:
    """One line of a dataset's history: `registered`, `limit_changed`, or a state a reservation reached."""

    time: datetime
    dataset: str
    event: str
    key: str | None
    job: str | None
    cost: Cost


class _Known(NamedTuple):
    """A reservation as it is kept."""

    reservation: Reservation
    loss: Loss


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

    # --- limits ---

    def register(
        self, dataset: str, epsilon: Amount, delta: Amount, *, source: str | None = None, population: str | None = None
    ) -> Account:
        """Set a dataset's limit; what was spent under its name, `source` or `population` stays spent.

        A change of the limit is recorded. Raises InvalidBudget for a malformed name or amount.
        """
        labels = [f"{DATASET}{_named(dataset, 'dataset')}"]
        labels += [f"source:{_named(source, 'source')}"] if source is not None else []
        labels += [f"population:{_named(population, 'population')}"] if population is not None else []
        limit = Units.allowed(epsilon, delta)
        with self._transaction() as base:
            bind(base, labels)
            row = base.execute("SELECT epsilon_limit, delta_limit FROM datasets WHERE name = ?", (dataset,)).fetchone()
            base.execute(
                "INSERT INTO datasets (name, epsilon_limit, delta_limit, population) VALUES (?, ?, ?, ?) ON CONFLICT"
                " (name) DO UPDATE SET epsilon_limit = excluded.epsilon_limit, delta_limit = excluded.delta_limit,"
                " population = excluded.population",
                (dataset, limit.epsilon, limit.delta, population),
            )
            if row != (limit.epsilon, limit.delta):
                self._record(dataset, "registered" if row is None else "limit_changed", limit)
            return self._account(dataset)

    # --- charges ---

    def reserve(self, key: str, dataset: str, epsilon: Amount, delta: Amount, job: str) -> Reservation:
        """Charge a release before it happens; the same key returns the same reservation, charged once.

        Raises BudgetExceeded, saying what is left, where it does not fit; InvalidBudget for an unknown
        dataset, a key used for something else, or a key that was rolled back; LedgerUnavailable where the
        charge cannot be made durable.
        """
        (found,) = self.reserve_release(key, (dataset,), Loss.of(epsilon, delta), job)
        if found.job != job:
            raise invalid(f"the key {key!r} was used for another charge", "one key for one release")
        return found

    def reserve_release(self, key: str, datasets: Sequence[str], loss: Loss, job: str) -> list[Reservation]:
        """Charge one release over several datasets to each of their accounts once: all of them or none.

        The first account is charged under `key`, every other one under `key/dataset`. A key that is known already is
        not charged again, whatever the job: it is the same answer. Raises as `reserve` does.
        """
        for value, name in ((key, "key"), (job, "job"), *((one, "dataset") for one in datasets)):
            _named(value, name)
        with self._transaction() as base:
            accounts = {account_of(base, dataset): dataset for dataset in reversed(datasets)}
            first = datasets[0]
            return [
                self._reserve(key if dataset == first else f"{key}/{dataset}", dataset, loss, job)
                for dataset in sorted(accounts.values(), key=list(datasets).index)
            ]

    def _reserve(self, key: str, dataset: str, loss: Loss, job: str) -> Reservation:
        asked = Reservation(key, dataset, loss.units.cost(), job, State.RESERVED)
        known = self._find(key)
        if known is not None:
            return _same(known.reservation, asked)
        self._charge(dataset, loss)
        self._connection.execute(
            "INSERT INTO reservations (key, dataset, epsilon, delta, job, state, curve) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, dataset, loss.units.epsilon, loss.units.delta, job, asked.state.value, curve_to_text(loss.curve)),
        )
        self._record(dataset, State.RESERVED.value, loss.units, key, job)
        return asked

    def commit(self, key: str) -> Reservation:
        """Say that something was released; again is no change. Raises InvalidBudget if it was rolled back."""
        return self._settle(key, State.COMMITTED)

    def rollback(self, key: str) -> Reservation:
        """Give a reservation back, only where provably nothing left the party; again is no change.

        Raises InvalidBudget where it was committed.
        """
        return self._settle(key, State.ROLLED_BACK)

    # --- questions ---

    def account(self, dataset: str) -> Account:
        """Return limit and spending; raises InvalidBudget for an unknown dataset."""
        with self._reading():
            return self._account(dataset)

    def remaining(self, dataset: str) -> Cost:
        """Return what may still be spent; raises InvalidBudget for an unknown dataset."""
        return self.account(dataset).remaining

    def how_many(self, dataset: str, loss: Loss, most: int = 10**6) -> int:
        """How many more releases of `loss` fit, at most `most`; raises InvalidBudget for an unknown dataset."""
        with self._reading():
            spent, limit = numbered(self._connection, account_of(self._connection, dataset)), self._limit(dataset)
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if spent.plus(loss, middle).within(limit) else (low, middle - 1)
        return low

    def reserved(self, prefix: str) -> bool:
        """Whether a charge stands under a key that begins with `prefix`."""
        with self._reading():
            row = self._connection.execute(
                "SELECT 1 FROM reservations WHERE substr(key, 1, ?) = ? AND state != ? LIMIT 1",
                (len(prefix), prefix, State.ROLLED_BACK.value),
            ).fetchone()
        return row is not None

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
            Event(datetime.fromisoformat(time), name, event, key, job, Units(epsilon, delta).cost())
            for time, name, event, key, job, epsilon, delta in rows
        ]

    # --- what was released ---

    def keep(self, scope: str, key: str, sealed: bytes) -> bytes:
        """Keep what is about to be released, durably; returns what was kept first under this scope and key."""
        with self._transaction() as base:
            base.execute("INSERT OR IGNORE INTO releases (scope, key, sealed) VALUES (?, ?, ?)", (scope, key, sealed))
            return self._kept(scope, key) or sealed

    def kept(self, scope: str, key: str) -> bytes | None:
        """What is kept under a scope and key, or None."""
        with self._reading():
            return self._kept(scope, key)

    def all_kept(self, scope: str, most: int) -> list[bytes]:
        """Everything that is kept in a scope, newest first, at most `most`."""
        with self._reading():
            found = self._connection.execute(
                "SELECT sealed FROM releases WHERE scope = ? ORDER BY number DESC LIMIT ?", (scope, most)
            )
            return [bytes(row[0]) for row in found]

    def _kept(self, scope: str, key: str) -> bytes | None:
        row = self._connection.execute(
            "SELECT sealed FROM releases WHERE scope = ? AND key = ?", (scope, key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    # --- inside a transaction ---

    def _settle(self, key: str, state: State) -> Reservation:
        with self._transaction() as base:
            known = self._find(key)
            if known is None:
                raise invalid(f"no reservation has the key {key!r}", "a key that was reserved")
            found, loss = known
            if found.state is state:
                return found
            if found.state is not State.RESERVED:
                raise invalid(f"the reservation {key!r} is already {found.state}", "one that is still reserved")
            base.execute("UPDATE reservations SET state = ? WHERE key = ?", (state.value, key))
            if state is State.ROLLED_BACK:
                account = account_of(base, found.dataset)
                write(base, account, numbered(base, account).plus(loss, -1))
            self._record(found.dataset, state.value, loss.units, key, found.job)
        return replace(found, state=state)

    def _charge(self, dataset: str, loss: Loss) -> None:
        """Spend if it fits; the ledger is held alone, so nobody spends in between."""
        number, limit = account_of(self._connection, dataset), self._limit(dataset)
        spent = numbered(self._connection, number).plus(loss)
        if not spent.within(limit):
            raise BudgetExceeded(
                f"this release costs {loss.units.cost()}; {self._account(dataset).remaining} is left",
                where=f"dataset {dataset}",
                right="a release within what is left, or a larger budget set by the dataset's officer",
            )
        write(self._connection, number, spent)

    def _limit(self, dataset: str) -> Units:
        return Units(*self._row(dataset)[:2])

    def _row(self, dataset: str) -> tuple[int, int, str | None]:
        row: tuple[int, int, str | None] | None = self._connection.execute(
            "SELECT epsilon_limit, delta_limit, population FROM datasets WHERE name = ?", (dataset,)
        ).fetchone()
        if row is None:
            raise invalid(f"no budget is registered for the dataset {dataset!r}", "a registered dataset")
        return row

    def _account(self, dataset: str) -> Account:
        epsilon, delta, population = self._row(dataset)
        limit, number = Units(epsilon, delta), account_of(self._connection, dataset)
        spent = numbered(self._connection, number).proven(limit)
        return Account(dataset, limit.cost(), spent, population, members(self._connection, number))

    def _find(self, key: str) -> _Known | None:
        row = self._connection.execute(
            "SELECT dataset, epsilon, delta, job, state, curve FROM reservations WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        loss = Loss(Units(row[1], row[2]), curve_of_text(row[5]))
        return _Known(Reservation(key, row[0], loss.units.cost(), row[3], State(row[4])), loss)

    def _record(self, dataset: str, event: str, units: Units, key: str | None = None, job: str | None = None) -> None:
        self._connection.execute(
            "INSERT INTO history (time, dataset, event, key, job, epsilon, delta) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._clock().astimezone(UTC).isoformat(), dataset, event, key, job, units.epsilon, units.delta),
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the ledger alone, across threads and processes; durable on leaving, or nothing changed."""
        with self._reading():
            # SQLite goes on writing to a file that was deleted: such a charge would be durable nowhere.
            if self._path.stat().st_ino != self._inode:
                raise OSError("the file was replaced while in use")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
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
        raise invalid(f"the reservation {known.key!r} was rolled back", "a new key for a new attempt")
    if (known.dataset, known.cost) != (asked.dataset, asked.cost):
        raise invalid(f"the key {known.key!r} was used for another charge", "one key for one release")
    return known


def _named(value: object, name: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise invalid(f"the {name} is malformed", "1 to 256 letters, digits and . _ : / + = -")
    return value
