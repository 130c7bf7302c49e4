"""Every item gets one bin of its three, no bin two items, and what can not be placed is said."""

import numpy as np
import pytest

from protocols.packing import U64
from protocols.psi.agreement import Agreement
from protocols.psi.cuckoo import PlacementFailed, place


def candidates(items: int, bins: int, seed: int) -> U64:
    return np.random.default_rng(seed).integers(0, bins, (3, items), np.uint64)


@pytest.mark.parametrize("items", [0, 1, 5, 1000, 1 << 14, 66_000])
def test_every_item_has_a_bin_of_its_own_among_its_candidates(items: int) -> None:
    bins = Agreement(bytes(32), 1, max(items, 1), 1 << 20).bins
    wanted = candidates(items, bins, items)
    table, chosen = place(wanted, bins)
    taken = np.flatnonzero(table >= 0)
    assert sorted(table[taken].tolist()) == list(range(items))
    assert (wanted[chosen[table[taken]], table[taken]] == taken).all()


def test_full_buckets_are_placed_again_and_again() -> None:
    items = 1 << 14
    bins = Agreement(bytes(32), 1, items).bins
    for seed in range(30):
        table, _ = place(candidates(items, bins, seed), bins)
        assert (table >= 0).sum() == items


def test_items_whose_candidates_are_one_bin_are_placed_if_they_can() -> None:
    table, chosen = place(np.array([[4, 4], [4, 4], [4, 7]], np.uint64), 64)
    assert sorted([int(table[4]), int(table[7])]) == [0, 1]
    assert table[7] == 1
    assert chosen[1] == 2


@pytest.mark.parametrize("items", [3, 100])
def test_more_items_than_bins_among_their_candidates_fail(items: int) -> None:
    crowded = np.tile(np.array([[1], [2], [2]], np.uint64), (1, items))
    with pytest.raises(PlacementFailed, match=r"no bin; use elliptic-curve matching"):
        place(crowded, 64)
