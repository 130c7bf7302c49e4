"""Masks: equal at both ends, different for everybody and everything else, and uniform."""

import numpy as np
import pytest

from protocols.errors import MisuseError, PeerViolation
from protocols.masking import EpochKey, apply_masks, mask, pair_seed

A, B, C = EpochKey.generate(), EpochKey.generate(), EpochKey.generate()
DIGEST = bytes(32)


def test_both_ends_of_a_pair_derive_one_seed_of_256_bits() -> None:
    seed = pair_seed(A, B.public, digest=DIGEST, me="a", peer="b")
    assert seed == pair_seed(B, A.public, digest=DIGEST, me="b", peer="a")
    assert len(seed) == 32


def test_another_descriptor_peer_or_name_gives_another_seed() -> None:
    seeds = {
        pair_seed(A, B.public, digest=DIGEST, me="a", peer="b"),
        pair_seed(A, B.public, digest=b"\1" * 32, me="a", peer="b"),
        pair_seed(A, C.public, digest=DIGEST, me="a", peer="b"),
        pair_seed(A, B.public, digest=DIGEST, me="a", peer="bb"),
    }
    assert len(seeds) == 4


def test_every_bit_of_the_seed_changes_the_stream() -> None:
    """The 28-bit collapse of mask seeds seen elsewhere (flwrlabs/flower issue 7522) would show here."""
    base = bytes(32)
    streams = {mask(base, 2, 64).tobytes()}
    for bit in range(256):
        streams.add(mask((1 << bit).to_bytes(32, "big"), 2, 64).tobytes())
    assert len(streams) == 257


@pytest.mark.parametrize("bits", [38, 57])
def test_masks_are_uniform_below_the_modulus(bits: int) -> None:
    words = mask(b"k" * 32, 1 << 16, bits)
    assert int(words.max()) < 1 << bits
    for shift in (0, bits - 8):
        counts = np.bincount(((words >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), minlength=256)
        assert ((counts - 256.0) ** 2 / 256).sum() < 400  # chi-square, 255 degrees: p < 1e-8


def test_added_and_subtracted_masks_cancel_across_chunks() -> None:
    slots = np.arange(70_000, dtype=np.uint64).reshape(7, 10_000)
    masked = apply_masks(slots, [b"x" * 32], [b"y" * 32], 38)
    assert (masked != slots).mean() > 0.999
    assert (apply_masks(masked, [b"y" * 32], [b"x" * 32], 38) == slots).all()
    expected = (slots.reshape(-1) + mask(b"x" * 32, 70_000, 38) - mask(b"y" * 32, 70_000, 38)) % np.uint64(2**38)
    assert (masked.reshape(-1) == expected).all()


LOW_ORDER = [  # RFC 7748's low-order points, canonical encodings
    (0).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


@pytest.mark.parametrize("key", LOW_ORDER, ids=range(5))
def test_a_low_order_key_is_refused(key: bytes) -> None:
    with pytest.raises(PeerViolation, match="low order"):
        pair_seed(A, key, digest=DIGEST, me="a", peer="b")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), b"\xff" * 32, (2**255 - 18).to_bytes(32, "little")])
def test_a_malformed_key_is_refused(key: bytes) -> None:
    with pytest.raises(PeerViolation, match="malformed"):
        pair_seed(A, key, digest=DIGEST, me="a", peer="b")


def test_a_private_key_is_not_printed_and_has_32_bytes() -> None:
    assert repr(A.private)[2:10] not in repr(A)
    with pytest.raises(MisuseError, match="32 bytes"):
        EpochKey(b"short")
