"""Secret permutations without a loop.

Who learns what: nothing is sent here; who does not know the order can not tell it from any other.
"""

from __future__ import annotations

import os

import numpy as np

from protocols.psi.items import I64
from protocols.psi.ristretto import Random


def permutation(count: int, random: Random = os.urandom) -> I64:
    """A uniform permutation (count,): the order of random words, drawn anew if two are equal, lest one be favoured."""
    while True:
        words = np.frombuffer(random(8 * count), np.uint64)
        order = np.argsort(words)
        drawn = words[order]
        if (drawn[1:] != drawn[:-1]).all():
            return order
