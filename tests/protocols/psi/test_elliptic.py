"""Elliptic-curve intersection: every variant right, every malformed message refused, every view what was declared."""

import pickle
from collections.abc import Callable
from hashlib import shake_256

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.psi.elliptic import (
    DUMMY,
    I64,
    NO_GROUP,
    GroupedTerms,
    GroupHolder,
    Initiator,
    Outcome,
    Responder,
    Terms,
    ValueHolder,
    Variant,
    bucket_sizes,
    tag_bytes,
)
from protocols.psi.items import bucket_capacity, digests, distinct, encode, split
from protocols.psi.permute import permutation
from protocols.psi.ristretto import U8, Random, agree_all, hash_all, multiply_all, random_points, random_scalar

SESSION = bytes(range(32))


def items(*numbers: int) -> list[bytes]:
    return [b"item %d" % n for n in numbers]


def seeded(seed: str) -> Random:
    """A repeatable source of randomness."""
    drawn = 0

    def random(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return shake_256(f"{seed} {drawn}".encode()).digest(count)

    return random


def rows(message: U8) -> set[bytes]:
    return {row.tobytes() for row in message}


def run(terms: Terms, left: list[bytes], right: list[bytes]) -> tuple[Outcome, Outcome | None]:
    a, b = Initiator(terms, left), Responder(terms, right)
    to_b, to_a = a.offer(), b.offer()
    a.answer(to_a)
    result = a.finish(b.answer(to_b))
    return result, None if result.report is None else b.finish(result.report)


SETS = [
    ("empty intersection", range(10), range(10, 17)),
    ("equal sets", range(12), range(11, -1, -1)),
    ("contained", range(40), range(30, 35)),
    ("partial", range(60), range(45, 130)),
    ("one against many", [3], range(20)),
    ("nothing on one side", [], range(5)),
]


@pytest.mark.parametrize("padding", [0, 13])
@pytest.mark.parametrize(("left", "right"), [each[1:] for each in SETS], ids=[each[0] for each in SETS])
@pytest.mark.parametrize("variant", Variant)
def test_each_variant_finds_exactly_the_intersection(
    variant: Variant, left: list[int], right: list[int], padding: int
) -> None:
    terms = Terms(SESSION, max(1, len(left)) + padding, max(1, len(right)) + 2 * padding, variant)
    a, b = run(terms, items(*left), items(*right))
    both = set(left) & set(right)
    assert a.size == len(both)
    assert (b is not None) == variant.mutual
    for outcome, own in ((a, left), (b, right)):
        if outcome is None:
            continue
        assert outcome.size == len(both)
        if variant.members:
            assert outcome.members is not None
            assert outcome.members.tolist() == [i for i, n in enumerate(own) if n in both]
        else:
            assert outcome.members is None


def test_items_that_repeat_after_normalisation_count_once() -> None:
    left, rows_left = distinct(encode([" Ann@x.org", "ann@X.org", None, "bob@x.org", "no address"], "email/1"))
    right, _ = distinct(encode(["ANN@x.org", "eve@x.org"], "email/1"))
    outcome, _ = run(Terms(SESSION, 2, 2), left.to_pylist(), right.to_pylist())
    assert outcome.members is not None
    assert [row for row, item in enumerate(rows_left) if item in outcome.members] == [0, 1]


def test_random_sets_agree_with_python_sets() -> None:
    random = np.random.default_rng(5)
    for seed in range(8):
        left, right = (random.choice(300, random.integers(1, 200), replace=False).tolist() for _ in range(2))
        terms = Terms(SESSION, 200, 256, list(Variant)[seed % 4])
        assert run(terms, items(*left), items(*right))[0].size == len(set(left) & set(right))


def test_buckets_of_hidden_size_give_the_same_members() -> None:
    left, right, key = items(*range(200)), items(*range(150, 400)), b"k" * 32
    terms, count = Terms(SESSION, len(left), len(right)), 3
    rooms = bucket_capacity(len(left), count), bucket_capacity(len(right), count)
    parts = [split(digests(side, key), count, room) for side, room in zip((left, right), rooms, strict=True)]
    found: list[int] = []
    for number in range(count):
        mine, theirs = ([side[i] for i in part[number]] for side, part in zip((left, right), parts, strict=True))
        outcome, _ = run(terms.bucket(number, *rooms), mine, theirs)
        assert outcome.members is not None
        found += parts[0][number][outcome.members].tolist()
    assert sorted(found) == list(range(150, 200))
    assert len({terms.bucket(number, *rooms).session for number in range(count)} | {SESSION}) == count + 1


@pytest.mark.parametrize("variant", [Variant.CARDINALITY, Variant.MUTUAL_CARDINALITY])
def test_variants_that_hide_members_have_no_buckets(variant: Variant) -> None:
    with pytest.raises(MisuseError):
        Terms(SESSION, 8, 8, variant).bucket(0, 8, 8)


def test_a_role_may_move_to_another_process_between_steps() -> None:
    terms = Terms(SESSION, 3, 3)
    a, b = Initiator(terms, items(1, 2, 3)), Responder(terms, items(3, 4, 5))
    to_b, to_a = a.offer(), b.offer()
    a, b = pickle.loads(pickle.dumps(a)), pickle.loads(pickle.dumps(b))
    a.answer(to_a)
    a = pickle.loads(pickle.dumps(a))
    members = a.finish(b.answer(to_b)).members
    assert members is not None
    assert members.tolist() == [2]


# --- the grouped form


def grouped(
    left: list[bytes], groups: list[int], count: int, right: list[bytes], padding: int = 0
) -> tuple[I64, I64, GroupedTerms]:
    labels, sizes = GroupHolder.announce(np.bincount(np.asarray(groups, np.int64), minlength=count))
    terms = GroupedTerms(SESSION, sizes, len(right) + padding)
    a = GroupHolder(terms, left, np.asarray(groups, np.int64), labels)
    b = ValueHolder(terms, right)
    to_b, to_a = a.offer(), b.offer()
    a.answer(to_a)
    return a.finish(b.answer(to_b)), b.order, terms


@pytest.mark.parametrize("padding", [0, 9])
def test_groups_are_found_at_the_positions_of_the_hidden_order(padding: int) -> None:
    random = np.random.default_rng(6)
    left = random.choice(200, 90, replace=False).tolist()
    right = random.choice(200, 120, replace=False).tolist()
    groups = random.choice([0, 1, 1, 1, 4], 90).tolist()  # groups 2, 3 and 5 are empty
    found, order, terms = grouped(items(*left), groups, 6, items(*right), padding)
    group_of = dict(zip(left, groups, strict=True))
    expected = [NO_GROUP if at == DUMMY else group_of.get(right[at], NO_GROUP) for at in order.tolist()]
    assert found.tolist() == expected
    assert sum(group != NO_GROUP for group in expected) > 20
    assert sorted(order.tolist()) == [DUMMY] * padding + list(range(120))
    assert sorted(terms.sizes) == sorted(bucket_sizes(groups.count(g)) for g in range(6))


def test_announced_sizes_are_in_the_order_of_secret_labels() -> None:
    counts = np.asarray([1000, 3, 40, 0])
    seen = set()
    for _ in range(100):
        labels, sizes = GroupHolder.announce(counts)
        assert sizes == tuple(bucket_sizes(int(counts[label])) for label in labels)
        seen.add(sizes)
    assert len(seen) > 12  # of 24 orders


def test_announced_sizes_hold_the_count_and_keep_few_bits_of_it() -> None:
    for bits in (1, 3):
        for count in range(1, 3000):
            size = bucket_sizes(count, bits=bits)
            assert count <= size <= count * (1 + 2 / 2**bits) + 1
            assert (size >> max(0, size.bit_length() - bits)) << max(0, size.bit_length() - bits) == size
    assert bucket_sizes(1000, bits=1) == 1024
    assert bucket_sizes(0) == 1


# --- what a peer must not send (attack 8)


def wrong_points(good: U8) -> list[tuple[str, U8]]:
    s = int.from_bytes(good[1].tobytes(), "little")
    encodings = {
        "identity": bytes(32),
        "non-canonical": (2**255 - 19).to_bytes(32, "little"),
        "top bit": (s | 1 << 255).to_bytes(32, "little"),
        "negative": (2**255 - 19 - s).to_bytes(32, "little"),
        "non-square": bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
        "duplicate": good[0].tobytes(),
    }
    wrong: list[tuple[str, U8]] = [
        ("31 bytes", good[:, :31].copy()),
        ("33 bytes", np.pad(good, ((0, 0), (0, 1)))),
        ("one short", good[:-1]),
        ("one more", np.concatenate([good, random_points(1)])),
        ("nothing", good[:0]),
        ("flat", good.reshape(-1)),
    ]
    for name, encoding in encodings.items():
        changed = good.copy()
        changed[1] = np.frombuffer(encoding, np.uint8)
        wrong.append((name, changed))
    return wrong


GOOD = random_points(8)
ROLES: list[Callable[[], Initiator | Responder | GroupHolder | ValueHolder]] = [
    lambda: Initiator(Terms(SESSION, 4, 8, Variant.MUTUAL), items(1, 2)),
    lambda: Responder(Terms(SESSION, 8, 4, Variant.MUTUAL), items(1, 2)),
    lambda: GroupHolder(GroupedTerms(SESSION, (2, 1), 8), items(1), np.asarray([0]), np.asarray([1, 0])),
    lambda: ValueHolder(GroupedTerms(SESSION, (5, 3), 4), items(1, 2)),
]


@pytest.mark.parametrize("role", ROLES, ids=["initiator", "responder", "group holder", "value holder"])
@pytest.mark.parametrize(("wrong"), [w for _, w in wrong_points(GOOD)], ids=[name for name, _ in wrong_points(GOOD)])
def test_malformed_offers_end_the_session_with_no_output(
    role: Callable[[], Initiator | Responder | GroupHolder | ValueHolder], wrong: U8
) -> None:
    cheated = role()
    if cheated.offer().shape[1] != 32:
        pytest.fail("an offer has rows of 32 bytes")
    with pytest.raises(PeerViolation):
        cheated.answer(wrong)
    with pytest.raises(MisuseError):
        cheated.answer(GOOD)  # the good offer is too late
    if not isinstance(cheated, ValueHolder):
        with pytest.raises(MisuseError):
            cheated.finish(np.zeros((8, 8), np.uint8))


def wrong_tags(good: U8) -> list[U8]:
    repeated = good.copy()
    repeated[1] = good[0]
    return [good[:, 1:], np.pad(good, ((0, 0), (0, 1))), good[:-1], np.concatenate([good, good[:1]]), repeated]


@pytest.mark.parametrize("kind", range(5))
def test_malformed_tags_end_the_session_with_no_output(kind: int) -> None:
    terms = Terms(SESSION, 3, 4, Variant.MUTUAL)
    a, b = Initiator(terms, items(1, 2, 3)), Responder(terms, items(2, 3, 4))
    to_b, to_a = a.offer(), b.offer()
    a.answer(to_a)
    tags = b.answer(to_b)
    with pytest.raises(PeerViolation):
        a.finish(wrong_tags(tags)[kind])
    with pytest.raises(MisuseError):
        a.finish(tags)
    report = np.arange(32, dtype=np.uint8).reshape(4, 8)
    with pytest.raises(PeerViolation):
        b.finish(wrong_tags(report)[kind])
    with pytest.raises(MisuseError):
        b.finish(report)


@pytest.mark.parametrize("kind", range(5))
def test_malformed_tags_give_no_groups(kind: int) -> None:
    terms = GroupedTerms(SESSION, (2, 1), 3)
    a = GroupHolder(terms, items(1, 2, 3), np.asarray([0, 1, 0]), np.asarray([0, 1]))
    b = ValueHolder(terms, items(2, 3))
    to_b, to_a = a.offer(), b.offer()
    a.answer(to_a)
    tags = b.answer(to_b)
    with pytest.raises(PeerViolation):
        a.finish(wrong_tags(tags)[kind])
    with pytest.raises(MisuseError):
        a.finish(tags)


def test_a_match_with_a_dummy_is_a_lie() -> None:
    terms = Terms(SESSION, 2, 2)
    a, b = Initiator(terms, []), Responder(terms, items(1, 2))
    a.offer()
    a.answer(b.offer())
    with pytest.raises(PeerViolation, match="dummy"):
        a.finish(a._tags)


# --- our own mistakes


def test_steps_out_of_order_are_refused() -> None:
    terms = Terms(SESSION, 2, 2)
    a, b = Initiator(terms, items(1)), Responder(terms, items(1))
    with pytest.raises(MisuseError):
        a.answer(random_points(2))
    to_b, to_a = a.offer(), b.offer()
    with pytest.raises(MisuseError):
        a.offer()
    a.answer(to_a)
    tags = b.answer(to_b)
    with pytest.raises(MisuseError):
        a.answer(to_a)
    assert a.finish(tags).size == 1
    with pytest.raises(MisuseError):
        a.finish(tags)
    with pytest.raises(MisuseError, match="nothing"):
        b.finish(tags)


def test_sets_that_do_not_fit_the_terms_are_refused() -> None:
    terms = Terms(SESSION, 2, 2)
    for bad in (items(1, 2, 3), items(1, 1)):
        with pytest.raises(MisuseError):
            Initiator(terms, bad).offer()
    for session, counts in ((bytes(31), (1, 1)), (SESSION, (0, 1)), (SESSION, (1, 0))):
        with pytest.raises(MisuseError):
            Terms(session, *counts)
    for sizes in ((), (1, 0)):
        with pytest.raises(MisuseError):
            GroupedTerms(SESSION, sizes, 1)


@pytest.mark.parametrize(
    ("groups", "labels"), [([0], [0, 1]), ([0, 2], [0, 1]), ([0, -1], [0, 1]), ([0, 1], [0, 0]), ([0, 1], [0])]
)
def test_groups_that_do_not_fit_are_refused(groups: list[int], labels: list[int]) -> None:
    terms = GroupedTerms(SESSION, (1, 1), 1)
    with pytest.raises(MisuseError):
        GroupHolder(terms, items(1, 2), np.asarray(groups), np.asarray(labels))


def test_a_group_that_passes_its_announced_size_is_refused() -> None:
    a = GroupHolder(GroupedTerms(SESSION, (1, 3), 1), items(1, 2), np.asarray([0, 0]), np.asarray([0, 1]))
    with pytest.raises(MisuseError, match="passes"):
        a.offer()


# --- what each role sees


@pytest.mark.parametrize("variant", Variant)
def test_the_size_of_each_message_depends_on_the_announced_counts_alone(variant: Variant) -> None:
    """Size-hiding: one item or forty, all in common or none, the transcript has the same shape."""
    shapes = set()
    for left, right in ((items(1), items(2)), (items(*range(40)), items(*range(40))), ([], items(*range(50)))):
        terms = Terms(SESSION, 48, 64, variant)
        a, b = Initiator(terms, left), Responder(terms, right)
        to_b, to_a = a.offer(), b.offer()
        a.answer(to_a)
        tags = b.answer(to_b)
        report = a.finish(tags).report
        shapes.add((to_b.shape, to_a.shape, tags.shape, None if report is None else report.shape))
        assert len(rows(to_b)) == 48
        assert len(rows(to_a)) == 64
    length = tag_bytes(48, 64)
    assert shapes == {((48, 32), (64, 32), (48, length), (64, length) if variant.mutual else None)}


def simulated_view(terms: Terms, offer: U8, scalar: bytes, matches: I64, size: int, random: Random) -> tuple[U8, U8]:
    """What A receives, made from its result alone: `matches` are rows of its offer, or `size` where it gets no more.

    B's offer is random elements; a matching tag is that of a random element of it, any other tag is random bytes.
    """
    role = Initiator(terms, [])
    role._scalar = scalar
    points = random_points(terms.responder, random)
    own = role._raise(points, terms.responder, role._length)
    tags = np.frombuffer(random(len(offer) * role._length), np.uint8).reshape(len(offer), -1).copy()
    chosen = permutation(terms.responder, random)[:size]
    if terms.variant.members:
        tags[matches] = own[chosen]
        return points, tags
    tags[:size] = own[chosen]
    return points, tags[np.lexsort(tags.T[::-1])]


@pytest.mark.parametrize("variant", Variant)
def test_the_view_of_a_can_be_made_from_its_result_alone(variant: Variant) -> None:
    """A cannot tell B's messages from a simulator's that knows the result and the counts, and no item of B.

    The simulator's view passes A's own checks, gives the same result, and has the same byte statistics; that single
    elements look random is the Diffie-Hellman assumption, which no test can check.
    """
    terms = Terms(SESSION, 64, 96, variant)
    left, right = items(*range(50)), items(*range(30, 110))
    means: dict[str, list[float]] = {"real": [], "simulated": []}
    for seed in range(6):
        a, twin = (Initiator(terms, left, random=seeded(f"a{seed}")) for _ in range(2))
        b = Responder(terms, right)
        offer, to_a = a.offer(), b.offer()
        assert (twin.offer() == offer).all()
        scalar, positions = a._scalar, np.flatnonzero(np.isin(a._order, np.arange(30, 50)))
        a.answer(to_a)
        tags = b.answer(offer)
        result = a.finish(tags)
        points, fake = simulated_view(terms, offer, scalar, positions, result.size, seeded(f"sim{seed}"))
        twin.answer(points)
        again = twin.finish(fake)
        assert again.size == result.size == 20
        assert points.shape == to_a.shape
        assert fake.shape == tags.shape
        if result.members is not None and again.members is not None:
            assert (again.members == result.members).all()
        else:
            for each in (tags, fake):  # sorted, so the order carries nothing
                assert (each == each[np.lexsort(each.T[::-1])]).all()
        means["real"].append(float(np.concatenate([to_a[:, 1:31].ravel(), tags.ravel()]).mean()))
        means["simulated"].append(float(np.concatenate([points[:, 1:31].ravel(), fake.ravel()]).mean()))
    # about 22,000 uniform bytes each: standard deviation of a mean 0.5
    assert abs(np.mean(means["real"]) - 127.5) < 3
    assert abs(np.mean(means["real"]) - np.mean(means["simulated"])) < 4


@pytest.mark.parametrize("variant", [Variant.CARDINALITY, Variant.MUTUAL_CARDINALITY])
def test_cardinality_answers_are_the_same_whatever_the_order_of_the_offer(variant: Variant) -> None:
    """Byte for byte: so nothing A receives depends on which of its rows matched."""
    terms = Terms(SESSION, 40, 50, variant)
    offer = Initiator(terms, items(*range(40))).offer()
    answers = set()
    for order in (np.arange(40), np.arange(40)[::-1], permutation(40)):
        b = Responder(terms, items(*range(20, 70)), random=seeded("b"))
        b.offer()
        answers.add(b.answer(offer[order]).tobytes())
    assert len(answers) == 1


def test_one_sided_answers_do_follow_the_order_of_the_offer() -> None:
    """The test above can fail: where members are shown, the order of the answer is that of the offer."""
    terms = Terms(SESSION, 40, 50)
    offer = Initiator(terms, items(*range(40))).offer()
    answers = []
    for order in (np.arange(40), np.arange(40)[::-1]):
        b = Responder(terms, items(*range(20, 70)), random=seeded("b"))
        b.offer()
        answers.append(b.answer(offer[order]))
    assert (answers[0] == answers[1][::-1]).all()
    assert (answers[0] != answers[1]).any()


def test_the_report_shows_b_the_number_alone_in_the_mutual_cardinality_variant() -> None:
    """A's report has the order of its bytes; whatever order B offered in, it is the same."""
    terms = Terms(SESSION, 30, 30, Variant.MUTUAL_CARDINALITY)
    b = Responder(terms, items(*range(15, 45)))
    to_a = b.offer()
    reports = set()
    tags = None
    for order in (np.arange(30), permutation(30)):
        a = Initiator(terms, items(*range(30)), random=seeded("a"))
        offer = a.offer()
        if tags is None:
            tags = b.answer(offer)
        a.answer(to_a[order])
        report = a.finish(tags).report
        assert report is not None
        reports.add(report.tobytes())
    assert len(reports) == 1


def test_b_of_a_one_sided_session_sees_the_offer_and_nothing_else() -> None:
    """Its view is one message of random elements, in an order that does not follow A's items."""
    terms = Terms(SESSION, 6, 1)
    places = np.zeros((6, 6))
    for _ in range(300):
        a = Initiator(terms, items(*range(6)))
        a.offer()
        places[np.arange(6), a._order] += 1
    assert ((places - 50) ** 2 / 50).sum() < 80  # chi-square, 25 degrees of freedom: p < 1e-6


def test_the_view_of_a_in_the_grouped_form_does_not_depend_on_which_member_matched() -> None:
    """Byte for byte: however the members of a list are ordered, so whichever row of it matched, A gets one answer."""
    terms = GroupedTerms(SESSION, (8, 16), 12)
    groups = np.asarray([0] * 7 + [1] * 16)
    labels = np.asarray([0, 1])
    answers, found = set(), set()
    for seed in range(4):
        a = GroupHolder(terms, items(*range(23)), groups, labels, random=seeded("a"))
        offer = a.offer()
        within = np.concatenate([permutation(8, seeded(f"x{seed}")), 8 + permutation(16, seeded(f"y{seed}"))])
        b = ValueHolder(terms, items(2, 9, 10, 50), random=seeded("b"))
        a.answer(b.offer())
        answer = b.answer(offer[within])
        answers.add(answer.tobytes())
        found.add(a.finish(answer).tobytes())
    assert len(answers) == len(found) == 1


def test_the_grouped_answer_does_not_mix_lists() -> None:
    """The test above can fail: rows that change lists change the answer and the groups found."""
    terms = GroupedTerms(SESSION, (3, 3), 4)
    seen = set()
    for swap in (False, True):
        a = GroupHolder(terms, items(*range(6)), np.asarray([0, 0, 0, 1, 1, 1]), np.asarray([0, 1]), random=seeded("a"))
        offer = a.offer()
        b = ValueHolder(terms, items(0, 1, 9), random=seeded("b"))
        a.answer(b.offer())
        seen.add(a.finish(b.answer(np.roll(offer, 3, axis=0) if swap else offer)).tobytes())
    assert len(seen) == 2


def test_equal_results_give_a_of_the_grouped_form_equal_views() -> None:
    """B holds another member of the same group: the same groups at the same places, and the same message shapes."""
    terms = GroupedTerms(SESSION, (8,), 6)
    views = set()
    for member in (0, 3, 6):
        a = GroupHolder(terms, items(*range(7)), np.zeros(7, np.int64), np.asarray([0]), random=seeded("a"))
        b = ValueHolder(terms, items(member, 100, 101), random=seeded("b"))
        to_b, to_a = a.offer(), b.offer()
        a.answer(to_a)
        answer = b.answer(to_b)
        views.add((a.finish(answer).tobytes(), to_a.shape, answer.shape))
    assert len(views) == 1


def test_scalars_are_dropped_after_their_last_use() -> None:
    terms = Terms(SESSION, 1, 1)
    a, b = Initiator(terms, items(1)), Responder(terms, items(1))
    to_b, to_a = a.offer(), b.offer()
    a.answer(to_a)
    b.answer(to_b)
    assert a._scalar == b._scalar == b""


def test_two_sessions_of_one_set_share_no_element_even_under_one_scalar() -> None:
    offers = [Initiator(Terms(s, 5, 5), items(*range(5)), random=seeded("a")).offer() for s in (SESSION, bytes(32))]
    assert not rows(offers[0]) & rows(offers[1])


@pytest.mark.parametrize(
    ("left", "right", "length"), [(1, 1, 8), (1 << 12, 1 << 12, 8), (1 << 20, 1 << 20, 10), (10**7, 10**7, 11)]
)
def test_tags_are_long_enough_for_forty_bits(left: int, right: int, length: int) -> None:
    assert tag_bytes(left, right) == length
    assert 2 ** (8 * length) >= 2**40 * left * right


def test_tags_of_unequal_sides_do_not_repeat_within_the_larger() -> None:
    assert 2 ** (8 * tag_bytes(1 << 24, 1)) >= 2**40 * (1 << 47)


def test_tags_come_from_the_product_of_both_scalars() -> None:
    """Against the protocol written out: SHA-256 of the session and the agreed name of a * b * H(x)."""
    from hashlib import sha256

    from protocols.psi.hashing import digest_all, domain

    terms = Terms(SESSION, 1, 1)
    digest = digest_all(items(7), session=SESSION, dst=domain("psi-ec/1"))
    scalar = random_scalar()
    b = Responder(terms, items(1), random=seeded("b"))
    b.offer()
    own = b._scalar
    tag = b.answer(hash_all(digest, scalar))
    name = agree_all(scalar, multiply_all(own, hash_all(digest)))
    assert tag.tobytes() == sha256(SESSION + name.tobytes()).digest()[: tag_bytes(1, 1)]


def test_permutations_are_permutations_and_uniform() -> None:
    counts = np.zeros((4, 4))
    for _ in range(800):
        order = permutation(4)
        counts[np.arange(4), order] += 1
    assert (counts.sum(axis=0) == 800).all()
    assert ((counts - 200) ** 2 / 200).sum() < 50  # chi-square, 9 degrees of freedom: p < 1e-6
