"""The two engines of a join, each as a matcher for the attribute side and one for the value side.

Who learns what: the value side the attribute side's announced sizes, the attribute side the value side's, all rounded
up to powers of two; and the attribute side, of the value side's rows in their hidden order:

| engine      | the attribute side learns                        | and shows the value side                         |
| `ot`        | which of its keys stands at each position        | its number of keys, rounded up                   |
| `ec-hidden` | which of its lists the key at each position is of | how many lists it has, and their sizes, rounded |
|             | (so how many of each list match, never which)    | up, in an order that it drew at random           |

A matcher has an `opening` for turn 1 and takes the peer's with `meet`. Then the attribute side can `ask` for each part,
the value side answers it with `tags`, and from these the attribute side can `learn`: what stands at the positions of
the part's blocks (`portions`) is known then. An announced size above the terms' `largest` ends the join: a set that was
blown up to probe for members shows there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from protocols.containers import U8, Bytes
from protocols.errors import MisuseError, PeerViolation
from protocols.join.entries import Entries
from protocols.join.profiles import profiles
from protocols.join.ring import DEGREE, blocks_of
from protocols.join.table import Bools, Table
from protocols.join.terms import MAX_PROFILES, JoinTerms
from protocols.psi import elliptic, kkrt
from protocols.psi.agreement import WIDTH, Agreement
from protocols.psi.base_ot import Offerer
from protocols.psi.items import I64, Items, digests
from protocols.psi.ristretto import POINT, Random

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


@dataclass(frozen=True)
class Portion:
    """One part of a match: `buckets` of the OT extension, and bytes of `tags` that answer it.

    With it all positions of the blocks (8192 each) from `first` to `stop`, exclusive, are known.
    """

    buckets: int
    tags: int
    first: int
    stop: int


def _portions(agreement: Agreement, parts: int) -> tuple[Portion, ...]:
    """Buckets in as many parts, as even as can be; some are empty where there are fewer buckets."""
    edges = [number * agreement.buckets // parts for number in range(parts + 1)]
    blocks = [edge * agreement.sender_capacity // DEGREE for edge in edges]
    blocks[-1] = blocks_of(agreement.buckets * agreement.sender_capacity)
    return tuple(
        Portion(stop - start, (stop - start) * agreement.tags_bytes, *span)
        for (start, stop), span in zip(pairwise(edges), pairwise(blocks), strict=True)
    )


def _rows(part: Bytes, width: int) -> U8:
    return np.frombuffer(part, np.uint8).reshape(-1, width)


class OtAttribute:
    """The attribute side by OT extension: its receiver. Raises PlacementFailed if by chance the keys do not fit."""

    left_out: frozenset[int] = frozenset()

    def __init__(self, terms: JoinTerms, table: Table, random: Random) -> None:
        self._terms, self._table, self._random = terms, table, random
        self._size = announced(len(table.keys), terms.largest[0])
        self._offerer = Offerer(terms.bound("ot"), random)
        self._digests: U8 | None = None
        self.portions: tuple[Portion, ...] = ()

    def opening(self) -> bytes:
        """Our size and the offer of the base OTs."""
        return _SIZE.pack(self._size) + self._offerer.point

    def meet(self, mail: Bytes) -> None:
        """Take the value side's opening."""
        (size,) = cut(mail, _SIZE.size)
        self._agreement = _agreement(self._terms, self._size, _size(size, self._terms.largest[1]))
        keyed = self.prepare()
        self._receiver = kkrt.Receiver(self._agreement, keyed, random=self._random, offerer=self._offerer)
        self.portions = _portions(self._agreement, self._terms.parts)

    def prepare(self) -> U8:
        """Hash the keys, which needs nothing of the value side."""
        if self._digests is None:
            self._digests = digests(self._table.keys, self._terms.bound("ot"))
        return self._digests

    def ask(self, number: int, mail: Bytes) -> bytes:
        """The matrices of a part; the first takes the value side's choices."""
        if number == 0:
            (choices,) = cut(mail, WIDTH * POINT)
            self._receiver.accept(bytes(choices))
        return b"".join([self._receiver.request().tobytes() for _ in range(self.portions[number].buckets)])

    def learn(self, number: int, tags: Bytes) -> Entries:
        """Take the tags of a part; its rows by position in the hidden order."""
        parts = np.frombuffer(tags, np.uint8).reshape(self.portions[number].buckets, self._agreement.tags_bytes)
        keys = [np.zeros(0, np.int64), *map(self._receiver.receive, parts)]
        rows = self._table.rows_of(np.concatenate(keys))
        at = self._receiver.known[self._table.owner[rows]]
        return Entries(at, self._table.groups[rows], self._table.weights[rows])

    @property
    def matched(self) -> Bools:
        """Which of our rows matched (rows,); MisuseError before the last tags came."""
        found: Bools = self._receiver.matches[self._table.owner] >= 0
        return found


