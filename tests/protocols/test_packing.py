"""Packing: what goes in comes out, to one step a party for reals and exactly for whole numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MisuseError
from protocols.packing import FieldLayout, dequantise, from_limbs, pack, quantise, to_limbs, unpack
from protocols.params import PUBLIC_4096, SHARED_2048, BfvParams

RNG = np.random.default_rng(7)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 16), st.integers(1, 40), st.sampled_from([SHARED_2048, PUBLIC_4096]), st.integers(0, 2**32))
def test_sum_of_packed_codes_is_the_sum_of_codes(parties: int, count: int, params: BfvParams, seed: int) -> None:
    layout = FieldLayout(parties, params)
    codes = np.random.default_rng(seed).integers(0, layout.top_code, (parties, count), np.uint32, endpoint=True)
    codes[:, 0] = layout.top_code
    total = np.stack([pack(layout, row) for row in codes]).sum(axis=0)
    assert (unpack(layout, total, count) == codes.sum(axis=0)).all()
    assert int(total.max()) < params.plain_modulus


@pytest.mark.parametrize("parties", [2, 3, 16])
def test_sum_of_reals_is_within_one_step_a_party(parties: int) -> None:
    layout, clip = FieldLayout(parties), 0.25
    reals = RNG.uniform(-clip, clip, (parties, 999)).astype(np.float32)
    sums = np.stack([quantise(layout, row, clip).codes for row in reals]).sum(axis=0, dtype=np.uint64)
    error = np.abs(dequantise(layout, sums, clip) - reals.sum(axis=0, dtype=np.float64))
    assert error.max() < parties * layout.step(clip) * 1.01


@pytest.mark.parametrize(("parties", "bits"), [(2, 17), (3, 16), (4, 16), (5, 15), (8, 15), (9, 14), (16, 14)])
def test_code_bits_leave_room_for_the_sum_and_a_guard(parties: int, bits: int) -> None:
    layout = FieldLayout(parties)
    assert layout.code_bits == bits
    assert parties * layout.top_code < 1 << (layout.field_bits - 1)


def test_the_bounds_are_met_exactly_and_overshoot_is_clipped_and_counted() -> None:
    layout = FieldLayout(3)
    reals = np.array([-0.5, 0.5, -9.0, 3.4e38], np.float32)
    codes, clipped = quantise(layout, reals, 0.5)
    assert codes.tolist() == [0, layout.top_code, 0, layout.top_code]
    assert clipped == 0.5


def test_rounding_is_unbiased() -> None:
    layout, value = FieldLayout(3), np.float32(0.1000001)
    codes = quantise(layout, np.full(200_000, value), 1.0).codes
    mean = codes.mean() * layout.step(1.0) - 1.0
    assert len(np.unique(codes)) == 2
    assert abs(mean - value) < 5 * layout.step(1.0) / 2 / np.sqrt(200_000)


@pytest.mark.parametrize(
    ("reals", "said"),
    [
        (np.array([np.nan], np.float32), "NaN"),
        (np.array([np.inf], np.float32), "infinite"),
        (np.array([1.0]), "float64"),
        (np.zeros((1, 1), np.float32), "shape"),
    ],
)
def test_our_own_encoder_refuses_what_it_cannot_encode(reals: Any, said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        quantise(FieldLayout(3), reals, 1.0)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_bound_is_refused(clip: float) -> None:
    with pytest.raises(MisuseError, match="clipping bound"):
        quantise(FieldLayout(3), np.zeros(1, np.float32), clip)


@pytest.mark.parametrize("parties", [1, 24])
def test_too_few_or_too_many_parties_are_refused(parties: int) -> None:
    with pytest.raises(MisuseError, match="cannot share a field"):
        FieldLayout(parties)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-(2**54), 2**54), min_size=3, max_size=3), min_size=1, max_size=16))
def test_whole_numbers_are_summed_exactly(values: list[list[int]]) -> None:
    rows = np.array(values, np.int64)
    total = np.stack([to_limbs(row, len(rows)) for row in rows]).sum(axis=0)
    assert from_limbs(total).tolist() == rows.sum(axis=0).tolist()


def test_4096_parties_do_not_overflow_a_limb() -> None:
    total = to_limbs(np.array([-1], np.int64), 4096) * np.uint64(4096)
    assert int(total.max()) < 2**32
    assert from_limbs(total).tolist() == [-4096]


def test_a_whole_number_that_could_overflow_the_sum_is_refused() -> None:
    bound = (2**59 - 1) // 3
    to_limbs(np.array([bound, -bound], np.int64), 3)
    with pytest.raises(MisuseError, match="too large"):
        to_limbs(np.array([bound + 1], np.int64), 3)
    with pytest.raises(MisuseError, match="too large"):
        to_limbs(np.array([-(2**63)], np.int64), 3)
