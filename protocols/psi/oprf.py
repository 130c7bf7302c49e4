"""Oblivious pseudorandom functions on ristretto255 with SHA-512: modes OPRF and VOPRF of RFC 9497.

The client blinds its inputs and learns F(key, input) for each; the server learns how many. In VOPRF mode a proof of
equal discrete logarithms shows that the server used the key of its published public key for the whole batch, so it
cannot mark clients by their own keys. A fixed key lets a client collect evaluations over time: whoever serves one
limits them per client and renews the key. For an intersection of very unequal sets the server evaluates its own set
once per key with `evaluate_own` and publishes it shuffled and cut to tags.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha512
from typing import NamedTuple

import numpy as np

from protocols.errors import MisuseError, PeerViolation
from protocols.psi import ristretto
from protocols.psi.hashing import expand_message_xmd
from protocols.psi.ristretto import IDENTITY, ORDER, POINT, SCALAR, U8, UNIFORM, Random

SEED = 32  # bytes that derive a key
OUTPUT = 64
PROOF = 2 * SCALAR
BATCH = (1 << 16) - 1  # most elements under one proof
LONGEST = (1 << 16) - 1  # bytes of an input


class Mode(IntEnum):
    """The protocol variant, as RFC 9497 numbers it."""

    OPRF = 0
    VOPRF = 1

    @property
    def context(self) -> bytes:
        """The context string, part of every domain separation tag."""
        return b"OPRFV1-" + bytes([self]) + b"-ristretto255-SHA512"


class KeyPair(NamedTuple):
    """A server's key: the secret scalar and its public point, 32 bytes each."""

    private: bytes
    public: bytes


class Blinded(NamedTuple):
    """A client's secret blinds, and the points (n, 32) that it sends."""

    blinds: tuple[bytes, ...]
    points: U8


def derive_key_pair(seed: bytes, info: bytes, mode: Mode) -> KeyPair:
    """DeriveKeyPair of RFC 9497, section 3.2.1.

    Raises:
        MisuseError: the seed is not 32 bytes or `info` is longer than 65,535.
    """
    if len(seed) != SEED or len(info) > LONGEST:
        raise MisuseError("a key seed is malformed", where="oprf", right="give 32 random bytes and a short info")
    for counter in range(256):
        number = _hash_to_scalar(seed + _prefixed(info) + bytes([counter]), b"DeriveKeyPair" + mode.context)
        if number:
            private = _scalar(number)
            return KeyPair(private, ristretto.multiply_base(private))
    raise MisuseError("a key seed gives no key", where="oprf", right="draw another seed")


def blind(inputs: Sequence[bytes], mode: Mode, random: Random = os.urandom) -> Blinded:
    """Blind each input under its own scalar.

    Raises:
        MisuseError: an input is longer than 65,535 bytes.
    """
    elements = _elements(inputs, mode)
    blinds = tuple(ristretto.random_scalar(random) for _ in inputs)
    products = [ristretto.multiply(scalar, point) for scalar, point in zip(blinds, _each(elements), strict=True)]
    return Blinded(blinds, _points(products))


def evaluate(private: bytes, blinded: U8) -> U8:
    """The server's answer (n, 32) to a client's points (n, 32).

    Raises:
        MisuseError: the key is no scalar.
        PeerViolation: a point is malformed or the identity, or rows are not 32 bytes.
    """
    _check_shape(blinded)
    return ristretto.multiply_all(private, blinded)


def finalize(inputs: Sequence[bytes], blinds: Sequence[bytes], evaluated: U8) -> U8:
    """The client's outputs (n, 64) from the server's answer (n, 32); in VOPRF mode call `verify` first.

    Raises:
        PeerViolation: another count, or a point that is malformed or the identity.
    """
    _check_shape(evaluated)
    if len(evaluated) != len(inputs):
        raise PeerViolation("an answer has the wrong count", where="oprf answer", right="answer every element once")
    unblinded = [
        ristretto.multiply(ristretto.invert(scalar), point)
        for scalar, point in zip(blinds, _each(evaluated), strict=True)
    ]
    return _outputs(inputs, unblinded)


def evaluate_own(private: bytes, inputs: Sequence[bytes], mode: Mode) -> U8:
    """The outputs (n, 64) for the key holder's own inputs, by all cores."""
    return _outputs(inputs, list(_each(ristretto.multiply_all(private, _elements(inputs, mode)))))


