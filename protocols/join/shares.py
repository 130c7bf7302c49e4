"""Additive shares of a joint table: made uniform among all parties, and opened.

Who learns what: the whole-number sum of all shares is total + k * t, and k, the number of wraps, depends on each share.
After `rerandomised` the shares are uniform but for their sum modulo t, whatever they were before and whatever a party
knows of its pairs' shares; so k is a function of fresh uniform numbers and of the total, and the sum tells the total
modulo t alone. n - 2 colluding parties learn the sum of the other two's shares, no more. Masks as in `masking` (HKDF
over X25519, AES-256 in counter mode); a seed serves one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from protocols.errors import MisuseError, PeerViolation
from protocols.join.residues import UNIFORM, uniform
from protocols.masking import mask
from protocols.packing import I64, U64

WORD = 8
Whole = npt.NDArray[np.object_]


def combine(parts: Sequence[U64], moduli: Sequence[int]) -> U64:
    """A party's share of the table: the sum of its shares (moduli, ...) of all pairs, below each modulus.

    Raises:
        MisuseError: nothing to add.
    """
    if not parts:
        raise MisuseError("there are no shares to add", where="join shares", right="give one array for each pair")
    total = np.zeros_like(parts[0])
    for part in parts:
        total = (total + part) % _column(moduli, part)
    return total


def rerandomised(shares: U64, moduli: Sequence[int], added: Sequence[bytes], subtracted: Sequence[bytes]) -> U64:
    """Shares (moduli, ...) plus masks of some pair seeds minus those of others, below each modulus.

    Of each pair of parties one adds and the other subtracts the mask of their seed (`masking.pair_seed`, 32 bytes).

    Raises:
        MisuseError: another number of moduli, or a share that is not below its modulus.
    """
    _check(shares, moduli)
    masked = shares.copy()
    for sign, seeds in ((1, added), (-1, subtracted)):
        for seed in seeds:
            masks = _masks(seed, shares.shape, moduli)
            limit = _column(moduli, shares)
            masked = (masked + (masks if sign == 1 else limit - masks)) % limit
    return masked


def open_table(totals: U64, moduli: Sequence[int]) -> I64:
    """The table (...) of whole-number sums of all parties' shares (moduli, ...).

    A value is below half of the moduli's product, and of 2**63, on either side of zero.

    Raises:
        MisuseError: another number of moduli.
        PeerViolation: a value that is out of range, so that somebody's shares were wrong.
    """
    if len(totals) != len(moduli):
        raise MisuseError("shares and moduli do not fit", where="join shares", right="give one row for each modulus")
    found = centred(totals, moduli)
    if (abs(found) >= 1 << 63).any():
        raise PeerViolation("a joint sum is out of range", where="join shares", right="share numbers within the limits")
    table: I64 = found.astype(np.int64)
    return table


def centred(residues: U64, moduli: Sequence[int]) -> Whole:
    """The whole numbers (...) nearest to zero whose residues (moduli, ...) are given, of any size."""
    residue = residues.astype(object)[0] % moduli[0]
    step = moduli[0]
    for row, modulus in zip(residues.astype(object)[1:], moduli[1:], strict=True):
        residue = residue + step * ((row - residue) * pow(step, -1, modulus) % modulus)  # Garner's form of CRT
        step *= modulus
    whole: Whole = np.where(2 * residue > step, residue - step, residue)
    return whole


def _masks(seed: bytes, shape: tuple[int, ...], moduli: Sequence[int]) -> U64:
    """Masks (moduli, ...) uniform below each modulus, from one keystream."""
    cells = prod(shape[1:])
    words = mask(seed, len(moduli) * cells * UNIFORM // WORD, 64).reshape(len(moduli), -1)
    return np.stack([uniform(row.tobytes(), t) for row, t in zip(words, moduli, strict=True)]).reshape(shape)


def _column(moduli: Sequence[int], like: npt.NDArray[np.uint64]) -> U64:
    return np.array(moduli, np.uint64).reshape(-1, *[1] * (like.ndim - 1))


def _check(shares: U64, moduli: Sequence[int]) -> None:
    if len(shares) != len(moduli) or (shares >= _column(moduli, shares)).any():
        raise MisuseError("shares and moduli do not fit", where="join shares", right="reduce each row by its modulus")
