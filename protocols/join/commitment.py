"""What a value side is bound to: one digest over its public keys and every encrypted block that it sends.

Who learns what: whoever reads the digest learns nothing of the values; the blocks are encryptions with fresh noise, so
that it cannot be guessed either. Both sides compute it, one over what it sends and one over what it received, and log
it before the first masked reply leaves: a value side that sent something else than it logged is seen by the comparison.
Relies on SHA-256 being collision resistant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from protocols.containers import Bytes
from protocols.errors import MisuseError
from protocols.join.ring import FRESH_BYTES, KEY_BYTES

DIGEST = 32  # bytes
_DOMAIN = b"inbond value commitment v2"


@dataclass(frozen=True)
class Shape:
    """Of what a value side sends: a public key for each of `moduli`, and `columns` of `blocks` ciphertexts under each.

    It is sent in this order: all keys, then block after block, of each block modulus by modulus and column by column.
    """

    moduli: int
    columns: int
    blocks: int

    @property
    def parts(self) -> int:
        """Keys and blocks together."""
        return self.moduli * (1 + self.columns * self.blocks)

    @property
    def bytes(self) -> int:
        """Length of all of them."""
        return self.moduli * (KEY_BYTES + self.columns * self.blocks * FRESH_BYTES)

    def key(self, modulus: int) -> int:
        """The number of the public key for modulus number `modulus` among all parts."""
        return modulus

    def part(self, modulus: int, column: int, block: int) -> int:
        """The number of a block among all parts."""
        return self.moduli + (block * self.moduli + modulus) * self.columns + column

    def at(self, part: int) -> slice:
        """Where part number `part` stands in what is sent."""
        if part < self.moduli:
            return slice(part * KEY_BYTES, (part + 1) * KEY_BYTES)
        start = self.moduli * KEY_BYTES + (part - self.moduli) * FRESH_BYTES
        return slice(start, start + FRESH_BYTES)


@dataclass(frozen=True)
class Commitment:
    """The digests (parts * 32 bytes, in the order of `Shape`) of what was sent, and their `root`."""

    shape: Shape
    digests: bytes

    @classmethod
    def of(cls, shape: Shape, *sent: Bytes) -> Commitment:
        """The commitment to `sent`, in pieces that each end with a whole key or block (together shape.bytes).

        Raises:
            MisuseError: other lengths.
        """
        return cls(shape, Digests(shape).add(*sent).whole())

    @property
    def root(self) -> bytes:
        """32 bytes bound to shape and digests."""
        head = struct.pack("<3I", self.shape.moduli, self.shape.columns, self.shape.blocks)
        return sha256(_DOMAIN + head + self.digests).digest()

    def __iter__(self) -> Iterator[bytes]:
        """The digests one by one."""
        return (self.digests[start : start + DIGEST] for start in range(0, len(self.digests), DIGEST))


class Digests:
    """The digests of what is sent piece by piece, in the order of `shape`."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._found = shape, list[bytes]()

    def add(self, *pieces: Bytes) -> Digests:
        """Take the next pieces, each of whole keys and blocks; raises MisuseError for another length."""
        for piece in pieces:
            view = memoryview(piece)
            while view and len(self._found) < self._shape.parts:
                at = self._shape.at(len(self._found))
                length = at.stop - at.start
                self._found.append(sha256(view[:length]).digest())
                if len(view) < length:
                    break
                view = view[length:]
            if len(view):
                raise self._wrong()
        return self

    def whole(self) -> bytes:
        """All digests; raises MisuseError where some are missing."""
        if len(self._found) < self._shape.parts:
            raise self._wrong()
        return b"".join(self._found)

    def _wrong(self) -> MisuseError:
        right = f"give {self._shape.bytes} bytes, in pieces of whole keys and blocks"
        return MisuseError("columns of another length", where="commitment", right=right)


def challenged(root: bytes, nonce: bytes, blocks: int, count: int) -> tuple[int, ...]:
    """Which `count` of `blocks` blocks are to be opened (all, where there are not more), in ascending order.

    They follow from the commitment and a nonce that was drawn after it: who committed could not foresee them.
    """
    seed = sha256(b"inbond audit challenge v1" + root + nonce).digest()
    drawn = sorted(range(blocks), key=lambda block: sha256(seed + struct.pack("<I", block)).digest())
    return tuple(sorted(drawn[:count]))
