"""Private set intersection from Diffie-Hellman on ristretto255 (Meadows 1986; Huberman, Franklin, Hogg 1999).

The initiator A holds X, the responder B holds Y, with secret scalars a and b. Both offer their blinded items, a·H(x)
and b·H(y), in random order; A raises B's offer to a and keeps tags of it; B raises A's offer to b and answers tags.
A tag is the SHA-256 of the session and of `agree_all`'s name for a·b·H(x), cut; equal tags are equal items. Who learns
what, besides the announced counts:

| variant            | A                          | B                          |
| ONE_SIDED          | which of its items B has   | nothing                    |
| MUTUAL             | which of its items B has   | which of its items A has   |
| CARDINALITY        | how many items both have   | nothing                    |
| MUTUAL_CARDINALITY | how many items both have   | how many items both have   |
| grouped            | for each position of B's   | nothing                    |
|                    | hidden order, the group    |                            |
|                    | of the item of A there     |                            |

The mutual variants are not fair: A has its result before it reports to B. Announced counts may exceed the sets:
random elements, whose logarithms nobody knows, fill up and match nothing, so only the announced size shows. Dummy
elements are as uniform as the blinded items, under the decisional Diffie-Hellman assumption in the random oracle model.
Semi-honest: nobody proves that its set is real. A role's object serves one session: it checks all it receives before
it returns anything, and after a PeerViolation every further step is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from math import log2
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.errors import MisuseError, PeerViolation
from protocols.psi.hashing import SESSION, digest_all, domain
from protocols.psi.permute import permutation
from protocols.psi.ristretto import POINT, U8, Random, agree_all, hash_all, random_points, random_scalar

I64 = npt.NDArray[np.int64]

STATISTICAL = 40  # bits: the chance that unequal items get equal tags is below 2**-40 in a session
DUMMY = -1  # in an order: no item of ours stands at this position
NO_GROUP = -1


class Variant(StrEnum):
    """Who learns what; the module's docstring has the table."""

    ONE_SIDED = "one-sided"
    MUTUAL = "mutual"
    CARDINALITY = "cardinality"
    MUTUAL_CARDINALITY = "mutual-cardinality"

    @property
    def members(self) -> bool:
        """Whether the result names members, not only their number."""
        return self in (Variant.ONE_SIDED, Variant.MUTUAL)

    @property
    def mutual(self) -> bool:
        """Whether B learns too."""
        return self in (Variant.MUTUAL, Variant.MUTUAL_CARDINALITY)


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on before: `session` (32 bytes, fresh), protocol id and the announced counts."""

    session: bytes
    initiator: int
    responder: int
    variant: Variant = Variant.ONE_SIDED
    protocol: str = "psi-ec/1"

    def __post_init__(self) -> None:
        if len(self.session) != SESSION or min(self.initiator, self.responder) < 1:
            raise MisuseError("terms are out of range", where="psi terms", right="give a 32-byte session, counts >= 1")

    def bucket(self, number: int, initiator: int, responder: int) -> Terms:
        """Terms of the sub-session for one hash bucket, with the capacities of a bucket as its counts.

        Raises:
            MisuseError: the variant hides members; counts per bucket would tell more than one count.
        """
        if not self.variant.members:
            raise MisuseError("this variant has no buckets", where="psi terms", right="run it as one session")
        session = sha256(b"inbond psi bucket v1" + self.session + number.to_bytes(4, "big")).digest()
        return Terms(session, initiator, responder, self.variant, self.protocol)


@dataclass(frozen=True)
class GroupedTerms:
    """Terms of the grouped form: A's padded list sizes in the order of their secret labels, and B's count."""

    session: bytes
    sizes: tuple[int, ...]
    responder: int
    protocol: str = "psi-ec-grouped/1"

    def __post_init__(self) -> None:
        if len(self.session) != SESSION or not self.sizes or min(*self.sizes, self.responder) < 1:
            raise MisuseError("terms are out of range", where="psi terms", right="give a 32-byte session, counts >= 1")


class Outcome(NamedTuple):
    """What a role learns: the size, its own members (item positions, ascending) or None, and A's report or None."""

    size: int
    members: I64 | None
    report: U8 | None = None


