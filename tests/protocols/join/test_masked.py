"""Masked sums: exact, never failing, and telling the key holder nothing but their sum."""

from typing import Any

import numpy as np
import pytest

from protocols.containers import U8
from protocols.errors import PeerViolation
from protocols.join import masked
from protocols.join.entries import Entries
from protocols.join.masked import MaskedSums, Replies, ValueKey, share_of
from protocols.join.ring import DATA, DEGREE, FRESH_BYTES, REPLY_BYTES, SPECIAL, blocks_of, ring
from protocols.join.terms import MAX_REPLIES, MODULI, MOST
from protocols.packing import U64
from protocols.params import MAX_ERROR, MAX_MODULUS_BITS
from protocols.psi.items import I64

T = MODULI[0]
ONE = ((0, 0),)


@pytest.fixture(scope="module")
def key() -> ValueKey:
    return ValueKey(T)


def entries(positions: I64, weight: int = 1) -> Entries:
    return Entries(positions, np.zeros(len(positions), np.int64), np.full((len(positions), 1), weight))


def reply(key: ValueKey, columns: U8, rows: Entries) -> Replies:
    return replied(MaskedSums(T, key.public), columns, rows)


def replied(sums: MaskedSums, columns: U8, rows: Entries) -> Replies:
    """To columns (right columns, blocks, FRESH_BYTES)."""
    sums.add(0, columns.swapaxes(0, 1), rows.ordered(DEGREE), ONE)
    return sums.reply(1, len(ONE))


def slots_of(key: ValueKey, values: I64, rows: Entries) -> tuple[U64, int]:
    """What the key holder sees of a reply, and the sum that both shares make."""
    answer = reply(key, key.encrypt(values)[None], rows)
    slots = key.open(answer.sent, 1)
    total = (int(share_of(slots, T)[0]) + int(answer.shares[0, 0])) % T
    return slots, total


def chi_square(slots: U64, bins: int = 64) -> float:
    counts = np.histogram(slots, bins, (0, T))[0]
    mean = slots.size / bins
    return float(((counts - mean) ** 2 / mean).sum())


LIMIT = 150  # of a chi-square with 63 degrees of freedom: passed with chance 1e-8


def test_the_parameters_are_within_the_security_table_and_fit_batching() -> None:
    bits = (np.prod([int(p) for p in DATA], dtype=object) * SPECIAL).bit_length()
    assert bits == 188 <= MAX_MODULUS_BITS[DEGREE]
    for prime in (*DATA, SPECIAL, *MODULI):
        assert (prime - 1) % (2 * DEGREE) == 0
        assert pow(3, prime - 1, prime) == 1
    assert len({*DATA, SPECIAL, *MODULI}) == 6


