"""Matching by OT extension: right on all kinds of sets, deaf to what is malformed, and telling no more than it says."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.psi.agreement import Agreement
from protocols.psi.base_ot import choose
from protocols.psi.cuckoo import PlacementFailed
from protocols.psi.items import I64, bucket_of
from protocols.psi.kkrt import Receiver, Sender
from protocols.psi.ristretto import U8
from protocols.psi.streams import Streams

SESSION = bytes(range(32))


def items(count: int, seed: int = 1) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def ready(agreement: Agreement, own: U8, theirs: U8, seed: int | None = None) -> tuple[Receiver, Sender]:
    """Both sides with their base OTs done."""
    if seed is None:
        receiver, sender = Receiver(agreement, own), Sender(agreement, theirs)
    else:
        receiver = Receiver(agreement, own, random=np.random.default_rng(seed).bytes)
        sender = Sender(agreement, theirs, random=np.random.default_rng(seed + 1).bytes)
    receiver.accept(sender.choose(receiver.offer()))
    return receiver, sender


def run(agreement: Agreement, own: U8, theirs: U8, seed: int | None = None) -> tuple[I64, I64]:
    """The receiver's matches and the sender's permutation."""
    receiver, sender = ready(agreement, own, theirs, seed)
    for _ in range(agreement.buckets):
        receiver.receive(sender.respond(receiver.request()))
    return receiver.matches, sender.permutation


def check(own: U8, theirs: U8, matches: I64, order: I64) -> None:
    """Just the common items match, each with the sender's own row, and every row of the sender's has one position."""
    rows = {item.tobytes(): row for row, item in enumerate(theirs)}
    expected = [rows.get(item.tobytes(), -1) for item in own]
    assert np.where(matches >= 0, order[matches], -1).tolist() == expected
    assert sorted(order[order >= 0].tolist()) == list(range(len(theirs)))


def sixteenths(values: I64, size: int) -> I64:
    return values * 16 // size


def tail(load: int, count: int, share: float) -> float:
    """Chance that more than `load` of `count` items fall where each falls with chance `share` (beyond the mean)."""
    terms = [
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(load + 1, min(count, 2 * load))
    ]
    return math.fsum(map(math.exp, terms))


def chi_square(counts: I64, degrees: int) -> None:
    """Counts are even, but for what one run in a million shows."""
    expected = counts.sum() / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < degrees + 5 * math.sqrt(2 * degrees) + 17


# right


@pytest.mark.parametrize(
    ("own", "theirs", "common"),
    [
        (0, 0, 0),
        (0, 5, 0),
        (5, 0, 0),
        (1, 1, 0),
        (1, 1, 1),
        (700, 700, 700),
        (700, 300, 0),
        (300, 700, 123),
        (9000, 20, 20),
    ],
)
def test_the_receiver_finds_its_matches(own: int, theirs: int, common: int) -> None:
    both = items(own + theirs - common)
    mine, yours = both[:own], both[own - common :]
    yours = yours[np.random.default_rng(2).permutation(theirs)]
    agreement = Agreement(SESSION, max(theirs, 1), max(own, 1))
    assert agreement.buckets == 1
    matches, order = run(agreement, mine, yours)
    assert (matches >= 0).sum() == common
    check(mine, yours, matches, order)


def test_buckets_and_dummies_change_nothing_but_the_positions() -> None:
    both = items(9000)
    mine, yours = both[:5000], both[3000:]
    agreement = Agreement(SESSION, 8000, 10_000, bucket_items=2000)
    assert agreement.buckets == 5
    matches, order = run(agreement, mine, yours)
    assert len(order) == 5 * agreement.sender_capacity > 8000
    check(mine, yours, matches, order)
    found = matches >= 0
    assert (matches[found] // agreement.sender_capacity == bucket_of(mine, 5)[found]).all()


def test_a_full_bucket_of_each_side_is_matched() -> None:
    both = items(3 * (1 << 14))
    mine, yours = both[: 2 << 14], both[1 << 14 :]
    matches, order = run(Agreement(SESSION, 2 << 14, 2 << 14), mine, yours)
    check(mine, yours, matches, order)


def test_several_requests_may_be_under_way() -> None:
    both = items(600)
    agreement = Agreement(SESSION, 400, 400, bucket_items=150)
    receiver, sender = ready(agreement, both[:400], both[200:])
    requests = [receiver.request() for _ in range(agreement.buckets)]
    answers = [sender.respond(request.tobytes()) for request in requests]
    for answer in answers:
        receiver.receive(answer.tobytes())
    check(both[:400], both[200:], receiver.matches, sender.permutation)


# sizes


def test_messages_have_the_agreed_sizes_whatever_is_in_the_sets() -> None:
    agreement = Agreement(SESSION, 3000, 2000, bucket_items=1000)
    sizes = set()
    for own, theirs in ((items(2000), items(3000)), (items(0), items(0)), (items(7), items(3000, 2))):
        receiver, sender = ready(agreement, own, theirs)
        request = receiver.request()
        sizes.add((request.size, sender.respond(request).size))
    assert sizes == {(agreement.matrix_bytes, agreement.tags_bytes)}


@pytest.mark.parametrize(("size", "tag", "most"), [(100_000, 10, 120), (1_000_000, 10, 120), (10_000_000, 11, 120)])
def test_traffic_per_item_is_bounded(size: int, tag: int, most: int) -> None:
    agreement = Agreement(SESSION, size, size)
    assert agreement.tag_bytes == tag
    assert (agreement.matrix_bytes + agreement.tags_bytes) * agreement.buckets + 513 * 32 < most * size


@pytest.mark.parametrize(("size", "tag"), [(1 << 8, 7), (1 << 12, 8), (1 << 16, 9), (1 << 20, 10), (1 << 24, 11)])
def test_tags_have_40_bits_more_than_there_are_pairs(size: int, tag: int) -> None:
    assert Agreement(SESSION, size, size).tag_bytes == tag


def test_a_bucket_overflows_in_one_run_of_2_to_the_40_at_most() -> None:
    agreement = Agreement(SESSION, 1_000_000, 10_000_000)
    for items_, capacity in ((10_000_000, agreement.receiver_capacity), (1_000_000, agreement.sender_capacity)):
        assert agreement.buckets * tail(capacity, items_, 1 / agreement.buckets) <= 2**-40


def test_a_small_receiver_and_a_large_sender_share_few_buckets() -> None:
    agreement = Agreement(SESSION, 10_000_000, 1000)
    assert agreement.tags_bytes < 20e6
    assert agreement.buckets * agreement.matrix_bytes < 30e6


# malformed


def test_messages_of_another_length_are_refused() -> None:
    agreement = Agreement(SESSION, 50, 50)
    receiver, sender = Receiver(agreement, items(50)), Sender(agreement, items(50))
    for offer in (b"", receiver.offer()[:-1], receiver.offer() + b"\0", bytes(32)):
        with pytest.raises(PeerViolation):
            sender.choose(offer)
    choices = sender.choose(receiver.offer())
    for bad in (b"", choices[:-32], choices + choices[:32], bytes(len(choices))):
        with pytest.raises(PeerViolation):
            receiver.accept(bad)
    receiver.accept(choices)
    request = receiver.request()
    for message in (request[:-1], request[:0], np.append(request, request[:64]), b"", request.tobytes() + b"\0"):
        with pytest.raises(PeerViolation, match=f"send {agreement.matrix_bytes} bytes"):
            sender.respond(message)
    answer = sender.respond(request)
    for message in (answer[:-1], answer[:0], np.append(answer, answer[:30]), b"", answer.tobytes() + b"\0"):
        with pytest.raises(PeerViolation, match=f"send {agreement.tags_bytes} bytes"):
            receiver.receive(message)
    receiver.receive(answer)  # what was refused changed nothing
    assert (receiver.matches >= 0).all()


def test_a_request_too_many_is_refused() -> None:
    receiver, sender = ready(Agreement(SESSION, 50, 50), items(50), items(50))
    request = receiver.request()
    sender.respond(request)
    with pytest.raises(PeerViolation, match="too many requests"):
        sender.respond(request)


def test_a_tag_sent_twice_is_refused() -> None:
    agreement = Agreement(SESSION, 50, 50)
    receiver, sender = ready(agreement, items(50), items(50))
    lists = sender.respond(receiver.request()).reshape(agreement.tags_shape).copy()
    lists[:, 1:] = lists[:, :1]  # the first item of the sender's is one of ours, with one of its tags
    with pytest.raises(PeerViolation, match="twice"):
        receiver.receive(lists)


def test_a_matrix_of_noise_matches_nothing_and_a_list_of_noise_too() -> None:
    agreement = Agreement(SESSION, 500, 500)
    receiver, sender = ready(agreement, items(500), items(500))
    receiver.request()
    receiver.receive(sender.respond(np.random.default_rng(1).bytes(agreement.matrix_bytes)))
    assert (receiver.matches == -1).all()


# misused


@pytest.mark.parametrize("role", [Receiver, Sender])
@pytest.mark.parametrize(
    ("digests", "what"),
    [
        (items(11), "larger than agreed"),
        (np.zeros((5, 15), np.uint8), "wrong shape"),
        (np.zeros(160, np.uint8), "wrong shape"),
        (np.zeros((5, 16), np.int8), "wrong shape"),
    ],
)
def test_a_set_that_is_none_is_refused(role: Callable[[Agreement, U8], object], digests: U8, what: str) -> None:
    with pytest.raises(MisuseError, match=what):
        role(Agreement(SESSION, 10, 10), digests)


def test_an_item_that_stands_twice_is_refused_on_either_side() -> None:
    twice, once = items(10)[[*range(10), 3]], items(10)
    receiver, _ = ready(Agreement(SESSION, 20, 20), twice, once)
    with pytest.raises(MisuseError, match="twice"):
        receiver.request()
    receiver, sender = ready(Agreement(SESSION, 20, 20), once, twice)
    with pytest.raises(MisuseError, match="twice"):
        sender.respond(receiver.request())


def test_items_that_agree_in_half_of_their_bits_are_two() -> None:
    alike = items(2)
    alike[1, :8] = alike[0, :8]
    matches, order = run(Agreement(SESSION, 2, 2), alike, alike[::-1])
    assert order[matches].tolist() == [1, 0]


@pytest.mark.parametrize(
    "arguments", [(bytes(31), 1, 1), (SESSION, 0, 1), (SESSION, 1, 0), (SESSION, 1, 1, 0), (SESSION, 1, 1 << 20, 8)]
)
def test_an_agreement_that_can_not_be_kept_is_refused(arguments: tuple[bytes, int, int]) -> None:
    with pytest.raises(MisuseError):
        Agreement(*arguments)


def test_steps_out_of_order_are_refused() -> None:
    agreement = Agreement(SESSION, 10, 10)
    receiver, sender = Receiver(agreement, items(10)), Sender(agreement, items(10))
    steps: list[Callable[[], object]] = [
        receiver.request,
        lambda: receiver.receive(b""),
        lambda: receiver.matches,
        lambda: sender.respond(b""),
        lambda: sender.permutation,
    ]
    for step in steps:
        with pytest.raises(MisuseError):
            step()
    choices = sender.choose(receiver.offer())
    receiver.accept(choices)
    for step in (lambda: sender.choose(receiver.offer()), lambda: receiver.accept(choices), lambda: receiver.matches):
        with pytest.raises(MisuseError):
            step()
    receiver.request()
    with pytest.raises(MisuseError):
        receiver.request()


def test_a_set_that_falls_into_one_bucket_aborts() -> None:
    agreement = Agreement(SESSION, 2000, 2000, bucket_items=1000)
    many = items(4000)
    crowd = many[bucket_of(many, 2) == 0][: agreement.receiver_capacity + 1]
    for role in (Receiver, Sender):
        with pytest.raises(PlacementFailed, match="use elliptic-curve matching"):
            role(agreement, crowd)


# transcripts: what each side sees


@pytest.mark.parametrize("own", [0, 16_384], ids=["no item", "all bins it may take"])
def test_the_matrix_is_uniform_to_who_does_not_know_both_keys(own: int) -> None:
    """The sender's view of U: alone, and beside all that it can compute, which is the keystreams it chose."""
    agreement = Agreement(SESSION, 16_384, 16_384)
    receiver = Receiver(agreement, items(own), random=np.random.default_rng(7).bytes)
    choices = np.random.default_rng(8).integers(0, 2, 512).astype(np.bool_)
    message, keys = choose(SESSION, receiver.offer(), choices, np.random.default_rng(9).bytes)
    receiver.accept(message)
    matrix = receiver.request()
    known = Streams(keys).columns(agreement.bins).reshape(-1).view(np.uint8)
    for view in (matrix, matrix ^ known):
        chi_square(np.bincount(view, minlength=256), 255)
        ones = np.unpackbits(view.reshape(4, agreement.bins, 16), axis=2).sum(axis=1)  # of each of 512 columns
        assert abs(ones - agreement.bins / 2).max() < 6 * math.sqrt(agreement.bins) / 2


