"""Joins are exact for every engine, shape and sign; what is malformed, missing or out of order ends them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.join.ring import DATA, DEGREE, FRESH_BYTES, KEY_BYTES, REPLY_BYTES, WIDTH
from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.shares import open_table
from protocols.join.terms import MODULI, JoinTerms, session_of
from protocols.psi.agreement import Agreement
from protocols.psi.cuckoo import PlacementFailed
from tests.protocols.join.pairs import HIDDEN, TERMS, Pair, due, items, many_to_one, talk, totals

ENGINES = pytest.mark.parametrize("terms", [TERMS, HIDDEN], ids=["ot", "ec-hidden"])
EMPTY = np.empty(0, np.int64)


def joined(pair: Pair) -> tuple[AttributeSide, ValueSide]:
    """Both sides after a join whose result was checked."""
    a, b = pair.sides()
    talk(a, b)
    assert (open_table(totals(a, b), pair.terms.moduli) == pair.expected()).all()
    return a, b


@ENGINES
@pytest.mark.parametrize("groups", [1, 3, 20])
def test_joins_are_exact(terms: JoinTerms, groups: int) -> None:
    """Negative values and weights, keys of one side only, several blocks of 8192 positions."""
    joined(many_to_one(replace(terms, groups=groups), 9000 if terms.engine == "ot" else 400, seed=groups))


@ENGINES
def test_wide_joins_are_exact_beyond_one_modulus(terms: JoinTerms) -> None:
    wide = replace(
        terms, groups=1, wide=True, left_limits=(1 << 20, 1 << 20), right_limits=(1 << 40, 1 << 40), outputs=((0, 0),)
    )
    count = 4
    left, right = np.full((count, 2), -(1 << 20)), np.full((count, 2), 1 << 40)
    pair = Pair(wide, np.arange(count), np.zeros(count, np.int64), left, np.arange(count), right)
    a, _ = joined(pair)
    assert a.shares.shape == (2, 1, 1)


@ENGINES
@pytest.mark.parametrize(("own", "others"), [(0, 5), (5, 0), (0, 0), (1, 1), (6, 6)])
def test_empty_sides_and_empty_intersections_give_zeros(terms: JoinTerms, own: int, others: int) -> None:
    left, right = np.ones((own, 2), np.int64), np.ones((others, 2), np.int64)
    joined(Pair(terms, np.arange(own), np.zeros(own, np.int64), left, 100 + np.arange(others), right))


@ENGINES
def test_weights_of_zero_and_of_both_signs_cancel(terms: JoinTerms) -> None:
    left = np.array([[0, 0], [0, 5], [0, -5]])
    right = np.array([[1, 1], [7, 7], [7, 7]])
    joined(Pair(terms, np.arange(3), np.zeros(3, np.int64), left, np.arange(3), right))


def test_a_key_may_stand_in_several_groups_of_the_hidden_engine_too() -> None:
    """As lists of keys with equal rows: here two, one of which counts in both groups."""
    keys = np.array([0, 1, 2, 3, 3, 4, 4, 5, 5])
    groups = np.array([0, 0, 0, 0, 1, 0, 1, 0, 1])
    left = np.stack([1 + groups, 2 - groups], axis=1)
    pair = Pair(HIDDEN, keys, groups, left, np.arange(1, 8), np.arange(14).reshape(7, 2) - 3)
    a, _ = joined(pair)
    opening = a._matcher.opening()
    assert len(opening) == 2 * 8


def test_the_ot_engine_tells_the_attribute_side_which_rows_matched() -> None:
    pair = many_to_one(TERMS, 300)
    a, _ = joined(pair)
    assert (a.matched == np.isin(pair.keys, pair.others)).all()


def test_the_hidden_engine_does_not() -> None:
    a, _ = joined(many_to_one(HIDDEN, 50))
    with pytest.raises(MisuseError, match="not known"):
        _ = a.matched


def test_keys_of_lists_that_are_too_short_are_left_out_and_their_groups_named() -> None:
    """Whoever learns how many of a list of one match would learn whether that one does."""
    terms = replace(HIDDEN, minimum=4)
    keys, groups = np.arange(9), np.array([0] * 4 + [1] * 2 + [2] * 3)
    pair = Pair(terms, keys, groups, np.ones((9, 2), np.int64), keys, np.full((9, 2), 2))
    a, b = pair.sides()
    talk(a, b)
    assert a.left_out == {1, 2}
    assert open_table(totals(a, b), terms.moduli)[:, 0].tolist() == [8, 0, 0]


def test_every_number_of_weights_and_lists_that_can_not_be_hidden_is_refused() -> None:
    count = 1500
    left = np.stack([np.arange(count), np.arange(count)], axis=1)
    terms = replace(HIDDEN, left_limits=(2000, 2000))
    with pytest.raises(MisuseError, match=r"different combinations.*other side the attribute side"):
        AttributeSide(terms, items(np.arange(count)), np.zeros(count, np.int64), left)


def test_shares_come_after_the_last_round_only() -> None:
    a, b = many_to_one(TERMS, 20).sides()
    last = len(TERMS.turns[1])
    talk(a, b, (99, last - 1))
    with pytest.raises(MisuseError, match="no shares yet"):
        _ = b.shares
    a, b = many_to_one(TERMS, 20).sides()
    talk(a, b, (len(TERMS.turns[0]) - 1, 99))
    with pytest.raises(MisuseError, match="no shares yet"):
        _ = a.shares


# our own faults


@pytest.mark.parametrize("limits", [(1000, 1000), (10, 1000)])
def test_values_that_encode_who_matched_pass_the_limit(limits: tuple[int, int]) -> None:
    """v_j = 2**j would show in the bits of a sum which rows went in; the declared limit cuts that short."""
    crafted = np.stack([1 << np.arange(20), np.ones(20, np.int64)], axis=1)
    with pytest.raises(MisuseError, match="right column passes its limit"):
        ValueSide(replace(TERMS, right_limits=limits), items(np.arange(20)), crafted)


def test_what_the_limit_lets_pass_of_an_encoding_is_its_own_bits() -> None:
    limit = 1 << 9
    values = np.minimum(1 << np.arange(20), limit)
    assert len(np.unique(values)) <= limit.bit_length()


def test_sums_that_could_wrap_are_refused_before_anything_is_sent() -> None:
    count, limit = 3, MODULI[0] // 2 // 1000 // 3
    terms = replace(TERMS, right_limits=(2 * limit, 1))

    def value_side(value: int, **changes: int) -> ValueSide:
        right = np.full((count, 2), 1)
        right[:, 0] = value
        return ValueSide(replace(terms, **changes), items(np.arange(count)), right)  # type: ignore[arg-type]

    value_side(limit)
    value_side(-limit)
    for value, pairs in ((limit + 1, 1), (-limit - 1, 1), (limit, 2)):
        with pytest.raises(MisuseError, match="could pass the modulus"):
            value_side(value, pairs=pairs)
    value_side(2 * limit, wide=True)


def test_wide_sums_stay_within_64_bits() -> None:
    terms = replace(TERMS, wide=True, left_limits=(1 << 21, 1), right_limits=(1 << 41, 1))
    with pytest.raises(MisuseError, match="could pass the modulus"):
        ValueSide(terms, items(np.arange(2)), np.full((2, 2), [1 << 41, 1]))


@ENGINES
def test_rows_that_do_not_fit_the_terms_are_refused(terms: JoinTerms) -> None:
    names, groups, left = items(np.arange(3)), np.array([0, 1, 2]), np.ones((3, 2), np.int64)

    def attribute(names: list[bytes] = names, groups: object = groups, left: object = left) -> AttributeSide:
        return AttributeSide(terms, names, groups, left)  # type: ignore[arg-type]

    attribute()
    cases: list[tuple[str, Callable[[], object]]] = [
        ("wrong shape", lambda: attribute(groups=groups[:2])),
        ("wrong shape", lambda: attribute(groups=groups.astype(np.int32))),
        ("wrong shape", lambda: attribute(left=left[:, :1])),
        ("wrong shape", lambda: attribute(left=left.astype(float))),
        ("out of range", lambda: attribute(groups=groups + 1)),
        ("out of range", lambda: attribute(groups=groups - 1)),
        ("passes its limit", lambda: attribute(left=left * 1001)),
        ("passes its limit", lambda: attribute(left=left * np.iinfo(np.int64).min)),
        ("twice in a group", lambda: attribute(names=[names[0]] * 3, groups=groups * 0)),
        ("occurs twice", lambda: ValueSide(terms, [names[0]] * 3, left)),
        ("wrong shape", lambda: ValueSide(terms, names, left[:2])),
    ]
    for what, make in cases:
        with pytest.raises(MisuseError, match=what):
            make()


def test_sets_larger_than_agreed_are_refused_on_our_side() -> None:
    small = replace(TERMS, largest=(4, 4))
    for terms in (small, replace(small, engine="ec-hidden")):
        with pytest.raises(MisuseError, match="larger than agreed"):
            AttributeSide(terms, items(np.arange(5)), np.zeros(5, np.int64), np.ones((5, 2), np.int64))
        with pytest.raises(MisuseError, match="larger than agreed"):
            ValueSide(terms, items(np.arange(5)), np.ones((5, 2), np.int64))


def test_a_placement_that_fails_says_which_engine_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = many_to_one(TERMS, 50).sides()
    monkeypatch.setattr("protocols.psi.cuckoo._ROUNDS", 0)
    with pytest.raises(PlacementFailed, match="elliptic"):
        talk(a, b)
    with pytest.raises(MisuseError):
        _ = a.shares


# the peer's faults


@ENGINES
def test_a_set_blown_up_to_probe_for_members_shows_in_its_announced_size(terms: JoinTerms) -> None:
    """The honest side allows what the plan says; the peer, with larger terms, announces ten times as many keys."""
    plan = replace(terms, largest=(64, 64))
    pair = many_to_one(replace(terms, groups=3), 640)
    a, b = pair.sides()
    honest_a, honest_b = many_to_one(plan, 60).sides()
    openings = a.step(1, None), b.step(1, None)
    honest_a.step(1, None), honest_b.step(1, None)
    with pytest.raises(PeerViolation, match="not allowed"):
        honest_b.step(2, openings[0])
    with pytest.raises(PeerViolation, match="not allowed"):
        honest_a.step(2, openings[1])


def test_lists_shorter_than_the_minimum_are_refused_by_the_value_side() -> None:
    """A group of one, to learn of one person: the plan's minimum is seen in the list's size."""
    left = np.ones((5, 2), np.int64)
    a = AttributeSide(HIDDEN, items(np.arange(5)), np.array([0, 0, 0, 0, 1]), left)
    b = ValueSide(replace(HIDDEN, minimum=4), items(np.arange(5)), left)
    b.step(1, None)
    with pytest.raises(PeerViolation, match="not allowed"):
        b.step(2, a.step(1, None))


@ENGINES
def test_parties_with_other_terms_find_no_match(terms: JoinTerms) -> None:
    pair = many_to_one(terms, 40)
    a, _ = pair.sides()
    _, b = replace(pair, terms=replace(terms, session=session_of(bytes(32), "a", "b"))).sides()
    talk(a, b)
    assert not open_table(totals(a, b), terms.moduli).any()


@ENGINES
def test_turns_out_of_order_end_a_join(terms: JoinTerms) -> None:
    for wrong in (0, 2, 4, 5, -1):
        for side in many_to_one(terms, 10).sides():
            with pytest.raises(PeerViolation, match="out of order"):
                side.step(wrong, None)
            with pytest.raises(PeerViolation, match="out of order"):
                side.step(1, None)


@ENGINES
def test_a_finished_join_does_nothing_more_and_a_replayed_turn_takes_its_shares_away(terms: JoinTerms) -> None:
    a, b = joined(many_to_one(terms, 10))
    for side in (a, b):
        for number in (4, 5):
            with pytest.raises(PeerViolation, match="out of order"):
                side.step(number, None)
        with pytest.raises(MisuseError):
            _ = side.shares


PARTED = replace(TERMS, parts=3)


@pytest.mark.parametrize("terms", [TERMS, PARTED, HIDDEN], ids=["ot", "parts", "ec-hidden"])
def test_mails_that_are_missing_cut_or_not_due_end_a_join(terms: JoinTerms, small_buckets: None) -> None:
    """Each mail of each turn: replaced by nothing, a byte less, a byte more, or sent where none is due."""
    pair = many_to_one(terms, 30)
    for victim in (0, 1):
        for turn, waits in enumerate(terms.turns[victim], 1):
            for change in range(4 if waits else 2):
                sides = pair.sides()
                good = due(sides, victim, turn)
                assert (good is not None) == (waits > 0)
                bad = (b"", b"junk") if good is None else (None, good[:-1], good + b"\0", b"")
                with pytest.raises(PeerViolation):
                    sides[victim].step(turn, bad[change])
                with pytest.raises(MisuseError):
                    _ = sides[victim].shares


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matching by OT extension in buckets of 8 items, so that few items fill many."""
    monkeypatch.setattr("protocols.join.matching.Agreement", partial(Agreement, bucket_items=8))


