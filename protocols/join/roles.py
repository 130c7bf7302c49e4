"""The two roles of a join: each round one mail in and one mail out, and at the end additive shares of every cell.

Who learns what: the attribute side has groups and weights, the value side has values and the encryption key. For each
group g and output (l, r) both get a share, uniform by itself, of the sum over matched keys of left[l] * right[r],
modulo each modulus of the terms; neither learns the sum. What matching tells is in `matching`, and why encrypted values
and masked replies tell nothing is in `masked`. Sizes of all mails follow from the terms and the announced sizes.

    round   ot                                              ec-hidden
    1       A: size, offer       B: size                    A: list sizes        B: size
    2                            B: choices                 A: points            B: points
    3       A: matrices                                                          B: tags, key, columns
    4                            B: tags, key, columns      A: masked replies
    5       A: masked replies                                                    (B opens them)
    6                            (B opens them)

A mail that a side sends in one round is given to the other in the next. A side that found a violation, or was asked
for a round out of order, does nothing more and has no shares. Against parties that follow the protocol (semi-honest).
What remains visible is time: how long a reply takes depends on how many groups have a match in a block of 8192.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from protocols.containers import Bytes
from protocols.errors import MisuseError, PeerViolation
from protocols.join.commitment import Commitment, Shape
from protocols.join.masked import MaskedSums, ValueKey, blocks_of, share_of
from protocols.join.matching import (
    AttributeMatcher,
    HiddenAttribute,
    HiddenValue,
    OtAttribute,
    OtValue,
    Step,
    ValueMatcher,
    cut,
)
from protocols.join.ring import DEGREE, FRESH_BYTES, KEY_BYTES, REPLY_BYTES
from protocols.join.table import Bools, Table, check_matrix
from protocols.join.terms import ROUNDS, JoinTerms
from protocols.packing import U64
from protocols.psi.items import I64, Items, Keys, distinct
from protocols.psi.ristretto import Random


class _Side:
    """A script of one step for each round, gone through once and in order."""

    def __init__(self, terms: JoinTerms, opening: bytes, steps: Sequence[Step]) -> None:
        self.terms, self._opening = terms, opening
        self._steps: list[Step] = [None, *steps, *[None] * (ROUNDS - 1 - len(steps))]
        self._round = 0  # the last one done
        self._shares: U64 | None = None
        self.commitment: Commitment | None = None
        """To the encrypted columns, from the step on in which they were sent or received."""

    def step(self, number: int, mail: Bytes | None) -> bytes | None:
        """Take what the peer sent in the round before (None: nothing) and return what to send in round `number`.

        Rounds count from 1 to 6; both sides go through all of them.

        Raises:
            PeerViolation: a mail is malformed, missing or not due, or a round is out of order; nothing comes out.
            MisuseError: our own numbers are not what the terms allow.
            PlacementFailed: `ot` only, with chance 2**-40: match these sets by the hidden engine.
        """
        wanted, self._round = self._round + 1, ROUNDS  # until this step is through, there is no next one
        try:
            if number != wanted or number > ROUNDS:
                raise PeerViolation("a round is out of order", where="join", right="go through each once, in order")
            sent = self._run(self._steps[number - 1], mail)
        except BaseException:
            self._shares = None
            raise
        self._round = number
        return self._opening if number == 1 else sent

    @staticmethod
    def _run(due: Step, mail: Bytes | None) -> bytes | None:
        if (due is None) != (mail is None):
            right = "send nothing in this round" if due is None else "send a mail in this round"
            raise PeerViolation("a mail is missing or not due", where="join", right=right)
        return due(mail) if due is not None and mail is not None else None

    def _commit(self, blocks: int, sent: Bytes) -> None:
        self.commitment = Commitment.of(Shape(len(self.terms.moduli), self.terms.right, blocks), sent)

    @property
    def shares(self) -> U64:
        """Our share of every cell, (moduli, groups, outputs), each below its modulus.

        Raises:
            MisuseError: the last round is not through.
        """
        if self._shares is None or self._round < ROUNDS:
            raise MisuseError("there are no shares yet", where="join", right=f"go through all {ROUNDS} rounds")
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
        self._random = random
        super().__init__(terms, self._matcher.opening(), [*self._matcher.steps, self._reply])

    def _reply(self, mail: Bytes) -> bytes:
        """Find the matches, and send the masked sums for every modulus."""
        terms, blocks = self.terms, blocks_of(self._matcher.positions)
        column = blocks * FRESH_BYTES
        parts = cut(mail, self._matcher.tags_bytes, *[KEY_BYTES, terms.right * column] * len(terms.moduli))
        self._commit(blocks, memoryview(mail)[self._matcher.tags_bytes :])
        entries = self._matcher.finish(parts[0]).ordered(DEGREE)
        shares, sent = np.empty(terms.shape, np.uint64), []
        for index, modulus in enumerate(terms.moduli):
            public, body = parts[1 + 2 * index : 3 + 2 * index]
            columns = np.frombuffer(body, np.uint8).reshape(terms.right, blocks, FRESH_BYTES)
            sums = MaskedSums(modulus, public, random=self._random)
            replies = sums.reply(columns, entries, terms.groups, terms.outputs)
            shares[index] = replies.shares
            sent.append(replies.sent)
        self._shares = shares
        return b"".join(sent)

    @property
    def matched(self) -> Bools:
        """Engine `ot`: which of our rows have a key that the value side has too, (rows,).

        Raises:
            MisuseError: the hidden engine, which does not tell, or before the tags came.
        """
        if (matched := getattr(self._matcher, "matched", None)) is None:
            raise MisuseError("it is not known which rows matched", where="join", right="use engine ot, to its end")
        found: Bools = matched
        return found

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
        self._matcher: ValueMatcher = (
            OtValue(terms, keys, random) if terms.engine == "ot" else HiddenValue(terms, keys, random, threads)
        )
        super().__init__(terms, self._matcher.opening(), [*self._matcher.steps, self._send, None, self._open])

    def _send(self, mail: Bytes) -> bytes:
        """Answer the match, and send the columns in the hidden order, dummies as zeros, for every modulus."""
        tags, order = self._matcher.finish(mail)
        padded = np.concatenate([self._right, np.zeros((1, self.terms.right), np.int64)])
        columns = padded[order].T  # a dummy has the position -1: the row of zeros
        self._keys = [ValueKey(modulus) for modulus in self.terms.moduli]
        parts = [tags]
        for key in self._keys:
            parts.append(key.public)
            parts += [key.encrypt(column).tobytes() for column in columns]
        mail = b"".join(parts)
        self._commit(blocks_of(len(order)), memoryview(mail)[len(tags) :])
        return mail

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
