"""Which weights stand at which positions of the value side's hidden order, by block and group.

Who learns what: nothing is sent here. This is what the attribute side knows after matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from protocols.psi.items import I64


@dataclass(frozen=True)
class Entries:
    """One row for each matched (position, group): `positions` (m,), `groups` (m,) and `weights` (m, left columns)."""

    positions: I64
    groups: I64
    weights: I64

    def chosen(self, rows: npt.NDArray[np.bool_]) -> Entries:
        """Some of the rows, by a mask (m,)."""
        return Entries(self.positions[rows], self.groups[rows], self.weights[rows])

    def beside(self, other: Entries) -> Entries:
        """These rows, and then those of `other`."""
        mine, theirs = (self.positions, self.groups, self.weights), (other.positions, other.groups, other.weights)
        return Entries(*(np.concatenate(pair) for pair in zip(mine, theirs, strict=True)))

    def ordered(self, slots: int) -> Entries:
        """The same rows by block of `slots` positions, and by group within a block."""
        order = np.lexsort((self.groups, self.positions // slots))
        return Entries(self.positions[order], self.groups[order], self.weights[order])

    def blocks(self, slots: int) -> Iterator[tuple[int, int, Entries]]:
        """Block, group and rows of each group in each block where it has any; `self` is ordered."""
        if not len(self.positions):
            return
        block = self.positions // slots
        new = (np.diff(block) != 0) | (np.diff(self.groups) != 0)
        edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(block)]
        for start, stop in pairwise(edges):
            part = Entries(self.positions[start:stop] % slots, self.groups[start:stop], self.weights[start:stop])
            yield int(block[start]), int(self.groups[start]), part
