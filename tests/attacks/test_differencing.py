"""Attacks 10 and 26: two lawful answers whose difference is a person, or a few."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from policies.verdict import RefusedError
from tests.attacks.asking import Asked, write_rows

ALL = "SELECT COUNT(*) AS n, SUM(amount) AS total FROM orders"
BY_COUNTRY = "SELECT country, COUNT(*) AS n, SUM(amount) AS total FROM orders GROUP BY country"
WINDOW = (
    "SELECT SUM(amount) AS total FROM orders WHERE seen >= '2026-01-01 00:{0}:00' AND seen < '2026-01-01 00:{1}:00'"
)
FEW = "differ by fewer than 5 rows"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked.make(tmp_path / "p1")
    yield made
    made.party.close()


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (ALL, f"{ALL} WHERE amount <> 17"),
        (f"{ALL} WHERE amount <> 17", ALL),
        (ALL, "SELECT CASE WHEN amount = 17 THEN 'one' ELSE 'rest' END AS c, SUM(amount) FROM orders GROUP BY c"),
        (BY_COUNTRY, BY_COUNTRY.replace("GROUP", "WHERE amount <> 17 GROUP")),
        (WINDOW.format("00", "30"), WINDOW.format("00", "31")),
        (WINDOW.format("00", "30"), WINDOW.format("01", "31")),
    ],
)
def test_attack_10_the_second_of_two_questions_that_isolate_a_row_is_refused(
    asked: Asked, earlier: str, later: str
) -> None:
    asked.exact(earlier)
    with pytest.raises(RefusedError, match=FEW) as refusal:
        asked.exact(later)
    assert "ask with noise" in refusal.value.what
    assert "17" not in refusal.value.what


def test_attack_10_neither_a_restart_nor_another_name_makes_the_party_forget(asked: Asked) -> None:
    asked.exact(ALL)
    asked.restart()
    with pytest.raises(RefusedError, match=FEW):
        asked.exact(f"{ALL} WHERE amount <> 17")
    asked.restart(asked.text.replace("dataset: orders", "dataset: sales"))
    with pytest.raises(RefusedError, match=FEW):
        asked.exact(f"{ALL} WHERE amount <> 17".replace("orders", "sales"))


def test_attack_10_the_party_whose_row_it_is_refuses_whatever_the_others_have(asked: Asked) -> None:
    asked.exact(f"{ALL} WHERE amount > 90", others=40)  # none of the party's own rows
    with pytest.raises(RefusedError, match=FEW):
        asked.exact(f"{ALL} WHERE amount > 88", others=40)


def test_attack_10_with_noise_it_is_charged_and_the_difference_is_within_the_noise(asked: Asked) -> None:
    first = asked.noised("SELECT COUNT(*) AS n FROM orders", 0.1)
    second = asked.noised("SELECT COUNT(*) AS n FROM orders WHERE amount <> 17", 0.1)
    assert str(asked.party.budget.account("orders").spent.epsilon) == "0.2"
    differences = [first[0, 0] - second[0, 0]]
    assert np.abs(differences).max() < 40 / 0.1, "beyond that in one run of 10^15"


def test_the_same_question_and_far_ones_are_answered_as_often_as_asked(asked: Asked) -> None:
    first = asked.exact(ALL)
    for _ in range(3):
        assert (asked.exact(ALL) == first).all()
    for sql in (BY_COUNTRY, f"{ALL} WHERE amount < 80", f"{ALL} WHERE paid", BY_COUNTRY.replace("country", "items")):
        asked.exact(sql)
    asked.exact(f"{BY_COUNTRY} ORDER BY n LIMIT 2")


def test_the_same_windows_slide_by_enough_or_not_at_all(asked: Asked) -> None:
    asked.exact(WINDOW.format("00", "30"))
    asked.exact(WINDOW.format("30", "59"))
    asked.exact(WINDOW.format("05", "35"))
    with pytest.raises(RefusedError, match=FEW):
        asked.exact(WINDOW.format("05", "37"))


def test_attack_10_rows_that_changed_by_one_are_a_difference_too(asked: Asked) -> None:
    asked.exact(ALL)
    write_rows(asked.party.home, 91)
    with pytest.raises(RefusedError, match="fewer than 5 rows have changed"):
        asked.exact(ALL)
    write_rows(asked.party.home, 90, ["1.00"] + [f"{number}.00" for number in range(1, 90)])
    with pytest.raises(RefusedError, match="fewer than 5 rows have changed"):
        asked.exact(ALL)
    write_rows(asked.party.home, 95)
    asked.exact(ALL)


def test_attack_26_two_tables_of_large_groups_whose_margin_is_a_small_one_are_not_both_given(asked: Asked) -> None:
    """Every released group has 5 rows at least; what the second adds up to more than the first is 2 rows of FR."""
    cut = "CASE WHEN country = 'FR' AND amount < 5 THEN 'x' ELSE 'y' END"
    asked.exact(f"SELECT country, {cut} AS cut, SUM(amount) FROM orders GROUP BY country, cut")
    with pytest.raises(RefusedError, match=FEW):
        asked.exact(BY_COUNTRY)


def test_one_party_more_or_less_is_refused(asked: Asked) -> None:
    asked.parties = ("p1", "p2", "p3", "p4")
    asked.exact(ALL)
    asked.parties = ("p1", "p2", "p3")
    with pytest.raises(RefusedError, match="a few parties more or less"):
        asked.exact(ALL)


def test_what_is_too_much_to_be_compared_is_refused(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.exact(ALL)
    asked.exact(BY_COUNTRY)
    monkeypatch.setattr("parties.differencing.MOST_COMPARED", 1)
    with pytest.raises(RefusedError, match="have answered 1 exact questions"):
        asked.exact(f"{ALL} WHERE amount < 50")
    monkeypatch.setattr("parties.differencing.MOST_COMPARED", 256)
    monkeypatch.setattr("parties.differencing.MOST_SIGNATURES", 0)
    with pytest.raises(RefusedError, match="too fine"):
        asked.exact(f"{ALL} WHERE amount <> 17")