def test_the_matrix_bares_the_items_to_who_knows_both_keys() -> None:
    """The test above can fail: with the other key of each pair the empty bins show, all alike."""
    agreement = Agreement(SESSION, 100, 100)
    receiver = Receiver(agreement, items(100))
    message, _ = choose(SESSION, receiver.offer(), np.zeros(512, np.bool_))
    pairs = receiver._offerer.keys(message, 512)
    receiver.accept(message)
    matrix = receiver.request().view(np.uint64).reshape(4, -1, 2)
    for side in (0, 1):
        matrix ^= Streams(pairs[:, side]).columns(agreement.bins)
    rows = np.concatenate(list(matrix), axis=1)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert sorted(counts.tolist()) == [1] * 100 + [agreement.bins - 100]


def test_tags_of_items_that_the_receiver_has_not_are_uniform() -> None:
    agreement = Agreement(SESSION, 20_000, 500)
    receiver, sender = ready(agreement, items(500), items(20_000, 2), seed=11)
    answer = sender.respond(receiver.request())
    chi_square(np.bincount(answer, minlength=256), 255)
    lists = answer.reshape(agreement.tags_shape)
    assert len(np.unique(lists.reshape(-1, agreement.tag_bytes), axis=0)) == 3 * 20_000
    for first, second in ((0, 1), (0, 2), (1, 2)):  # tags beside each other in the one order
        chi_square(np.bincount(lists[first, :, 0] ^ lists[second, :, 0], minlength=256), 255)
    receiver.receive(answer)
    assert (receiver.matches == -1).all()


