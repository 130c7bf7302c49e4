"""Noise for a query: drawn for the plan's loss, split over the columns, and large enough for a subject's rows."""

import pytest

from parties.answering import noise_for
from policies.plan import PlanNoise
from protocols.errors import ProtocolError
from protocols.noise import NoiseSpec

LAPLACE = PlanNoise(mechanism="laplace", epsilon=2.0)
GAUSSIAN = PlanNoise(mechanism="gaussian", epsilon=1.0, delta=1e-6)


def test_the_loss_is_split_evenly_over_the_columns() -> None:
    assert noise_for(LAPLACE, 4, 1, 1) == NoiseSpec.laplace(1, 0.5)
    assert noise_for(GAUSSIAN, 2, 1, 1) == NoiseSpec.gaussian(1, 0.5, 5e-7)


def test_a_subject_with_many_large_rows_is_covered_by_the_sensitivity() -> None:
    assert noise_for(LAPLACE, 1, 50_000, 3) == NoiseSpec.laplace(150_000, 2.0)


@pytest.mark.parametrize(("maximum", "rows"), [(0, 1), (1, 0)])
def test_no_sensitivity_is_no_protection(maximum: int, rows: int) -> None:
    with pytest.raises((ProtocolError, ValueError)):
        noise_for(LAPLACE, 1, maximum, rows)
