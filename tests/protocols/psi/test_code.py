"""Codewords are far apart, bins evenly spread, and row hashes those of the written construction."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.packing import U64
from protocols.psi.agreement import Agreement
from protocols.psi.fixed_key import Code, Permutation, Placement, derive

SESSION = bytes(range(32))
RANDOM = np.random.default_rng(1)


def blocks(*shape: int) -> U64:
    return RANDOM.integers(0, 2**64, (*shape, 2), np.uint64)


def test_the_permutation_is_aes_128() -> None:
    """FIPS 197, appendix C.1."""
    plain = np.frombuffer(bytes.fromhex("00112233445566778899aabbccddeeff"), np.uint64).reshape(1, 2)
    cipher = Permutation(bytes(range(16)))(plain)
    assert cipher.tobytes().hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_a_permutation_serves_again_and_for_no_block_at_all() -> None:
    permutation, many = Permutation(bytes(16)), blocks(5, 7)
    assert (permutation(many)[3] == permutation(many[3])).all()
    assert permutation(blocks(0)).shape == (0, 2)


def test_codewords_of_two_items_differ_in_about_half_of_their_bits_and_never_in_fewer_than_128() -> None:
    code = Code(SESSION, b"offer", b"choices")
    words = code.words(blocks(20_000))
    pairs = np.bitwise_count(words ^ np.roll(words, 1, axis=1)).sum(axis=(0, 2))
    assert pairs.min() >= 128
    assert abs(pairs.mean() - 256) < 0.5  # the mean of 20,000 has a deviation of 0.08


def test_codewords_of_neighbouring_items_are_far_apart_too() -> None:
    items = np.repeat(blocks(1), 128, axis=0)
    items[np.arange(128), np.arange(128) // 64] ^= np.uint64(1) << (np.arange(128, dtype=np.uint64) % np.uint64(64))
    words = Code(SESSION, b"offer").words(items)
    distances = np.bitwise_count(words[:, :, None] ^ words[:, None]).sum(axis=(0, 3))
    # Flipping bit 0 or 1 permutes the blocks of one and the same codeword: still far apart.
    assert distances[~np.eye(128, dtype=np.bool_)].min() >= 128


def test_a_code_is_that_of_its_session_and_transcript() -> None:
    items = blocks(3)
    codes = [Code(*parts).words(items).tobytes() for parts in ((SESSION, b"a"), (SESSION, b"b"), (bytes(32), b"a"))]
    assert len(set(codes)) == 3
    assert Code(SESSION, b"a").words(items).tobytes() == codes[0]


def test_a_row_hash_is_the_chain_of_its_blocks() -> None:
    rows, bins, hashes = blocks(4, 10), np.arange(10, dtype=np.uint64) * np.uint64(1000), np.full(10, 2, np.uint64)
    aes = Cipher(algorithms.AES(derive(b"inbond rows v1", SESSION, b"said")), modes.ECB()).encryptor()
    for index, found in enumerate(Code(SESSION, b"said").hash(rows, bins, hashes, 7)):
        state = (3 * 1000 * index + 2) | 7 << 64
        state ^= int.from_bytes(aes.update(state.to_bytes(16, "little")), "little")
        for block in rows[:, index]:
            state ^= int.from_bytes(block.tobytes(), "little")
            state ^= int.from_bytes(aes.update(state.to_bytes(16, "little")), "little")
        assert found.tobytes() == state.to_bytes(16, "little")


def test_a_row_hash_depends_on_row_bin_hash_function_and_bucket() -> None:
    code, row = Code(SESSION, b"said"), blocks(4, 1)
    tags = {
        code.hash(row, np.array([bin_], np.uint64), h, b).tobytes()
        for bin_ in (0, 1)
        for h in (0, 1, 2)
        for b in (0, 1)
    }
    for block in range(4):
        changed = row.copy()
        changed[block, 0, 0] ^= np.uint64(1)
        tags.add(code.hash(changed, np.array([0], np.uint64), 0, 0).tobytes())
    assert len(tags) == 12 + 4


def test_bins_are_evenly_spread_and_those_of_one_item_independent() -> None:
    agreement = Agreement(SESSION, 1, 1000)
    bins = Placement(agreement).bins_of(blocks(200_000))
    assert bins.shape == (3, 200_000)
    assert int(bins.max()) < agreement.bins
    cells = (bins * np.uint64(64) // np.uint64(agreement.bins)).astype(np.int64)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        counts = np.bincount(64 * cells[first] + cells[second], minlength=64 * 64)
        expected = 200_000 / 4096
        assert ((counts - expected) ** 2 / expected).sum() < 4096 + 6 * (2 * 4096) ** 0.5  # six deviations
    other = Placement(Agreement(bytes(32), 1, 1000)).bins_of(blocks(1000))
    assert (other != bins[:, :1000]).mean() > 0.99
