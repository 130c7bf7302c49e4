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
