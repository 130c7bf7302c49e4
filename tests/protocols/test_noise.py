"""Noise has the distribution that its privacy map speaks of."""

import math
from typing import Any

import numpy as np
import pytest

from protocols.errors import MisuseError
from protocols.noise import NoiseSpec, gaussian_sigma, laplace_scale, zcdp_epsilon

ZEROS = np.zeros(4000, np.int64)


def _expected(spec: NoiseSpec, ks: Any) -> Any:
    wide = np.arange(-400, 401)
    power = 1 if spec.kind == "laplace" else 2
    spread = spec.scale if spec.kind == "laplace" else 2 * spec.scale**2
    return np.exp(-(np.abs(ks) ** power) / spread) / np.exp(-(np.abs(wide) ** power) / spread).sum()


@pytest.mark.parametrize("spec", [NoiseSpec("laplace", 2.0), NoiseSpec("gaussian", 3.0, 1e-6)], ids=lambda s: s.kind)
def test_noise_follows_the_discrete_law(spec: NoiseSpec) -> None:
    noise = spec.add(ZEROS)
    ks = np.arange(-4, 5)
    seen = np.array([(noise == k).sum() for k in ks])
    expected = _expected(spec, ks) * ZEROS.size
    assert ((seen - expected) ** 2 / expected).sum() < 60  # chi-square, 9 cells: p < 1e-8
    assert noise.dtype == np.int64


def test_values_keep_their_shape_and_are_shifted() -> None:
    noisy = NoiseSpec("laplace", 0.5).add(np.array([[10**6, -(10**6)]]))
    assert noisy.shape == (1, 2)
    assert np.abs(noisy - [[10**6, -(10**6)]]).max() < 60


@pytest.mark.parametrize(("rho", "delta", "epsilon"), [(0.1, 1e-6, 2.1419), (0.5, 1e-6, 5.2215), (0.05, 1e-8, 1.7553)])
def test_zcdp_conversion_matches_published_values(rho: float, delta: float, epsilon: float) -> None:
    assert zcdp_epsilon(rho, delta) == pytest.approx(epsilon, abs=1e-4)
    assert zcdp_epsilon(rho, delta) < rho + 2 * math.sqrt(rho * math.log(1 / delta))


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1.0, 1e-6), (4.0, 1e-8)])
def test_sigma_spends_the_epsilon_asked_for_and_no_more(epsilon: float, delta: float) -> None:
    spec = NoiseSpec("gaussian", gaussian_sigma(5.0, epsilon, delta), delta)
    spent, at = spec.loss(5.0)
    assert 0.999 * epsilon < spent <= epsilon * (1 + 1e-8)
    assert at == delta
    assert NoiseSpec.gaussian(5.0, epsilon, delta) == spec


def test_laplace_scale_agrees_with_opendp_s_own_map() -> None:
    spec = NoiseSpec.laplace(3, 0.5)
    assert spec.scale == pytest.approx(laplace_scale(3, 0.5))
    assert spec._measurement().map(3) <= spec.loss(3)[0] == pytest.approx(0.5)
    assert spec.loss(0) == (0.0, 0.0)


def test_gaussian_zcdp_cost_agrees_with_opendp_s_own_map() -> None:
    spec = NoiseSpec("gaussian", 3.0, 1e-6)
    assert spec._measurement().map(2.0) <= spec.rho(2.0) == pytest.approx(2 / 9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NoiseSpec("laplace", 0.0),
        lambda: NoiseSpec("laplace", float("nan")),
        lambda: NoiseSpec("laplace", 1.0, 0.1),
        lambda: NoiseSpec("gaussian", 1.0),
        lambda: NoiseSpec("normal", 1.0),  # type: ignore[arg-type]  # an unknown kind on purpose
        lambda: NoiseSpec("laplace", 1.0).loss(-1),
        lambda: NoiseSpec("laplace", 1.0).add(np.zeros(1)),  # type: ignore[arg-type]  # floats on purpose
        lambda: NoiseSpec("laplace", 1.0).add(np.array([2**62])),
        lambda: laplace_scale(0, 1.0),
        lambda: gaussian_sigma(1.0, 1.0, 1.0),
    ],
)
def test_impossible_noise_is_refused(make) -> None:  # type: ignore[no-untyped-def]  # lambdas above
    with pytest.raises(MisuseError):
        make()
