"""Cuckoo placement of many items at once: one item a bin, each in one of its three bins, no stash.

Who learns what: nothing is sent here, and where an item ends up is never shown: the receiver's matrix hides it.
A random walk in which all items without a bin move in each round (after Pagh, Rodler 2001; Fotakis et al. 2003).
"""

from __future__ import annotations

import numpy as np

from protocols.errors import ProtocolError
from protocols.packing import U64
from protocols.psi.agreement import HASHES
from protocols.psi.items import I64

_ROUNDS = 10_000  # successful walks of a full bucket take one or two hundred


class PlacementFailed(ProtocolError):
    """Chance, of about 2**-40, and nobody's fault: match this pair of sets by elliptic curve.

    Never try again under another key: whether placement fails depends on the set, so a second try tells of it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what, where="OT matching", right="use elliptic-curve matching for these sets")


def place(candidates: U64, bins: int) -> tuple[I64, I64]:
    """Put items with the candidate bins (3, n) into `bins` bins.

    Returns the item in each bin (bins,), -1 where there is none, and which of its candidates each item took (n,).

    Raises:
        PlacementFailed: no placement was found.
    """
    table = np.full(bins, -1, np.int64)
    chosen = np.zeros(candidates.shape[1], np.int64)
    homeless = np.arange(candidates.shape[1])
    # The walk may be known to anybody: it decides only what is never shown.
    walk = np.random.default_rng(0)
    for _ in range(_ROUNDS):
        if not homeless.size:
            return table, chosen
        wanted = candidates[chosen[homeless], homeless]
        before = table[wanted]
        table[wanted] = homeless  # of several items in one bin the last stays
        stays = table[wanted] == homeless
        evicted = before[stays]
        homeless = np.concatenate([homeless[~stays], evicted[evicted >= 0]])
        chosen[homeless] = (chosen[homeless] + walk.integers(1, HASHES, homeless.size)) % HASHES
    raise PlacementFailed("some items found no bin")
