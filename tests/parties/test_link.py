"""The party's end of the link: it comes back, answers once and rotates without a loss."""

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from inbond.errors import Refused
from inbond.messages import Reply, Request
from parties.link import Link, LinkSettings
from tests.federation.test_hub import FAST, World, ask, until
from tests.federation.tls import dial, verify


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def _node(port: int, credentials: tuple[bytes, bytes, bytes], home: Path, pause: float) -> None:
    """A party with the smallest outbox there is: one table, the effect and the reply in one transaction."""
    outbox = sqlite3.connect(home / "outbox.db", check_same_thread=False, isolation_level=None)
    outbox.execute("create table if not exists done (id text primary key, reply blob)")
    lock = threading.Lock()

    def handle(request: Request) -> Reply:
        with lock:
            held = outbox.execute("select reply from done where id = ?", (request.id,)).fetchone()
            if held is None:
                held = (b"effect of " + bytes(request.body[0]),)
                outbox.execute("insert into done values (?, ?)", (request.id, held[0]))
        with (home / "handled").open("a") as log:
            log.write("x")
        time.sleep(pause)
        return Reply(request.id, "ok", "", [held[0]])

    Link(lambda: dial(port, credentials), handle, verify=verify, version="0").run()


def test_a_party_killed_in_the_middle_comes_back_and_the_effect_is_one(world: World, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    credentials = world.consortium.credentials("a")
    first = spawn.Process(target=_node, args=(world.port, credentials, tmp_path, 60.0))
    first.start()
    future = world.hub.request("a", ask("a", b"one"))
    until((tmp_path / "handled").exists, 20)
    first.kill()
    first.join()
    second = spawn.Process(target=_node, args=(world.port, credentials, tmp_path, 0.0))
    second.start()
    try:
        assert bytes(future.result(20).body[0]) == b"effect of one"
        effects = sqlite3.connect(tmp_path / "outbox.db").execute("select count(*) from done").fetchone()
        assert effects == (1,)
        assert (tmp_path / "handled").read_text() == "xx"
    finally:
        second.kill()
        second.join()


def test_the_link_comes_back_after_the_coordinator_closes_it_or_restarts(world: World) -> None:
    link = world.link("a")
    until(link.connected)
    world.hub.disconnect("a")
    until(lambda: world.changes[:3] == ["+a", "-a", "+a"])
    world.hub.close()
    world.server.stop(0).wait(5)
    until(lambda: not link.connected())
    world.start(FAST, port=world.port)
    assert world.hub.request("a", ask("a")).result(10).status == "ok"


def test_rotation_loses_no_request_in_hand(world: World) -> None:
    release, calls = threading.Event(), []

    def handle(request: Request) -> Reply:
        calls.append(request.id)
        release.wait(10)
        return Reply(request.id, "ok", "", request.body)

    link = world.link("a", handle)
    until(lambda: "a" in world.hub.connected())
    since = world.hub.connected()["a"].since
    body = os.urandom(3_000_000)
    future = world.hub.request("a", ask("a", body))
    until(lambda: len(calls) == 1)
    link.rotate()
    assert world.hub.connected()["a"].since > since
    time.sleep(0.3)
    release.set()
    assert bytes(future.result(10).body[0]) == body
    assert calls == [ask("a").id]
    assert world.changes == ["+a", "+a"], "announced again, so that the catalogue is signed with the new certificate"


def test_a_rotation_that_fails_keeps_the_old_stream(world: World) -> None:
    link = world.link("a")
    until(link.connected)
    stranger = world.consortium.leaf("user/a")
    link._connect = lambda: dial(world.port, (world.consortium.ca, *stranger))
    with pytest.raises(Refused):
        link.rotate()
    assert world.hub.request("a", ask("a")).result(10).status == "ok"


def test_rotation_under_load_answers_everything(world: World) -> None:
    link = world.link("a")
    until(link.connected)
    futures = []
    for number in range(30):
        futures.append(world.hub.request("a", ask("a", os.urandom(200_000), round_number=number)))
        if number % 10 == 5:
            link.rotate()
    assert all(future.result(20).status == "ok" for future in futures)


def test_a_handler_that_raises_tells_the_peer_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: Request) -> Reply:
        raise ValueError("row 17 is 4711")

    world.link("a", handle)
    reply = world.hub.request("a", ask("a")).result(10)
    assert (reply.status, reply.reason) == ("failed", "the party could not handle the request")
    assert not any(b"4711" in frame for _, _, frame in world.seen)
    assert "4711" in caplog.text


def test_a_slow_handler_does_not_stop_heartbeats_or_others(world: World) -> None:
    release = threading.Event()

    def handle(request: Request) -> Reply:
        if request.round == 0:
            release.wait(10)
        return Reply(request.id, "ok")

    world.link("a", handle)
    slow = world.hub.request("a", ask("a"))
    assert world.hub.request("a", ask("a", round_number=1)).result(10).status == "ok"
    time.sleep(1.2)
    assert "a" in world.hub.connected()
    release.set()
    assert slow.result(10).status == "ok"


def test_a_welcome_that_does_not_verify_ends_the_link(world: World) -> None:
    credentials = world.consortium.credentials("a")

    def refuse(nonce: bytes, token: bytes) -> None:
        raise Refused("the welcome is not the coordinator's", where="coordinator")

    states: list[str] = []
    link = Link(
        lambda: dial(world.port, credentials),
        lambda request: Reply(request.id, "ok"),
        verify=refuse,
        version="0",
        on_state=states.append,
    )
    with pytest.raises(Refused, match="not the coordinator"):
        link.run()
    assert states == ["refused: the welcome is not the coordinator's"]


def test_a_revoked_party_stops_and_says_so(world: World) -> None:
    credentials = world.consortium.credentials("a")
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            Link(
                lambda: dial(world.port, credentials),
                lambda request: Reply(request.id, "ok"),
                verify=verify,
                version="0",
            ).run()
        except Refused as refusal:
            outcome.append(refusal)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: "a" in world.hub.connected())
    world.consortium.revoked.add("a")
    thread.join(5)
    assert "revoked" in str(outcome[0])


def test_an_unreachable_coordinator_is_tried_again_with_growing_pauses() -> None:
    tries: list[float] = []

    def connect() -> grpc.Channel:
        tries.append(time.monotonic())
        return grpc.insecure_channel("127.0.0.1:1")

    link = Link(
        connect,
        lambda request: Reply(request.id, "ok"),
        verify=verify,
        version="0",
        settings=LinkSettings(backoff_first=0.05, backoff_most=0.4),
    )
    thread = threading.Thread(target=link.run, daemon=True)
    thread.start()
    until(lambda: len(tries) >= 3)
    link.stop()
    thread.join(3)
    assert not thread.is_alive()
