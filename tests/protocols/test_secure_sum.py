"""The secure sum against the ideal: a plain sum, and nothing else, or a refusal."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MisuseError, PeerViolation
from protocols.masking import EpochKey
from protocols.packing import F32, I64, U64
from protocols.secure_sum import RosterEcho, SumSpec, contribute, encode, open_sum

KEYS = {f"party{i:02d}": EpochKey.generate() for i in range(16)}


def spec_of(parties: int = 3, reals: int = 9000, exact: int = 7, params: str = "SHARED_2048") -> SumSpec:
    names = tuple(KEYS)[:parties]
    keys = {name: KEYS[name].public for name in names}
    return SumSpec("job", b"p" * 32, "round", 1, 0, names, keys, reals, 0.25, exact, params, b"m" * 32)


def values(spec: SumSpec, seed: int = 0) -> dict[str, tuple[F32, I64]]:
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.uniform(-0.25, 0.25, spec.reals).astype(np.float32),
            rng.integers(-(10**15), 10**15, spec.exact),
        )
        for name in spec.parties
    }


def total(parts: list[U64], spec: SumSpec) -> U64:
    """What adding and decrypting yields: the sum modulo t."""
    added: U64 = np.stack(parts).sum(axis=0)
    return added % np.uint64(spec.parameters.plain_modulus)


def contributions(spec: SumSpec, data: dict[str, tuple[F32, I64]]) -> list[U64]:
    return [contribute(spec, name, KEYS[name], *data[name], minimum=2) for name in spec.parties]


@settings(max_examples=12, deadline=None)
@given(
    st.integers(2, 16),
    st.integers(0, 5000),
    st.integers(0, 900),
    st.sampled_from(["SHARED_2048", "PUBLIC_4096"]),
)
def test_the_opened_sum_is_the_plain_sum(parties: int, reals: int, exact: int, params: str) -> None:
    if reals + exact == 0:
        exact = 1
    spec = spec_of(parties, reals, exact, params)
    data = values(spec)
    result = open_sum(spec, total(contributions(spec, data), spec))
    ideal = np.sum([d[0] for d in data.values()], axis=0, dtype=np.float64)
    assert (result.exact == np.sum([d[1] for d in data.values()], axis=0)).all()
    assert np.abs(result.reals - ideal).max(initial=0) < parties * spec.layout.step(spec.clip) * 1.01
    assert result.reals.dtype == np.float32
    assert result.reals.shape == (reals,)


def test_one_contribution_is_uniform_even_with_the_key() -> None:
    """The key holder who decrypts one party's ciphertext sees these slots."""
    spec = spec_of(reals=60_000)
    zeros = np.zeros(spec.reals, np.float32), np.zeros(spec.exact, np.int64)
    for name in spec.parties:
        slots = contribute(spec, name, KEYS[name], *zeros).reshape(-1)
        for shift in (0, 16, spec.parameters.plain_bits - 8):
            seen = np.bincount(((slots >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), minlength=256)
            even = slots.size / 256
            assert ((seen - even) ** 2 / even).sum() < 400  # chi-square, 255 degrees: p < 1e-8
    bare = encode(spec, *zeros).reshape(-1)
    assert len(np.unique(bare)) < 10  # the test has teeth: without masks there is nothing to see but zeros


@pytest.mark.parametrize(
    "change",
    [
        {"round": 2}, {"attempt": 1}, {"job": "other"}, {"step": "census"}, {"plan_digest": b"q" * 32},
        {"context": b"n" * 32}, {"clip": 0.5},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_one_party_with_another_descriptor_spoils_the_sum(change: dict[str, Any]) -> None:
    spec = spec_of()
    data = values(spec)
    other = replace(spec, **change)
    assert other.digest() != spec.digest()
    parts = contributions(spec, data)
    parts[0] = contribute(other, spec.parties[0], KEYS[spec.parties[0]], *data[spec.parties[0]])
    with pytest.raises(PeerViolation, match="do not cancel"):
        open_sum(spec, total(parts, spec))


def test_one_party_with_another_roster_spoils_the_sum() -> None:
    spec, wider = spec_of(3), spec_of(4)
    parts = contributions(spec, values(spec))
    parts[1] = contribute(wider, "party01", KEYS["party01"], *values(wider)["party01"])
    with pytest.raises(PeerViolation, match="do not cancel"):
        open_sum(spec, total(parts, spec))


@pytest.mark.parametrize("picked", [[0], [0, 1], [0, 1, 2, 2], [0, 1, 1]], ids=str)
def test_anything_but_each_party_once_is_refused(picked: list[int]) -> None:
    """A single contribution, a difference of rosters, a replay: the key holder is no oracle for them."""
    spec = spec_of()
    parts = contributions(spec, values(spec))
    with pytest.raises(PeerViolation, match="do not cancel"):
        open_sum(spec, total([parts[i] for i in picked], spec))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_canary_in_any_row_counts(row: int) -> None:
    spec = spec_of()
    slots = total(contributions(spec, values(spec)), spec)
    slots[row, 0] += 1
    with pytest.raises(PeerViolation, match="do not cancel"):
        open_sum(spec, slots)


def test_a_code_out_of_range_is_detected() -> None:
    spec = spec_of()
    slots = total(contributions(spec, values(spec)), spec)
    slots[0, 5] |= np.uint64(1 << (spec.layout.field_bits - 1))  # the guard bit of a lower field
    with pytest.raises(PeerViolation, match="field overflows"):
        open_sum(spec, slots)


def test_a_limb_out_of_range_and_a_used_rest_are_detected() -> None:
    spec = spec_of(reals=0, exact=2)
    slots = total(contributions(spec, values(spec)), spec)
    wrong = slots.copy()
    wrong[0, 1] = 3 << 20
    with pytest.raises(PeerViolation, match="limb overflows"):
        open_sum(spec, wrong)
    slots[0, -1] = 1
    with pytest.raises(PeerViolation, match="unused slots"):
        open_sum(spec, slots)


def _with_key(spec: SumSpec, name: str, key: bytes) -> SumSpec:
    return replace(spec, keys={**spec.keys, name: key})


def test_a_party_refuses_a_roster_that_would_expose_it() -> None:
    spec, own = spec_of(), KEYS["party00"]
    reals, exact = values(spec)["party00"]
    with pytest.raises(PeerViolation, match="lacks this party"):
        contribute(spec, "party07", KEYS["party07"], reals, exact)
    swapped = _with_key(spec, "party00", EpochKey.generate().public)
    with pytest.raises(PeerViolation, match="another key for this party"):
        contribute(swapped, "party00", own, reals, exact)
    with pytest.raises(PeerViolation, match="too small"):
        contribute(spec_of(2), "party00", own, reals, exact)
    with pytest.raises(PeerViolation, match="low order"):
        contribute(_with_key(spec, "party01", bytes(32)), "party00", own, reals, exact)
    with pytest.raises(MisuseError, match="sum over one party"):
        contribute(spec, "party00", own, reals, exact, minimum=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parties": ("party00", "party02", "party01")}, "not sorted"),
        ({"parties": ("party00", "party01", "party01")}, "not sorted"),
        ({"parties": ("party00",)}, "wrong size"),
        ({"parties": tuple(f"p{i:03d}" for i in range(40))}, "wrong size"),
        ({"parties": ("party00", "party01", "party03")}, "keys and roster differ"),
        ({"keys": dict.fromkeys(tuple(KEYS)[:3], KEYS["party00"].public)}, "share a key"),
        ({"params": "TOY"}, "parameter set"),
        ({"reals": -1}, "number of values"),
        ({"reals": 0, "exact": 0}, "number of values"),
        ({"clip": float("nan")}, "clipping bound"),
        ({"attempt": -1}, "negative"),
        ({"context": b""}, "digest is malformed"),
    ],
)
def test_an_impossible_descriptor_is_the_peers_fault(change: dict[str, Any], said: str) -> None:
    with pytest.raises(PeerViolation, match=said):
        replace(spec_of(), **change)


def test_wrong_vectors_are_our_fault() -> None:
    spec, own = spec_of(), KEYS["party00"]
    reals, exact = values(spec)["party00"]
    with pytest.raises(MisuseError, match="give"):
        contribute(spec, "party00", own, reals[:-1], exact)
    reals[3] = np.nan
    with pytest.raises(MisuseError, match="NaN"):
        contribute(spec, "party00", own, reals, exact)
    with pytest.raises(MisuseError, match="not the slots"):
        open_sum(spec, np.zeros((1, 2048), np.uint64))


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    spec = spec_of()
    assert replace(spec, keys=dict(reversed(list(spec.keys.items())))).digest() == spec.digest()


def test_equal_echoes_pass_and_a_split_view_does_not() -> None:
    verdicts = {"a": b"signed a", "b": b"signed b"}
    echo = RosterEcho.of("job", b"p" * 32, verdicts)
    same = RosterEcho.of("job", b"p" * 32, dict(reversed(verdicts.items())))
    echo.check({"a": same.digest, "b": echo.digest}, ("a", "b"))
    split = RosterEcho.of("job", b"p" * 32, {**verdicts, "b": b"signed by somebody else"})
    for echoes in (
        {"a": echo.digest, "b": split.digest},
        {"a": echo.digest},
        {"b": echo.digest, "c": echo.digest},
    ):
        with pytest.raises(PeerViolation, match="roster"):
            echo.check(echoes, ("a", "b"))
