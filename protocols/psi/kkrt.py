"""Set intersection by oblivious transfer extension: Kolesnikov, Kumaresan, Rosulek, Trieu (CCS 2016), semi-honest.

Who learns what: the receiver, for each of its own items that the sender has too, the item's position in an order that
the sender drew at random; the sender nothing; both the agreed sizes. Items are digests of 128 bits.

    receiver -> sender   offer(): a point                          (base OTs, in which the sender is the chooser)
    sender -> receiver   choose(): 512 points
    receiver -> sender   request(): a matrix, for each bucket      64 bytes a bin, 1.27 bins an item
    sender -> receiver   respond(): three lists of tags, likewise  3 x 10 bytes an item at a million each

For each bin the receiver knows one pseudorandom value, that of the item which it placed there; the sender knows
them all. The sender sends for each item its values in the item's three bins, and the receiver looks for its own.

One order for the three lists tells no more than an order for each. The tags of an item which the receiver has not are
three independent random strings to it, in whatever order they stand. Of an item which it has it recognises the tag of
the bin where it placed it, and so learns the position; the other two tags are random strings whose place beside the
first it could have drawn itself. The order is uniform and fresh: the positions are a uniform choice of as many places
in a bucket as there are matches in it, and the bucket is a public function of the item.

The sender sees the matrix masked by keystreams of which it has not the keys, so dummies need no care there: bins
without an item hold the item zero, which is never looked for. The sender's dummies are random digests, with tags
like any others. Work and messages are those of the agreed sizes, but for the search of tags and the walk of the
placement. Nothing here holds against a party that departs from the protocol, except that each received length, count
and point is checked, and a tag that is sent twice is noticed.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64
from protocols.psi import base_ot
from protocols.psi.agreement import BLOCKS, HASHES, WIDTH, Agreement
from protocols.psi.cuckoo import PlacementFailed, place
from protocols.psi.fixed_key import Code, Placement
from protocols.psi.items import DIGEST, I64, bucket_of
from protocols.psi.matching import find
from protocols.psi.permute import permutation
from protocols.psi.ristretto import POINT, U8, Random
from protocols.psi.streams import Streams, chunks

_CHUNK = 1 << 13  # items whose rows are hashed at once: 512 KiB


class Receiver:
    """Learns the matches of its `digests` (n, 16), which are unique; buckets are asked for and answered in order.

    Several requests may be under way: what is kept for each is 17 bytes an item. With an `offerer` of the same session
    message 1 was its point, sent before the sizes were agreed on.

    Raises:
        MisuseError: digests of another shape, more than agreed, or not unique; a step out of order.
        PlacementFailed: by chance the items do not fit.
    """

    def __init__(
        self,
        agreement: Agreement,
        digests: U8,
        *,
        random: Random = os.urandom,
        offerer: base_ot.Offerer | None = None,
    ) -> None:
        self._agreement = agreement
        self._items = _Split(agreement, digests, agreement.receiver, agreement.receiver_capacity)
        self._offerer = offerer or base_ot.Offerer(agreement.session, random)
        self._transfer: tuple[Code, Streams, Streams] | None = None
        self._asked: deque[_Asked] = deque()
        self._requests = self._answers = 0
        self._matches = np.full(len(digests), -1, np.int64)

    def offer(self) -> bytes:
        """Message 1."""
        return self._offerer.point

    def accept(self, choices: bytes) -> None:
        """Take message 2; raises PeerViolation for a wrong length or a malformed point."""
        if self._transfer is not None:
            raise MisuseError("choices were accepted before", where="OT receiver", right="use a session once")
        keys = self._offerer.keys(choices, WIDTH)
        code = Code(self._agreement.session, self._offerer.point, bytes(choices))
        self._transfer = code, Streams(keys[:, 0]), Streams(keys[:, 1])

    def request(self) -> U8:
        """Message 3 for the next bucket, `agreement.matrix_bytes` long."""
        if self._transfer is None or self._requests == self._agreement.buckets:
            raise MisuseError(
                "there is nothing to ask for", where="OT receiver", right="accept choices, ask per bucket"
            )
        code, first, second = self._transfer
        bucket, self._requests = self._requests, self._requests + 1
        rows = self._items.rows(bucket)
        items = self._items.take(rows)
        table, chosen = place(self._items.placement.bins_of(items), self._agreement.bins)
        taken = np.flatnonzero(table >= 0)
        binned, hashes = np.zeros((len(table), 2), np.uint64), np.zeros(len(table), np.uint64)
        binned[taken], hashes[taken] = items[table[taken]], chosen[table[taken]]
        matrix, tags = np.empty((BLOCKS, len(table), 2), np.uint64), np.empty((len(table), DIGEST), np.uint8)
        numbers = np.arange(len(table), dtype=np.uint64)
        for chunk in chunks(len(table)):
            own = first.columns(chunk.stop - chunk.start)
            tags[chunk] = code.hash(own, numbers[chunk], hashes[chunk], bucket)
            own ^= second.columns(chunk.stop - chunk.start)
            np.bitwise_xor(own, code.words(binned[chunk]), out=matrix[:, chunk])
        size = self._agreement.tag_bytes
        self._asked.append(_Asked(rows[table[taken]], hashes[taken].astype(np.uint8), tags[taken, :size]))
        return matrix.reshape(-1).view(np.uint8)

    def receive(self, tags: bytes | U8) -> I64:
        """Take message 4 for the first bucket not yet answered; which of our items, all of this bucket, match.

        Raises:
            PeerViolation: wrong length, or one of our tags was sent twice.
            MisuseError: no bucket was asked for.
        """
        if not self._asked:
            raise MisuseError("no answer is due", where="OT receiver", right="ask first")
        lists = _bytes(tags, self._agreement.tags_bytes, "tags").reshape(self._agreement.tags_shape)
        asked = self._asked.popleft()
        base = self._answers * self._agreement.sender_capacity
        for index, theirs in enumerate(lists):
            mine = asked.hashes == index
            at = find(asked.tags[mine], theirs)
            self._matches[asked.rows[mine]] = np.where(at >= 0, base + at, -1)
        self._answers += 1
        return asked.rows[self._matches[asked.rows] >= 0]

    @property
    def known(self) -> I64:
        """As `matches`, of the buckets that were answered so far: -1 for the items of all others."""
        return self._matches

    @property
    def matches(self) -> I64:
        """For each own item its position in the sender's order, or -1, as (n,); MisuseError before the last answer."""
        if self._answers < self._agreement.buckets:
            raise MisuseError("answers are missing", where="OT receiver", right="receive every bucket first")
        return self._matches


