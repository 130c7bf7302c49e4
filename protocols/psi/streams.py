"""512 keystreams as the rows of a bit matrix, read by columns.

Who learns what: nothing is sent here. Who has the key of a row has that row and nothing else of the matrix. AES-128 in
counter mode (NIST SP 800-38A), one key a row; each key starts one stream, which goes on from bucket to bucket.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.packing import U64
from protocols.psi.agreement import WIDTH
from protocols.psi.ristretto import U8
from protocols.psi.transpose import transpose

CHUNK = 1 << 15  # columns: 4 KiB of each stream, 2 MiB in all


class Streams:
    """The streams of `keys` (512, 16)."""

    def __init__(self, keys: U8) -> None:
        self._streams = [Cipher(algorithms.AES(key.tobytes()), modes.CTR(bytes(16))).encryptor() for key in keys]

    def columns(self, count: int) -> U64:
        """The next `count` columns, a multiple of 64, as (4, count, 2)."""
        size = count // 8
        zeros = bytes(size)
        matrix = np.empty(WIDTH * size + 16, np.uint8)  # update_into wants a block more than it fills
        view = matrix.data
        for start, stream in zip(range(0, WIDTH * size, size), self._streams, strict=True):
            stream.update_into(zeros, view[start : start + size + 16])
        return transpose(matrix[:-16].view(np.uint64).reshape(WIDTH, size // 8))


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut [0, count) into slices of at most `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
