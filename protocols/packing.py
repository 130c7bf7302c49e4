"""Real and whole numbers into the slots of a packed sum, and the sum back out.

Who learns what: nothing; this is encoding, not protection. Relies on masks (`masking`) and encryption
(`bfv`). After BatchCrypt (Zhang et al., USENIX ATC 2020): clip, quantise with an offset, several codes to a
slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.errors import MisuseError
from protocols.params import SHARED_2048, BfvParams

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]

LIMB_BITS = 20
LIMBS = 3
MAX_EXACT_PARTIES = 4096  # 12 bits of carry on a 20-bit limb: the sum of limbs stays below 2**32


@dataclass(frozen=True)
class FieldLayout:
    """How many bits a quantised value gets, for a number of parties.

    A field holds the sum of `parties` codes and one guard bit above it, which a code out of range would set.
    """

    parties: int
    params: BfvParams = SHARED_2048

    def __post_init__(self) -> None:
        if not 2 <= self.parties <= self.params.max_summands:
            raise MisuseError(
                f"{self.parties} parties cannot share a field",
                where=self.params.name,
                right=f"sum over 2 to {self.params.max_summands} parties",
            )

    @property
    def field_bits(self) -> int:
        """Bits of a field: code, room for the sum, guard."""
        return self.params.plain_bits // self.params.fields

    @property
    def code_bits(self) -> int:
        """Bits of one party's code: field - ceil(log2 parties) - 1."""
        return self.field_bits - (self.parties - 1).bit_length() - 1

    @property
    def top_code(self) -> int:
        """The largest code, 2**code_bits - 1, which stands for +clip; 0 stands for -clip."""
        return (1 << self.code_bits) - 1

    def step(self, clip: float) -> float:
        """Distance of two neighbouring codes in the units of the values."""
        return 2 * clip / self.top_code

    def slots(self, count: int) -> int:
        """How many slots `count` values take."""
        return -(-count // self.params.fields)


class Quantised(NamedTuple):
    """Codes (count,) uint32 and the fraction of values that had to be clipped."""

    codes: U32
    clipped: float


def check_clip(clip: float) -> None:
    """Refuse a clipping bound that float32 cannot scale by.

    Raises:
        MisuseError: not between 1e-20 and 1e20.
    """
    if not 1e-20 <= clip <= 1e20:
        raise MisuseError("the clipping bound is out of range", where="clip", right="use 1e-20 to 1e20")


def quantise(layout: FieldLayout, reals: F32, clip: float, rng: np.random.Generator | None = None) -> Quantised:
    """Clip to [-clip, clip] and round stochastically to codes 0..top_code.

    Rounding is unbiased to 2**-16 of a step near zero and to float32's own precision near the bound. It needs
    randomness, not secrecy; by default AES-CTR under a key from the operating system.

    Raises:
        MisuseError: not one-dimensional float32, NaN or infinite values, an impossible bound.
    """
    check_clip(clip)
    _check_vector(reals, np.float32, "reals")
    if not np.isfinite(reals).all():
        raise MisuseError("a value is NaN or infinite", where="reals", right="send finite numbers only")
    fraction_bits = min(16, 32 - layout.code_bits)
    half = layout.top_code << (fraction_bits - 1)
    with np.errstate(over="ignore"):  # a product beyond float32 is infinite, and is clipped like any other
        scaled = reals * np.float32(half / clip)
    clipped = np.count_nonzero(np.abs(scaled) > np.float32(half)) / max(1, reals.size)
    np.clip(scaled, -np.float32(half), np.float32(half), out=scaled)
    fixed = scaled.astype(np.int32).view(np.uint32)
    fixed += np.uint32(half)
    fixed += _fractions(reals.size, rng) >> np.uint16(16 - fraction_bits)
    fixed >>= np.uint32(fraction_bits)
    return Quantised(fixed, float(clipped))


def _fractions(count: int, rng: np.random.Generator | None) -> npt.NDArray[np.uint16]:
    draw: Callable[[int], bytes] = rng.bytes if rng is not None else _fast_bytes
    return np.frombuffer(draw(2 * count), np.uint16)


def _fast_bytes(count: int) -> bytes:
    keystream = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    return keystream.update(bytes(count))


def pack(layout: FieldLayout, codes: U32) -> U64:
    """Codes (count,) to slots (ceil(count / fields),): value i of stripe k goes to field k of slot i."""
    count = layout.slots(codes.size)
    slots = np.zeros(count, np.uint64)
    for field in range(layout.params.fields):
        stripe = codes[field * count : (field + 1) * count].astype(np.uint64)
        stripe <<= np.uint64(field * layout.field_bits)
        slots[: stripe.size] |= stripe
    return slots


def unpack(layout: FieldLayout, slots: U64, count: int) -> U64:
    """Slots of a sum to `count` summed codes (count,) uint64; the inverse of `pack`, guard bits included."""
    keep = np.uint64((1 << layout.field_bits) - 1)
    stripes = [(slots >> np.uint64(field * layout.field_bits)) & keep for field in range(layout.params.fields)]
    return np.concatenate(stripes)[:count]


def dequantise(layout: FieldLayout, sums: U64, clip: float) -> F32:
    """Summed codes to the sum of the values: step * sum - parties * clip; error below one step a party."""
    centred = 2 * sums.astype(np.int64) - layout.parties * layout.top_code
    return (centred * (layout.step(clip) / 2)).astype(np.float32)


def to_limbs(values: I64, parties: int) -> U64:
    """Whole numbers (count,) to limbs (3 * count,): two's complement modulo 2**60, 20 bits a limb.

    Raises:
        MisuseError: not one-dimensional int64, too many parties, or a value that could overflow the sum.
    """
    _check_vector(values, np.int64, "exact")
    if not 1 <= parties <= MAX_EXACT_PARTIES:
        raise MisuseError("too many parties for limbs", where="exact", right=f"sum over 1..{MAX_EXACT_PARTIES}")
    bound = ((1 << 59) - 1) // parties
    if values.size and (int(values.max()) > bound or int(values.min()) < -bound):
        raise MisuseError("a whole number is too large to sum", where="exact", right=f"stay within +-{bound}")
    shifts = np.arange(LIMBS, dtype=np.uint64)[:, None] * np.uint64(LIMB_BITS)
    limbs = (values.view(np.uint64) >> shifts) & np.uint64((1 << LIMB_BITS) - 1)
    return limbs.reshape(-1)


def from_limbs(sums: U64) -> I64:
    """Summed limbs (3 * count,) back to sums (count,) in [-2**59, 2**59)."""
    low, middle, high = sums.reshape(LIMBS, -1)
    total = low + (middle << np.uint64(LIMB_BITS)) + (high << np.uint64(2 * LIMB_BITS))
    sums_of_values: I64 = (total << np.uint64(4)).view(np.int64) >> np.int64(4)  # the sign is bit 59
    return sums_of_values


def _check_vector(values: npt.NDArray[np.generic], dtype: type[np.generic], where: str) -> None:
    if values.ndim != 1 or values.dtype != dtype:
        raise MisuseError(
            f"shape {values.shape} of {values.dtype}", where=where, right=f"give one row of {dtype.__name__}"
        )
