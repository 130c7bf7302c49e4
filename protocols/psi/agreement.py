"""What both sides of an OT-extension matching agree on beforehand: session and sizes; all message sizes follow.

Who learns what: each side the other's agreed size, never how many items it really has. Sets are cut into buckets by
a hash of the item, and every bucket has one capacity, whatever is in it: memory is bounded by a bucket, and the
shape of a message depends on nothing but this agreement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocols.errors import MisuseError
from protocols.psi.items import bucket_capacity

SESSION = 32  # bytes
HASHES = 3
WIDTH = 512  # bits of a codeword: two codewords are closer than 128 bits with probability 2**-102
BLOCKS = WIDTH // 128
STATISTICAL = 40  # bits: each thing that may go wrong by chance does so with probability 2**-40 at most
_EXPANSION = 1.27  # bins per item, for three hashes and no stash (Pinkas, Schneider, Zohner, TOPS 2018) ...
_FEWEST_ITEMS = 1 << 14  # ... from this many items on; smaller buckets get the bins of this many
_SENDER_FACTOR = 8  # a sender's bucket may be this many times larger: its tags are all that grows


@dataclass(frozen=True)
class Agreement:
    """`session` (32 bytes) is used once; `sender` and `receiver` are the sizes shown, at least those of the sets."""

    session: bytes
    sender: int
    receiver: int
    bucket_items: int = 1 << 16  # of the receiver: a matrix of 5 MB

    def __post_init__(self) -> None:
        if len(self.session) != SESSION:
            raise MisuseError("a session id has the wrong length", where="agreement", right="give 32 bytes")
        if min(self.sender, self.receiver, self.bucket_items) < 1 or max(self.sender, self.receiver) > 1 << 32:
            raise MisuseError("an agreed size is impossible", where="agreement", right="agree on 1 to 2**32 items")
        if self.buckets > 1 << 16:
            raise MisuseError("too many buckets", where="agreement", right="agree on larger buckets")

    @property
    def buckets(self) -> int:
        """Into how many buckets both sets are cut."""
        return max(-(-self.receiver // self.bucket_items), -(-self.sender // (_SENDER_FACTOR * self.bucket_items)))

    @property
    def sender_capacity(self) -> int:
        """Items in each bucket of the sender, dummies included."""
        return bucket_capacity(self.sender, self.buckets)

    @property
    def receiver_capacity(self) -> int:
        """Most items in a bucket of the receiver."""
        return bucket_capacity(self.receiver, self.buckets)

    @property
    def bins(self) -> int:
        """Rows of a bucket's matrix, a multiple of 64."""
        return math.ceil(_EXPANSION * max(self.receiver_capacity, _FEWEST_ITEMS) / 64) * 64

    @property
    def matrix_bytes(self) -> int:
        """Length of the receiver's message for one bucket."""
        return self.bins * WIDTH // 8

    @property
    def tag_bytes(self) -> int:
        """Length of a tag: a false match among all pairs of items has probability 2**-40."""
        return -(-(STATISTICAL + (self.sender * self.receiver - 1).bit_length()) // 8)

    @property
    def tags_shape(self) -> tuple[int, int, int]:
        """Shape of the sender's message for one bucket: (hash functions, positions, bytes)."""
        return HASHES, self.sender_capacity, self.tag_bytes

    @property
    def tags_bytes(self) -> int:
        """Length of the sender's message for one bucket."""
        return math.prod(self.tags_shape)
