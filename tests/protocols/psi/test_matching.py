"""Tags are found where they stand, compared to the last byte, and not twice."""

import numpy as np
import pytest

from protocols.errors import PeerViolation
from protocols.psi.matching import find
from protocols.psi.permute import permutation
from protocols.psi.ristretto import U8


def tags(count: int, size: int, seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (count, size), np.uint8)


@pytest.mark.parametrize("size", [6, 8, 10, 16])
@pytest.mark.parametrize(("mine", "theirs"), [(0, 0), (0, 9), (9, 0), (1, 1), (500, 20_000), (20_000, 500)])
def test_common_tags_are_found_and_no_others(mine: int, theirs: int, size: int) -> None:
    own, sent = tags(mine, size, 1), tags(theirs, size, 2)
    common = min(mine, theirs) // 2
    sent[theirs - common :] = own[:common]
    expected = np.r_[np.arange(theirs - common, theirs), np.full(mine - common, -1)]
    assert (find(own, sent) == expected).all()


@pytest.mark.parametrize("byte", [0, 7, 8, 9])
def test_a_difference_in_any_byte_is_seen(byte: int) -> None:
    own = tags(50, 10)
    sent = own.copy()
    sent[20, byte] ^= 1
    assert find(own, sent).tolist() == [*range(20), -1, *range(21, 50)]


def test_tags_that_differ_only_behind_the_first_word_are_told_apart() -> None:
    own = np.repeat(tags(1, 10), 40, axis=0)
    own[:, 9] = np.arange(40)
    order = np.random.default_rng(1).permutation(40)
    assert (own[order][find(own, own[order])] == own).all()


@pytest.mark.parametrize("places", [(3, 4), (0, 199)])
def test_one_of_our_tags_sent_twice_is_a_violation(places: tuple[int, int]) -> None:
    own, sent = tags(100, 10, 1), tags(200, 10, 2)
    sent[list(places)] = own[7]
    with pytest.raises(PeerViolation, match="twice"):
        find(own, sent)


def test_a_repeated_tag_that_is_not_ours_is_not_looked_at() -> None:
    own, sent = tags(100, 10, 1), tags(200, 10, 2)
    sent[5] = sent[6]
    assert (find(own, sent) == -1).all()


def test_a_permutation_is_drawn_anew_where_words_are_equal() -> None:
    draws = iter([np.array([5, 5, 1], np.uint64), np.array([9, 2, 4], np.uint64)])
    assert permutation(3, lambda _n: next(draws).tobytes()).tolist() == [1, 2, 0]
    assert permutation(0, bytes).tolist() == []


def test_all_orders_come_up_alike() -> None:
    random = np.random.default_rng(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(permutation(3, random.bytes).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 35  # chi-square, 5 degrees: p < 2e-6
