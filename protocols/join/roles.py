"""The two roles of a join: in each turn a mail may come in and one go out; at the end, additive shares of every cell.

Who learns what: the attribute side has groups and weights, the value side has values and the encryption key. For each
group g and output (l, r) both get a share, uniform by itself, of the sum over matched keys of left[l] * right[r],
modulo each modulus of the terms; neither learns the sum. What matching tells is in `matching`, and why encrypted values
and masked replies tell nothing is in `masked`. Sizes of all mails follow from the terms and the announced sizes.

Which mail goes where is in `turns`. A side that found a violation, or was asked for a turn out of order, does nothing
more and has no shares. Against parties that follow the protocol (semi-honest). What remains visible is time: how long
the attribute side takes for a part depends on how many groups have a match in each of its blocks of 8192.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from protocols.containers import U8, Bytes
from protocols.errors import MisuseError, PeerViolation
from protocols.join.commitment import Commitment, Digests, Shape
from protocols.join.entries import Entries
from protocols.join.masked import MaskedSums, ValueKey, share_of
from protocols.join.matching import (
    AttributeMatcher,
    HiddenAttribute,
    HiddenValue,
    OtAttribute,
    OtValue,
    Portion,
    ValueMatcher,
    cut,
)
from protocols.join.ring import DEGREE, FRESH_BYTES, KEY_BYTES, REPLY_BYTES
from protocols.join.table import Bools, Table, check_matrix
from protocols.join.terms import JoinTerms
from protocols.join.turns import script
from protocols.packing import U64
from protocols.psi.items import I64, Items, Keys, distinct
from protocols.psi.ristretto import Random

Act = Callable[[Bytes], Bytes | None]
"""What a side does in a turn with the mail that it waited for (empty where it waited for none): the mail it sends."""


MOST_PREPARED = 128  # replies whose masks are made ahead: 393 kB each


class _Side:
    """A script of one act for each turn, gone through once and in order; `waits` tells which of them take a mail."""

    def __init__(self, terms: JoinTerms, waits: Sequence[int], acts: Sequence[Act]) -> None:
        self.terms, self._script = terms, list(zip(waits, acts, strict=True))
        self._turn = 0  # the last one done
        self._early: list[Bytes | None] = []  # what the next turn sends, where that is made already
        self._shares: U64 | None = None
        self._digests: Digests | None = None
        self.commitment: Commitment | None = None
        """To the encrypted columns, from the turn on in which the last of them were sent or received."""
        self.bound = 0
        """How many bytes at the end of the last turn's mail, from the value side, the commitment covers."""

    def step(self, number: int, mail: Bytes | None) -> Bytes | None:
        """Do turn `number` (from 1 on) with the mail that it waits for (None: for none), and return what to send.

        Raises:
            PeerViolation: a mail is malformed, missing or not due, or a turn is out of order; nothing comes out.
            MisuseError: our own numbers are not what the terms allow.
            PlacementFailed: `ot` only, with chance 2**-40: match these sets by the hidden engine.
        """
        wanted, self._turn = self._turn + 1, len(self._script)  # until this turn is through, there is no next one
        try:
            if number != wanted or number > len(self._script):
                raise PeerViolation("a turn is out of order", where="join", right="go through each once, in order")
            waits, act = self._script[number - 1]
            if (waits == 0) != (mail is None):
                right = "send a mail in this turn" if waits else "send nothing in this turn"
                raise PeerViolation("a mail is missing or not due", where="join", right=right)
            self.bound = 0
            sent = self._early.pop() if self._early else act(b"" if mail is None else mail)
        except BaseException:
            self._shares = None
            raise
        self._turn = number
        return sent

    def prepare(self) -> None:
        """Do what the next turn needs of this side alone, while its mail is on the way; to be called between turns.

        It raises what the next `step` would, and ends the join with it.
        """
        if self._turn < len(self._script) and not self._early:
            turn, self._turn = self._turn, len(self._script)  # as in `step`
            waits, act = self._script[turn]
            if waits == 0:
                self._early.append(act(b""))
            self._begin()
            self._turn = turn

    def _begin(self) -> None:
        """What can be done of later turns without the mails that they wait for."""

    def _commit(self, portions: Sequence[Portion], sent: Bytes, *, last: bool) -> None:
        """Note keys or columns that were sent; with the last of them the commitment is made."""
        shape = Shape(len(self.terms.moduli), self.terms.right, portions[-1].stop)
        self._digests, self.bound = (self._digests or Digests(shape)).add(sent), len(sent)
        if last:
            self.commitment = Commitment(shape, self._digests.whole())

    @property
    def _keys_bytes(self) -> int:
        """Length of the public keys."""
        return len(self.terms.moduli) * KEY_BYTES

    def _columns_bytes(self, portion: Portion) -> int:
        """Length of the columns in the mail of a part."""
        return (portion.stop - portion.first) * len(self.terms.moduli) * self.terms.right * FRESH_BYTES

    @property
    def shares(self) -> U64:
        """Our share of every cell, (moduli, groups, outputs), each below its modulus.

        Raises:
            MisuseError: the last turn is not through.
        """
        if self._shares is None or self._turn < len(self._script):
            raise MisuseError("there are no shares yet", where="join", right="go through all turns")
        return self._shares