def tag_bytes(left: int, right: int) -> int:
    """Bytes of a tag for two counts: ceil((40 + log2(left * right)) / 8) and at least 8.

    With very unequal counts it is the pairs within the larger side that decide, lest equal tags accuse it falsely.
    """
    pairs = max(left * right, left * left // 2, right * right // 2)
    return max(8, -int(-(STATISTICAL + log2(pairs)) // 8))


def bucket_sizes(count: int, *, bits: int = 3) -> int:
    """Smallest announced size that is at least `count` and has only its top `bits` bits set (1: powers of two)."""
    step = 1 << max(0, max(count - 1, 1).bit_length() - bits)
    return -(-max(count, 1) // step) * step


class _Role:
    """One side of one session: its scalar, its blinded items in a secret order, and how far it has come."""

    _STEPS: tuple[str, ...] = ("offer", "answer", "finish")

    def __init__(self, session: bytes, protocol: str, random: Random, threads: int | None) -> None:
        self._session, self._domain = session, domain(protocol)
        self._random, self._threads = random, threads
        self._scalar = random_scalar(random)
        self._done = 0

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Run the step `name`, which must be next; a failure ends the session and drops the scalar."""
        if self._done >= len(self._STEPS) or self._STEPS[self._done] != name:
            raise MisuseError(f"{name} is not the next step", where="psi role", right="one object serves one session")
        position, self._done = self._done, len(self._STEPS)
        try:
            yield
        except BaseException:
            self._scalar = b""
            raise
        self._done = position + 1
        if name == "answer":
            self._scalar = b""  # its last use in every role

    def _blind(self, items: Sequence[bytes], count: int) -> tuple[U8, I64]:
        """Blinded items filled up to `count` rows, shuffled, and which item stands at each row (DUMMY: none)."""
        if len(items) > count:
            raise MisuseError("more items than announced", where="psi role", right="announce a count that holds them")
        digests = digest_all(items, session=self._session, dst=self._domain)
        blinded = hash_all(digests, self._scalar, threads=self._threads)
        if _has_duplicates(blinded):
            raise MisuseError("an item occurs twice", where="psi role", right="give distinct items")
        points = np.concatenate([blinded, random_points(count - len(items), self._random)])
        order = permutation(count, self._random)
        return points[order], np.where(order < len(items), order, DUMMY)

    def _raise(self, points: U8, count: int, length: int) -> U8:
        """Tags (count, length) of the peer's points raised to our scalar, in their order.

        Raises:
            PeerViolation: another count, a repeated, malformed or identity element.
        """
        _check(points, count, POINT)
        names = agree_all(self._scalar, points, threads=self._threads).tobytes()
        start = sha256(self._session)
        tags = bytearray()
        for at in range(0, len(names), POINT):  # a hash per item; hashlib has no bulk call
            state = start.copy()
            state.update(names[at : at + POINT])
            tags += state.digest()[:length]
        return np.frombuffer(tags, np.uint8).reshape(count, length)


class _Party(_Role):
    def __init__(
        self, terms: Terms, items: Sequence[bytes], *, random: Random = os.urandom, threads: int | None = None
    ) -> None:
        super().__init__(terms.session, terms.protocol, random, threads)
        self.terms, self._items = terms, items
        self._length = tag_bytes(terms.initiator, terms.responder)
        self._order: I64 = np.empty(0, np.int64)
        self._tags: U8 = np.empty((0, self._length), np.uint8)

    def _offer(self, count: int) -> U8:
        with self._step("offer"):
            points, self._order = self._blind(self._items, count)
            self._items = ()
            return points

    def _outcome(self, own: U8, peers: U8) -> Outcome:
        """Compare tags of our items, in the order of our offer where members are shown, with tags of the peer's."""
        positions, _ = _match(own, peers)
        if not self.terms.variant.members:
            return Outcome(len(positions), None)
        members = np.sort(self._order[positions])
        if DUMMY in members:
            raise PeerViolation("the peer matched a dummy", where="psi tags", right="answer with the product's tag")
        return Outcome(len(members), members)


class Initiator(_Party):
    """A: `offer`, `answer` B's offer for itself, `finish` with B's tags. Items are distinct encoded items.

    Raises, in every step:
        MisuseError: steps out of order, repeated items, more items than announced.
        PeerViolation: what was received is not what the terms allow.
    """

    def offer(self) -> U8:
        """Points (terms.initiator, 32) for B."""
        return self._offer(self.terms.initiator)

    def answer(self, points: U8) -> None:
        """Take B's offer (terms.responder, 32)."""
        with self._step("answer"):
            self._tags = self._raise(points, self.terms.responder, self._length)

    def finish(self, tags: U8) -> Outcome:
        """Take B's tags (terms.initiator, tag bytes); in the mutual variants the outcome's report is for B."""
        with self._step("finish"):
            _check(tags, self.terms.initiator, self._length)
            outcome = self._outcome(tags, self._tags)
            if not self.terms.variant.mutual:
                return outcome
            return outcome._replace(report=self._tags if self.terms.variant.members else _sorted(self._tags))


class Responder(_Party):
    """B: `offer`, `answer` A's offer with tags, and in the mutual variants `finish` with A's report.

    Raises as Initiator.
    """

    def offer(self) -> U8:
        """Points (terms.responder, 32) for A."""
        return self._offer(self.terms.responder)

    def answer(self, points: U8) -> U8:
        """Tags (terms.initiator, tag bytes) of A's offer: in its order where A may learn members, else sorted."""
        with self._step("answer"):
            tags = self._raise(points, self.terms.initiator, self._length)
            self._tags = tags if self.terms.variant.members else _sorted(tags)
            return self._tags

    def finish(self, report: U8) -> Outcome:
        """Take A's report (terms.responder, tag bytes).

        Raises:
            MisuseError: the variant tells B nothing.
        """
        with self._step("finish"):
            if not self.terms.variant.mutual:
                raise MisuseError("this variant tells B nothing", where="psi role", right="stop after the answer")
            _check(report, self.terms.responder, self._length)
            return self._outcome(report, self._tags)


class GroupHolder(_Role):
    """A of the grouped form: learns the group at each position of B's hidden order, never which member matched.

    `groups` (items,) holds each item's group in [0, number of groups). `labels` (groups,) is A's secret: list k of the
    message is group labels[k], of terms.sizes[k] rows; `announce` makes both.
    """

    def __init__(
        self,
        terms: GroupedTerms,
        items: Sequence[bytes],
        groups: I64,
        labels: I64,
        *,
        random: Random = os.urandom,
        threads: int | None = None,
    ) -> None:
        super().__init__(terms.session, terms.protocol, random, threads)
        if len(groups) != len(items) or sorted(labels.tolist()) != list(range(len(terms.sizes))):
            raise MisuseError("groups do not fit", where="psi role", right="give a group per item, a label per list")
        if len(items) and not 0 <= int(groups.min()) <= int(groups.max()) < len(labels):
            raise MisuseError("a group is out of range", where="psi role", right="number the groups from 0")
        self.terms, self._items, self._groups, self._labels = terms, items, groups, labels
        self._length = tag_bytes(sum(terms.sizes), terms.responder)
        self._tags: U8 = np.empty((0, self._length), np.uint8)

    @staticmethod
    def announce(counts: I64, random: Random = os.urandom, *, bits: int = 3) -> tuple[I64, tuple[int, ...]]:
        """Secret labels and padded list sizes in their order, for the number of items in each group."""
        labels = permutation(len(counts), random)
        return labels, tuple(bucket_sizes(int(count), bits=bits) for count in counts[labels])

    def offer(self) -> U8:
        """Points (sum of terms.sizes, 32) for B: the lists one after the other, each padded and shuffled."""
        with self._step("offer"):
            sizes = np.asarray(self.terms.sizes, np.int64)
            shuffled, order = self._blind(self._items, int(sizes.sum()))
            lists = np.empty_like(self._labels)
            lists[self._labels] = np.arange(len(sizes))  # the list of each group
            place = np.full(len(order), len(sizes))
            place[order != DUMMY] = lists[self._groups[order[order != DUMMY]]]
            free = sizes - np.bincount(place, minlength=len(sizes) + 1)[:-1]
            if (free < 0).any():
                raise MisuseError("a group passes its size", where="psi role", right="announce sizes that hold them")
            place[order == DUMMY] = np.repeat(np.arange(len(sizes)), free)
            self._items = ()
            return shuffled[np.argsort(place, kind="stable")]  # within a list, still in random order

    def answer(self, points: U8) -> None:
        """Take B's offer (terms.responder, 32)."""
        with self._step("answer"):
            self._tags = self._raise(points, self.terms.responder, self._length)

    def finish(self, tags: U8) -> I64:
        """Take B's tags (sum of terms.sizes, tag bytes); the group (terms.responder,) at each position, or NO_GROUP."""
        with self._step("finish"):
            _check(tags, sum(self.terms.sizes), self._length)
            theirs, ours = _match(self._tags, tags)
            found = np.full(self.terms.responder, NO_GROUP, np.int64)
            found[theirs] = self._labels[np.repeat(np.arange(len(self.terms.sizes)), self.terms.sizes)[ours]]
            return found


class ValueHolder(_Role):
    """B of the grouped form: offers its items in a hidden order and answers each of A's lists in sorted order."""

    _STEPS = ("offer", "answer")

    def __init__(
        self, terms: GroupedTerms, items: Sequence[bytes], *, random: Random = os.urandom, threads: int | None = None
    ) -> None:
        super().__init__(terms.session, terms.protocol, random, threads)
        self.terms, self._items = terms, items
        self._length = tag_bytes(sum(terms.sizes), terms.responder)
        self.order: I64 = np.empty(0, np.int64)
        """After `offer`: the item (terms.responder,) at each position, DUMMY for none. Secret; it orders the values."""

    def offer(self) -> U8:
        """Points (terms.responder, 32) for A."""
        with self._step("offer"):
            points, self.order = self._blind(self._items, self.terms.responder)
            self._items = ()
            return points

    def answer(self, points: U8) -> U8:
        """Tags (sum of terms.sizes, tag bytes) of A's lists, each list in sorted order."""
        with self._step("answer"):
            tags = self._raise(points, sum(self.terms.sizes), self._length)
            ends = np.cumsum(self.terms.sizes)
            return np.concatenate([_sorted(part) for part in np.split(tags, ends[:-1])])


def _check(rows: U8, count: int, width: int) -> None:
    """Refuse a message that is not `count` different rows of `width` bytes."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != width:
        raise PeerViolation(
            "a message has the wrong row length", where="psi message", right=f"send rows of {width} bytes"
        )
    if len(rows) != count:
        raise PeerViolation(
            "a message has the wrong count", where="psi message", right=f"send the announced {count} rows"
        )
    if _has_duplicates(rows):
        raise PeerViolation("a message repeats a row", where="psi message", right="send different rows")


def _keys(rows: U8) -> npt.NDArray[np.void]:
    """Rows as opaque values that NumPy compares byte by byte."""
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()


def _has_duplicates(rows: U8) -> bool:
    ordered = np.sort(_keys(rows))
    return bool((ordered[1:] == ordered[:-1]).any())


def _sorted(rows: U8) -> U8:
    """Rows in the order of their bytes, which says nothing about the order they had."""
    return np.sort(_keys(rows)).view(np.uint8).reshape(rows.shape)


def _match(left: U8, right: U8) -> tuple[I64, I64]:
    """Positions of equal rows in two lists, each without duplicates."""
    _, in_left, in_right = np.intersect1d(_keys(left), _keys(right), assume_unique=True, return_indices=True)
    return in_left, in_right
