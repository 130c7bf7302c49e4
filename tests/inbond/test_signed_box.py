"""A sealed box opens for its reader, under its label, from its sender, and in no other way."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbond.signed_box import BoxLabel, open_signed, seal_signed
from policies.denylist import extended
from policies.errors import PolicyError
from protocols.errors import PeerViolation
from protocols.sealing import generate
from tests.support.authority import TestAuthority

AUTHORITY = TestAuthority("acme.example")
P1, P2 = AUTHORITY.node("party/p1"), AUTHORITY.node("party/p2")
PRIVATE, PUBLIC = generate()
LABEL = BoxLabel("ab" * 16, "cd" * 32, "receipt")
BOX = seal_signed(b"content", LABEL, P1.signer, PUBLIC)


def _open(
    box: bytes = BOX,
    label: BoxLabel = LABEL,
    private: bytes = PRIVATE,
    sender: str = "p1",
    late: timedelta = timedelta(),
) -> bytes:
    name = f"spiffe://acme.example/party/{sender}"
    return open_signed(box, label, private, sender=name, trust=AUTHORITY.trust, now=AUTHORITY.now + late)


def test_the_reader_opens_it_and_the_box_shows_nothing() -> None:
    assert _open() == b"content"
    assert b"content" not in BOX


@pytest.mark.parametrize("field", ["job", "plan_digest", "purpose"])
def test_another_label_does_not_open_it(field: str) -> None:
    with pytest.raises((PeerViolation, PolicyError)):
        _open(label=replace(LABEL, **{field: "other"}))


def test_another_reader_sender_or_time_does_not_open_it() -> None:
    for wrong in ({"private": generate()[0]}, {"sender": "p2"}, {"late": timedelta(days=40)}):
        with pytest.raises((PeerViolation, PolicyError)):
            _open(**wrong)
    with pytest.raises((PeerViolation, PolicyError)):
        _open(seal_signed(b"content", LABEL, P2.signer, PUBLIC))


def test_a_box_opens_after_its_signer_renewed_the_certificate_but_not_after_it_was_denied() -> None:
    assert _open(late=timedelta(days=2)) == b"content"
    denied = extended(AUTHORITY.trust.denied, AUTHORITY.now, ids=[P1.signer.spiffe_id])
    with pytest.raises(PolicyError):
        open_signed(
            BOX,
            LABEL,
            PRIVATE,
            sender=str(P1.signer.spiffe_id),
            trust=replace(AUTHORITY.trust, denied=denied),
            now=AUTHORITY.now,
        )


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=80)
    | st.integers(0, len(BOX) - 1).map(lambda at: BOX[:at] + bytes([BOX[at] ^ 1]) + BOX[at + 1 :])
)
def test_no_altered_box_opens_and_every_one_is_one_of_our_errors(box: bytes) -> None:
    with pytest.raises((PeerViolation, PolicyError)):
        _open(box)
