"""What each role sees is what the plan declares: a simulator that knows only that makes the same view."""

import os
from dataclasses import replace

import numpy as np
import pytest

from protocols.join.matching import HiddenAttribute, HiddenValue
from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.table import Table
from protocols.join.terms import MODULI, JoinTerms
from protocols.packing import U64
from protocols.psi.items import I64, distinct
from tests.protocols.join.pairs import HIDDEN, TERMS, Pair, items, many_to_one, talk

ENGINES = pytest.mark.parametrize("terms", [TERMS, HIDDEN], ids=["ot", "ec-hidden"])


def sizes(pair: Pair) -> list[tuple[int | None, ...]]:
    """Of the attribute side's and of the value side's mails, by turn."""
    return [tuple(None if mail is None else len(mail) for mail in sent) for sent in talk(*pair.sides())]


def of_members(terms: JoinTerms, own: I64, others: I64, seed: int = 0) -> Pair:
    """Two groups of the hidden engine, or of random weights by OT, with random values."""
    rng = np.random.default_rng(seed)
    left = np.ones((len(own), 2), np.int64) if terms.engine == "ec-hidden" else rng.integers(-9, 9, (len(own), 2))
    return Pair(terms, own, np.arange(len(own)) % 2, left, others, rng.integers(-99, 99, (len(others), 2)))


@ENGINES
def test_sizes_of_mails_depend_on_the_announced_sizes_only(terms: JoinTerms) -> None:
    """From 33 to 64 keys a side, whatever matches and whatever the weights and values are: the same sizes."""
    ways = [
        of_members(terms, np.arange(64), np.arange(64)),
        of_members(terms, np.arange(64), 1000 + np.arange(64), seed=1),
        of_members(terms, np.arange(64), 30 + np.arange(33), seed=2),
        of_members(terms, np.arange(34 if terms.engine == "ot" else 63), np.arange(40), seed=3),
    ]
    seen = [sizes(pair) for pair in ways]
    assert seen == [seen[0]] * len(ways)
    assert sizes(of_members(terms, np.arange(64), np.arange(65))) != seen[0]


def test_sizes_for_the_wide_and_the_large_follow_the_terms() -> None:
    narrow, wide = (sizes(many_to_one(replace(TERMS, wide=wide), 20)) for wide in (False, True))
    assert narrow[0][3] is not None
    assert wide[0][3] == 2 * narrow[0][3]


def test_the_hidden_attribute_sides_view_comes_from_counts_alone() -> None:
    """Real: 40 of B's 64 keys match, 25 of list 0 and 15 of list 1. Simulated: other keys, the same counts.

    A sees lists at positions. Which positions these are must be uniform; which members they are A must not see: the
    tags within a list come sorted (byte for byte in `psi/test_elliptic`), so the view is (list per position) alone.
    """
    hits: dict[str, I64] = {}
    for name, first, second in (("real", 0, 0), ("simulated", 6, 16)):
        counts = np.zeros(64, np.int64)
        for _ in range(40):
            own = np.arange(62)  # lists of the even and of the odd, 31 each, padded to 32
            evens, odds = own[own % 2 == 0][first : first + 25], own[own % 2 == 1][second : second + 15]
            others = np.concatenate([evens, odds, 1000 + np.arange(24)])
            found = _lists_seen(of_members(HIDDEN, own, others))
            assert np.bincount(found[found >= 0]).tolist() == [25, 15]
            counts += found >= 0
        hits[name] = counts
    for counts in hits.values():  # 40 of 64 positions in each of 40 runs: 25 on average, variance 25 * 24 / 64
        assert ((counts - 25) ** 2 / (25 * 24 / 64)).sum() < 150  # chi-square, 63 degrees of freedom: chance 1e-8


def _lists_seen(pair: Pair) -> I64:
    """What the holder of the lists finds at each position, -1 for nothing: matching alone, without the values."""
    table = Table.of(pair.terms, items(pair.keys), pair.groups, pair.left)
    a = HiddenAttribute(pair.terms, table, os.urandom, None)
    b = HiddenValue(pair.terms, distinct(items(pair.others)).items, os.urandom, None)
    to_b, to_a = a.meet(b.opening()), b.meet(a.opening())
    a.ask(0, to_a)
    entries = a.learn(0, b.tags(0, to_b))
    found = np.full(len(b.order), -1, np.int64)
    found[entries.positions] = entries.groups
    return found


@pytest.mark.parametrize("matched", [0, 20, 64])
@ENGINES
def test_all_the_value_side_decrypts_is_uniform(
    terms: JoinTerms, matched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulator: uniform slots with the share as their sum, sizes from the terms; so nothing but its own share."""
    seen: list[U64] = []
    opened = ValueSide.__module__

    def watched(slots: U64, modulus: int) -> U64:
        seen.append(slots)
        total: U64 = slots.sum(axis=1) % np.uint64(modulus)
        return total

    monkeypatch.setattr(f"{opened}.share_of", watched)
    pair = of_members(replace(terms, groups=2), np.arange(64), np.arange(64) + 64 - matched)
    a, b = pair.sides()
    talk(a, b)
    (slots,) = seen
    counts = np.histogram(slots, 64, (0, MODULI[0]))[0]
    mean = slots.size / 64
    assert ((counts - mean) ** 2 / mean).sum() < 150  # chi-square, 63 degrees of freedom: chance 1e-8


def test_the_value_sides_view_of_a_hidden_match_is_list_sizes_and_random_points() -> None:
    """Points of lists of 31 real keys and of one are alike: encodings of uniform elements, all different."""
    many = of_members(HIDDEN, np.arange(62), np.arange(5))
    few = of_members(HIDDEN, np.arange(34), np.arange(5))
    means = []
    for pair in (many, few):
        a, b = pair.sides()
        sent = talk(a, b)[0][1]
        assert sent is not None
        points = np.frombuffer(sent, np.uint8).reshape(64, 32)
        assert len(np.unique(points, axis=0)) == 64
        means.append(float(points[:, 1:31].mean()))
    assert max(abs(mean - 127.5) for mean in means) < 12  # 1,920 uniform bytes: standard deviation 1.7


def test_labels_of_lists_are_in_a_fresh_secret_order() -> None:
    """Four groups of very different sizes: the announced order is not that of the groups."""
    groups = np.repeat(np.arange(3), [1, 9, 33])
    keys = np.arange(len(groups))
    terms = replace(HIDDEN, groups=3)
    seen = set()
    for _ in range(60):
        a = AttributeSide(terms, items(keys), groups, np.ones((len(keys), 2), np.int64))
        opening = a.step(1, None)
        assert opening is not None
        seen.add(opening)
    assert len(seen) == 6


@ENGINES
def test_two_joins_of_the_same_data_share_no_mail(terms: JoinTerms) -> None:
    """Fresh randomness in every mail but the sizes."""
    pair = many_to_one(terms, 40)
    first, second = talk(*pair.sides()), talk(*pair.sides())
    for one, other in zip(first, second, strict=True):
        assert len(one) >= 4
        for left, right in zip(one[1:], other[1:], strict=True):
            assert left is None or left != right
