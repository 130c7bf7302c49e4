"""Random bytes to numbers modulo a prime.

Who learns what: nothing is sent here. A number of 16 random bytes reduced modulo t < 2**40 is uniform but for a bias of
2**-88 (statistical distance t / 2**128).
"""

from __future__ import annotations

import numpy as np

from protocols.containers import U8
from protocols.packing import U64

UNIFORM = 16  # bytes of a uniform number


def residues(raw: U8, modulus: int) -> U64:
    """Big-endian numbers raw (bytes, n) modulo `modulus` < 2**56, as (n,)."""
    total, prime = np.zeros(raw.shape[1], np.uint64), np.uint64(modulus)
    for row in raw:  # by bytes, so that no step passes 64 bits
        total <<= np.uint64(8)
        total |= row
        total %= prime
    return total


def uniform(stream: bytes, modulus: int) -> U64:
    """Uniform numbers (n,) below `modulus` from 16 * n random bytes."""
    return residues(np.frombuffer(stream, np.uint8).reshape(UNIFORM, -1), modulus)
