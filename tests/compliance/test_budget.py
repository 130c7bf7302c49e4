"""The ledger: exact, durable, charged before release, once per key, never beyond the limit."""

import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.budget import BudgetLedger, State
from compliance.errors import BudgetExceeded, InvalidBudget, LedgerUnavailable
from tests.compliance.audit_fixtures import NOON

ROOT = Path(__file__).parents[2]
DELTA = "0.00001"


def open_ledger(path: Path) -> BudgetLedger:
    return BudgetLedger.open(path, clock=lambda: NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_ledger(tmp_path / "budget.db") as ledger:
        ledger.register("orders", 1, DELTA)
    return tmp_path / "budget.db"


def test_what_is_reserved_is_gone_until_it_is_rolled_back(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve("k1", "orders", "0.3", "0.000001", "job-1")
        assert ledger.remaining("orders").epsilon == Decimal("0.7")
        assert ledger.remaining("orders").delta == Decimal("0.000009")
        assert ledger.rollback("k1").state is State.ROLLED_BACK
        assert ledger.remaining("orders").epsilon == 1
        ledger.reserve("k2", "orders", "0.3", 0, "job-1")
        assert ledger.commit("k2").state is State.COMMITTED
        assert ledger.remaining("orders").epsilon == Decimal("0.7")


def test_ten_tenths_are_one_exactly(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0)
        for number in range(10):
            ledger.reserve(f"k{number}", "orders", "0.1", 0, "job-1")
        assert ledger.remaining("orders").epsilon == 0
        with pytest.raises(BudgetExceeded):
            ledger.reserve("k10", "orders", "0.000001", 0, "job-1")


def test_the_refusal_says_how_much_is_left(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve("k1", "orders", "0.75", 0, "job-1")
        with pytest.raises(BudgetExceeded, match=r"costs epsilon 0\.5, delta 0; epsilon 0\.25, delta 0\.00001 is left"):
            ledger.reserve("k2", "orders", "0.5", 0, "job-2")
        with pytest.raises(BudgetExceeded):
            ledger.reserve("k3", "orders", 0, "0.00002", "job-2")
        assert len(ledger.history("orders")) == 2


def test_a_key_is_charged_once_and_means_one_release(path: Path) -> None:
    with open_ledger(path) as ledger:
        first = ledger.reserve("k", "orders", "0.4", 0, "job-1")
        assert ledger.reserve("k", "orders", "0.40", 0, "job-1") == first
        assert ledger.commit("k") == ledger.commit("k") == ledger.reserve("k", "orders", "0.4", 0, "job-1")
        assert ledger.remaining("orders").epsilon == Decimal("0.6")
        for other in (("0.5", "job-1"), ("0.4", "job-2")):
            with pytest.raises(InvalidBudget, match="another charge"):
                ledger.reserve("k", "orders", other[0], 0, other[1])


def test_only_a_reservation_is_rolled_back_and_its_key_is_spent(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve("committed", "orders", "0.1", 0, "job-1")
        ledger.commit("committed")
        with pytest.raises(InvalidBudget, match="already committed"):
            ledger.rollback("committed")
        ledger.reserve("back", "orders", "0.1", 0, "job-1")
        assert ledger.rollback("back") == ledger.rollback("back")
        assert ledger.remaining("orders").epsilon == Decimal("0.9")
        with pytest.raises(InvalidBudget, match="already rolled_back"):
            ledger.commit("back")
        with pytest.raises(InvalidBudget, match="rolled back"):
            ledger.reserve("back", "orders", "0.1", 0, "job-1")
        with pytest.raises(InvalidBudget, match="no reservation"):
            ledger.commit("unknown")


def test_registering_again_keeps_what_was_spent_and_records_a_change(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve("k", "orders", "0.8", 0, "job-1")
        assert ledger.register("orders", "1.0", DELTA).spent.epsilon == Decimal("0.8")
        assert ledger.register("orders", "0.5", DELTA).remaining.epsilon == 0
        with pytest.raises(BudgetExceeded):
            ledger.reserve("k2", "orders", "0.1", 0, "job-1")
        ledger.register("orders", 2, DELTA)
        events = [(event.event, event.cost.epsilon, event.job) for event in ledger.history("orders")]
    assert events == [
        ("registered", 1, None),
        ("reserved", Decimal("0.8"), "job-1"),
        ("limit_changed", Decimal("0.5"), None),
        ("limit_changed", 2, None),
    ]


@settings(max_examples=60, deadline=None)
@given(amount=st.decimals(0, 10, allow_nan=False, places=9))
def test_spending_rounds_up_and_limits_round_down(tmp_path_factory: Any, amount: Decimal) -> None:
    with open_ledger(tmp_path_factory.mktemp("ledger") / "budget.db") as ledger:
        limit = ledger.register("d", amount, 0).limit.epsilon
        assert amount - Decimal("0.000001") < limit <= amount
        ledger.register("d", 11, 0)
        cost = ledger.reserve("k", "d", amount, 0, "job").cost.epsilon
        assert amount <= cost < amount + Decimal("0.000001")


@pytest.mark.parametrize(
    ("epsilon", "what"),
    [
        (0.1, "float"),
        (True, "bool"),
        ("-1", "out of range"),
        ("NaN", "out of range"),
        ("Infinity", "out of range"),
        ("1e999999", "out of range"),
        ("1e-999999999", "too many decimals"),
        ("much", "not a number"),
        (10**7, "out of range"),
    ],
)
def test_amounts_that_are_not_exact_and_sensible_are_refused(path: Path, epsilon: Any, what: str) -> None:
    with open_ledger(path) as ledger:
        with pytest.raises(InvalidBudget, match=what):
            ledger.reserve("k", "orders", epsilon, 0, "job-1")
        with pytest.raises(InvalidBudget, match="delta"):
            ledger.register("orders", 1, 2)


def test_unknown_datasets_and_odd_names_are_refused(path: Path) -> None:
    with open_ledger(path) as ledger:
        with pytest.raises(InvalidBudget, match="no budget is registered"):
            ledger.reserve("k", "payments", 1, 0, "job-1")
        with pytest.raises(InvalidBudget, match="the key is malformed"):
            ledger.reserve("", "orders", 1, 0, "job-1")
        with pytest.raises(InvalidBudget, match="no budget is registered"):
            ledger.remaining("payments")


def test_of_fifty_threads_racing_for_a_budget_of_one_exactly_one_wins(path: Path) -> None:
    with open_ledger(path) as ledger:

        def race(number: int) -> bool:
            try:
                ledger.reserve(f"k{number}", "orders", 1, 0, f"job-{number}")
            except BudgetExceeded:
                return False
            return True

        with ThreadPoolExecutor(50) as pool:
            assert sum(pool.map(race, range(50))) == 1
        assert ledger.remaining("orders").epsilon == 0


RACING = """
    import sys
    from pathlib import Path
    from compliance.budget import BudgetLedger
    from compliance.errors import BudgetExceeded
    won = 0
    with BudgetLedger.open(Path(sys.argv[1])) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(40):
            try:
                ledger.reserve(f"{sys.argv[2]}-{number}", "orders", "0.04", 0, sys.argv[2])
                won += 1
            except BudgetExceeded:
                pass
    print(won)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_together_spend_the_budget_and_no_more(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.register("orders", 1, 0)
    with start(RACING, str(path), "a") as one, start(RACING, str(path), "b") as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert sum(int(process.communicate()[0]) for process in (one, two)) == 25


CRASHING = """
    import os, signal, sys
    from pathlib import Path
    from compliance.budget import BudgetLedger
    BudgetLedger.open(Path(sys.argv[1])).reserve("k", "orders", "0.6", 0, "job-1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_after_reserving_is_spent(path: Path) -> None:
    with start(CRASHING, str(path)) as process:
        assert process.wait() == -9
    with open_ledger(path) as ledger:
        assert ledger.remaining("orders").epsilon == Decimal("0.4")
        assert ledger.reserve("k", "orders", "0.6", 0, "job-1").state is State.RESERVED
        assert ledger.remaining("orders").epsilon == Decimal("0.4")


def fill(ledger: BudgetLedger) -> None:
    for number in range(1000):
        ledger.reserve("k" * 200 + str(number), "orders", 0, 0, "job-1")


def test_a_ledger_that_cannot_be_written_is_unavailable_and_charges_nothing(path: Path) -> None:
    with BudgetLedger.open(path, busy_seconds=0.1) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="locked"):
                ledger.reserve("k", "orders", 1, 0, "job-1")
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerUnavailable, match="full"):
            fill(ledger)
        count = len(ledger.history("orders"))
        path.rename(path.with_name("moved.db"))
        with pytest.raises(LedgerUnavailable):
            ledger.reserve("k", "orders", 1, 0, "job-1")
        assert len(ledger.history("orders")) == count


def test_a_reader_sees_and_cannot_spend(path: Path, tmp_path: Path) -> None:
    with BudgetLedger.read_only(path) as ledger:
        assert ledger.datasets() == ["orders"]
        assert ledger.account("orders").limit.epsilon == 1
        with pytest.raises(LedgerUnavailable, match="readonly"):
            ledger.reserve("k", "orders", 1, 0, "job-1")
    with pytest.raises(LedgerUnavailable, match="no such file"):
        BudgetLedger.read_only(tmp_path / "none.db")
