"""Attacks 9 and 30: values that mark their rows in a sum, and what the low bits of noise give away."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inbond.joint_query import planned_query
from protocols.errors import ProtocolError
from protocols.join.table import check_matrix
from protocols.noise import NoiseSpec
from tests.attacks.asking import Asked, write_rows
from tests.attacks.auditing import Audited, sides, talk

DRAWS = 100_000
POWERS = [f"{2**index}.00" for index in range(40)]  # every sum of them names its rows
MOST = 50_000  # cents: the contract's bounds are 0 to 500.00


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked.make(tmp_path / "p1")
    write_rows(made.party.home, len(POWERS), POWERS)
    yield made
    made.party.close()


def test_attack_9_values_are_clipped_to_the_contracts_bounds_before_noise(asked: Asked) -> None:
    job = asked.job("SELECT SUM(amount) AS total FROM orders", 1.0)
    query = planned_query(job.context.order.spec, job.context.plan, job.context.contracts)
    table = query.table(job.context.run_fragment(job.context, query.sides[0].fragment))
    clipped = sum(min(2**index * 100, MOST) for index in range(40))
    sums = [index for index, slot in enumerate(query.slots) if slot.kind == "sum"]
    assert table[0, sums].tolist() == [clipped]
    assert [query.slots[index].largest for index in sums] == [MOST], "and noise is drawn for that much"


def test_attack_9_noise_hides_more_than_any_one_marked_row(asked: Asked) -> None:
    """Bits that tell who is in: none is left, since a row moves the sum by no more than the noise's scale."""
    spec = NoiseSpec.laplace(MOST, 1.0)
    with_row, without = (spec.add(np.full(DRAWS, value, np.int64)) for value in (MOST, 0))
    guessed = ((with_row > MOST / 2).mean() + (without <= MOST / 2).mean()) / 2
    assert guessed < np.exp(1) / (1 + np.exp(1)) + 0.01, "no better than epsilon 1 allows"


def test_attack_9_in_a_join_without_noise_a_value_over_the_limit_is_refused() -> None:
    column = np.array([[2**index] for index in range(40)], np.int64)
    with pytest.raises(ProtocolError, match="right"):
        check_matrix(column, len(column), (MOST,), "right")
    check_matrix(np.minimum(column, MOST), len(column), (MOST,), "right")


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    return Audited.make(tmp_path)


AMOUNTS = np.arange(40) * 100
MARKED = 2 ** np.arange(40) // 4


def test_attack_9_a_value_side_that_keeps_to_its_bounds_passes_the_audit(audited: Audited) -> None:
    audited.join(AMOUNTS)
    code, result = audited.audit()
    assert (code, result["verdict"], result["problems"], result["findings"]) == (0, "good", [], [])
    assert (result["opened"], result["blocks"], result["columns"], result["unbounded"]) == ([0], 1, 2, [])


def test_attack_9_a_value_side_that_bypasses_its_clip_is_rejected_by_the_opening(audited: Audited) -> None:
    audited.join(AMOUNTS, sent=MARKED)
    code, result = audited.audit()
    (found,) = result["findings"]
    assert (code, result["verdict"]) == (5, "rejected")
    assert (found["fault"], found["block"], found["column"]) == ("bounds", 0, 1)
    assert found["values"] == int((MARKED > MOST).sum())
    told = audited.run("ada", "check-opening", audited.file("request"), *audited.answers())
    assert not any(str(value) in told.stdout for value in MARKED[MARKED > MOST]), "numbers of values, never a value"


def test_attack_9_a_value_side_that_commits_to_one_thing_and_sends_another_is_caught(audited: Audited) -> None:
    """It sends marked values, and logs and keeps an honest encryption of what its contract allows."""
    a, b = sides(AMOUNTS, MARKED)
    talk(a, b)
    _, honest = other = sides(AMOUNTS, AMOUNTS)
    mail = talk(*other)
    assert a.commitment is not None
    assert honest.commitment is not None
    audited.log("p1", "m1", honest.commitment, mail, honest.keys())
    audited.log("m1", "p1", a.commitment)
    code, result = audited.audit()
    assert (code, result["verdict"]) == (5, "rejected")
    assert result["problems"][0] == "p1 logged another commitment than m1 received"
    assert "something else" in result["problems"][1]


def test_attack_9_a_value_side_that_opens_nothing_is_told_as_such(audited: Audited) -> None:
    audited.join(AMOUNTS, sent=MARKED)
    audited.ask()
    audited.open("m1")
    code, result = audited.check(values=False)
    assert (code, result["verdict"]) == (5, "not opened")
    assert result["problems"] == ["p1 sent encrypted values to m1 and opened none of them"]


@pytest.mark.parametrize(
    "spec", [NoiseSpec.laplace(1, 0.25), NoiseSpec.gaussian(1, 1.0, 1e-6)], ids=lambda one: one.kind
)
def test_attack_30_neighbouring_inputs_have_the_same_support(spec: NoiseSpec) -> None:
    """Floating-point noise reaches other values from other inputs (Mironov 2012); whole numbers all reach all."""
    one, other = (spec.add(np.full(DRAWS, value, np.int64)) for value in (1000, 1001))
    assert one.dtype == other.dtype == np.int64
    likely = np.arange(1000 - int(2 * spec.scale), 1001 + int(2 * spec.scale) + 1)
    assert np.isin(likely, one).all()
    assert np.isin(likely, other).all()
    for bits in (1, 2, 3):
        first, second = (np.bincount(found % 2**bits, minlength=2**bits) / DRAWS for found in (one, other))
        assert np.abs(first - second).max() < 0.02 + np.abs(first - 2.0**-bits).max() * 2, "low bits tell nothing apart"