class AttributeSide(_Side):
    """A: one row for each (key, group) with a weight in every left column.

    items: encoded items (`psi.items.encode_rows`), one for each row; a key may stand in several groups. Or the rows by
        key (`psi.items.distinct`), which are not compared once more.
    groups: (rows,) int64 in [0, terms.groups). left: (rows, left columns) int64, of any sign, within the limits.
    threads: for elliptic curves; None takes every core.

    Raises:
        MisuseError: numbers that the terms do not allow, or (hidden engine) too many combinations of weights.
    """

    def __init__(
        self,
        terms: JoinTerms,
        items: Keys | Items | Sequence[bytes],
        groups: I64,
        left: I64,
        *,
        random: Random = os.urandom,
        threads: int | None = None,
    ) -> None:
        table = Table.of(terms, items, groups, left)
        self._matcher: AttributeMatcher = (
            OtAttribute(terms, table, random)
            if terms.engine == "ot"
            else HiddenAttribute(terms, table, random, threads)
        )
        self._random, self._sums = random, list[MaskedSums]()
        self._known: Entries | None = None  # of blocks that are not complete
        parts = [partial(self._ask if act.asks else self._add, act.part) for act in script(terms.parts)]
        acts: list[Act] = [lambda _: self._matcher.opening(), self._matcher.meet, *parts]
        super().__init__(terms, terms.turns[0], acts)

    def _begin(self) -> None:
        """Hash the keys; once the value side's encryption key is here, make what hides the replies."""
        self._matcher.prepare()
        for sums in self._sums:
            sums.prepare(min(self.terms.groups * len(self.terms.outputs), MOST_PREPARED))

    def _ask(self, number: int, mail: Bytes) -> bytes | None:
        """Ask for a part; the first time, take the value side's encryption keys too."""
        if number == 0:
            moduli = self.terms.moduli
            mail, keys = cut(mail, max(0, len(mail) - self._keys_bytes), self._keys_bytes)
            each = cut(keys, *[KEY_BYTES] * len(moduli))
            self._sums = [MaskedSums(*one, random=self._random) for one in zip(moduli, each, strict=True)]
            self._commit(self._matcher.portions, keys, last=False)
        return self._matcher.ask(number, mail)

    def _add(self, number: int, mail: Bytes) -> bytes | None:
        """Find the matches of a part and add their values up; with the last one, the masked sums for every modulus."""
        terms, portion, last = self.terms, self._matcher.portions[number], number == self.terms.parts - 1
        tags, body = cut(mail, portion.tags, self._columns_bytes(portion))
        self._commit(self._matcher.portions, body, last=last)
        known = self._matcher.learn(number, tags)
        known = known if self._known is None else self._known.beside(known)
        whole = known.positions < portion.stop * DEGREE
        entries, self._known = known.chosen(whole).ordered(DEGREE), known.chosen(~whole)
        columns = np.frombuffer(body, np.uint8).reshape(-1, len(terms.moduli), terms.right, FRESH_BYTES)
        for index, sums in enumerate(self._sums):
            sums.add(portion.first, columns[:, index], entries, terms.outputs)
        return self._reply() if last else None

    def _reply(self) -> bytes:
        shares, sent = np.empty(self.terms.shape, np.uint64), []
        for share, sums in zip(shares, self._sums, strict=True):
            replies = sums.reply(*share.shape)
            share[:] = replies.shares
            sent.append(replies.sent)
        self._shares = shares
        return b"".join(sent)

    @property
    def matched(self) -> Bools:
        """Engine `ot`: which of our rows have a key that the value side has too, (rows,).

        Raises:
            MisuseError: the hidden engine, which does not tell, or before the tags came.
        """
        if not isinstance(self._matcher, OtAttribute) or self.commitment is None:
            raise MisuseError("it is not known which rows matched", where="join", right="use engine ot, to its end")
        return self._matcher.matched

    @property
    def left_out(self) -> frozenset[int]:
        """Engine `ec-hidden`: groups that lack keys, for these had lists shorter than the minimum: suppress them."""
        return self._matcher.left_out


