"""Lists for the hidden engine: keys that have the same groups and weights share a list, and only lists are told apart.

Who learns what: nothing is sent here. The attribute side will learn how many members of each list match, so a list
must not be short: keys of lists shorter than the plan's minimum are left out, and their groups with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.errors import MisuseError
from protocols.join.entries import Entries
from protocols.join.table import Table
from protocols.join.terms import MAX_PROFILES
from protocols.psi.items import I64, Items


@dataclass(frozen=True)
class Profiles:
    """`keys` and the list `of` each (n,); list p has the rows first[p] to last[p] of `groups` and `weights`."""

    keys: Items
    of: I64
    first: I64
    last: I64
    groups: I64
    weights: I64
    left_out: frozenset[int]

    @property
    def count(self) -> int:
        """Number of lists."""
        return len(self.first)

    def entries(self, found: I64) -> Entries:
        """Rows for the list `found` (positions,) at each position, -1 where there is none."""
        positions = np.flatnonzero(found >= 0)
        lists = found[positions]
        counts = self.last[lists] - self.first[lists]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(self.first[lists], counts) + within
        return Entries(np.repeat(positions, counts), self.groups[rows], self.weights[rows])


def profiles(table: Table, minimum: int) -> Profiles:
    """Lists of keys with equal rows.

    Raises:
        MisuseError: more than MAX_PROFILES different ones; the other engine, or the other placement, has no such limit.
    """
    order = np.lexsort((table.groups, table.owner))
    owner = table.owner[order]
    number = _numbers(table, order, owner)
    sizes = np.bincount(number, minlength=1)
    keep = sizes >= minimum
    short = ~keep[number[owner]]
    start = np.searchsorted(owner, np.arange(len(table.keys) + 1))
    sample = np.zeros(len(sizes), np.int64)
    sample[number] = np.arange(len(number))  # any one key of each list stands for it
    kept = np.flatnonzero(keep & (sizes > 0))
    renumbered = np.cumsum(keep) - 1
    chosen = np.flatnonzero(keep[number])
    return Profiles(
        keys=table.keys.take(chosen),
        of=renumbered[number[chosen]],
        first=start[sample[kept]],
        last=start[sample[kept] + 1],
        groups=table.groups[order],
        weights=table.weights[order],
        left_out=frozenset(table.groups[order][short].tolist()),
    )


def _numbers(table: Table, order: I64, owner: I64) -> I64:
    """A number for each key (keys,), equal for keys with equal rows: rows are folded in, one a key at a time."""
    token = table.groups[order]
    for column in table.weights[order].T:
        token = _paired(token, column)
    _check(int(token.max(initial=-1)) + 1)
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    number = np.zeros(len(table.keys), np.int64)
    for turn in range(int(place.max(initial=-1)) + 1):
        rows = np.flatnonzero(place == turn)
        changed = np.full(len(number), -1, np.int64)
        changed[owner[rows]] = token[rows]
        number = _paired(number, changed)
        _check(int(number.max(initial=-1)) + 1)
    return number


def _paired(first: I64, second: I64) -> I64:
    """One number for each different pair."""
    second = np.unique(second, return_inverse=True)[1]
    both: I64 = np.unique(first * (int(second.max(initial=0)) + 1) + second, return_inverse=True)[1]
    return both


def _check(count: int) -> None:
    if count > MAX_PROFILES:
        raise MisuseError(
            f"keys have more than {MAX_PROFILES} different combinations of groups and weights",
            where="hidden matching",
            right="make the other side the attribute side, or match by OT extension",
        )
