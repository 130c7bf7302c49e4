"""SEAL's serialised containers, taken apart and put together around bare coefficients.

Who learns what: nothing is protected here. SEAL's own container is zstd inside nested headers, and SEAL 4.3 has known
defects in reading hostile ones. So a peer sends coefficients only; we check them against the primes and put them into a
template, which is all the rest of a container that our own SEAL wrote.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from pyarrow import Codec

from protocols.packing import U64

Bytes = bytes | bytearray | memoryview
U8 = npt.NDArray[np.uint8]

# SEAL 4's layout after the 16-byte outer header: parms_id 32, ntt flag 1, four 64-bit sizes and a double
# (size, degree, primes, scale, correction), inner header 16, count 8, coefficients; seeded ones end in
# header 16, generator type 1, seed 64. A plaintext: parms_id 32, count 8, scale 8, inner header 16, count 8,
# coefficients.
_OUTER = 16
CIPHER_PREFIX = 32 + 1 + 5 * 8 + 16 + 8
SEED_PREFIX = 16 + 1
PLAIN_PREFIX = 32 + 8 + 8 + 16 + 8
SEED_BYTES = 64


class Scratch:
    """A memory file, since SEAL saves to and loads from paths only."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("inbond-seal", os.MFD_CLOEXEC)
        self._zstd = Codec("zstd")
        self.path = f"/proc/self/fd/{self._fd}"

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._fd)

    def put(self, *parts: Bytes) -> None:
        """Make the file hold these parts and nothing else."""
        os.ftruncate(self._fd, os.pwritev(self._fd, parts, 0))

    def save(self, thing: Any) -> bytes:
        """Return SEAL's compressed serialisation of `thing`; SEAL truncates the file first."""
        thing.save(self.path)
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def raw(self, thing: Any, size: int) -> memoryview:
        """The `size` uncompressed bytes of SEAL's serialisation, outer header left out."""
        blob = memoryview(self.save(thing))[_OUTER:]
        return memoryview(self._zstd.decompress(blob, decompressed_size=size))

    def template(self, thing: Any, size: int) -> tuple[bytes, bytes]:
        """An outer header that announces no compression, and the `size` uncompressed bytes after it."""
        raw = bytes(self.raw(thing, size))
        head = self.save(thing)[:_OUTER]
        return head[:5] + b"\0" + head[6:8] + struct.pack("<Q", _OUTER + size), raw


def narrow(words: U64, width: int, body: U8) -> None:
    """Words, any shape, to `width` little-endian bytes each in `body` (contiguous)."""
    unit, each = _unit(width)
    cut = body.reshape(-1).view(unit).reshape(-1, each * width // 8)
    cut[:] = words.reshape(-1).view(unit).reshape(-1, each)[:, : each * width // 8]


def widen(body: U8, width: int) -> U64:
    """Bytes (rows, n * width) to words (rows, n)."""
    unit, each = _unit(width)
    words = np.zeros((body.shape[0], body.shape[1] // width), np.uint64)
    cut = np.ascontiguousarray(body).view(unit).reshape(-1, each * width // 8)
    words.reshape(-1).view(unit).reshape(-1, each)[:, : each * width // 8] = cut
    return words


def _unit(width: int) -> tuple[type[np.uint8 | np.uint16], int]:
    """The widest type that divides `width` bytes, as moving it is quickest, and how many fill a word."""
    return (np.uint16, 4) if width % 2 == 0 else (np.uint8, 8)
