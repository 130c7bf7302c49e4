"""Attacks 11 and 28: asking again until the noise averages out, and racing for a budget."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from compliance.audit.entry import EntryType
from compliance.errors import BudgetExceeded
from tests.attacks.asking import BUDGET, Asked, write_rows
from tests.policies.samples import CONTRACT

SQL = "SELECT country, COUNT(*) AS n FROM orders GROUP BY country"
TRUE = np.full((3, 1), 30)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked.make(tmp_path / "p1")
    yield made
    made.party.close()


def spent(asked: Asked, dataset: str = "orders") -> Decimal:
    return asked.party.budget.account(dataset).spent.epsilon


def test_attack_11_the_same_question_a_thousand_times_has_the_same_noise_and_is_charged_once(asked: Asked) -> None:
    first = asked.noised(SQL, 0.5)
    job = asked.job(SQL, 0.5)
    assert (job._own_table() == first).all()
    for _ in range(1000):
        assert (TRUE + job.noise(job.context.contracts, TRUE) == first).all()
    assert (first != TRUE).any(), "there is noise"
    assert spent(asked) == Decimal("0.5")


def test_attack_11_every_job_that_asks_the_same_is_given_the_same_also_after_a_restart(asked: Asked) -> None:
    first = asked.noised(SQL, 1.5)
    asked.restart()
    assert (asked.noised(SQL, 1.5) == first).all(), "although only 0.5 is left"
    assert spent(asked) == Decimal("1.5")
    charged = [entry.data for entry in asked.party.entries() if entry.type is EntryType.BUDGET]
    assert [str(one["charged"])[:6] for one in charged] == ["now", "by job"]


def test_attack_11_a_question_in_other_words_has_its_own_noise_until_the_ledger_stops_it(asked: Asked) -> None:
    drawn = [asked.noised(f"{SQL} LIMIT {number}", 0.5) for number in range(3, 7)]
    assert len({table.tobytes() for table in drawn}) > 1
    assert spent(asked) == 2
    with pytest.raises(AssertionError, match=r"costs epsilon 0\.5, 0"):
        asked.noised(f"{SQL} LIMIT 9", 0.5)


def test_rows_that_changed_are_a_new_release_with_new_noise(asked: Asked) -> None:
    """Or the difference of two answers would be that of the rows, exactly."""
    first = asked.noised(SQL, 0.5)
    write_rows(asked.party.home, 91)
    second = asked.noised(SQL, 0.5)
    assert spent(asked) == 1
    assert (second - first != [[1], [0], [0]]).any()


def test_a_file_that_was_written_anew_with_the_same_rows_tells_nothing_by_its_noise(asked: Asked) -> None:
    first = asked.noised(SQL, 0.01)
    write_rows(asked.party.home)
    assert (asked.noised(SQL, 0.01) != first).any(), "whether one row came is not seen by whether the noise is new"
    assert spent(asked) == Decimal("0.02")


def test_a_table_that_is_registered_again_under_another_name_has_no_new_budget(asked: Asked) -> None:
    asked.noised(SQL, 1.5)
    asked.restart((CONTRACT + BUDGET).replace("dataset: orders", "dataset: sales"))
    assert spent(asked, "sales") == Decimal("1.5")
    with pytest.raises(AssertionError, match=r"costs epsilon 1\.0, 0\.5 is left"):
        asked.noised(SQL.replace("orders", "sales"), 1.0)


def test_attack_28_of_fifty_jobs_at_once_exactly_one_is_admitted_to_a_budget_for_one(asked: Asked) -> None:
    job = asked.job(SQL, 2.0)
    plans = [job.context.plan.model_copy(update={"job": f"{number:032x}"}) for number in range(50)]

    def race(number: int) -> bool:
        from dataclasses import replace

        context = replace(job.context, plan=plans[number], job=plans[number].job)
        try:
            context.releases.noise(context, job.query, None, lambda: np.zeros(job.query.shape, np.int64))
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(race, range(50))) == 1
    assert spent(asked) == 2


def test_attack_28_a_crash_between_reserve_and_commit_is_spent_and_the_same_question_goes_on(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("parties.releases.Releases._kept", crash)
        with pytest.raises(KeyboardInterrupt):
            asked.noised(SQL, 1.5)
    asked.restart()
    assert spent(asked) == Decimal("1.5")
    assert asked.noised(SQL, 1.5).shape == (3, 1)
    assert spent(asked) == Decimal("1.5")
