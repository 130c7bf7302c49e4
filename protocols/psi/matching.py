"""Matching one's own tags against received ones: a small table turns most away, a search settles the rest.

Who learns what: nothing is sent here. Own tags and received tags are compared in full, byte for byte.
"""

from __future__ import annotations

import numpy as np

from protocols.errors import PeerViolation
from protocols.packing import U64
from protocols.psi.items import I64
from protocols.psi.ristretto import U8

_SLOTS_PER_TAG = 16  # so one received tag in 16 or fewer is searched in vain


def find(mine: U8, theirs: U8) -> I64:
    """Index in `theirs` (n, l) of each tag of `mine` (k, l), or -1, as (k,); tags have 16 bytes at most.

    Raises:
        PeerViolation: one of our tags was sent twice.
    """
    found = np.full(len(mine), -1, np.int64)
    if not mine.size:
        return found
    words, theirs_words = _words(mine), _words(theirs)
    order = np.argsort(words[:, 0])
    words = words[order]
    heads = np.ascontiguousarray(words[:, 0])
    near = _near(heads, theirs_words[:, 0])
    at = np.searchsorted(heads, theirs_words[near, 0])
    while near.size:  # once more for each further own tag with the same first word: hardly ever
        same = heads[np.minimum(at, len(heads) - 1)] == theirs_words[near, 0]
        same &= at < len(heads)
        near, at = near[same], at[same]
        equal = words[at, 1] == theirs_words[near, 1]
        hits = order[at[equal]]
        again = (found[hits] >= 0).any()
        found[hits] = near[equal]
        if again or (found[hits] != near[equal]).any():
            raise PeerViolation("a tag was sent twice", where="OT matching", right="send a set without repetitions")
        at = at + 1
    return found


def _words(tags: U8) -> U64:
    """Tags as two words each, filled up with zeros."""
    padded = np.zeros((len(tags), 16), np.uint8)
    padded[:, : tags.shape[1]] = tags
    return padded.view(np.uint64)


def _near(mine: U64, theirs: U64) -> I64:
    """Indices of `theirs` whose low bits are those of some of `mine`."""
    slots = 1 << (_SLOTS_PER_TAG * len(mine)).bit_length()
    table = np.zeros(slots, np.bool_)
    table[mine & np.uint64(slots - 1)] = True
    return np.flatnonzero(table[theirs & np.uint64(slots - 1)])
