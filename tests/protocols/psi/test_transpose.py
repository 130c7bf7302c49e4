"""Transposes and the streams they read, against NumPy's own bits and plain AES."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.packing import U64
from protocols.psi.ristretto import U8
from protocols.psi.streams import Streams, chunks
from protocols.psi.transpose import transpose


def bits(rows: U64) -> U8:
    """Bits (r, 64 w) of rows of words (r, w)."""
    return np.unpackbits(np.ascontiguousarray(rows).view(np.uint8), axis=1, bitorder="little")


def as_rows(blocks: U64) -> U64:
    """Columns as whole rows (n, 8) of their blocks (4, n, 2)."""
    return np.concatenate(list(blocks), axis=1)


@pytest.mark.parametrize("words", [1, 2, 3, 64, 131])
def test_a_transpose_is_that_of_the_bits(words: int) -> None:
    matrix = np.random.default_rng(words).integers(0, 2**64, (512, words), np.uint64)
    expected = bits(matrix).T
    assert (bits(as_rows(transpose(matrix.copy()))) == expected).all()


def test_one_bit_goes_to_its_place() -> None:
    matrix = np.zeros((512, 2), np.uint64)
    matrix[200, 1] = np.uint64(1 << 5)  # row 200, column 69
    blocks = transpose(matrix)
    assert int(np.bitwise_count(blocks).sum()) == 1
    assert blocks[1, 69].tolist() == [0, 1 << (200 - 192)]


def test_streams_are_the_columns_of_counter_mode_and_go_on() -> None:
    keys = np.random.default_rng(3).integers(0, 256, (512, 16), np.uint8)
    streams = Streams(keys)
    first, second = streams.columns(128), streams.columns(64)
    plain = [Cipher(algorithms.AES(key.tobytes()), modes.CTR(bytes(16))).encryptor().update(bytes(24)) for key in keys]
    expected = np.unpackbits(np.frombuffer(b"".join(plain), np.uint8).reshape(512, 24), axis=1, bitorder="little").T
    assert (np.concatenate([bits(as_rows(first)), bits(as_rows(second))]) == expected).all()


@pytest.mark.parametrize(("count", "pieces"), [(0, 0), (1, 1), (64, 1), (65, 2), (640, 10)])
def test_chunks_cover_a_range_once(count: int, pieces: int) -> None:
    cuts = list(chunks(count, 64))
    assert [i for cut in cuts for i in range(cut.start, cut.stop)] == list(range(count))
    assert len(cuts) == pieces
