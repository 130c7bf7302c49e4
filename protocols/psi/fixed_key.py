"""AES-128 under a public key, as a random-looking permutation of 128-bit blocks, and the three things built on it.

Who learns what: nothing is sent here and no key is secret. Both sides take the keys from what they agreed on and said:
- the bins an item may go to, under a key from the session id;
- the pseudorandom code, under a key from the session id and both messages of the base OTs. Kolesnikov et al. need
  a key independent of the receiver's items, so that codewords are far apart. Both sides' fresh randomness is in those
  messages and a semi-honest receiver has its set before it speaks, so it is; someone who chose items for the
  key would still need two items whose random codewords of 512 bits agree in 384;
- the row hash, a second key of the same origin: iterated Matyas-Meyer-Oseas, v <- P(v ^ x) ^ v ^ x, over five
  blocks x: one with hash index, bin and bucket, then the four of the row. It stands for the random oracle of the
  paper. Of a row the receiver lacks the bits of the sender's secret under a codeword, 128 at least. With P an ideal
  permutation (Guo, Katz, Wang, Yu, S&P 2020, treat one block), to tell an output from random takes a query to P at the
  last input of its chain. Either the input before was never asked for: then the last is one of 2**128. Or all of
  the row's were asked for: then they fix all those bits. This argument is ours; we know of no proof of the chain.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.packing import U64
from protocols.psi.agreement import BLOCKS, HASHES, Agreement
from protocols.psi.ristretto import U8

KEY = 16


def derive(purpose: bytes, *parts: bytes) -> bytes:
    """Public key of 16 bytes for `purpose` (16 bytes at most) from parts of fixed length."""
    return blake2b(b"".join(parts), digest_size=KEY, person=purpose).digest()


class Permutation:
    """AES-128 under one key on arrays of blocks."""

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (blocks on their own are meant)

    def __call__(self, blocks: U64) -> U64:
        """Permute each block of `blocks` (..., 2), contiguous."""
        out = np.empty(blocks.size + 2, np.uint64)  # update_into wants a block more than it fills
        self._encryptor.update_into(blocks.reshape(-1).view(np.uint8).data, out.view(np.uint8).data)
        return out[:-2].reshape(blocks.shape)


class Placement:
    """Bins of an item: three words of 32 bits from one block."""

    def __init__(self, agreement: Agreement) -> None:
        self._bins = np.uint64(agreement.bins)
        self._permutation = Permutation(derive(b"inbond bins v1", agreement.session))

    def bins_of(self, items: U64) -> U64:
        """The bins of each item (n, 2) in its bucket, as (3, n); two of them may be one."""
        words = self._permutation(items).view(np.uint32)[:, :HASHES].T
        return np.ascontiguousarray(words).astype(np.uint64) * self._bins >> np.uint64(32)


class Code:
    """Codewords of 512 bits, and the hash of a row of 512 bits to 128; `transcript` is what the base OTs said."""

    def __init__(self, session: bytes, *transcript: bytes) -> None:
        self._code = Permutation(derive(b"inbond code v1", session, *transcript))
        self._hash = Permutation(derive(b"inbond rows v1", session, *transcript))

    def words(self, items: U64) -> U64:
        """Codewords (4, n, 2) of items (n, 2): block k is the item, xor k, encrypted."""
        tweaked = np.repeat(items[None], BLOCKS, axis=0)
        tweaked[:, :, 0] ^= np.arange(BLOCKS, dtype=np.uint64)[:, None]
        return self._code(tweaked)

    def hash(self, rows: U64, bins: U64, hashes: U64 | int, bucket: int) -> U8:
        """Hash rows (4, n, 2) to (n, 16), each under its bin, the index of its hash function and the bucket.

        Kolesnikov et al. append the index to the item. Standing here it has the same effect, that tags of one item
        in one bin differ, and one codeword an item is enough.
        """
        state = np.empty(rows.shape[1:], np.uint64)
        state[:, 0] = bins * np.uint64(HASHES) + np.asarray(hashes, np.uint64)
        state[:, 1] = bucket
        state ^= self._hash(state)
        for block in rows:
            state ^= block
            state ^= self._hash(state)
        return state.view(np.uint8)
