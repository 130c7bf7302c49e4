"""Encrypted sums are exact, and every blob that is not one of ours is refused before SEAL sees it."""

import os
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import bfv
from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64
from protocols.params import PARAMETER_SETS, PUBLIC_4096, SHARED_2048, BfvParams

SETS = pytest.mark.parametrize("params", PARAMETER_SETS.values(), ids=lambda p: p.name)


@lru_cache
def keys(params: BfvParams) -> tuple[bytes, bytes]:
    return bfv.generate_key_pair(params)


def encryptor(params: BfvParams) -> bfv.Encryptor:
    return bfv.Encryptor(params, keys(params)[0 if params.symmetric else 1])


def decrypt(params: BfvParams, blob: bytes) -> U64:
    return bfv.Decryptor(params, keys(params)[0]).decrypt(blob)


def random_slots(params: BfvParams, rows: int = 2) -> U64:
    return np.random.default_rng().integers(0, params.plain_modulus, (rows, params.degree), np.uint64)


@lru_cache
def fresh(params: BfvParams) -> bytes:
    return encryptor(params).encrypt(random_slots(params))


@SETS
def test_16_parties_with_uniform_slots_sum_exactly(params: BfvParams) -> None:
    parts = [random_slots(params) for _ in range(16)]
    encrypt = encryptor(params).encrypt
    added = bfv.add(params, [encrypt(part) for part in parts])
    ideal = np.sum(parts, axis=0, dtype=np.uint64) % np.uint64(params.plain_modulus)
    assert (decrypt(params, added) == ideal).all()


@SETS
def test_noise_after_16_summands_stays_within_the_written_bound(params: BfvParams) -> None:
    """Measured with SEAL's own meter: at least the budget that the worst case leaves."""
    ring = bfv._ring(params)
    blobs = [encryptor(params).encrypt(random_slots(params, 1)) for _ in range(16)]
    parsed = bfv._Blob.parse(params, bfv.add(params, blobs), bfv.SUM)
    decryptor = bfv.Decryptor(params, keys(params)[0])
    (cipher,) = decryptor._ciphertexts(parsed)
    worst = params.modulus / (2 * params.plain_modulus) / (16 * params.fresh_error_bound)
    assert decryptor._seal.invariant_noise_budget(cipher) >= int(np.log2(worst))
    assert ring.params is params


@SETS
def test_rows_beyond_one_block_and_sparse_rows_survive(params: BfvParams) -> None:
    slots = np.zeros((70, params.degree), np.uint64)
    slots[:, 0] = np.arange(70)
    slots[69, -1] = params.plain_modulus - 1
    blob = encryptor(params).encrypt(slots)
    assert len(blob) == bfv.blob_bytes(params, 70)
    assert (decrypt(params, bfv.add(params, [blob])) == slots).all()


def test_a_shared_key_ciphertext_is_smaller_than_float32() -> None:
    assert bfv.blob_bytes(SHARED_2048, 245) / 1_000_000 < 3.1
    assert bfv.blob_bytes(SHARED_2048, 245, summands=3) / 1_000_000 < 3.1
    assert bfv.blob_bytes(PUBLIC_4096, 82) / 1_000_000 < 6.8


@SETS
def test_encryption_is_randomised(params: BfvParams) -> None:
    slots = np.ones((1, params.degree), np.uint64)
    first, second = (np.frombuffer(encryptor(params).encrypt(slots), np.uint8)[20:] for _ in range(2))
    assert (first == second).mean() < 0.02


@SETS
def test_another_key_opens_nothing(params: BfvParams) -> None:
    slots = random_slots(params)
    added = bfv.add(params, [encryptor(params).encrypt(slots)])
    other = bfv.Decryptor(params, bfv.generate_secret_key(params)).decrypt(added)
    assert (other == slots).mean() < 0.01


