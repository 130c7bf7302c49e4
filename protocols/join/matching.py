"""The two engines of a join, each as a matcher for the attribute side and one for the value side.

Who learns what: the value side the attribute side's announced sizes, the attribute side the value side's, all rounded
up to powers of two; and the attribute side, of the value side's rows in their hidden order:

| engine      | the attribute side learns                        | and shows the value side                         |
| `ot`        | which of its keys stands at each position        | its number of keys, rounded up                   |
| `ec-hidden` | which of its lists the key at each position is of | how many lists it has, and their sizes, rounded |
|             | (so how many of each list match, never which)    | up, in an order that it drew at random           |

A matcher has an `opening` for round 1, then `steps` for the rounds after it, each taking what the peer sent in the
round before (None where nothing is due) and giving what is to be sent. An announced size above the terms' `largest`
ends the join: a set that was blown up to probe for members shows there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from protocols.containers import U8, Bytes
from protocols.errors import MisuseError, PeerViolation
from protocols.join.entries import Entries
from protocols.join.profiles import profiles
from protocols.join.table import Bools, Table
from protocols.join.terms import MAX_PROFILES, JoinTerms
from protocols.psi import elliptic, kkrt
from protocols.psi.agreement import WIDTH, Agreement
from protocols.psi.base_ot import Offerer
from protocols.psi.items import I64, Items, digests
from protocols.psi.ristretto import POINT, Random

Step = Callable[[Bytes], bytes | None] | None  # None: a round in which nothing is due
_SIZE = struct.Struct("<Q")
_CURVE = "join-ec/1"


def announced(count: int, largest: int) -> int:
    """The size to show for `count` keys: the next power of two; raises MisuseError above `largest`, rounded up too."""
    if count > largest:
        raise MisuseError("the set is larger than agreed", where="join", right=f"use at most {largest} keys")
    return elliptic.bucket_sizes(count, bits=1)


def check_announced(size: int, largest: int) -> int:
    """Return a peer's size; raises PeerViolation if it is no power of two or above `largest`, rounded up."""
    if size < 1 or size & (size - 1) or size > elliptic.bucket_sizes(largest, bits=1):
        raise PeerViolation("an announced size is not allowed", where="join", right=f"show at most {largest} keys")
    return size


