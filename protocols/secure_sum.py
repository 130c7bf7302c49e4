"""The secure sum: one descriptor that all parties agree on, one contribution each, one opening.

Who learns what: whoever decrypts the added ciphertexts learns the sums over the whole roster and nothing
about one party; the coordinator learns sizes. Relies on `masking` for that, on `bfv` to keep the sum from the
coordinator, and on callers to (1) take epoch keys from signed verdicts, (2) compare the signed `RosterEcho`
of every party before they contribute, (3) contribute once for a descriptor: a second contribution with other
values under the same masks would reveal the difference. A repeated request is answered from the outbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

import numpy as np
import rfc8785

from protocols import packing
from protocols.errors import MisuseError, PeerViolation
from protocols.masking import EpochKey, apply_masks, check_public, pair_seed
from protocols.packing import F32, I64, U64, FieldLayout
from protocols.params import PARAMETER_SETS, BfvParams

CANARY = 1
DIGEST_BYTES = 32
MAX_COUNT = 1 << 30  # numbers of one kind in one sum; beyond it, send slices


@dataclass(frozen=True)
class SumSpec:
    """The descriptor of one sum; its digest salts every mask, so parties that differ open nothing.

    `plan_digest` and `context` are SHA-256 digests (context: the global model before the step, so that
    nobody can be given another model than the rest: Pasquini et al., CCS 2022). `keys` maps each party to
    its 32-byte X25519 key. A descriptor is built from what peers signed, so an impossible one is a
    `PeerViolation`.
    """

    job: str
    plan_digest: bytes
    step: str
    round: int
    attempt: int
    parties: tuple[str, ...]
    keys: Mapping[str, bytes]
    reals: int
    clip: float
    exact: int
    params: str
    context: bytes

    def __post_init__(self) -> None:
        _require(self.params in PARAMETER_SETS, "the parameter set is unknown", "use an installed set")
        _require(
            0 <= self.reals <= MAX_COUNT and 0 <= self.exact <= MAX_COUNT and self.reals + self.exact > 0,
            "the number of values is out of range",
            f"sum 1 to {MAX_COUNT} values",
        )
        _require(1e-20 <= self.clip <= 1e20, "the clipping bound is out of range", "use 1e-20 to 1e20")
        _require(self.round >= 0 and self.attempt >= 0, "round or attempt is negative", "count from 0")
        _require(len(self.plan_digest) == len(self.context) == DIGEST_BYTES, "a digest is malformed", "use SHA-256")
        self._check_roster()

    def _check_roster(self) -> None:
        names = self.parties
        limit = PARAMETER_SETS[self.params].max_summands
        _require(2 <= len(names) <= limit, "the roster has a wrong size", f"name 2 to {limit} parties")
        _require(list(names) == sorted(set(names)), "the roster is not sorted or repeats", "sort it, once each")
        _require(set(self.keys) == set(names), "keys and roster differ", "give one key for each party")
        _require(len(set(self.keys.values())) == len(names), "two parties share a key", "use distinct keys")
        for key in self.keys.values():
            check_public(key)

    @property
    def parameters(self) -> BfvParams:
        """The parameter set that `params` names."""
        return PARAMETER_SETS[self.params]

    @property
    def layout(self) -> FieldLayout:
        """How the real numbers are packed."""
        return FieldLayout(len(self.parties), self.parameters)

    @property
    def rows(self) -> int:
        """How many ciphertexts one contribution takes; slot 0 of each is the canary."""
        used = self.layout.slots(self.reals) + packing.LIMBS * self.exact
        return -(-used // (self.parameters.degree - 1))

    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical JSON (RFC 8785) of every field and the parameters' tag."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        fields = {
            "attempt": self.attempt,
            "clip": float(self.clip),
            "context": self.context.hex(),
            "exact": self.exact,
            "job": self.job,
            "keys": {name: self.keys[name].hex() for name in self.parties},
            "params": [self.params, self.parameters.tag.hex(), self.layout.code_bits],
            "parties": list(self.parties),
            "plan": self.plan_digest.hex(),
            "reals": self.reals,
            "round": self.round,
            "step": self.step,
        }
        return _hash(b"inbond sum v1\0", fields)


class SumResult(NamedTuple):
    """Sums over the roster: reals (spec.reals,) float32 and exact (spec.exact,) int64."""

    reals: F32
    exact: I64


def contribute(
    spec: SumSpec,
    me: str,
    epoch_private: EpochKey,
    reals: F32,
    exact: I64,
    rng: np.random.Generator | None = None,
    *,
    minimum: int = 3,
) -> U64:
    """One party's masked slots (rows, degree), uint64 below the plaintext modulus, ready to encrypt.

    `minimum` is the smallest roster that this party's policy allows; `rng` only drives the rounding.

    Raises:
        PeerViolation: the roster lacks this party, has another key for it, or is too small; a peer's key is
        bad. MisuseError: the vectors do not fit the descriptor, or hold NaN, infinity or too large numbers.
    """
    check_own_place(spec, me, epoch_private, minimum)
    if reals.shape != (spec.reals,) or exact.shape != (spec.exact,):
        raise MisuseError(
            f"{reals.shape} reals and {exact.shape} whole numbers",
            where=spec.step,
            right=f"give ({spec.reals},) and ({spec.exact},)",
        )
    seeds = {
        peer: pair_seed(epoch_private, spec.keys[peer], digest=spec.digest(), me=me, peer=peer)
        for peer in spec.parties
        if peer != me
    }
    added = [seed for peer, seed in seeds.items() if me < peer]
    subtracted = [seed for peer, seed in seeds.items() if peer < me]
    return apply_masks(encode(spec, reals, exact, rng), added, subtracted, spec.parameters.plain_bits)


def check_own_place(spec: SumSpec, me: str, epoch_private: EpochKey, minimum: int = 3) -> None:
    """Refuse a descriptor that would expose this party.

    Raises:
        PeerViolation: as `contribute` says.
        MisuseError: a minimum below two, under which a sum is a contribution.
    """
    if minimum < 2:
        raise MisuseError("a sum over one party is its data", where="minimum", right="ask for 2 or more")
    _require(len(spec.parties) >= minimum, "the roster is too small", f"sum over at least {minimum} parties")
    _require(me in spec.keys, "the roster lacks this party", "name every party that contributes")
    _require(
        compare_digest(spec.keys[me], epoch_private.public),
        "the roster has another key for this party",
        "use the key from its verdict",
    )


def encode(spec: SumSpec, reals: F32, exact: I64, rng: np.random.Generator | None = None) -> U64:
    """Bare slots (rows, degree) of one contribution: canary, packed reals, limbs, zeros. Not to be sent."""
    layout = spec.layout
    codes = packing.quantise(layout, reals, spec.clip, rng).codes
    packed = packing.pack(layout, codes)
    limbs = packing.to_limbs(exact, len(spec.parties))
    degree = spec.parameters.degree
    body = np.zeros(spec.rows * (degree - 1), np.uint64)
    body[: packed.size] = packed
    body[packed.size : packed.size + limbs.size] = limbs
    slots = np.empty((spec.rows, degree), np.uint64)
    slots[:, 0] = CANARY
    slots[:, 1:] = body.reshape(spec.rows, degree - 1)
    return slots


def open_sum(spec: SumSpec, slots: U64) -> SumResult:
    """Read the sums out of the decrypted slots (rows, degree).

    Raises:
        PeerViolation: masks that did not cancel, a party missing or twice, a code out of range.
        MisuseError: an array that is not (rows, degree) of uint64.
    """
    if slots.shape != (spec.rows, spec.parameters.degree) or slots.dtype != np.uint64:
        raise MisuseError("not the slots of this sum", where=spec.step, right="decrypt its blob first")
    parties = len(spec.parties)
    _require(bool((slots[:, 0] == parties * CANARY).all()), "the masks do not cancel", "sum the roster, once each")
    body = slots[:, 1:].reshape(-1)
    packed, limbs, rest = np.split(body, np.cumsum([spec.layout.slots(spec.reals), 3 * spec.exact]))
    sums = packing.unpack(spec.layout, packed, packed.size * spec.parameters.fields)
    top_limb = (1 << packing.LIMB_BITS) - 1
    _require(_within(sums, parties * spec.layout.top_code), "a field overflows", "send codes in range")
    _require(_within(limbs, parties * top_limb), "a limb overflows", "send limbs in range")
    _require(not rest.any(), "unused slots are not zero", "send zeros there")
    reals = packing.dequantise(spec.layout, sums[: spec.reals], spec.clip)
    return SumResult(reals, packing.from_limbs(limbs))


def _hash(label: bytes, fields: Mapping[str, Any]) -> bytes:
    return sha256(label + rfc8785.dumps(dict(fields))).digest()


def _within(values: U64, bound: int) -> bool:
    return not values.size or int(values.max()) <= bound


def _require(condition: bool, what: str, right: str) -> None:
    if not condition:
        raise PeerViolation(what, where="secure sum", right=right)


@dataclass(frozen=True)
class RosterEcho:
    """What every party signs before the first sum: that it was shown exactly these signed verdicts.

    Equal echoes from all parties mean that the coordinator showed everybody the same roster and keys
    (Bonawitz et al., CCS 2017, the consistency check of the active-adversary variant).
    """

    job: str
    digest: bytes

    @classmethod
    def of(cls, job: str, plan_digest: bytes, verdicts: Mapping[str, bytes]) -> RosterEcho:
        """Echo of the verdicts as received: party id -> the signed bytes, in any order."""
        entries = {name: sha256(signed).hexdigest() for name, signed in verdicts.items()}
        body = {"job": job, "plan": plan_digest.hex(), "verdicts": entries}
        return cls(job, _hash(b"inbond roster v1\0", body))

    def check(self, echoes: Mapping[str, bytes], parties: tuple[str, ...]) -> None:
        """Compare the digests that the parties signed (signatures already verified by the caller).

        Raises:
            PeerViolation: an echo missing, one too many, or one that differs.
        """
        _require(set(echoes) == set(parties), "roster echoes are missing or too many", "one from each party")
        same = [compare_digest(digest, self.digest) for digest in echoes.values()]
        _require(all(same), "parties were shown different rosters", "show everybody the same verdicts")
