"""Rényi curves: at least the library's, whatever the mechanism; and budgets that are never exceeded by either proof."""

import math
from decimal import Decimal

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

from compliance.budget_amounts import Units
from compliance.budget_curves import NOTHING, ORDERS, UNIT, Loss, epsilon_at, fits, plus
from compliance.errors import InvalidBudget

REPLACE_ONE = dp.NeighboringRelation.REPLACE_ONE


def discrete_laplace(epsilon: float, shift: int, order: float) -> float:
    """Rényi divergence of a discrete Laplace from itself moved by `shift`, its sensitivity, from the definition."""
    values = np.arange(-4000, 4001, dtype=float)
    scale = shift / epsilon
    first, second = -np.abs(values) / scale, -np.abs(values - shift) / scale
    normal = math.log(math.tanh(1 / (2 * scale)))
    return float(normal + np.logaddexp.reduce(order * first + (1 - order) * second)) / (order - 1)


def test_the_orders_are_the_librarys() -> None:
    assert list(ORDERS) == list(DEFAULT_RDP_ORDERS)


@pytest.mark.parametrize("epsilon", ["0.01", "0.5", "1", "5"])
def test_a_pure_release_has_the_librarys_curve_of_randomised_response(epsilon: str) -> None:
    theirs = RdpAccountant(neighboring_relation=REPLACE_ONE)
    theirs.compose(dp.RandomizedResponseDpEvent(2 / (1 + math.exp(float(epsilon))), 2))
    ours = np.array(Loss.pure(epsilon).curve) / UNIT
    assert np.all(ours >= theirs._rdp * (1 - 1e-9))
    np.testing.assert_allclose(ours, theirs._rdp, rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize(("epsilon", "shift"), [(0.5, 1), (0.5, 7), (2.0, 1), (2.0, 3), (6.0, 1)])
def test_the_curve_covers_the_discrete_laplace_where_the_continuous_ones_does_not(epsilon: float, shift: int) -> None:
    ours = np.array(Loss.pure(repr(epsilon)).curve) / UNIT
    truth = np.array([discrete_laplace(epsilon, shift, order) for order in ORDERS[:90]])
    assert np.all(truth <= ours[:90])
    continuous = RdpAccountant()
    continuous.compose(dp.LaplaceDpEvent(1 / epsilon))
    if shift == 1:
        assert np.all(continuous._rdp[:90] < truth)


def test_a_gaussian_release_has_the_librarys_curve_and_epsilon() -> None:
    theirs = RdpAccountant()
    theirs.compose(dp.GaussianDpEvent(3.0), 4)
    ours = Loss.gaussian("1", "1e-6", 4 / (2 * 3.0**2))
    np.testing.assert_allclose(np.array(ours.curve) / UNIT, theirs._rdp, rtol=1e-6)
    assert theirs.get_epsilon(1e-6) <= epsilon_at(ours.curve, Decimal("1e-6")) <= theirs.get_epsilon(1e-6) * 1.001


def test_parts_of_a_release_cost_less_together_than_one_of_their_sum() -> None:
    assert all(a < b for a, b in zip(Loss.pure(4, 4).curve, Loss.pure(4).curve, strict=True))
    assert Loss.pure(4, 4).units == Loss.pure(4).units


def test_many_small_releases_fit_where_their_epsilons_do_not() -> None:
    limit, spent = Units.allowed(1, "1e-5"), NOTHING
    for _ in range(400):
        spent = plus(spent, Loss.pure("0.01").curve)
    assert fits(spent, limit)
    theirs = RdpAccountant(neighboring_relation=REPLACE_ONE)
    theirs.compose(dp.RandomizedResponseDpEvent(2 / (1 + math.exp(0.01)), 2), 400)
    assert theirs.get_epsilon(1e-5) <= epsilon_at(spent, Decimal("1e-5")) < 1


def test_without_a_delta_no_order_allows_anything_and_an_unknown_mechanism_fits_none() -> None:
    assert not fits(Loss.pure("0.001").curve, Units.allowed(100, 0))
    assert not fits(Loss.of("0.001", "1e-9").curve, Units.allowed(1000, "0.1"))
    assert epsilon_at(Loss.pure("0.001").curve, Decimal(0)) == math.inf


@pytest.mark.parametrize("rho", [-1.0, math.inf, math.nan])
def test_an_impossible_loss_is_refused(rho: float) -> None:
    with pytest.raises(InvalidBudget, match="zCDP"):
        Loss.gaussian(1, "1e-6", rho)
    with pytest.raises(InvalidBudget, match="no parts"):
        Loss.pure(1, 0)
