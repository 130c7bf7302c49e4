"""Accounts: shared by a population and by a table's names, never reset, charged once for a release over several."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from compliance.budget import BudgetLedger, State
from compliance.budget_curves import Loss
from compliance.errors import BudgetExceeded, InvalidBudget
from tests.compliance.audit_fixtures import NOON

TABLE = "a1" * 32


def open_ledger(path: Path) -> BudgetLedger:
    return BudgetLedger.open(path, clock=lambda: NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "budget.db"


def test_a_table_under_another_name_goes_on_with_its_budget_also_after_a_restart(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0, source=TABLE)
        ledger.reserve("k", "orders", "0.8", 0, "job-1")
    with open_ledger(path) as ledger:
        assert ledger.register("sales", 1, 0, source=TABLE).spent.epsilon == Decimal("0.8")
        with pytest.raises(BudgetExceeded, match=r"epsilon 0\.2"):
            ledger.reserve("k2", "sales", "0.3", 0, "job-2")
        ledger.reserve("k3", "sales", "0.2", 0, "job-2")
        assert ledger.remaining("orders").epsilon == 0
        assert ledger.account("sales").datasets == ("orders", "sales")


def test_a_name_over_another_table_goes_on_with_its_budget(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0, source=TABLE)
        ledger.reserve("k", "orders", "0.8", 0, "job-1")
        assert ledger.register("orders", 1, 0, source="b2" * 32).spent.epsilon == Decimal("0.8")


def test_datasets_of_one_population_spend_together(path: Path) -> None:
    with open_ledger(path) as ledger:
        for name in ("orders", "returns"):
            ledger.register(name, 1, 0, source=f"{name}" * 3, population="customers-eu")
        ledger.register("suppliers", 1, 0)
        ledger.reserve("k", "orders", "0.6", 0, "job-1")
        assert ledger.remaining("returns").epsilon == Decimal("0.4")
        assert ledger.remaining("suppliers").epsilon == 1
        with pytest.raises(BudgetExceeded):
            ledger.reserve("k2", "returns", "0.6", 0, "job-2")


def test_accounts_that_turn_out_to_be_one_add_what_they_spent(path: Path) -> None:
    with open_ledger(path) as ledger:
        for name in ("orders", "returns"):
            ledger.register(name, 1, "1e-6")
            ledger.reserve(f"k-{name}", name, "0.4", 0, "job-1")
        ledger.register("orders", 1, "1e-6", population="customers-eu")
        assert ledger.register("returns", 1, "1e-6", population="customers-eu").spent.epsilon == Decimal("0.8")
        ledger.rollback("k-orders")
        assert ledger.account("returns").spent.epsilon == Decimal("0.4")


def test_a_release_over_several_tables_charges_each_account_once_and_all_or_none(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0, population="customers-eu")
        ledger.register("returns", 1, 0, population="customers-eu")
        ledger.register("visits", "0.5", 0)
        found = ledger.reserve_release("k", ("orders", "returns", "visits"), Loss.pure("0.4"), "job-1")
        assert [(one.key, one.dataset) for one in found] == [("k", "orders"), ("k/visits", "visits")]
        assert ledger.remaining("returns").epsilon == Decimal("0.6")
        with pytest.raises(BudgetExceeded, match="visits"):
            ledger.reserve_release("k2", ("orders", "visits"), Loss.pure("0.4"), "job-2")
        assert ledger.remaining("orders").epsilon == Decimal("0.6"), "nothing of a release that does not fit"
        assert not ledger.reserved("k2")


def test_the_same_answer_is_charged_once_whoever_asks(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0)
        first = ledger.reserve_release("answer/1", ("orders",), Loss.pure("0.8"), "job-1")
        ledger.commit("answer/1")
        (again,) = ledger.reserve_release("answer/1", ("orders",), Loss.pure("0.8"), "job-2")
        assert (again.job, again.state, first[0].state) == ("job-1", State.COMMITTED, State.RESERVED)
        assert ledger.remaining("orders").epsilon == Decimal("0.2")
        assert ledger.reserved("answer/")
        with pytest.raises(InvalidBudget, match="another charge"):
            ledger.reserve_release("answer/1", ("orders",), Loss.pure("0.1"), "job-3")


def test_gaussian_releases_fit_by_their_curve_far_beyond_the_sum_of_their_epsilons(path: Path) -> None:
    loss = Loss.gaussian(1, "1e-6", 0.02)
    with open_ledger(path) as ledger:
        ledger.register("orders", 4, "1e-6")
        fitting = ledger.how_many("orders", loss)
        assert fitting > 10
        for number in range(fitting):
            ledger.reserve_release(f"k{number}", ("orders",), loss, "job-1")
        with pytest.raises(BudgetExceeded):
            ledger.reserve_release("one-more", ("orders",), loss, "job-1")
        spent = ledger.account("orders").spent
        assert 3 < spent.epsilon <= 4
        assert spent.delta == Decimal("1e-6")
        ledger.rollback("k0")
        assert ledger.how_many("orders", loss) == 1


def test_of_fifty_threads_racing_by_the_curve_as_many_win_as_fit(path: Path) -> None:
    loss = Loss.gaussian(1, "1e-6", 0.02)
    with open_ledger(path) as ledger:
        ledger.register("orders", "1.2", "1e-6")
        fitting = ledger.how_many("orders", loss)
        assert 1 <= fitting < 50

        def race(number: int) -> bool:
            try:
                ledger.reserve_release(f"k{number}", ("orders",), loss, f"job-{number}")
            except BudgetExceeded:
                return False
            return True

        with ThreadPoolExecutor(50) as pool:
            assert sum(pool.map(race, range(50))) == fitting


def test_what_is_kept_first_is_kept(path: Path) -> None:
    with open_ledger(path) as ledger:
        assert ledger.kept("noise", "k") is None
        assert ledger.keep("noise", "k", b"first") == b"first"
        assert ledger.keep("noise", "k", b"second") == b"first"
        ledger.keep("noise", "k2", b"later")
        assert ledger.all_kept("noise", 5) == [b"later", b"first"]
        assert ledger.all_kept("noise", 1) == [b"later"]


def test_a_ledger_of_before_goes_on_with_what_was_spent_and_the_composition_it_was_promised(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, "1e-6")
    with closing(sqlite3.connect(path)) as base, base:
        for table in ("accounts", "bindings", "releases"):
            base.execute(f"DROP TABLE {table}")
        base.execute("ALTER TABLE datasets DROP COLUMN population")
        base.execute("ALTER TABLE reservations DROP COLUMN curve")
        for column in ("epsilon_spent", "delta_spent"):
            base.execute(f"ALTER TABLE datasets ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
        base.execute("UPDATE datasets SET epsilon_spent = 900000")
        base.execute("UPDATE alembic_version SET version_num = 'budget_0001'")
    with open_ledger(path) as ledger:
        assert ledger.account("orders").spent.epsilon == Decimal("0.9")
        assert ledger.how_many("orders", Loss.pure("0.05")) == 2
