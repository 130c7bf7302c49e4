"""Opening some blocks of encrypted join values to an auditor: values within their bounds, or found out.

Who learns what: the auditor learns the values in the opened blocks (in the hidden order, without keys, with zeros for
dummies) and the secret key of this one join. With the key an auditor who also has the other blocks, which only the
attribute side got, could read them: the two together learn all values. Nobody else learns anything.

Why the opening binds. A ciphertext is (c0, a) with c0 = -(a s + e) + round(q m / t), where SEAL draws e within +-21
and expands `a` from a seed. To open it under another key s' of coefficients -1, 0, 1, a (s' - s) must come out as the
difference of two scaled plaintexts and small noise: one of (43 t)**8192 values at most. For a random `a` it is one of
at least q**7000 values, all alike: s' - s, whose norm is below 2**61500, vanishes modulo at most 1100 of the 8192
factors of a prime's ring. That is a chance of 2**-800000, against 9**8192 pairs of keys and 2**512 seeds: there is no
such pair. So no encryption has to be repeated and no noise kept: key and ciphertexts themselves are the opening. Larger
noise, which could tell the value side of weights (`masked`), is found as well, and so is a public key that does not
belong to the secret one.

The auditor's side reads a peer's bytes, as bare coefficients only (`ring`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Literal

import numpy as np

from protocols.containers import Bytes
from protocols.errors import MisuseError, PeerViolation
from protocols.join.commitment import DIGEST, Commitment, Shape, challenged
from protocols.join.ring import DATA, DEGREE, FRESH_BYTES, KEY_BYTES, Ring, ring
from protocols.join.shares import Whole, centred
from protocols.join.table import Bools
from protocols.join.terms import MODULI
from protocols.packing import U64

FRESH_NOISE = 21  # most of SEAL's centred binomial noise (util/rlwe.cpp, sample_poly_cbd)
ZERO_NOISE = 1 << 13  # most of an encryption of zero under the public key, switched down: rounding is up to 4097
Fault = Literal["altered", "key", "noise", "bounds"]
MEANING: dict[Fault, str] = {
    "altered": "not what the value side committed to",
    "key": "the secret key does not belong to the public key that was sent",
    "noise": "not an encryption under the opened key with SEAL's noise",
    "bounds": "values out of the contract's bounds",
}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a block of a column (None: with the keys); `values` counts those out of bounds."""

    fault: Fault
    block: int | None = None
    column: int | None = None
    values: int = 0