def test_scaling_a_message_is_exact_rounding() -> None:
    """Our own half of symmetric encryption, against whole-number arithmetic: within a half of q*m/t."""
    q, t = SHARED_2048.modulus, SHARED_2048.plain_modulus
    edges = [0, 1, 2, t // 2 - 1, t // 2, t // 2 + 1, t - 2, t - 1]
    slots = np.concatenate((np.array(edges, np.uint64), random_slots(SHARED_2048, 1)[0]))
    scaled = bfv._scale(SHARED_2048, slots)
    assert all(abs(2 * t * int(s) - 2 * q * int(m)) <= t for s, m in zip(scaled, slots, strict=True))
    assert int(scaled.max()) < q


def _set(blob: bytes, at: int, value: bytes) -> bytes:
    return blob[:at] + value + blob[at + len(value) :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda b: b"",
    "header only": lambda b: b[:20],
    "truncated": lambda b: b[:-1],
    "longer": lambda b: b + b"\0",
    "magic": lambda b: _set(b, 0, b"IBHF"),
    "version": lambda b: _set(b, 4, b"\2"),
    "kind": lambda b: _set(b, 5, bytes([bfv.SUM])),
    "a key's kind": lambda b: _set(b, 5, bytes([bfv.SECRET])),
    "two summands": lambda b: _set(b, 6, struct.pack("<H", 2)),
    "no rows": lambda b: _set(b, 8, struct.pack("<I", 0)),
    "more rows than bytes": lambda b: _set(b, 8, struct.pack("<I", 2**31)),
    "parameter tag": lambda b: _set(b, 12, b"\0"),
    "coefficient above the prime": lambda b: _set(b, 20, b"\xff" * 6),
}


@SETS
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_blob_is_refused_by_the_adder(params: BfvParams, name: str) -> None:
    good = fresh(params)
    with pytest.raises(PeerViolation):
        bfv.add(params, [good, CHANGES[name](good)])


@SETS
@pytest.mark.parametrize("name", [n for n in CHANGES if n not in ("kind", "two summands")])
def test_a_changed_sum_is_refused_by_the_key_holder(params: BfvParams, name: str) -> None:
    with pytest.raises(PeerViolation):
        decrypt(params, CHANGES[name](bfv.add(params, [fresh(params)])))


@SETS
def test_the_key_holder_refuses_a_single_fresh_ciphertext(params: BfvParams) -> None:
    with pytest.raises(PeerViolation, match="wrong kind"):
        decrypt(params, fresh(params))


def test_blobs_of_another_parameter_set_are_refused() -> None:
    with pytest.raises(PeerViolation, match="other parameters"):
        bfv.add(SHARED_2048, [fresh(PUBLIC_4096)])


def test_blobs_that_differ_in_rows_are_refused() -> None:
    one = encryptor(SHARED_2048).encrypt(random_slots(SHARED_2048, 1))
    with pytest.raises(PeerViolation, match="differ in rows"):
        bfv.add(SHARED_2048, [one, fresh(SHARED_2048)])


def test_a_transparent_ciphertext_is_refused() -> None:
    """c1 = 0 would mean that c0 alone, the message in the clear, is what a peer sent or asks us to open."""
    blob = bytearray(fresh(PUBLIC_4096))
    half = 2 * PUBLIC_4096.degree * PUBLIC_4096.word_bytes
    blob[20 + half : 20 + 2 * half] = bytes(half)
    with pytest.raises(PeerViolation, match="transparent"):
        bfv.add(PUBLIC_4096, [blob])
    blob[5] = bfv.SUM
    with pytest.raises(PeerViolation, match="transparent"):
        decrypt(PUBLIC_4096, bytes(blob))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(junk: bytes) -> None:
    for blob in (junk, fresh(SHARED_2048)[:20] + junk):
        with pytest.raises(PeerViolation):
            bfv.add(SHARED_2048, [blob])
        with pytest.raises(PeerViolation):
            decrypt(SHARED_2048, blob)
        with pytest.raises(PeerViolation):
            bfv.Encryptor(SHARED_2048, blob)


@SETS
def test_a_key_of_the_wrong_kind_set_or_size_is_refused(params: BfvParams) -> None:
    secret, public = keys(params)
    wrong = public if params.symmetric else secret
    other = SHARED_2048 if params is PUBLIC_4096 else PUBLIC_4096
    bad = [
        wrong,
        keys(other)[0],
        secret[:-1],
        secret[:100] + os.urandom(64) + secret[164:],
        secret + bytes(1 << 20),
    ]
    for key in bad:
        with pytest.raises(PeerViolation):
            bfv.Encryptor(params, key)
    with pytest.raises(PeerViolation):
        bfv.Decryptor(params, public)


def test_misuse_is_ours() -> None:
    encrypt = encryptor(SHARED_2048).encrypt
    with pytest.raises(MisuseError, match="not rows"):
        encrypt(np.zeros((1, 100), np.uint64))
    with pytest.raises(MisuseError, match="out of range"):
        encrypt(np.full((1, 2048), SHARED_2048.plain_modulus, np.uint64))
    with pytest.raises(MisuseError, match="cannot add 0"):
        bfv.add(SHARED_2048, [])
    with pytest.raises(MisuseError, match="cannot add 24"):
        bfv.add(SHARED_2048, [fresh(SHARED_2048)] * 24)
