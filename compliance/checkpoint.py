"""Checkpoints of a log (c2sp.org/tlog-checkpoint): origin, size and root as the text of a signed note.

Whoever holds a checkpoint can hold the log to exactly those entries; it says nothing of their content.
"""

import base64
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import InvalidNote
from compliance.merkle import HASH_BYTES
from compliance.note import Note, VerifierKey, parse_note, sign_note, strict_base64

MAX_SIZE = 2**63 - 1
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True)
class Checkpoint:
    """What a log commits to: its origin, its number of entries and their Merkle root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise _invalid("the origin is empty or holds a space or '+'", "a name such as example.com/audit")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise _invalid("the size or the root is out of range", "a size below 2^63 and a root of 32 bytes")

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note's text; extension lines are refused, as we never write any; raises InvalidNote."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise _invalid("the text has not three lines", "origin, size and root")
        if not _SIZE.fullmatch(lines[1]):
            raise _invalid("the size is not a decimal number", "digits without leading zeros")
        return cls(lines[0], int(lines[1]), strict_base64(lines[2], "checkpoint"))

    def sign(self, key: Ed25519PrivateKey) -> Note:
        """Sign as the log itself: the key's name is the origin."""
        return sign_note(str(self), self.origin, key)


def open_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """Verify a signed checkpoint of the log whose origin is the key's name, and read it.

    Raises InvalidNote where the note is malformed, not signed by `key`, or of another origin.
    """
    note = parse_note(data)
    note.verify([key])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise _invalid(f"the checkpoint is of {checkpoint.origin}", f"one of {key.name}")
    return checkpoint


def _invalid(what: str, right: str) -> InvalidNote:
    return InvalidNote(what, where="checkpoint", right=right)
