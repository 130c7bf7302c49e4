"""The chooser's keys are those it chose, the others are out of reach, and every point is checked."""

import numpy as np
import pytest

from protocols.errors import PeerViolation
from protocols.psi.base_ot import Offerer, choose
from protocols.psi.ristretto import ORDER, subtract

SESSION = bytes(range(32))
COUNT = 64
CHOICES = np.random.default_rng(1).integers(0, 2, COUNT).astype(np.bool_)
NON_CANONICAL = b"\xff" * 31 + b"\x7f"
NEGATIVE = b"\1" + bytes(31)


def test_the_chooser_gets_one_key_of_each_pair_and_the_offerer_both() -> None:
    offerer = Offerer(SESSION)
    message, chosen = choose(SESSION, offerer.point, CHOICES)
    pairs = offerer.keys(message, COUNT)
    rows = np.arange(COUNT)
    assert (pairs[rows, CHOICES.astype(int)] == chosen).all()
    assert len({key.tobytes() for key in pairs.reshape(-1, 16)}) == 2 * COUNT


def test_every_session_and_every_transfer_has_keys_of_its_own() -> None:
    random = np.random.default_rng(2)
    offerer, other = (Offerer(session, np.random.default_rng(3).bytes) for session in (SESSION, bytes(32)))
    assert offerer.point == other.point
    point = choose(SESSION, offerer.point, CHOICES[:1], random.bytes)[0]
    pairs = offerer.keys(point * 2, 2), other.keys(point * 2, 2)
    assert len({key.tobytes() for each in pairs for key in each.reshape(-1, 16)}) == 8


def test_both_choices_are_one_uniform_element_apart_from_the_offer() -> None:
    """So the point sent tells nothing: for each choice there is one scalar behind it, and scalars are uniform."""
    offer = Offerer(SESSION).point
    zero, one = (choose(SESSION, offer, np.array([c]), np.random.default_rng(4).bytes)[0] for c in (False, True))
    assert subtract(one, zero) == offer


def test_scalars_are_drawn_for_each_choice() -> None:
    message, _ = choose(SESSION, Offerer(SESSION).point, np.zeros(COUNT, np.bool_))
    assert len({message[i : i + 32] for i in range(0, len(message), 32)}) == COUNT


@pytest.mark.parametrize(
    "offer", [bytes(32), NON_CANONICAL, NEGATIVE, b"", b"\1" * 31, ORDER.to_bytes(33, "little")], ids=len
)
def test_a_malformed_offer_is_refused(offer: bytes) -> None:
    with pytest.raises(PeerViolation):
        choose(SESSION, offer, CHOICES)


@pytest.mark.parametrize("bad", [bytes(32), NON_CANONICAL, NEGATIVE])
def test_one_malformed_choice_refuses_them_all(bad: bytes) -> None:
    offerer = Offerer(SESSION)
    message, _ = choose(SESSION, offerer.point, CHOICES)
    with pytest.raises(PeerViolation):
        offerer.keys(message[: 32 * 40] + bad + message[32 * 41 :], COUNT)


@pytest.mark.parametrize("change", [-32, -1, 1, 32])
def test_another_number_of_choices_is_refused(change: int) -> None:
    offerer = Offerer(SESSION)
    message, _ = choose(SESSION, offerer.point, CHOICES)
    with pytest.raises(PeerViolation, match="64 points"):
        offerer.keys((message * 2)[: len(message) + change], COUNT)
