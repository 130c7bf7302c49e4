"""The attribute side's rows: one for each (key, group), with a weight in every left column.

Who learns what: nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocols.errors import MisuseError
from protocols.join.terms import JoinTerms
from protocols.psi.items import I64, Items, Keys, distinct

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """`keys` are distinct items; row i has the key keys[owner[i]], `groups` (rows,) and `weights` (rows, left)."""

    keys: Items
    owner: I64
    groups: I64
    weights: I64

    @classmethod
    def of(cls, terms: JoinTerms, items: Keys | Items | Sequence[bytes], groups: I64, left: I64) -> Table:
        """Check rows against the terms; `items` are those of the rows, or the keys of all rows.

        Raises:
            MisuseError: other shapes or types, a group or weight out of range, a key twice in a group, too many keys.
        """
        keys, owner = items if isinstance(items, Keys) else distinct(items)
        check_matrix(left, len(owner), terms.left_limits, "left")
        if groups.shape != (len(owner),) or groups.dtype != np.int64:
            raise MisuseError("groups have the wrong shape", where="join", right="give an int64 for each row")
        if len(owner) and not 0 <= int(groups.min()) <= int(groups.max()) < terms.groups:
            raise MisuseError("a group is out of range", where="join", right=f"number groups 0 to {terms.groups - 1}")
        if len(keys) < len(owner) and len(np.unique(owner * terms.groups + groups)) < len(owner):
            raise MisuseError("a key stands twice in a group", where="join", right="sum its rows first")
        return cls(keys, owner, groups, left)

    def rows_of(self, keys: I64) -> I64:
        """The rows that have one of these different keys, key by key."""
        if len(self.keys) == len(self.owner):  # one row for each key
            single: I64 = self._sorted[keys]
            return single
        ends = np.searchsorted(self.owner[self._sorted], np.arange(len(self.keys) + 1))
        starts, counts = ends[keys], ends[keys + 1] - ends[keys]
        inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found: I64 = self._sorted[np.repeat(starts, counts) + inner]
        return found

    @cached_property
    def _sorted(self) -> I64:
        """All rows by key."""
        return np.argsort(self.owner, kind="stable")


def check_matrix(values: I64, rows: int, limits: Sequence[int], name: str) -> None:
    """Refuse anything but an int64 matrix (rows, columns) whose columns stay within +-limits."""
    if values.shape != (rows, len(limits)) or values.dtype != np.int64:
        right = f"give int64 of shape ({rows}, {len(limits)})"
        raise MisuseError(f"{name} columns have the wrong shape", where="join", right=right)
    if not rows:
        return
    low, high = values.min(axis=0).tolist(), values.max(axis=0).tolist()  # abs() would fail for -2**63
    if any(-least > limit or most > limit for least, most, limit in zip(low, high, limits, strict=True)):
        raise MisuseError(f"a {name} column passes its limit", where="join", right="clip to what the plan declares")