@dataclass(frozen=True)
class Asked:
    """What an auditor asks to see of a commitment: `count` blocks that follow from `nonce` (32 bytes).

    `ranges` (columns,) are the least and largest value of each column.
    """

    shape: Shape
    root: bytes
    nonce: bytes
    count: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks to open."""
        return challenged(self.root, self.nonce, self.shape.blocks, self.count)

    @property
    def bytes(self) -> int:
        """Length of an opening."""
        opened = len(self.blocks) * self.shape.columns * FRESH_BYTES
        return self.shape.parts * DIGEST + self.shape.moduli * (DEGREE + KEY_BYTES + opened)

    def parts(self, modulus: int) -> Iterator[int]:
        """The parts of one modulus that are opened: its key, then column by column."""
        yield self.shape.key(modulus)
        for column in range(self.shape.columns):
            for block in self.blocks:
                yield self.shape.part(modulus, column, block)


def make_opening(asked: Asked, sent: Bytes, keys: bytes) -> bytes:
    """The opening of what was `sent` (shape.bytes) under secret `keys` (moduli * 8192 bytes, `ValueSide.keys`).

    Raises:
        MisuseError: this is not what was committed to.
    """
    commitment = Commitment.of(asked.shape, sent)
    if commitment.root != asked.root or len(keys) != asked.shape.moduli * DEGREE:
        raise MisuseError("not what was committed to", where="opening", right="give what was sent, and its keys")
    view, made = memoryview(sent), [commitment.digests]
    for modulus in range(asked.shape.moduli):
        made.append(keys[modulus * DEGREE : (modulus + 1) * DEGREE])
        made += [bytes(view[asked.shape.at(part)]) for part in asked.parts(modulus)]
    return b"".join(made)


def check_opening(asked: Asked, opening: Bytes) -> tuple[Finding, ...]:
    """Everything that is wrong with an opening, by block and column; nothing where it is good.

    Raises:
        PeerViolation: it is no opening of this commitment: another length, or digests of something else.
        MisuseError: ranges and columns do not fit.
    """
    shape = asked.shape
    if len(asked.ranges) != shape.columns or not 1 <= shape.moduli <= len(MODULI):
        raise MisuseError("ranges, moduli and columns do not fit", where="opening", right="give a range a column")
    if len(opening) != asked.bytes:
        raise PeerViolation("an opening has the wrong length", where="opening", right=f"send {asked.bytes} bytes")
    view = memoryview(opening)
    commitment = Commitment(shape, bytes(view[: shape.parts * DIGEST]))
    if commitment.root != asked.root:
        raise PeerViolation("an opening of something else", where="opening", right="open what was committed to")
    read = _Reader(asked, list(commitment), view[shape.parts * DIGEST :])
    return tuple(read.findings())


class _Reader:
    """An opening of the right length, taken apart: for each modulus a key, a public key, and blocks."""

    def __init__(self, asked: Asked, digests: list[bytes], body: memoryview) -> None:
        self._asked, self._digests, self._body = asked, digests, body

    def findings(self) -> Iterator[Finding]:
        asked = self._asked
        each = len(self._body) // asked.shape.moduli
        slots = np.zeros((asked.shape.moduli, asked.shape.columns, len(asked.blocks), DEGREE), np.uint64)
        whole = np.ones(slots.shape[1:3], np.bool_)  # blocks whose values can be judged
        for number in range(asked.shape.moduli):
            opened = _Opened(ring(MODULI[number]), self._body[number * each : (number + 1) * each])
            yield from self._of_modulus(number, opened, slots[number], whole)
        for column, place in zip(*np.nonzero(whole), strict=True):
            values = centred(slots[:, column, place], MODULI[: asked.shape.moduli])
            least, most = asked.ranges[column]
            outside = int(((values < least) | (values > most)).sum())
            if outside:
                yield Finding("bounds", asked.blocks[place], int(column), outside)

    def _of_modulus(self, number: int, opened: _Opened, slots: U64, whole: Bools) -> Iterator[Finding]:
        parts = list(self._asked.parts(number))
        if not self._same(parts[0], opened.public):
            yield Finding("altered")
        if not opened.key_fits():
            whole[:] = False
            yield Finding("key")
            return
        for index, part in enumerate(parts[1:]):
            column, place = divmod(index, len(self._asked.blocks))
            body = opened.block(index)
            fault: Fault | None = None
            if not self._same(part, body):
                fault = "altered"
            elif (found := opened.values(body)) is None:
                fault = "noise"
            else:
                slots[column, place] = found
            if fault is not None:
                whole[column, place] = False
                yield Finding(fault, self._asked.blocks[place], column)

    def _same(self, part: int, body: Bytes) -> bool:
        return sha256(body).digest() == self._digests[part]


class _Opened:
    """What is opened of one modulus."""

    def __init__(self, of: Ring, body: memoryview) -> None:
        self._ring = of
        self._secret = np.frombuffer(body[:DEGREE], np.int8).astype(np.int64)
        self.public = body[DEGREE : DEGREE + KEY_BYTES]
        self._blocks = body[DEGREE + KEY_BYTES :]
        self._key = of.multiplier(self._secret) if self._ternary else None

    @property
    def _ternary(self) -> bool:
        return bool((abs(self._secret) <= 1).all() and self._secret.any())

    def block(self, index: int) -> memoryview:
        return self._blocks[index * FRESH_BYTES : (index + 1) * FRESH_BYTES]

    def key_fits(self) -> bool:
        """Whether the key is one of SEAL's, and what the public key encrypts opens under it."""
        if self._key is None:
            return False
        try:
            zero = self._ring.zero(self._ring.load_key(self.public))
        except PeerViolation:
            return False
        return bool((abs(centred(self._ring.phase(zero, self._key), DATA)) <= ZERO_NOISE).all())

    def values(self, body: memoryview) -> U64 | None:
        """The slots (8192,) of a fresh ciphertext, or None where it is none under this key."""
        try:
            cipher = self._ring.load_fresh(np.frombuffer(body, np.uint8))
        except PeerViolation:
            return None
        plain, noise = _split(centred(self._ring.phase(cipher, self._key), DATA), self._ring.modulus)
        return self._ring.slots_of(plain) if noise <= FRESH_NOISE else None


def _split(phase: Whole, modulus: int) -> tuple[U64, int]:
    """The plaintext's coefficients (8192,) in a phase (whole numbers), and the largest noise beside them.

    SEAL scales m to floor((q m + (t + 1) / 2) / t) (util/scalingvariant.cpp).
    """
    whole = prod(DATA)
    plain = ((2 * phase * modulus + whole) // (2 * whole)) % modulus
    noise = (phase - (whole * plain + (modulus + 1) // 2) // modulus + whole // 2) % whole - whole // 2
    return plain.astype(np.uint64), int(abs(noise).max())


def ranges_of(limits: Sequence[tuple[int, int]], columns: int) -> tuple[tuple[int, int], ...]:
    """`limits` of a side's columns for all that it sends: its columns once for each of its groups."""
    if not limits or columns % len(limits):
        raise MisuseError("ranges and columns do not fit", where="opening", right="give a range a column")
    return tuple(limits) * (columns // len(limits))