@pytest.mark.parametrize("parts", [2, 3, 16])
@pytest.mark.parametrize("wide", [False, True])
def test_a_join_in_parts_gives_the_same_table(small_buckets: None, parts: int, wide: bool) -> None:
    """Also where a ciphertext has positions of several parts, and where there are more parts than buckets."""
    pair = many_to_one(replace(TERMS, parts=parts, wide=wide), 60)
    a, b = joined(pair)
    assert (open_table(totals(a, b), pair.terms.moduli) == pair.expected()).all()
    assert a.matched.tolist() == np.isin(pair.keys, pair.others).tolist()


def test_a_join_in_parts_sends_each_block_once_all_its_positions_are_known() -> None:
    """70,000 keys are two buckets of 1 << 16 items each, and so more than one ciphertext."""
    pair = many_to_one(replace(TERMS, parts=2, groups=1), 70_000)
    sides = pair.sides()
    first = due(sides, 0, 5)
    second = due(pair.sides(), 0, 6)
    assert first is not None
    assert second is not None
    portions = sides[0]._matcher.portions
    assert [portion.buckets for portion in portions] == [1, 1]
    assert 0 < portions[0].stop == portions[1].first < portions[1].stop
    blocks = [2 * FRESH_BYTES * (one.stop - one.first) for one in portions]
    assert [len(first) - portions[0].tags, len(second) - portions[1].tags] == blocks
    a, b = joined(pair)
    assert (open_table(totals(a, b), pair.terms.moduli) == pair.expected()).all()


