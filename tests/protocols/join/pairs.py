"""Two sides of a join, in memory, and what the result must be."""

from dataclasses import dataclass, replace

import numpy as np

from protocols.join.roles import AttributeSide, ValueSide
from protocols.join.terms import ROUNDS, JoinTerms
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


Mails = list[tuple[bytes | None, bytes | None]]


def talk(a: AttributeSide, b: ValueSide, rounds: int = ROUNDS) -> Mails:
    """Go through the rounds; what each side sent in each."""
    mails: Mails = []
    to_a = to_b = None
    for number in range(1, rounds + 1):
        sent = a.step(number, to_a), b.step(number, to_b)
        to_b, to_a = sent
        mails.append(sent)
    return mails


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
