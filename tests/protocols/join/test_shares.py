"""Shares of a joint table: uniform among the parties given their sum, and opened exactly."""

from itertools import combinations
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MisuseError, PeerViolation
from protocols.join.residues import residues, uniform
from protocols.join.shares import combine, open_table, rerandomised
from protocols.join.terms import MODULI
from protocols.masking import EpochKey, pair_seed
from protocols.packing import U64

NAMES = ("a", "b", "c")
WIDE = st.integers(-(2**63) + 1, 2**63 - 1)
NARROW = st.integers(-(MODULI[0] // 2), MODULI[0] // 2)


def split(values: list[int], moduli: tuple[int, ...], parties: int = 3, seed: int = 0) -> list[U64]:
    """Shares (moduli, values) of some whole numbers."""
    rng = np.random.default_rng(seed)
    limits = np.array(moduli)[:, None]
    parts = [rng.integers(0, limits, (len(moduli), len(values))).astype(np.uint64) for _ in range(parties - 1)]
    known = sum((part.astype(object) for part in parts), np.zeros((len(moduli), len(values)), object))
    last = np.array([[v % t for v in values] for t in moduli], object) - known
    return [*parts, (last % limits.astype(object)).astype(np.uint64)]


def masked(parts: list[U64], moduli: tuple[int, ...], digest: bytes = bytes(32)) -> list[U64]:
    """Each party's shares after re-randomising under fresh keys."""
    keys = [EpochKey.generate() for _ in parts]
    seeds = {
        (i, j): pair_seed(keys[i], keys[j].public, digest=digest, me=NAMES[i], peer=NAMES[j])
        for i, j in combinations(range(len(parts)), 2)
    }
    return [
        rerandomised(
            part, moduli, [s for (i, _), s in seeds.items() if i == own], [s for (_, j), s in seeds.items() if j == own]
        )
        for own, part in enumerate(parts)
    ]


def total(parts: list[U64]) -> U64:
    whole: U64 = np.sum(parts, axis=0, dtype=np.uint64)
    return whole


@given(st.lists(NARROW, min_size=1, max_size=5))
def test_one_modulus_opens_values_on_both_sides_of_zero(values: list[int]) -> None:
    assert open_table(total(split(values, MODULI[:1])), MODULI[:1]).tolist() == values


@given(st.lists(WIDE, min_size=1, max_size=5))
def test_two_moduli_open_values_of_64_bits(values: list[int]) -> None:
    assert open_table(total(split(values, MODULI)), MODULI).tolist() == values


@given(st.lists(WIDE, min_size=1, max_size=3))
def test_masks_cancel_in_the_sum_modulo_each_prime(values: list[int]) -> None:
    assert open_table(total(masked(split(values, MODULI), MODULI)), MODULI).tolist() == values


def test_a_table_keeps_its_shape_and_stays_below_its_moduli() -> None:
    parts = [part.reshape(2, 2, 3) for part in split(list(range(6)), MODULI)]
    after = masked(parts, MODULI)
    assert all((part < np.array(MODULI, np.uint64).reshape(2, 1, 1)).all() for part in after)
    assert open_table(total(after), MODULI).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_masked_shares_are_uniform_whatever_they_were() -> None:
    """All-zero shares of zeros, so that nothing but the masks is seen: each party's, and the sum of any two."""
    zeros = [np.zeros((1, 16384), np.uint64)] * 3
    after = masked(zeros, MODULI[:1])
    modulus = np.uint64(MODULI[0])
    views = [*after, *[(x + y) % modulus for x, y in combinations(after, 2)]]
    for view in views:
        counts = np.histogram(view, 64, (0, MODULI[0]))[0]
        assert ((counts - 256) ** 2 / 256).sum() < 150  # chi-square, 63 degrees of freedom: chance 1e-8
    assert not (total(after) % modulus).any()


def test_the_number_of_wraps_does_not_depend_on_the_shares_that_went_in() -> None:
    """The whole-number sum is total + wraps * t: with shares at the ends of the range wraps are the same as at zero."""
    modulus, count = MODULI[0], 4096
    low = [np.zeros((1, count), np.uint64)] * 3
    high = [np.full((1, count), modulus - 1, np.uint64)] * 2 + [np.full((1, count), 2, np.uint64)]
    bare = [np.bincount((total(parts) // np.uint64(modulus)).astype(np.int64)[0], minlength=3) for parts in (low, high)]
    wraps = [
        np.bincount((total(masked(parts, (modulus,))) // np.uint64(modulus)).astype(np.int64)[0], minlength=3)
        for parts in (low, high)
    ]
    assert bare[0].tolist() == [count, 0, 0]
    assert bare[1].tolist() == [0, 0, count]  # unmasked, the sums of zeros differ
    assert (abs(wraps[0] - wraps[1]) < 6 * (2 * count) ** 0.5).all()


def test_shares_of_several_pairs_add_up() -> None:
    parts = split([5, -7], MODULI, parties=4)
    mine = combine(parts[:2], MODULI)
    assert (mine < np.array(MODULI, np.uint64)[:, None]).all()
    assert open_table(total([mine, *parts[2:]]), MODULI).tolist() == [5, -7]


def test_wrong_totals_are_noticed_and_misuse_is_ours() -> None:
    wrong = np.array([[1], [MODULI[1] // 2]], np.uint64)
    with pytest.raises(PeerViolation, match="out of range"):
        open_table(wrong, MODULI)
    with pytest.raises(MisuseError, match="do not fit"):
        open_table(wrong, MODULI[:1])
    with pytest.raises(MisuseError, match="do not fit"):
        rerandomised(np.array([[MODULI[0]]], np.uint64), MODULI[:1], [], [])
    with pytest.raises(MisuseError, match="no shares"):
        combine([], MODULI)
    assert prod(MODULI) > 1 << 64


def test_residues_are_those_of_the_whole_numbers() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (16, 50), np.uint8)
    numbers = [int.from_bytes(column.tobytes(), "big") for column in raw.T]
    for modulus in (*MODULI, 72057594037616641, 3):
        assert residues(raw, modulus).tolist() == [number % modulus for number in numbers]
        assert uniform(raw.tobytes(), modulus).tolist() == [number % modulus for number in numbers]