def test_parts_are_for_the_fast_engine_and_few() -> None:
    for wrong in (replace_of(TERMS, 0), replace_of(TERMS, 17), replace_of(HIDDEN, 2)):
        with pytest.raises(MisuseError, match="number of parts"):
            wrong()


def replace_of(terms: JoinTerms, parts: int) -> Callable[[], JoinTerms]:
    return lambda: replace(terms, parts=parts)


def _tampered(part: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda mail: mail[:part] + value + mail[part + len(value) :] if part >= 0 else mail[:part] + value


LARGE = b"\xff" * WIDTH  # no coefficient
POLYNOMIAL = len(DATA) * DEGREE * WIDTH


@ENGINES
def test_encrypted_columns_that_are_malformed_are_refused(terms: JoinTerms) -> None:
    pair = many_to_one(terms, 30)
    number = 4
    sides = pair.sides()
    good = due(sides, 0, number)
    assert good is not None
    start = len(good) - sides[1]._columns_bytes(sides[1]._matcher.portions[0])
    mail = good[:start] + LARGE + good[start + WIDTH :]
    sides = pair.sides()
    due(sides, 0, number)
    with pytest.raises(PeerViolation, match=r"exceeds its prime"):
        sides[0].step(number, _with_own_tags(sides, mail, start))
    with pytest.raises(MisuseError):
        _ = sides[0].shares


@ENGINES
def test_encryption_keys_that_are_malformed_are_refused(terms: JoinTerms) -> None:
    pair, half = many_to_one(terms, 30), KEY_BYTES // 2
    changes: tuple[Callable[[bytes], bytes], ...] = (
        lambda good: good[:-KEY_BYTES] + LARGE + good[WIDTH - KEY_BYTES :],
        lambda good: good[:-half] + bytes(half),  # transparent
        lambda good: good[:-1],
        lambda good: good[:100],  # shorter than a key
    )
    for change in changes:
        sides = pair.sides()
        good = due(sides, 0, 3)
        assert good is not None
        with pytest.raises(PeerViolation, match=r"exceeds its prime|transparent|wrong length"):
            sides[0].step(3, change(good))
        with pytest.raises(MisuseError):
            _ = sides[0].shares


def _with_own_tags(sides: tuple[AttributeSide, ValueSide], mail: bytes, start: int) -> bytes:
    """Random tags instead of those of another session: they match nothing, and are all different."""
    return np.random.default_rng(5).bytes(start) + mail[start:]


@ENGINES
def test_replies_that_are_malformed_are_refused_by_the_key_holder(terms: JoinTerms) -> None:
    pair = many_to_one(terms, 30)
    number = 4
    half = REPLY_BYTES // 2
    changes: tuple[Callable[[bytes], bytes], ...] = (
        lambda good: LARGE + good[WIDTH:],
        lambda good: good[:-WIDTH] + LARGE,
        lambda good: good[:half] + bytes(half) + good[REPLY_BYTES:],  # transparent: readable by anybody
        lambda good: good[:-REPLY_BYTES],  # a cell less
        lambda good: good + good[:REPLY_BYTES],
    )
    for change in changes:
        sides = pair.sides()
        good = due(sides, 1, number)
        assert good is not None
        with pytest.raises(PeerViolation):
            sides[1].step(number, change(good))
        with pytest.raises(MisuseError):
            _ = sides[1].shares


def test_malformed_points_end_a_join_of_either_engine() -> None:
    """The identity, one that is no encoding, and one sent twice."""
    pair = many_to_one(HIDDEN, 30)
    for point in (bytes(32), b"\xff" * 32):
        for victim in (0, 1):
            sides = pair.sides()
            good = due(sides, victim, 3)
            assert good is not None
            with pytest.raises(PeerViolation):
                sides[victim].step(3, point + good[32:])
    sides = pair.sides()
    good = due(sides, 1, 3)
    assert good is not None
    with pytest.raises(PeerViolation, match="repeats"):
        sides[1].step(3, good[32:64] + good[32:])
    other = many_to_one(TERMS, 30)
    for point in (bytes(32), b"\xff" * 32):
        sides = other.sides()
        offer = due(sides, 1, 2)
        assert offer is not None
        with pytest.raises(PeerViolation):
            sides[1].step(2, offer[:8] + point)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_prepared_between_turns_changes_nothing_that_is_sent(small_buckets: None, parts: int) -> None:
    pair = many_to_one(replace(TERMS, parts=parts), 60)
    a, b = pair.sides()
    prepared = talk(a, b, prepare=True)
    plain = talk(*pair.sides())
    assert [[mail and len(mail) for mail in side] for side in prepared] == [
        [mail and len(mail) for mail in side] for side in plain
    ]
    assert (open_table(totals(a, b), pair.terms.moduli) == pair.expected()).all()


def test_what_is_prepared_of_a_hidden_match_is_nothing() -> None:
    pair = many_to_one(HIDDEN, 30)
    a, b = pair.sides()
    talk(a, b, prepare=True)
    assert (open_table(totals(a, b), pair.terms.moduli) == pair.expected()).all()


def test_a_preparation_that_fails_ends_the_join() -> None:
    a, b = many_to_one(replace(TERMS, parts=2), 50).sides()
    talk(a, b, (3, 2))
    a._script[3] = (0, _raises)
    with pytest.raises(PlacementFailed):
        a.prepare()
    with pytest.raises(PeerViolation, match="out of order"):
        a.step(4, None)
    a.prepare()


def _raises(_: object) -> None:
    raise PlacementFailed("by chance")