class ValueSide(_Side):
    """B: one row for each key, with a value in every right column; it makes and keeps the encryption key.

    items: distinct encoded items (keys,), as `Keys` where they are known to be so.
    right: (keys, right columns) int64, of any sign, within the limits.

    Raises:
        MisuseError: numbers that the terms do not allow, or whose sums could pass the modulus.
    """

    def __init__(
        self,
        terms: JoinTerms,
        items: Keys | Items | Sequence[bytes],
        right: I64,
        *,
        random: Random = os.urandom,
        threads: int | None = None,
    ) -> None:
        keys, rows = items if isinstance(items, Keys) else distinct(items)
        check_matrix(right, len(rows), terms.right_limits, "right")
        _check_sums(terms, right)
        if len(keys) < len(rows):
            raise MisuseError("a key occurs twice", where="join", right="sum its rows first")
        self._right = right
        self._asked = 0  # parts that were asked for
        self._columns: U8 | None = None  # of the next part to answer, encrypted before it was asked for
        self._matcher: ValueMatcher = (
            OtValue(terms, keys, random) if terms.engine == "ot" else HiddenValue(terms, keys, random, threads)
        )
        self._keys = list[ValueKey]()
        answers = [partial(self._answer, number) for number in range(terms.parts)]
        acts: list[Act] = [lambda _: self._matcher.opening(), self._meet, *answers, self._open]
        super().__init__(terms, terms.turns[1], acts)

    def _begin(self) -> None:
        """Make the encryption keys, hash the join keys; draw the order of the next part where it does not depend on the
        mail, and encrypt its columns.
        """
        self._make_keys()
        self._matcher.prepare()
        due = self._columns is None and self._asked < len(self._matcher.portions)
        if due and isinstance(self._matcher, OtValue):
            self._matcher.arrange(self._asked)
            self._columns = self._encrypted(self._asked)

    def _make_keys(self) -> None:
        if not self._keys:
            self._keys = [ValueKey(modulus) for modulus in self.terms.moduli]

    def _meet(self, mail: Bytes) -> bytes:
        """Take the attribute side's opening; what the match needs, and the encryption keys."""
        self._make_keys()
        sent, keys = self._matcher.meet(mail), b"".join(key.public for key in self._keys)
        self._commit(self._matcher.portions, keys, last=False)
        return sent + keys

    def _answer(self, number: int, mail: Bytes) -> memoryview:
        """Answer a part of the match, and send its blocks of the columns in the hidden order, dummies as zeros."""
        tags = self._matcher.tags(number, mail)
        columns = self._encrypted(number) if self._columns is None else self._columns
        self._asked, self._columns = number + 1, None
        self._commit(self._matcher.portions, columns.data, last=number == self.terms.parts - 1)
        return np.concatenate([np.frombuffer(tags, np.uint8), columns]).data

    def _encrypted(self, number: int) -> U8:
        """The blocks of a part: see `Shape`."""
        portion = self._matcher.portions[number]
        made = np.empty(self._columns_bytes(portion), np.uint8)
        padded = np.concatenate([self._right, np.zeros((1, self.terms.right), np.int64)])
        order = self._matcher.order[portion.first * DEGREE : portion.stop * DEGREE]
        columns = padded[order].T  # a dummy has the position -1: the row of zeros
        blocks = made.reshape(-1, len(self._keys), self.terms.right, FRESH_BYTES)
        for index, key in enumerate(self._keys):
            for place, column in enumerate(columns):
                key.encrypt(column, blocks[:, index, place])
        return made

    def keys(self) -> bytes:
        """The secret keys, 8192 bytes for each modulus: they open everything that was sent (`opening`).

        Raises:
            MisuseError: before the columns were sent.
        """
        if self.commitment is None:
            raise MisuseError("there are no keys yet", where="join", right="send the columns first")
        return b"".join(key.secret() for key in self._keys)

    def _open(self, mail: Bytes) -> None:
        cells = self.terms.groups * len(self.terms.outputs)
        shares = np.empty(self.terms.shape, np.uint64)
        replies = cut(mail, *[cells * REPLY_BYTES] * len(self._keys))
        for share, key, reply, modulus in zip(shares, self._keys, replies, self.terms.moduli, strict=True):
            share[:] = share_of(key.open(reply, cells), modulus).reshape(share.shape)
        self._shares = shares


def _check_sums(terms: JoinTerms, right: I64) -> None:
    """No cell may pass the modulus: |sum| is at most the largest weight times the sum of all |values|."""
    for left, column in terms.outputs:
        sizes = np.abs(right[:, column])
        total = (int((sizes >> 32).sum()) << 32) + int((sizes & 0xFFFFFFFF).sum())  # past 64 bits too
        if total * terms.left_limits[left] > terms.largest_sum:
            raise MisuseError("a sum could pass the modulus", where="join", right="use wide terms, or lower limits")