class Sender:
    """Answers for its `digests` (n, 16), which are unique, and learns nothing.

    Raises:
        MisuseError: digests of another shape, more than agreed, or not unique; a step out of order.
        PlacementFailed: by chance a bucket is too small.
    """

    def __init__(self, agreement: Agreement, digests: U8, *, random: Random = os.urandom) -> None:
        self._agreement, self._random = agreement, random
        self._items = _Split(agreement, digests, agreement.sender, agreement.sender_capacity)
        self._secret = np.frombuffer(random(WIDTH // 8), np.uint64).reshape(BLOCKS, 1, 2)
        self._transfer: tuple[Code, Streams] | None = None
        self._answers = 0
        self._arranged: deque[U64] = deque()
        self._placed = 0
        self._order = np.full(agreement.buckets * agreement.sender_capacity, -1, np.int64)

    def choose(self, offer: bytes) -> bytes:
        """Message 2 for message 1; raises PeerViolation for a malformed point."""
        if self._transfer is not None:
            raise MisuseError("an offer was taken before", where="OT sender", right="use a session once")
        if len(offer) != POINT:
            raise PeerViolation("the offer has the wrong length", where="OT sender", right=f"send {POINT} bytes")
        choices = np.unpackbits(self._secret.reshape(-1).view(np.uint8), bitorder="little").astype(np.bool_)
        message, keys = base_ot.choose(self._agreement.session, bytes(offer), choices, self._random)
        self._transfer = Code(self._agreement.session, bytes(offer), message), Streams(keys)
        return message

    def respond(self, matrix: bytes | U8) -> U8:
        """Message 4 for message 3 of the next bucket, `agreement.tags_bytes` long.

        Raises:
            PeerViolation: wrong length, or more buckets than agreed.
        """
        if self._transfer is None:
            raise MisuseError("a request came too early", where="OT sender", right="choose first")
        if self._answers == self._agreement.buckets:
            raise PeerViolation("there are too many requests", where="OT sender", right="send one for each bucket")
        code, streams = self._transfer
        received = _bytes(matrix, self._agreement.matrix_bytes, "a matrix").view(np.uint64).reshape(BLOCKS, -1, 2)
        known = np.empty_like(received)
        for chunk in chunks(received.shape[1]):
            np.bitwise_and(received[:, chunk], self._secret, out=known[:, chunk])
            known[:, chunk] ^= streams.columns(chunk.stop - chunk.start)
        bucket, self._answers = self._answers, self._answers + 1
        if not self._arranged:
            self.arrange()
        return self._tags(code, known, self._arranged.popleft(), bucket).reshape(-1)

    def arrange(self) -> None:
        """Put the items of the next bucket among dummies, in a fresh secret order that is noted down.

        This depends on nothing that the receiver sends, and may be done before its request is here.
        """
        if self._placed == self._agreement.buckets:
            raise MisuseError("there is no other bucket", where="OT sender", right="arrange each once")
        bucket, self._placed = self._placed, self._placed + 1
        size, rows = self._agreement.sender_capacity, self._items.rows(bucket)
        dummies = self._random((size - len(rows)) * DIGEST)
        items = np.concatenate([self._items.take(rows), np.frombuffer(dummies, np.uint64).reshape(-1, 2)])
        order = permutation(size, self._random)
        self._order[bucket * size : (bucket + 1) * size] = np.pad(rows, (0, size - len(rows)), constant_values=-1)[
            order
        ]
        self._arranged.append(items[order])

    def _tags(self, code: Code, known: U64, items: U64, bucket: int) -> U8:
        bins = self._items.placement.bins_of(items)
        tags = np.empty(self._agreement.tags_shape, np.uint8)
        for chunk in chunks(len(items), _CHUNK):
            masked = code.words(items[chunk])
            masked &= self._secret
            for index in range(HASHES):
                own = bins[index, chunk]
                rows = masked ^ _gather(known, own)
                tags[index, chunk] = code.hash(rows, own, index, bucket)[:, : self._agreement.tag_bytes]
        return tags

    @property
    def arranged(self) -> I64:
        """As `permutation`, of the buckets that were arranged so far."""
        return self._order[: self._placed * self._agreement.sender_capacity]

    @property
    def permutation(self) -> I64:
        """Own item at each position, -1 for a dummy, as (buckets * sender_capacity,); MisuseError before the end."""
        if self._answers < self._agreement.buckets:
            raise MisuseError("requests are missing", where="OT sender", right="respond to every bucket first")
        return self._order


@dataclass(frozen=True)
class _Asked:
    """What the receiver keeps of a bucket under way: its items, the hash function that placed each, and its tag."""

    rows: I64
    hashes: U8
    tags: U8


class _Split:
    """A party's items by bucket."""

    def __init__(self, agreement: Agreement, digests: U8, agreed: int, capacity: int) -> None:
        if digests.ndim != 2 or digests.shape[1] != DIGEST or digests.dtype != np.uint8:
            raise MisuseError("digests have the wrong shape", where="OT matching", right="give bytes of shape (n, 16)")
        if len(digests) > agreed:
            raise MisuseError("the set is larger than agreed", where="OT matching", right="agree on a larger size")
        self._items = np.ascontiguousarray(digests).view(np.uint64)
        self.placement = Placement(agreement)
        buckets = bucket_of(digests, agreement.buckets).astype(np.uint16)
        self._order = np.argsort(buckets, kind="stable")  # by radix, for these words are short
        loads = np.bincount(buckets, minlength=agreement.buckets)
        if loads.max() > capacity:
            raise PlacementFailed("a bucket has more items than all but one run in 2**40")
        self._ends = np.concatenate([[0], np.cumsum(loads)])

    def rows(self, bucket: int) -> I64:
        """Which items fall in a bucket."""
        return self._order[self._ends[bucket] : self._ends[bucket + 1]]

    def take(self, rows: I64) -> U64:
        """The items of a bucket as words (n, 2).

        Raises:
            MisuseError: two are equal.
        """
        items: U64 = _gather(self._items[None], rows)[0]
        heads = np.sort(items[:, 0])
        if (heads[1:] == heads[:-1]).any() and len(np.unique(items, axis=0)) < len(items):
            raise MisuseError("an item stands twice in the set", where="OT matching", right="remove duplicates")
        return items


def _gather(blocks: U64, rows: U64 | I64) -> U64:
    """Rows of each of some arrays of blocks (k, n, 2), as (k, m, 2)."""
    whole = blocks.view(np.complex128)[:, :, 0]  # NumPy takes items of 16 bytes faster than pairs of 8
    taken: npt.NDArray[np.complex128] = np.take(whole, rows.astype(np.int64, copy=False), axis=1)
    words: U64 = taken[..., None].view(np.uint64)
    return words


def _bytes(message: bytes | U8, length: int, what: str) -> U8:
    data = np.frombuffer(message, np.uint8)
    if len(data) != length:
        raise PeerViolation(f"{what} has the wrong length", where="OT matching", right=f"send {length} bytes")
    return data
