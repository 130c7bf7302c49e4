"""Sealed boxes open for one key in one context, and fail in one way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import sealing
from protocols.errors import MisuseError, PeerViolation

PRIVATE, PUBLIC = sealing.generate()
OTHER, _ = sealing.generate()


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_sealed_opens(plaintext: bytes, context: bytes) -> None:
    box = sealing.seal(plaintext, PUBLIC, context)
    assert len(box) == len(plaintext) + sealing.OVERHEAD
    assert sealing.open_sealed(box, PRIVATE, context) == plaintext


def test_two_boxes_of_one_plaintext_share_nothing() -> None:
    first, second = sealing.seal(b"x" * 64, PUBLIC, b""), sealing.seal(b"x" * 64, PUBLIC, b"")
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-1],
        lambda b: b + b"\0",
        lambda b: b"",
        lambda b: b[:40],
        lambda b: bytes(32) + b[32:],
        lambda b: bytes([b[0] ^ 1]) + b[1:],
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    ],
)
def test_a_changed_box_fails_like_any_other(change) -> None:  # type: ignore[no-untyped-def]  # lambdas above
    box = sealing.seal(b"secret", PUBLIC, b"job 1")
    with pytest.raises(PeerViolation) as first:
        sealing.open_sealed(change(box), PRIVATE, b"job 1")
    with pytest.raises(PeerViolation) as second:
        sealing.open_sealed(box, OTHER, b"job 1")
    with pytest.raises(PeerViolation) as third:
        sealing.open_sealed(box, PRIVATE, b"job 2")
    assert str(first.value) == str(second.value) == str(third.value)


def test_misuse_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MisuseError, match="recipient"):
        sealing.seal(b"", bytes(32), b"")
    with pytest.raises(MisuseError, match="32 bytes"):
        sealing.open_sealed(b"", b"short", b"")
    monkeypatch.setattr(sealing, "MAX_PLAINTEXT", 8)
    with pytest.raises(MisuseError, match="too much"):
        sealing.seal(bytes(9), PUBLIC, b"")