def cut(mail: Bytes, *lengths: int) -> list[memoryview]:
    """The parts of a mail; raises PeerViolation unless it has exactly these."""
    if len(mail) != sum(lengths):
        raise PeerViolation("a mail has the wrong length", where="join", right=f"send {sum(lengths)} bytes")
    view, ends = memoryview(mail), np.cumsum(lengths).tolist()
    return [view[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _size(part: Bytes, largest: int) -> int:
    (size,) = _SIZE.unpack(part)
    return check_announced(size, largest)


def _agreement(terms: JoinTerms, attribute: int, value: int) -> Agreement:
    return Agreement(terms.bound("ot"), sender=value, receiver=attribute)


def _rows(part: Bytes, width: int) -> U8:
    return np.frombuffer(part, np.uint8).reshape(-1, width)


class OtAttribute:
    """The attribute side by OT extension: its receiver. Raises PlacementFailed if by chance the keys do not fit."""

    left_out: frozenset[int] = frozenset()

    def __init__(self, terms: JoinTerms, table: Table, random: Random) -> None:
        self._terms, self._table, self._random = terms, table, random
        self._size = announced(len(table.keys), terms.largest[0])
        self._offerer = Offerer(terms.bound("ot"), random)
        self.steps: tuple[Step, ...] = (self._agree, self._request, None)

    def opening(self) -> bytes:
        """Our size and the offer of the base OTs."""
        return _SIZE.pack(self._size) + self._offerer.point

    def _agree(self, mail: Bytes) -> None:
        (size,) = cut(mail, _SIZE.size)
        self._agreement = _agreement(self._terms, self._size, _size(size, self._terms.largest[1]))
        keyed = digests(self._table.keys, self._agreement.session)
        self._receiver = kkrt.Receiver(self._agreement, keyed, random=self._random, offerer=self._offerer)
        self.positions = self._agreement.buckets * self._agreement.sender_capacity
        self.tags_bytes = self._agreement.buckets * self._agreement.tags_bytes

    def _request(self, mail: Bytes) -> bytes:
        (choices,) = cut(mail, WIDTH * POINT)
        self._receiver.accept(bytes(choices))
        return b"".join([self._receiver.request().tobytes() for _ in range(self._agreement.buckets)])

    def finish(self, tags: Bytes) -> Entries:
        """Take the tags (tags_bytes); our rows by position in the hidden order (positions)."""
        for part in np.frombuffer(tags, np.uint8).reshape(self._agreement.buckets, -1):
            self._receiver.receive(part)
        at = self._receiver.matches[self._table.owner]
        self.matched = at >= 0
        """Which of our rows matched (rows,)."""
        rows = np.flatnonzero(self.matched)
        return Entries(at[rows], self._table.groups[rows], self._table.weights[rows])


class OtValue:
    """The value side by OT extension: its sender. Raises PlacementFailed if by chance the keys do not fit."""

    def __init__(self, terms: JoinTerms, keys: Items, random: Random) -> None:
        self._terms, self._keys, self._random = terms, keys, random
        self._size = announced(len(keys), terms.largest[1])
        self.steps: tuple[Step, ...] = (self._choose, None)

    def opening(self) -> bytes:
        """Our size."""
        return _SIZE.pack(self._size)

    def _choose(self, mail: Bytes) -> bytes:
        size, offer = cut(mail, _SIZE.size, POINT)
        self._agreement = _agreement(self._terms, _size(size, self._terms.largest[0]), self._size)
        keyed = digests(self._keys, self._agreement.session)
        self._sender = kkrt.Sender(self._agreement, keyed, random=self._random)
        return self._sender.choose(bytes(offer))

    def finish(self, mail: Bytes) -> tuple[bytes, I64]:
        """Take the matrices; the tags, and which of our keys stands at each position, -1 for none."""
        matrices = cut(mail, *[self._agreement.matrix_bytes] * self._agreement.buckets)
        tags = [self._sender.respond(np.frombuffer(matrix, np.uint8)).tobytes() for matrix in matrices]
        return b"".join(tags), self._sender.permutation


class HiddenAttribute:
    """The attribute side of the hidden engine: its group holder, whose groups are lists of keys with equal rows."""

    matched: Bools | None = None

    def __init__(self, terms: JoinTerms, table: Table, random: Random, threads: int | None) -> None:
        self._terms, self._random, self._threads = terms, random, threads
        announced(len(table.keys), terms.largest[0])
        self._lists = profiles(table, terms.minimum)
        self.left_out = self._lists.left_out
        counts = np.maximum(np.bincount(self._lists.of, minlength=max(1, self._lists.count)), terms.minimum)
        self._labels, self._sizes = elliptic.GroupHolder.announce(counts, random, bits=1)
        self.steps: tuple[Step, ...] = (self._offer, self._raise)

    def opening(self) -> bytes:
        """The sizes of our lists."""
        return b"".join(map(_SIZE.pack, self._sizes))

    def _offer(self, mail: Bytes) -> bytes:
        (size,) = cut(mail, _SIZE.size)
        agreed = _grouped(self._terms, self._sizes, _size(size, self._terms.largest[1]))
        keys, of = self._lists.keys.to_pylist(), self._lists.of
        self._holder = elliptic.GroupHolder(agreed, keys, of, self._labels, random=self._random, threads=self._threads)
        self.positions = agreed.responder
        self._tag = elliptic.tag_bytes(sum(agreed.sizes), agreed.responder)
        self.tags_bytes = sum(agreed.sizes) * self._tag
        return self._holder.offer().tobytes()

    def _raise(self, mail: Bytes) -> None:
        (points,) = cut(mail, self.positions * POINT)
        self._holder.answer(_rows(points, POINT))

    def finish(self, tags: Bytes) -> Entries:
        """Take the tags (tags_bytes); our rows by position in the hidden order (positions)."""
        return self._lists.entries(self._holder.finish(_rows(tags, self._tag)))


class HiddenValue:
    """The value side of the hidden engine."""

    def __init__(self, terms: JoinTerms, keys: Items, random: Random, threads: int | None) -> None:
        self._terms, self._keys, self._random, self._threads = terms, keys, random, threads
        self._size = announced(len(keys), terms.largest[1])
        self.steps: tuple[Step, ...] = (self._offer,)

    def opening(self) -> bytes:
        """Our size."""
        return _SIZE.pack(self._size)

    def _offer(self, mail: Bytes) -> bytes:
        agreed = _grouped(self._terms, self._list_sizes(mail), self._size)
        self._total = sum(agreed.sizes)
        self._holder = elliptic.ValueHolder(agreed, self._keys.to_pylist(), random=self._random, threads=self._threads)
        return self._holder.offer().tobytes()

    def _list_sizes(self, mail: Bytes) -> tuple[int, ...]:
        """The peer's announced lists: not too many, none too short, and together no more than it may have.

        Rounding up may double each list, so together they may have twice what the terms allow.
        """
        count, rest = divmod(len(mail), _SIZE.size)
        if rest or not 1 <= count <= MAX_PROFILES:
            right = f"announce 1 to {MAX_PROFILES} lists"
            raise PeerViolation("a mail has the wrong length", where="join", right=right)
        largest = self._terms.largest[0]
        sizes = tuple(_size(part, max(largest, self._terms.minimum)) for part in cut(mail, *[_SIZE.size] * count))
        if sum(sizes) > 2 * max(largest, self._terms.minimum) or min(sizes) < self._terms.minimum:
            raise PeerViolation("announced lists are not allowed", where="join", right="show longer lists, or fewer")
        return sizes

    def finish(self, mail: Bytes) -> tuple[bytes, I64]:
        """Take the peer's points; the tags, and which of our keys stands at each position, -1 for none."""
        (points,) = cut(mail, self._total * POINT)
        return self._holder.answer(_rows(points, POINT)).tobytes(), self._holder.order


AttributeMatcher = OtAttribute | HiddenAttribute
ValueMatcher = OtValue | HiddenValue


def _grouped(terms: JoinTerms, sizes: tuple[int, ...], value: int) -> elliptic.GroupedTerms:
    return elliptic.GroupedTerms(terms.bound("ec-hidden", *sizes, value), sizes, value, _CURVE)
