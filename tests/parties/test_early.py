"""What comes before its turn waits, unanswered and unchecked, and goes round again when the job has moved on."""

import threading

import pytest

from inbond.messages import Reply, Request
from parties.early import MOST, Early, NotYet
from protocols.errors import PeerViolation
from tests.federation.test_hub import World, until
from tests.parties.test_link import world

__all__ = ["world"]


def asked(round_: int, job: str = "ab" * 16) -> Request:
    return Request(f"{round_:032x}", job, "step", "query.join", round_, 0, "cd" * 32, 2e9, [b"mail"])


def never() -> bool:
    return False


@pytest.fixture
def taken() -> list[Request]:
    return []


@pytest.fixture
def early(taken: list[Request]) -> Early:
    made = Early()
    made.again = taken.append
    return made


def test_what_is_due_passes(early: Early, taken: list[Request]) -> None:
    early.check(asked(1), lambda: True)
    early.release("ab" * 16)
    assert taken == []


def test_what_is_early_comes_back_once_and_in_order_when_its_job_moves_on(early: Early, taken: list[Request]) -> None:
    for request in (asked(3), asked(2), asked(4, "ef" * 16)):
        with pytest.raises(NotYet):
            early.check(request, never)
    early.release("ab" * 16)
    early.release("ab" * 16)
    assert taken == [asked(3), asked(2)]


def test_a_peer_cannot_have_any_number_put_aside(early: Early) -> None:
    for number in range(MOST):
        with pytest.raises(NotYet):
            early.check(asked(number), never)
    with pytest.raises(PeerViolation, match="too many steps came before their turn"):
        early.check(asked(MOST), never)


def test_turns_that_come_in_the_wrong_order_are_answered_in_the_right_one(world: World) -> None:
    """Through a link: the second waits without a worker, and is answered after the first."""
    early, done, gate = Early(), list[int](), threading.Event()

    def handle(request: Request) -> Reply:
        early.check(request, lambda: request.round <= len(done) + 1)
        if request.round == 1:
            assert gate.wait(10)
        done.append(request.round)
        early.release(request.job)
        return Reply(request.id, "ok", "", request.body)

    link = world.link("a", handle)
    early.again = link.again
    until(lambda: "a" in world.hub.connected())
    futures = [world.hub.request("a", asked(number)) for number in (3, 2, 1)]
    until(lambda: len(early._aside.get("ab" * 16, ())) == 2)
    assert not any(future.done() for future in futures)
    gate.set()
    assert [future.result(10).status for future in futures] == ["ok"] * 3
    assert done == [1, 2, 3]