def test_of_a_match_the_receiver_knows_one_tag_and_the_other_two_are_uniform() -> None:
    agreement = Agreement(SESSION, 10_000, 10_000)
    receiver, sender = ready(agreement, items(10_000), items(10_000), seed=21)
    request = receiver.request()
    asked = receiver._asked[0]
    lists = sender.respond(request).reshape(agreement.tags_shape)
    receiver.receive(lists)
    positions = receiver.matches[asked.rows]
    mine = np.arange(3)[:, None] == asked.hashes
    of_matches = lists[:, positions]
    assert (of_matches[mine] == asked.tags[np.nonzero(mine)[1]]).all()
    others = of_matches[~mine]
    chi_square(np.bincount(others.reshape(-1), minlength=256), 255)
    known = {tag.tobytes() for tag in asked.tags}
    assert not any(tag.tobytes() in known for tag in others)


def test_dummies_of_the_sender_have_tags_like_any_others() -> None:
    agreement = Agreement(SESSION, 20_000, 100)
    receiver, sender = ready(agreement, items(100), items(0), seed=31)
    answer = sender.respond(receiver.request())
    chi_square(np.bincount(answer, minlength=256), 255)
    assert len(np.unique(answer.reshape(-1, agreement.tag_bytes), axis=0)) == 3 * 20_000


def test_positions_are_in_an_order_that_has_to_do_with_neither_side() -> None:
    count = 20_000
    own = items(count)
    theirs = own[np.random.default_rng(1).permutation(count)]
    matches, order = run(Agreement(SESSION, count, count), own, theirs, seed=41)
    assert sorted(matches.tolist()) == list(range(count))
    for place in (np.arange(count), order[matches]):  # the receiver's row, the sender's row
        cells = 16 * sixteenths(place, count) + sixteenths(matches, count)
        chi_square(np.bincount(cells, minlength=256), 225)
    again, _ = run(Agreement(SESSION, count, count), own, theirs, seed=51)
    cells = 16 * sixteenths(matches, count) + sixteenths(again, count)
    chi_square(np.bincount(cells, minlength=256), 225)


def test_matches_stand_anywhere_among_what_does_not_match() -> None:
    count = 20_000
    own = items(count)
    theirs = np.concatenate([own[:8000], items(7000, 2)])
    matches, _ = run(Agreement(SESSION, count, count), own, theirs, seed=61)
    found = matches[matches >= 0]
    assert len(found) == 8000
    chi_square(np.bincount(sixteenths(found, count), minlength=16), 15)
