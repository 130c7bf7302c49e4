"""Every parameter set is secure by the 2024 table and cannot fail to decrypt 16 summands."""

import math
from dataclasses import replace

import pytest

from protocols.errors import MisuseError
from protocols.params import MAX_MODULUS_BITS, PARAMETER_SETS, SHARED_2048, BfvParams, check_security, named

SETS = pytest.mark.parametrize("params", PARAMETER_SETS.values(), ids=lambda p: p.name)


def _is_prime(n: int) -> bool:
    """Miller-Rabin with the bases that decide every 64-bit number."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, n)
        if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
            return False
    return True


@SETS
def test_primes_suit_the_ring_and_the_wire(params: BfvParams) -> None:
    assert all(_is_prime(p) and p % (2 * params.degree) == 1 for p in params.primes)
    assert len(set(params.primes)) == len(params.primes)
    assert all(p < 1 << (8 * params.word_bytes) for p in params.primes)


@SETS
def test_modulus_is_within_the_2024_table(params: BfvParams) -> None:
    assert math.log2(params.modulus) <= MAX_MODULUS_BITS[params.degree]


@SETS
def test_worst_noise_of_16_summands_leaves_no_room_for_failure(params: BfvParams) -> None:
    assert 16 * params.fresh_error_bound < params.modulus / (2 * params.plain_modulus)
    assert params.max_summands >= 16


def test_a_modulus_above_the_table_is_refused() -> None:
    wide = replace(SHARED_2048, primes=(18014398509404161,))  # 54 bits: SEAL would accept it
    with pytest.raises(MisuseError, match="less than 128-bit secure"):
        check_security(wide)


def test_an_unknown_degree_is_refused() -> None:
    with pytest.raises(MisuseError, match="not in the security table"):
        check_security(replace(SHARED_2048, degree=1024))


def test_a_thin_noise_margin_is_refused() -> None:
    with pytest.raises(MisuseError, match="noise margin"):
        check_security(replace(SHARED_2048, plain_bits=40))


def test_sets_have_distinct_tags_and_unknown_names_are_refused() -> None:
    assert len({p.tag for p in PARAMETER_SETS.values()}) == len(PARAMETER_SETS)
    assert replace(SHARED_2048, plain_bits=37).tag != SHARED_2048.tag
    with pytest.raises(MisuseError, match="unknown parameter set"):
        named("TOY_64")
