"""Two sides of a join, in memory, and what the result must be."""

from dataclasses import dataclass, replace

import numpy as np

from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.terms import JoinTerms
from protocols.packing import U64
from protocols.psi.items import I64

TERMS = JoinTerms(
    session=bytes(range(32)),
    engine="ot",
    groups=3,
    outputs=((0, 0), (0, 1), (1, 1)),
    left_limits=(1000, 1000),
    right_limits=(10**6, 10**6),
)
HIDDEN = replace(TERMS, engine="ec-hidden")


def items(numbers: I64) -> list[bytes]:
    return [b"item %d" % number for number in numbers]


@dataclass
class Pair:
    """Rows of both sides: `keys` and `groups` (rows,), `left` (rows, l); `others` (keys,), `right` (keys, r)."""

    terms: JoinTerms
    keys: I64
    groups: I64
    left: I64
    others: I64
    right: I64

    def sides(self) -> tuple[AttributeSide, ValueSide]:
        return (
            AttributeSide(self.terms, items(self.keys), self.groups, self.left),
            ValueSide(self.terms, items(self.others), self.right),
        )

    def expected(self) -> I64:
        """The table (groups, outputs), by a plain loop over all pairs of rows."""
        table = np.zeros((self.terms.groups, len(self.terms.outputs)), np.int64)
        value = dict(zip(self.others.tolist(), self.right.tolist(), strict=True))
        for key, group, left in zip(self.keys.tolist(), self.groups.tolist(), self.left.tolist(), strict=True):
            for output, (own, other) in enumerate(self.terms.outputs):
                table[group, output] += left[own] * value[key][other] if key in value else 0
        return table


Mails = tuple[list[bytes | None], list[bytes | None]]
"""What each side sent, by turn (the first at 0)."""


def talk(a: AttributeSide, b: ValueSide, most: tuple[int, int] = (99, 99), *, prepare: bool = False) -> Mails:
    """Go through the turns as far as mails allow, and no further than the `most` of each side."""
    mails: Mails = ([], [])
    moved = True
    while moved:
        moved = False
        for number, side in enumerate((a, b)):
            waits, own, theirs = a.terms.turns[number][: most[number]], mails[number], mails[1 - number]
            if len(own) == len(waits) or waits[len(own)] > len(theirs):
                continue
            wanted = waits[len(own)]
            sent = side.step(len(own) + 1, theirs[wanted - 1] if wanted else None)
            own.append(None if sent is None else bytes(sent))
            if prepare:
                side.prepare()
            moved = True
    return mails


def due(sides: tuple[AttributeSide, ValueSide], victim: int, turn: int) -> bytes | None:
    """Go on until the victim (0: attribute side, 1: value side) is to do `turn`; the mail that it is to take there."""
    mails = talk(*sides, most=(99, turn - 1) if victim else (turn - 1, 99))
    waits = sides[0].terms.turns[victim][turn - 1]
    assert len(mails[victim]) == turn - 1
    return mails[1 - victim][waits - 1] if waits else None


def committed(b: ValueSide, mails: Mails) -> list[bytes]:
    """The keys and columns in the value side's mails: what its commitment is to."""
    lengths = [b._keys_bytes, *map(b._columns_bytes, b._matcher.portions)]
    return [mail[-length:] for mail, length in zip(mails[1][1 : 1 + len(lengths)], lengths, strict=True) if mail]


def totals(a: AttributeSide, b: ValueSide) -> U64:
    """Whole-number sums of the shares."""
    total: U64 = a.shares + b.shares
    return total


def many_to_one(terms: JoinTerms, count: int, seed: int = 0) -> Pair:
    """Random data in which about a third of the keys are common; for `ot` keys stand in several groups."""
    rng = np.random.default_rng(seed)
    keys, others = (rng.choice(3 * count, count, replace=False) for _ in range(2))
    right = rng.integers(-(10**4), 10**4, (count, terms.right), endpoint=True)
    if terms.engine == "ot":
        keys = np.repeat(keys, min(2, terms.groups))
        groups = np.arange(len(keys)) % terms.groups
        left = rng.integers(-1000, 1000, (len(keys), terms.left), endpoint=True)
    else:
        groups = rng.integers(0, terms.groups, count)
        left = np.stack([1 - 3 * groups] * terms.left, axis=1)
    return Pair(terms, keys, groups, left, others, right)