def test_decryption_can_not_fail_and_the_flood_hides_the_noise() -> None:
    """The bounds of the docstring, in whole numbers: worst cases for failure, 2**-40 for what replies tell."""
    flood, blocks, replies = 1 << 119, MOST * 17 // 16 // DEGREE, MAX_REPLIES
    worst = blocks * DEGREE * (T // 2) * (MAX_ERROR + 1)
    fresh_zero = (2 * DEGREE + 1) * MAX_ERROR + DEGREE
    q = DATA[0] * DATA[1] * DATA[2]
    assert 2 * T * (flood + worst + fresh_zero) < q
    switched = (flood + worst + fresh_zero) // (DATA[1] * DATA[2]) + 2 + (DEGREE + 1)  # two roundings of 1/2 a term
    assert 2 * T * switched < DATA[0]
    likely = 10 * 3.24 * (DEGREE * blocks) ** 0.5 * T / 2
    assert replies * DEGREE * likely / (2 * flood) < 2**-40


def test_the_noise_left_after_a_reply_is_what_the_bound_says(key: ValueKey) -> None:
    """By SEAL's own meter: the last prime has 56 bits, t 40; rounding takes 8 of the 15 between them."""
    answer = reply(key, key.encrypt(np.arange(DEGREE))[None], entries(np.arange(DEGREE)))
    cipher = ring(T).load_reply(answer.sent)
    assert key._decryptor.invariant_noise_budget(cipher) >= 3


@pytest.mark.parametrize("matched", [0, 1, 100, DEGREE])
def test_the_key_holders_slots_are_uniform_whatever_matched(key: ValueKey, matched: int) -> None:
    """Constant large values, so that without the blinding the slots would be two numbers."""
    slots, total = slots_of(key, np.full(DEGREE, 10**6), entries(np.arange(matched)))
    assert total == matched * 10**6
    assert chi_square(slots) < LIMIT
    assert chi_square((np.diff(slots[0].astype(np.int64)) % T).astype(np.uint64)) < LIMIT  # nor do neighbours tell


def test_slots_without_blinding_fail_the_test_for_uniformity(key: ValueKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(masked, "uniform", lambda _, __: np.zeros(DEGREE, np.uint64))
    slots, _ = slots_of(key, np.full(DEGREE, 10**6), entries(np.arange(100)))
    assert chi_square(slots) > LIMIT
    assert np.flatnonzero(slots).tolist() == list(range(100))


def test_shares_are_uniform_by_themselves(key: ValueKey) -> None:
    """Both sides' shares over repetitions with the same data: neither side's tells the sum."""
    columns = key.encrypt(np.full(8, 5))[None]
    ours, theirs = [], []
    for _ in range(256):
        answer = reply(key, columns, entries(np.arange(4)))
        ours.append(int(answer.shares[0, 0]))
        theirs.append(int(share_of(key.open(answer.sent, 1), T)[0]))
    for shares in (ours, theirs):
        assert chi_square(np.array(shares, np.uint64), 16) < 60  # 15 degrees of freedom: passed with chance 1e-6


def budget_before_switching(key: ValueKey, columns: U8, rows: Entries) -> int:
    """SEAL's meter of the noise in a reply that was not switched down yet: bits left below q / 2t."""
    kept: list[Any] = []
    sums = MaskedSums(T, key.public)
    switch_down = sums._ring.switch_down

    def watched(cipher: Any) -> Any:
        kept.append(cipher)
        return switch_down(cipher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums._ring, "switch_down", watched)
        replied(sums, columns, rows)
    return int(key._decryptor.invariant_noise_budget(kept[0]))


def test_the_flood_is_far_above_the_noise_that_depends_on_weights(
    key: ValueKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEAL's meter: some 78 bits are left without the flood and 7 with it, so it is 2**70 times the noise it hides."""
    columns, rows = key.encrypt(np.arange(DEGREE))[None], entries(np.arange(DEGREE))
    flooded = budget_before_switching(key, columns, rows)
    zero = np.zeros((len(DATA), DEGREE), np.uint64)
    monkeypatch.setattr(MaskedSums, "_flood", lambda self: self._ring.load_constant(zero))
    assert 7 <= flooded <= budget_before_switching(key, columns, rows) - 65


def test_the_flood_is_one_polynomial_modulo_all_primes_and_uniform(
    key: ValueKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coefficients are the 15 random bytes of each, less 2**119, modulo every prime: checked by whole numbers."""
    raw = np.random.default_rng(1).bytes(15 * DEGREE)
    kept: list[U64] = []
    sums = MaskedSums(T, key.public, random=lambda count: raw[:count])
    monkeypatch.setattr(sums._ring, "load_constant", kept.append)
    sums._flood()
    matrix = np.frombuffer(raw, np.uint8).reshape(15, DEGREE)
    for column in (0, 1, 4000, DEGREE - 1):
        number = int.from_bytes(matrix[:, column].tobytes(), "big") - (1 << 119)
        assert [int(row[column]) for row in kept[0]] == [number % prime for prime in DATA]


def test_a_reply_is_encrypted_anew_every_time(key: ValueKey) -> None:
    columns = key.encrypt(np.arange(8))[None]
    first, second = (
        np.frombuffer(reply(key, columns, entries(np.arange(4))).sent, np.uint8).reshape(2, -1) for _ in range(2)
    )
    assert (first == second).mean(axis=1).max() < 0.02  # both polynomials


def test_a_group_without_any_match_is_answered_alike(key: ValueKey) -> None:
    columns = key.encrypt(np.arange(8))[None]
    assert len(reply(key, columns, entries(np.empty(0, np.int64))).sent) == REPLY_BYTES
    assert len(reply(key, columns, entries(np.arange(8))).sent) == REPLY_BYTES


def test_columns_are_a_whole_number_of_ciphertexts(key: ValueKey) -> None:
    assert [blocks_of(n) for n in (1, DEGREE, DEGREE + 1)] == [1, 1, 2]
    assert key.encrypt(np.ones(DEGREE + 1, np.int64)).shape == (2, FRESH_BYTES)


def test_a_bad_ciphertext_is_refused_in_a_block_without_matches_too(key: ValueKey) -> None:
    """Else whoever sends one learns whether anything matched there."""
    columns = key.encrypt(np.ones(3 * DEGREE, np.int64))[None].copy()
    columns[0, 1, :7] = 255
    for rows in (np.empty(0, np.int64), np.arange(8), DEGREE + np.arange(8), 2 * DEGREE + np.arange(8)):
        with pytest.raises(PeerViolation, match="exceeds its prime"):
            reply(key, columns, entries(rows))


def test_another_key_opens_noise(key: ValueKey) -> None:
    columns = key.encrypt(np.full(DEGREE, 7))[None]
    slots = ValueKey(T).open(reply(key, columns, entries(np.arange(8))).sent, 1)
    assert chi_square(slots) < LIMIT


def test_no_container_of_a_peers_reaches_seal(key: ValueKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that SEAL loads starts with a header that our own SEAL wrote for this ring."""
    seen: list[bytes] = []
    put = ring(T)._scratch.put

    def watched(*parts: bytes | bytearray | memoryview) -> None:
        seen.append(bytes(parts[0]))
        put(*parts)

    monkeypatch.setattr(ring(T)._scratch, "put", watched)
    columns = key.encrypt(np.arange(8))[None]
    key.open(reply(key, columns, entries(np.arange(8))).sent, 1)
    own = ring(T)
    assert set(seen) == {own._public, own._seeded, own._full, own._reply}
