"""What both sides of a join agreed on before they exchange anything: all of it is in the signed plan.

Who learns what: nothing is sent here. The engines' session ids are hashes of all terms and of the announced sizes, so
two parties with different terms find no match, and what two joins send is unlinkable.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from math import prod

from protocols.errors import MisuseError
from protocols.join.turns import MAX_PARTS, Engine, turns

SESSION = 32  # bytes
MOST = 1 << 25  # keys of a side: the largest size ever announced (`masked` counts on it)
MAX_REPLIES = 1024  # cells of a table: a sum under way takes 393 kB of memory
MAX_PROFILES = 1024  # lists of the hidden engine: see `profiles`

# Plaintext moduli: the two largest primes below 2**40 that are 1 modulo 2 * 8192, so that 8192 slots multiply one by
# one, and sums of a million values of up to 500,000 fit into the first alone.
MODULI = (1099511480321, 1099510890497)


@dataclass(frozen=True)
class JoinTerms:
    """The terms of one pair of parties.

    session: 32 bytes, never used before: `session_of`.
    engine: `ot` tells the attribute side which of its keys match, `ec-hidden` how many of each profile.
    groups: number of groups of the attribute side; group numbers of rows and of shares are those of the plan.
    outputs: pairs (left column, right column): the cell of group g is the sum over matched keys of left * right.
    left_limits, right_limits: largest absolute value of each column of the attribute side and of the value side;
        a side refuses its own numbers outside them.
    wide: run for both moduli: sums up to 2**63 instead of 2**39.
    pairs: how many pairs of parties are added up to one table; each must leave the others room.
    largest: most keys that the attribute side and the value side may announce (rounded up to a power of two).
    minimum: fewest keys of a list of the hidden engine; see `AttributeSide.left_out`.
    parts: into how many parts the mails of engine `ot` are cut, so that both sides and the wire work at the same time.

    Raises:
        MisuseError: a number out of range.
    """

    session: bytes
    engine: Engine
    groups: int
    outputs: tuple[tuple[int, int], ...]
    left_limits: tuple[int, ...]
    right_limits: tuple[int, ...]
    wide: bool = False
    pairs: int = 1
    largest: tuple[int, int] = (MOST, MOST)
    minimum: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        _require(len(self.session) == SESSION, "a session id has the wrong length", f"give {SESSION} bytes")
        _require(self.engine in ("ot", "ec-hidden"), "an unknown engine", "name ot or ec-hidden")
        cells = self.groups * len(self.outputs)
        _require(1 <= cells <= MAX_REPLIES, f"a table of {cells} cells", f"ask for 1 to {MAX_REPLIES}")
        inside = all(0 <= o[0] < self.left and 0 <= o[1] < self.right for o in self.outputs)
        _require(inside, "an output names no column", "number the columns from 0")
        _require(min(self.left_limits + self.right_limits) >= 1, "a limit below 1", "give the largest absolute value")
        _require(max(self.left_limits + self.right_limits) < 1 << 62, "a limit beyond 64 bits", "give a smaller one")
        _require(min(self.pairs, self.minimum) >= 1, "a count below 1", "count from 1")
        most = MAX_PARTS if self.engine == "ot" else 1
        _require(1 <= self.parts <= most, "a number of parts out of range", f"cut into 1 to {most}")
        _require(1 <= min(self.largest) <= max(self.largest) <= MOST, "a size out of range", f"allow 1 to {MOST} keys")

    @property
    def left(self) -> int:
        """Columns of the attribute side."""
        return len(self.left_limits)

    @property
    def right(self) -> int:
        """Columns of the value side."""
        return len(self.right_limits)

    @property
    def turns(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the turns of the attribute side and of the value side wait for; see `protocols.join.turns`."""
        return turns(self.engine, self.parts)

    @property
    def moduli(self) -> tuple[int, ...]:
        """The plaintext moduli of the shares."""
        return MODULI if self.wide else MODULI[:1]

    @property
    def largest_sum(self) -> int:
        """Largest absolute value that a pair may add to a cell, so that all pairs stay below half the moduli's product
        and below 2**63.
        """
        return min(prod(self.moduli) // 2, (1 << 63) - 1) // self.pairs

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the shares: (moduli, groups, outputs)."""
        return len(self.moduli), self.groups, len(self.outputs)

    def bound(self, purpose: str, *sizes: int) -> bytes:
        """32 bytes bound to all terms, a purpose and announced sizes."""
        return sha256(repr((self, purpose, sizes)).encode()).digest()


def session_of(job: bytes, attribute_side: str, value_side: str) -> bytes:
    """The session id of the pair of these two parties in the job whose roster has the digest `job` (32 bytes)."""
    names = b"".join(len(name).to_bytes(2, "big") + name for name in (attribute_side.encode(), value_side.encode()))
    return sha256(b"inbond join session v1" + job + names).digest()


def _require(condition: bool, what: str, right: str) -> None:
    if not condition:
        raise MisuseError(what, where="join terms", right=right)
