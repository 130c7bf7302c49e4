"""Masked sums under BFV: the value side encrypts its columns, the attribute side weighs, adds, blinds and floods them.

Who learns what. The attribute side sees ciphertexts only. The value side opens each reply to 8192 slots that are
uniform modulo t: the attribute side added a uniform vector, and keeps minus its sum as its share. So the slots' sum is
the other share, and nothing else is in it. Two things of a reply could still tell the key holder of the weights:

- its noise, of which the key holder knows the fresh part. A polynomial uniform in [-2**119, 2**119) is added to it. The
  noise of a weighted sum of b ciphertexts is, but for chance 2**-70, below 10 * 3.24 * sqrt(8192 b) * t / 2 = 2**50.5 *
  sqrt(b), since SEAL's errors are centred binomial of standard deviation 3.24, whatever the weights: their encodings
  are below t / 2. So all replies are within replies * sqrt(b) * 2**(13 + 50.5 - 120) of independent of it, which for
  1024 replies of 2**25 rows is below 2**-40. And the noise stays below 2**120, where 2**127 is the limit of
  decryption: it cannot fail.
- its second polynomial, a weighted sum of known ones. A fresh encryption of zero under the public key is added, which
  is pseudorandom to the key holder too (Ring-LWE): its noise is flooded with the rest.

A reply is switched down to one prime, which is a function of what it was. This holds for a key holder that follows the
protocol; one that sends other noise than SEAL's, or a malformed key on purpose, is not covered, but is found where an
auditor opens the block (`opening`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from protocols.containers import U8, Bytes
from protocols.errors import PeerViolation
from protocols.join.entries import Entries
from protocols.join.residues import UNIFORM, residues, uniform
from protocols.join.ring import DATA, DEGREE, FRESH_BYTES, REPLY_BYTES, blocks_of, ring
from protocols.packing import U64
from protocols.psi.items import I64
from protocols.psi.ristretto import Random

_FLOOD = 120 // 8  # bytes of a coefficient of the flood
_CENTRE = 1 << (8 * _FLOOD - 1)


class ValueKey:
    """The value side's key pair for one plaintext modulus."""

    def __init__(self, modulus: int) -> None:
        self._ring = ring(modulus)
        generator = seal.KeyGenerator(self._ring.context)
        public, secret = seal.PublicKey(), generator.secret_key()
        generator.create_public_key(public)
        self.public = self._ring.dump_key(public)
        """The public key, KEY_BYTES."""
        self._encryptor = seal.Encryptor(self._ring.context, secret)
        self._decryptor = seal.Decryptor(self._ring.context, secret)

    def secret(self) -> bytes:
        """The secret key's coefficients, a signed byte each: 8192 bytes that open every ciphertext under it."""
        return self._ring.secret_of(self._decryptor).astype(np.int8).tobytes()

    def encrypt(self, column: I64, into: U8 | None = None) -> U8:
        """A column (positions,) of whole numbers as (blocks, FRESH_BYTES), filled up with zeros; `into` takes them."""
        blocks = blocks_of(len(column))
        slots = np.zeros(blocks * DEGREE, np.uint64)
        slots[: len(column)] = column % self._ring.modulus
        bodies = np.empty((blocks, FRESH_BYTES), np.uint8) if into is None else into
        for part, body in zip(slots.reshape(blocks, DEGREE), bodies, strict=True):
            self._ring.dump_fresh(self._encryptor.encrypt_symmetric(self._ring.encode(part)), body)
        return bodies

    def open(self, replies: Bytes, count: int) -> U64:
        """The slots (count, 8192) of replies of count * REPLY_BYTES.

        Raises:
            PeerViolation: a reply is malformed, unreduced or transparent.
        """
        slots, plain = np.empty((count, DEGREE), np.uint64), seal.Plaintext()
        for row, body in zip(slots, np.frombuffer(replies, np.uint8).reshape(count, REPLY_BYTES), strict=True):
            cipher = self._ring.load_reply(body.data)
            try:
                self._decryptor.decrypt(cipher, plain)
            except (RuntimeError, ValueError):
                raise PeerViolation("a reply does not open", where="join", right="send one of this ring") from None
            row[:] = self._ring.decode(plain)
        return slots


def share_of(slots: U64, modulus: int) -> U64:
    """The value side's shares (count,) of slots (count, 8192): their sums modulo t (2**13 * 2**40 fit 64 bits)."""
    shares: U64 = slots.sum(axis=1, dtype=np.uint64) % np.uint64(modulus)
    return shares


@dataclass(frozen=True)
class Replies:
    """What the attribute side sends, count * REPLY_BYTES, and its shares (groups, outputs)."""

    sent: bytes
    shares: U64


