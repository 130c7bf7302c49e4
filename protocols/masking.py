"""Pairwise masks that cancel in a sum: each pair of parties adds and subtracts the same keystream.

Who learns what: whoever sees one masked contribution, even with the decryption key, sees uniform numbers;
the sum over all parties of one descriptor is bare. n - 2 colluding parties learn the sum of the other two.
Relies on X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and AES-256 in counter mode; construction after Bonawitz
et al. (CCS 2017) without drop-out recovery: a party that is lost means a new attempt under a new descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64

KEY_BYTES = 32
_CHUNK = 1 << 15  # words: 256 KiB of keystream stay in cache while they are added
_FIELD_PRIME = 2**255 - 19


@dataclass(frozen=True)
class EpochKey:
    """One party's X25519 key pair for the masks of one job; `private` (32 bytes) is never printed."""

    private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.private) != KEY_BYTES:
            raise MisuseError("an epoch key has the wrong length", where="epoch key", right="give 32 bytes")

    @classmethod
    def generate(cls) -> EpochKey:
        """Make a key from the operating system's randomness."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()


def check_public(key: bytes) -> None:
    """Refuse a public key that is not the one canonical encoding of its coordinate (RFC 7748, section 5).

    Raises:
        PeerViolation: wrong length, top bit set, or a value of 2**255 - 19 and above.
    """
    if len(key) != KEY_BYTES or int.from_bytes(key, "little") >= _FIELD_PRIME:
        raise PeerViolation("an epoch key is malformed", where="roster", right="send a canonical X25519 key")


def pair_seed(own: EpochKey, peer_public: bytes, *, digest: bytes, me: str, peer: str) -> bytes:
    """32-byte seed that the two parties `me` and `peer` share under the descriptor with this `digest`.

    Raises:
        PeerViolation: the peer's key is malformed or of low order (the shared secret would be all zero).
    """
    check_public(peer_public)
    try:
        shared = X25519PrivateKey.from_private_bytes(own.private).exchange(
            X25519PublicKey.from_public_bytes(peer_public)
        )
    except ValueError:
        raise PeerViolation("an epoch key has low order", where="roster", right="send a fresh key") from None
    names = b"".join(len(n).to_bytes(2, "big") + n for n in sorted((me.encode(), peer.encode())))
    return HKDF(SHA256(), KEY_BYTES, salt=digest, info=b"inbond mask v1" + names).derive(shared)


def mask(seed: bytes, count: int, bits: int) -> U64:
    """Words (count,) uniform in [0, 2**bits): AES-256-CTR of zeros, 64 bits a word, cut.

    The counter starts at zero because a seed serves one pair and one descriptor only.
    """
    return np.frombuffer(_stream(seed).update(bytes(8 * count)), np.dtype("<u8")) & np.uint64((1 << bits) - 1)


def _stream(seed: bytes) -> CipherContext:
    return Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()


def apply_masks(slots: U64, added: Iterable[bytes], subtracted: Iterable[bytes], bits: int) -> U64:
    """Slots (any shape) plus the masks of some seeds minus those of others, modulo 2**bits, as a new array.

    Sums wrap at 2**64, a multiple of the modulus, so one cut at the end reduces them all.
    """
    flat = slots.reshape(-1).copy()
    ciphers: list[tuple[CipherContext, np.ufunc]] = [(_stream(seed), np.add) for seed in added]
    ciphers += [(_stream(seed), np.subtract) for seed in subtracted]
    zeros = bytes(8 * min(_CHUNK, flat.size))
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        for stream, combine in ciphers:
            words = np.frombuffer(stream.update(memoryview(zeros)[: 8 * part.size]), np.dtype("<u8"))
            combine(part, words, out=part)
        part &= np.uint64((1 << bits) - 1)
    return flat.reshape(slots.shape)
