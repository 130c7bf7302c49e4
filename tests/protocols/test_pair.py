"""The channel between two parties: only the peer opens, only under the same label, and only what was sealed."""

import pytest

from protocols.errors import PeerViolation
from protocols.masking import EpochKey
from protocols.pair import OVERHEAD, PairChannel

DIGEST = bytes(32)
A, B, C = EpochKey.generate(), EpochKey.generate(), EpochKey.generate()


def channel(own: EpochKey, peer: EpochKey, me: str, name: str, digest: bytes = DIGEST) -> PairChannel:
    return PairChannel(own, peer.public, digest=digest, me=me, peer=name)


def test_what_one_seals_the_other_opens() -> None:
    left, right = channel(A, B, "a", "b"), channel(B, A, "b", "a")
    box = left.seal("round 1", b"points")
    assert bytes(right.open("round 1", box)) == b"points"
    assert len(box) == len(b"points") + OVERHEAD
    assert left.seal("round 1", b"points") != box


@pytest.mark.parametrize("change", ["label", "bit", "short", "reflected", "stranger", "roster"])
def test_any_other_box_is_refused(change: str) -> None:
    left, right = channel(A, B, "a", "b"), channel(B, A, "b", "a")
    box, label = bytes(left.seal("round 1", b"points")), "round 1"
    if change == "label":
        label = "round 2"
    elif change == "bit":
        box = box[:-1] + bytes([box[-1] ^ 1])
    elif change == "short":
        box = box[: OVERHEAD - 1]
    elif change == "reflected":
        right = left
    elif change == "stranger":
        right = channel(C, A, "b", "a")
    else:
        right = channel(B, A, "b", "a", bytes(31) + b"\1")
    with pytest.raises(PeerViolation):
        right.open(label, box)