class MaskedSums:
    """The attribute side's work for one plaintext modulus, under the value side's public key (KEY_BYTES).

    `add` part after part, then `reply`. Memory: 393 kB for each group and output.

    Raises:
        PeerViolation: the key is malformed.
    """

    def __init__(self, modulus: int, public: Bytes, *, random: Random = os.urandom) -> None:
        self._ring, self._random = ring(modulus), random
        self._zero = seal.Encryptor(self._ring.context, self._ring.load_key(public))
        self._sums = dict[tuple[int, int], Any]()
        self._masks = list[tuple[Any, int]]()

    def add(self, first: int, columns: U8, entries: Entries, outputs: tuple[tuple[int, int], ...]) -> None:
        """Take some blocks, from number `first` on, of all columns: (blocks, right columns, FRESH_BYTES).

        `entries` are those in these blocks, in the order of `Entries.ordered`.

        Raises:
            PeerViolation: a ciphertext is malformed.
        """
        for group, output, product in self._products(first, columns, entries, outputs):
            if (group, output) in self._sums:
                self._ring.evaluator.add_inplace(self._sums[group, output], product)
            else:
                self._sums[group, output] = product

    def prepare(self, count: int) -> None:
        """Make what hides `count` replies: it does not depend on what they hide."""
        while len(self._masks) < count:
            self._masks.append(self._mask())

    def reply(self, groups: int, outputs: int) -> Replies:
        """Replies for everything that was added, group by group, an output after the other."""
        shares, sent = np.empty((groups, outputs), np.uint64), []
        for group, output in np.ndindex(shares.shape):
            reply, shares[group, output] = self._hidden(self._sums.pop((group, output), None))
            sent.append(self._ring.dump_reply(reply))
        return Replies(b"".join(sent), shares)

    def _products(
        self, first: int, columns: U8, entries: Entries, outputs: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[int, int, Any]]:
        """Weights times values, for each block, group and output with a weight that is not zero.

        All ciphertexts are read, also of blocks without a match: whether a bad one is refused must not tell of matches.
        """
        lefts, due = {left for left, _ in outputs}, entries.blocks(DEGREE)
        following = next(due, None)
        for block, bodies in enumerate(columns, first):
            values = [self._transformed(body) for body in bodies]
            while following is not None and following[0] == block:
                weights = {left: self._weights(following[2], left) for left in lefts}
                for output, (left, right) in enumerate(outputs):
                    if weights[left] is not None:
                        yield following[1], output, self._multiply(values[right], weights[left])
                following = next(due, None)

    def _transformed(self, body: U8) -> Any:
        cipher = self._ring.load_fresh(body)
        self._ring.evaluator.transform_to_ntt_inplace(cipher)
        return cipher

    def _weights(self, rows: Entries, left: int) -> Any | None:
        """One left column of some rows as a plaintext ready to multiply, None if it is zero (SEAL refuses those)."""
        slots = np.zeros(DEGREE, np.uint64)
        slots[rows.positions] = rows.weights[:, left] % self._ring.modulus
        if not slots.any():
            return None
        plain = seal.Plaintext()
        self._ring.evaluator.transform_to_ntt(self._ring.encode(slots), self._ring.level, plain)
        return plain

    def _multiply(self, values: Any, weights: Any) -> Any:
        product = seal.Ciphertext()
        try:
            self._ring.evaluator.multiply_plain(values, weights, product)
        except (RuntimeError, ValueError):  # only values that are zero in both polynomials come here
            raise PeerViolation("a ciphertext is transparent", where="join", right="encrypt it") from None
        return product

    def _hidden(self, total: Any | None) -> tuple[Any, int]:
        """A reply that tells the key holder nothing but a uniform number, and the share that goes with it."""
        reply, share = self._masks.pop() if self._masks else self._mask()
        if total is not None:
            self._ring.evaluator.transform_from_ntt_inplace(total)
            self._ring.evaluator.add_inplace(reply, total)
        return self._ring.switch_down(reply), share

    def _mask(self) -> tuple[Any, int]:
        """A fresh encryption of a uniform vector under the flood, and our share that goes with it; to be used once."""
        evaluator, reply = self._ring.evaluator, seal.Ciphertext()
        self._zero.encrypt_zero(reply)
        blind = uniform(self._random(UNIFORM * DEGREE), self._ring.modulus)
        evaluator.add_plain_inplace(reply, self._ring.encode(blind))
        evaluator.add_inplace(reply, self._flood())
        return reply, -int(blind.sum()) % self._ring.modulus

    def _flood(self) -> Any:
        """A first polynomial uniform in [-2**119, 2**119)."""
        raw = np.frombuffer(self._random(_FLOOD * DEGREE), np.uint8).reshape(_FLOOD, DEGREE)
        words = np.empty((len(DATA), DEGREE), np.uint64)
        for row, prime in zip(words, DATA, strict=True):
            row[:] = (residues(raw, prime) + np.uint64(prime - _CENTRE % prime)) % np.uint64(prime)
        return self._ring.load_constant(words)
