"""A child that waits: taken once, replaced when it died, gone when its owner closes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbond.child import Child, spawn
from inbond.errors import InbondError
from inbond.spare import Spare

ROOT = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@pytest.fixture
def started() -> Iterator[list[Child]]:
    children: list[Child] = []
    yield children
    for child in children:
        child.kill()


@pytest.fixture
def spare(started: list[Child]) -> Spare:
    def start() -> Child:
        started.append(spawn("federation.runner", extra_env=ROOT))
        return started[-1]

    return Spare(start)


def test_the_one_that_waits_is_taken_and_none_is_handed_out_twice(spare: Spare, started: list[Child]) -> None:
    spare.ready()
    spare.ready()
    assert len(started) == 1
    first, second = spare.take(), spare.take()
    assert (first, second) == (started[0], started[1])
    assert first.alive()


def test_one_is_ready_in_a_while_and_none_once_its_owner_closed(
    spare: Spare, started: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inbond.spare.QUIET", 0.05)
    spare.ready_soon()
    deadline = time.monotonic() + 20
    while not started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert spare.take() is started[0]
    spare.ready_soon()
    spare.close()
    time.sleep(0.2)
    assert len(started) == 1


def test_one_that_died_while_it_waited_is_not_handed_out(spare: Spare, started: list[Child]) -> None:
    spare.ready()
    started[0].process.kill()
    started[0].process.wait()
    assert spare.take() is started[1]
    assert started[1].alive()


def test_what_waits_ends_with_its_owner_and_none_waits_afterwards(spare: Spare, started: list[Child]) -> None:
    spare.ready()
    spare.close()
    assert not started[0].alive()
    spare.ready()
    assert len(started) == 1


def test_what_fails_while_nobody_waits_is_told_to_who_asks() -> None:
    def broken() -> Child:
        raise InbondError("cannot be started", where="runner")

    spare = Spare(broken)
    spare.ready()
    with pytest.raises(InbondError, match="cannot be started"):
        spare.take()