class OtValue:
    """The value side by OT extension: its sender. Raises PlacementFailed if by chance the keys do not fit."""

    def __init__(self, terms: JoinTerms, keys: Items, random: Random) -> None:
        self._terms, self._keys, self._random = terms, keys, random
        self._size = announced(len(keys), terms.largest[1])
        self._digests: U8 | None = None
        self.portions: tuple[Portion, ...] = ()

    def opening(self) -> bytes:
        """Our size."""
        return _SIZE.pack(self._size)

    def prepare(self) -> U8:
        """Hash the keys, which needs nothing of the attribute side."""
        if self._digests is None:
            self._digests = digests(self._keys, self._terms.bound("ot"))
        return self._digests

    def meet(self, mail: Bytes) -> bytes:
        """Take the attribute side's opening; the choices."""
        size, offer = cut(mail, _SIZE.size, POINT)
        self._agreement = _agreement(self._terms, _size(size, self._terms.largest[0]), self._size)
        self._sender = kkrt.Sender(self._agreement, self.prepare(), random=self._random)
        self.portions = _portions(self._agreement, self._terms.parts)
        return self._sender.choose(bytes(offer))

    def tags(self, number: int, mail: Bytes) -> bytes:
        """Take the matrices of a part; its tags."""
        matrices = cut(mail, *[self._agreement.matrix_bytes] * self.portions[number].buckets)
        return b"".join([self._sender.respond(np.frombuffer(matrix, np.uint8)).tobytes() for matrix in matrices])

    def arrange(self, number: int) -> None:
        """Draw the hidden order of a part, before it is asked for; parts come one after the other."""
        for _ in range(self.portions[number].buckets):
            self._sender.arrange()

    @property
    def order(self) -> I64:
        """Which of our keys stands at each position that is known by now, -1 for none."""
        return self._sender.arranged


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
        self.portions: tuple[Portion, ...] = ()

    def prepare(self) -> None:
        """Nothing is done before the sizes are known."""

    def opening(self) -> bytes:
        """The sizes of our lists."""
        return b"".join(map(_SIZE.pack, self._sizes))

    def meet(self, mail: Bytes) -> bytes:
        """Take the value side's opening; our points."""
        (size,) = cut(mail, _SIZE.size)
        agreed = _grouped(self._terms, self._sizes, _size(size, self._terms.largest[1]))
        keys, of = self._lists.keys.to_pylist(), self._lists.of
        self._holder = elliptic.GroupHolder(agreed, keys, of, self._labels, random=self._random, threads=self._threads)
        self._positions = agreed.responder
        self._tag = elliptic.tag_bytes(sum(agreed.sizes), agreed.responder)
        self.portions = (Portion(1, sum(agreed.sizes) * self._tag, 0, blocks_of(agreed.responder)),)
        return self._holder.offer().tobytes()

    def ask(self, number: int, mail: Bytes) -> None:
        """Take the value side's points; nothing is left to ask."""
        del number
        (points,) = cut(mail, self._positions * POINT)
        self._holder.answer(_rows(points, POINT))

    def learn(self, number: int, tags: Bytes) -> Entries:
        """Take the tags; our rows by position in the hidden order."""
        del number
        return self._lists.entries(self._holder.finish(_rows(tags, self._tag)))


class HiddenValue:
    """The value side of the hidden engine."""

    def __init__(self, terms: JoinTerms, keys: Items, random: Random, threads: int | None) -> None:
        self._terms, self._keys, self._random, self._threads = terms, keys, random, threads
        self._size = announced(len(keys), terms.largest[1])
        self.portions: tuple[Portion, ...] = ()

    def prepare(self) -> None:
        """Nothing is done before the sizes are known."""

    def opening(self) -> bytes:
        """Our size."""
        return _SIZE.pack(self._size)

    def meet(self, mail: Bytes) -> bytes:
        """Take the sizes of the attribute side's lists; our points."""
        agreed = _grouped(self._terms, self._list_sizes(mail), self._size)
        self._total = sum(agreed.sizes)
        self.portions = (Portion(1, 0, 0, blocks_of(self._size)),)
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

    def tags(self, number: int, mail: Bytes) -> bytes:
        """Take the peer's points; the tags."""
        del number
        (points,) = cut(mail, self._total * POINT)
        return self._holder.answer(_rows(points, POINT)).tobytes()

    @property
    def order(self) -> I64:
        """Which of our keys stands at each position, -1 for none."""
        return self._holder.order


AttributeMatcher = OtAttribute | HiddenAttribute
ValueMatcher = OtValue | HiddenValue


def _grouped(terms: JoinTerms, sizes: tuple[int, ...], value: int) -> elliptic.GroupedTerms:
    return elliptic.GroupedTerms(terms.bound("ec-hidden", *sizes, value), sizes, value, _CURVE)
