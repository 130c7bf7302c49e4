"""Bit transposes of 512 rows, by masked swaps on blocks of 64 x 64 bits that stay in the cache.

Who learns what: nothing is sent here. Bit b of word w of a row is its column 64 w + b (words little-endian).
The swaps are those of Warren, Hacker's Delight, section 7-3, done on all blocks at once.
"""

from __future__ import annotations

import numpy as np

from protocols.packing import U64
from protocols.psi.agreement import BLOCKS, WIDTH

_MASKS = {
    32: 0x00000000FFFFFFFF,
    16: 0x0000FFFF0000FFFF,
    8: 0x00FF00FF00FF00FF,
    4: 0x0F0F0F0F0F0F0F0F,
    2: 0x3333333333333333,
    1: 0x5555555555555555,
}


def transpose(matrix: U64) -> U64:
    """Columns of a bit matrix of 512 rows, given as words (512, w), which is overwritten.

    Returns them as (4, 64 w, 2): block k of column j, 128 bits, at [k, j].
    """
    words = matrix.shape[1]
    scratch = np.empty(matrix.size // 2, np.uint64)
    for distance, mask in _MASKS.items():
        pairs = matrix.reshape(WIDTH // (2 * distance), 2, distance, words)
        low, high = pairs[:, 0], pairs[:, 1]
        swap = scratch.reshape(low.shape)
        np.right_shift(low, np.uint64(distance), out=swap)
        swap ^= high
        swap &= np.uint64(mask)
        high ^= swap
        swap <<= np.uint64(distance)
        low ^= swap
    # Row r of the g-th 64 rows now holds, in word w, bits 64 g to 64 g + 63 of column 64 w + r.
    blocks = matrix.reshape(BLOCKS, 2, 64, words).transpose(0, 3, 2, 1)
    return np.ascontiguousarray(blocks).reshape(BLOCKS, 64 * words, 2)