def prove(key: KeyPair, blinded: U8, evaluated: U8, random: Random = os.urandom) -> bytes:
    """Proof (64 bytes) that `evaluated` is `blinded` under this key: GenerateProof of RFC 9497, section 2.2.1.

    Raises:
        MisuseError: the batch is empty, above 65,535 elements, or its two halves differ in length.
        PeerViolation: a point of the client is malformed or the identity.
    """
    combined, _ = _composites(key.public, blinded, evaluated, both=False)
    product = ristretto.multiply(key.private, combined)
    nonce = ristretto.random_scalar(random)
    first, second = ristretto.multiply_base(nonce), ristretto.multiply(nonce, combined)
    challenge = _challenge(key.public, combined, product, first, second)
    response = (int.from_bytes(nonce, "little") - challenge * int.from_bytes(key.private, "little")) % ORDER
    return _scalar(challenge) + _scalar(response)


def verify(public: bytes, blinded: U8, evaluated: U8, proof: bytes) -> None:
    """Check a server's proof for the whole batch: VerifyProof of RFC 9497, section 2.2.2.

    Raises:
        MisuseError: our own batch is empty or above 65,535 elements.
        PeerViolation: the proof does not hold, or an element, the key or the proof is malformed.
    """
    _check_shape(evaluated)
    if len(evaluated) != len(blinded):
        raise PeerViolation("an answer has the wrong count", where="oprf answer", right="answer every element once")
    challenge, response = (int.from_bytes(part, "little") for part in (proof[:SCALAR], proof[SCALAR:]))
    if len(proof) != PROOF or not (0 < challenge < ORDER and 0 < response < ORDER):
        raise PeerViolation("a proof is malformed", where="oprf proof", right="send two canonical scalars")
    combined, product = _composites(public, blinded, evaluated, both=True)
    first = ristretto.add(ristretto.multiply_base(_scalar(response)), ristretto.multiply(_scalar(challenge), public))
    second = ristretto.add(
        ristretto.multiply(_scalar(response), combined), ristretto.multiply(_scalar(challenge), product)
    )
    if _challenge(public, combined, product, first, second) != challenge:
        raise PeerViolation("a proof does not hold", where="oprf proof", right="answer under the published key")


def _composites(public: bytes, blinded: U8, evaluated: U8, *, both: bool) -> tuple[bytes, bytes]:
    """Random combinations of a batch: of the blinded elements and, for the verifier, of the evaluated ones."""
    if not 0 < len(blinded) == len(evaluated) <= BATCH:
        raise MisuseError("a batch is out of range", where="oprf proof", right="give 1 to 65,535 pairs")
    seed = sha512(_prefixed(public) + _prefixed(b"Seed-" + Mode.VOPRF.context)).digest()
    combined = product = IDENTITY
    for i, (left, right) in enumerate(zip(_each(blinded), _each(evaluated), strict=True)):
        transcript = _prefixed(seed) + i.to_bytes(2, "big") + _prefixed(left) + _prefixed(right) + b"Composite"
        weight = _scalar(_hash_to_scalar(transcript, b"HashToScalar-" + Mode.VOPRF.context))
        combined = ristretto.add(combined, ristretto.multiply(weight, left))
        if both:
            product = ristretto.add(product, ristretto.multiply(weight, right))
    return combined, product


def _challenge(public: bytes, combined: bytes, product: bytes, first: bytes, second: bytes) -> int:
    transcript = b"".join(map(_prefixed, (public, combined, product, first, second))) + b"Challenge"
    return _hash_to_scalar(transcript, b"HashToScalar-" + Mode.VOPRF.context)


def _elements(inputs: Sequence[bytes], mode: Mode) -> U8:
    if any(len(each) > LONGEST for each in inputs):
        raise MisuseError("an input is too long", where="oprf", right="give at most 65,535 bytes")
    dst = b"HashToGroup-" + mode.context
    uniform = b"".join(expand_message_xmd(each, dst, UNIFORM) for each in inputs)
    return ristretto.hash_all(np.frombuffer(uniform, np.uint8).reshape(-1, UNIFORM))


def _outputs(inputs: Sequence[bytes], unblinded: Sequence[bytes]) -> U8:
    hashes = [
        sha512(_prefixed(each) + _prefixed(point) + b"Finalize").digest()
        for each, point in zip(inputs, unblinded, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, OUTPUT)


def _hash_to_scalar(message: bytes, dst: bytes) -> int:
    return int.from_bytes(expand_message_xmd(message, dst, UNIFORM), "little") % ORDER


def _check_shape(points: U8) -> None:
    if points.dtype != np.uint8 or points.ndim != 2 or points.shape[1] != POINT:
        raise PeerViolation("elements have the wrong length", where="oprf", right="send rows of 32 bytes")


def _scalar(number: int) -> bytes:
    return number.to_bytes(SCALAR, "little")


def _prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(2, "big") + part


def _each(points: U8) -> Iterator[bytes]:
    raw = points.tobytes()
    return (raw[at : at + POINT] for at in range(0, len(raw), POINT))


def _points(parts: Sequence[bytes]) -> U8:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, POINT)
