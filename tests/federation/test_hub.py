"""The hub over real mutual TLS: who gets in, who is thrown out, and what a hostile party cannot do."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import pytest

from federation.hub import Hub, HubSettings
from inbond.errors import InbondError, Refused, Unreachable
from inbond.framing import METHOD, Limits, chunk_frame
from inbond.messages import Reply, Request, request_id
from inbond.v1 import link_pb2
from parties.link import Link, LinkSettings
from tests.federation.tls import Consortium, dial, verify, welcome

Code = link_pb2.Goodbye.Code
FAST = HubSettings(heartbeat=0.2, dead_after=1.0, probe=0.5, greeting=0.5, revalidate=0.1)


def ask(party: str, body: bytes = b"", *, round_number: int = 0, seconds: float = 30) -> Request:
    """A request for one echo."""
    key = request_id("job", 0, "echo", round_number, party)
    return Request(key, "job", "step", "echo", round_number, 0, "", time.time() + seconds, [body])


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


class Raw:
    """A party that speaks frame by frame, and so can break any rule."""

    def __init__(self, port: int, credentials: tuple[bytes, bytes, bytes]) -> None:
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = dial(port, credentials)
        self._call: Any = self._channel.stream_stream(METHOD, None, None)(iter(self._out.get, None))

    def send(self, frame: link_pb2.Frame | bytes) -> None:
        self._out.put(frame if isinstance(frame, bytes) else frame.SerializeToString())

    def hello(self, session: bytes = b"") -> link_pb2.Frame:
        self.send(link_pb2.Frame(hello=link_pb2.Hello(nonce=bytes(32), version="0", session=session)))
        return self.receive()

    def receive(self) -> link_pb2.Frame:
        return link_pb2.Frame.FromString(next(self._call))

    def until(self, kind: str) -> link_pb2.Frame:
        while (frame := self.receive()).WhichOneof("kind") != kind:
            pass
        return frame

    def close(self) -> None:
        self._out.put(None)
        self._channel.close()


class World:
    """A hub that serves, and parties to connect to it."""

    def __init__(self) -> None:
        self.consortium = Consortium()
        self.seen: list[tuple[str, str, bytes]] = []
        self.changes: list[str] = []
        self._ends: list[Callable[[], object]] = []
        self.start(FAST)

    def start(self, settings: HubSettings, limits: Limits | None = None, port: int = 0) -> None:
        self.hub = Hub(
            authorise=self.consortium.authorise,
            still_valid=self.consortium.still_valid,
            welcome=welcome,
            settings=settings,
            limits=limits,
            on_connect=lambda party: self.changes.append(f"+{party}"),
            on_disconnect=lambda party: self.changes.append(f"-{party}"),
            tap=lambda direction, party, _, frame: self.seen.append((direction, party, frame)),
        )
        self.server, self.port = self.consortium.serve(self.hub, port=port)
        self._ends += [self.hub.close, partial(_stop, self.server)]

    def raw(self, party: str = "a") -> Raw:
        raw = Raw(self.port, self.consortium.credentials(party))
        self._ends.insert(0, raw.close)
        return raw

    def link(self, party: str, handler: Callable[[Request], Reply] | None = None) -> Link:
        credentials = self.consortium.credentials(party)
        settings = LinkSettings(backoff_first=0.05, backoff_most=0.2, dead_after=2.0)
        link = Link(
            lambda: dial(self.port, credentials),
            handler or (lambda request: Reply(request.id, "ok", "", request.body)),
            verify=verify,
            version="0",
            settings=settings,
        )
        threading.Thread(target=_run, args=(link,), daemon=True).start()
        self._ends.insert(0, link.stop)
        return link

    def close(self) -> None:
        for end in self._ends:
            end()


def _stop(server: grpc.Server) -> None:
    server.stop(0).wait(2)


def _run(link: Link) -> None:
    with contextlib.suppress(InbondError):
        link.run()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_a_request_is_answered_and_seen_by_the_tap(world: World) -> None:
    world.link("a")
    future = world.hub.request("a", ask("a", b"hello"))
    reply = future.result(10)
    assert (reply.status, bytes(reply.body[0])) == ("ok", b"hello")
    assert {(direction, party) for direction, party, _ in world.seen} == {("in", "a"), ("out", "a")}
    assert any(b"hello" in frame for direction, _, frame in world.seen if direction == "in")
    info = world.hub.connected()["a"]
    assert info.bytes_in > 0
    assert info.bytes_out > 0
    until(lambda: (world.hub.connected()["a"].rtt or 9) < 1)
    assert world.changes == ["+a"]


def test_a_request_waits_for_its_party_and_asking_again_is_the_same(world: World) -> None:
    request = ask("late")
    first = world.hub.request("late", request)
    assert world.hub.request("late", request) is first
    world.link("late")
    assert first.result(10).status == "ok"
    other = ask("x")
    world.hub.request("x", other)
    with pytest.raises(Refused, match="another party"):
        world.hub.request("y", other)


def test_forty_megabytes_do_not_block_a_small_request(world: World) -> None:
    world.link("a")
    world.hub.request("a", ask("a")).result(10)
    body = os.urandom(40_000_000)
    large = world.hub.request("a", ask("a", body, round_number=1))
    small = world.hub.request("a", ask("a", b"s", round_number=2))
    assert bytes(small.result(10).body[0]) == b"s"
    assert not large.done()
    assert bytes(large.result(30).body[0]) == body


def test_a_party_that_reads_nothing_costs_no_memory_and_stops_nobody(world: World) -> None:
    world.link("b")
    slow = world.raw("a")
    assert slow.hello().WhichOneof("kind") == "welcome"
    body = bytes(64 << 20)
    world.hub.request("a", ask("a", body))
    assert world.hub.request("b", ask("b", b"x")).result(10).status == "ok"
    sent = world.hub.connected()["a"].bytes_out
    assert 0 < sent < len(body)
    until(lambda: "-a" in world.changes)


def test_a_second_live_node_of_the_same_identity_is_refused_and_told_why(world: World) -> None:
    world.link("a")
    until(lambda: "a" in world.hub.connected())
    second = world.raw("a")
    goodbye = second.hello()
    assert goodbye.goodbye.code == Code.CODE_DUPLICATE
    assert "another node with this identity" in goodbye.goodbye.reason
    assert world.hub.request("a", ask("a")).result(10).status == "ok"
    assert world.changes == ["+a"]


def test_a_silent_node_is_replaced_by_the_newer_one(world: World) -> None:
    silent = world.raw("a")
    silent.hello()
    newer = world.raw("a")
    assert newer.hello().WhichOneof("kind") == "welcome"
    assert silent.until("goodbye").goodbye.code == Code.CODE_REPLACED


def test_the_same_node_may_replace_its_own_stream(world: World) -> None:
    first = world.raw("a")
    session = first.hello().welcome.session
    started = time.monotonic()
    assert world.raw("a").hello(session).WhichOneof("kind") == "welcome"
    assert time.monotonic() - started < FAST.probe
    assert world.changes == ["+a", "+a"]  # announced again: what it signed with its last certificate is out of date


def test_a_party_revoked_mid_stream_is_sent_away_within_a_second(world: World) -> None:
    raw = world.raw("a")
    raw.hello()
    world.consortium.revoked.add("a")
    started = time.monotonic()
    assert raw.until("goodbye").goodbye.code == Code.CODE_REVOKED
    assert time.monotonic() - started < 1.0
    assert "a" not in world.hub.connected()
    with pytest.raises(grpc.RpcError) as denied:
        world.raw("a").hello()
    assert denied.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_failing_check_counts_as_no(world: World) -> None:
    world.consortium.still_valid = lambda _identity: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # broken on purpose
    world.start(FAST)
    with pytest.raises(grpc.RpcError):
        world.raw("a").hello()


def test_nobody_gets_in_without_a_certificate_of_the_consortium(world: World) -> None:
    stranger = Consortium()
    for credentials in (
        (world.consortium.ca, *stranger.leaf("party/a")),
        (world.consortium.ca, *world.consortium.leaf("user/a")),
    ):
        with pytest.raises(grpc.RpcError):
            Raw(world.port, credentials).hello()
    assert not world.hub.connected()


def _big_head() -> link_pb2.Frame:
    key = ask("a").id
    return link_pb2.Frame(head=link_pb2.Head(number=1, reply=link_pb2.Reply(to=key, status="ok"), parts=[1 << 40]))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"\xff\xff\xff", "no message"),
        (b"\x7a\x01a", "unknown"),
        (bytes((1 << 20) + 5000), "a frame of"),
        (chunk_frame(1, 1, [b"x"]), "not in flight"),
        (_big_head(), "above"),
        (link_pb2.Frame(welcome=link_pb2.Welcome()), "may not send"),
        (link_pb2.Frame(hello=link_pb2.Hello(nonce=bytes(32))), "may not send"),
        (link_pb2.Frame(abort=link_pb2.Abort(number=3)), "not in flight"),
    ],
)
def test_whoever_breaks_the_rules_is_sent_away_with_one_reason(
    world: World, frame: link_pb2.Frame | bytes, why: str
) -> None:
    raw = world.raw("a")
    raw.hello()
    raw.send(frame)
    goodbye = raw.until("goodbye").goodbye
    assert goodbye.code == Code.CODE_VIOLATION
    assert why in goodbye.reason
    until(lambda: "a" not in world.hub.connected())


def test_a_frame_above_grpcs_own_limit_ends_the_stream_only(world: World) -> None:
    world.link("b")
    raw = world.raw("a")
    raw.hello()
    raw.send(bytes(3 << 20))
    with pytest.raises((grpc.RpcError, StopIteration)):
        raw.until("nothing")
    assert world.hub.request("b", ask("b")).result(10).status == "ok"


def test_no_hello_no_stream(world: World) -> None:
    raw = world.raw("a")
    assert raw.receive().goodbye.reason == "no hello in time"
    early = world.raw("b")
    early.send(link_pb2.Frame(heartbeat=link_pb2.Heartbeat(count=1)))
    assert early.receive().goodbye.reason == "no hello first"


def test_a_party_cannot_answer_for_another(world: World) -> None:
    future = world.hub.request("b", ask("b"))
    raw = world.raw("a")
    raw.hello()
    reply = link_pb2.Reply(to=ask("b").id, status="ok")
    raw.send(link_pb2.Frame(head=link_pb2.Head(number=1, reply=reply)))
    raw.send(link_pb2.Frame(heartbeat=link_pb2.Heartbeat(count=9)))
    while not (beat := raw.until("heartbeat").heartbeat).echo:
        pass
    assert beat.count == 9
    assert not future.done()


def test_a_duplicate_reply_changes_nothing(world: World) -> None:
    raw = world.raw("a")
    raw.hello()
    future = world.hub.request("a", ask("a"))
    raw.until("head")
    for number, reason in ((1, "first"), (2, "second")):
        reply = link_pb2.Reply(to=ask("a").id, status="failed", reason=reason)
        raw.send(link_pb2.Frame(head=link_pb2.Head(number=number, reply=reply)))
    assert future.result(5).reason == "first"


def test_a_reconnected_party_is_asked_again(world: World) -> None:
    first = world.raw("a")
    first.hello()
    future = world.hub.request("a", ask("a", b"x"))
    first.until("head")
    first.close()
    until(lambda: "a" not in world.hub.connected())
    second = world.raw("a")
    second.hello()
    assert second.until("head").head.request.id == ask("a").id
    assert not future.done()


def test_requests_expire_and_can_be_given_up(world: World) -> None:
    late = world.hub.request("a", ask("a", seconds=0.2))
    with pytest.raises(Unreachable, match="did not answer in time"):
        late.result(5)
    given_up = world.hub.request("a", ask("a"))
    assert world.hub.cancel(ask("a").id)
    assert given_up.cancelled()
    assert not world.hub.cancel(ask("a").id)
    again = world.hub.request("a", ask("a"))
    again.cancel()
    assert not world.hub.cancel(ask("a").id)


def test_a_party_with_too_many_unanswered_requests_gets_no_more(world: World) -> None:
    world.start(replace(FAST, pending=2))
    for number in range(2):
        world.hub.request("a", ask("a", round_number=number))
    with pytest.raises(Refused, match="too many"):
        world.hub.request("a", ask("a", round_number=3))
    assert world.hub.request("b", ask("b")) is not None


def test_a_party_with_too_many_streams_gets_no_more_and_others_do(world: World) -> None:
    world.start(replace(FAST, streams=2, greeting=5.0))
    raws = [world.raw("a") for _ in range(2)]
    until(lambda: len(world.hub._streams) == 2)
    with pytest.raises(grpc.RpcError, match="too many streams"):
        world.raw("a").hello()
    assert world.raw("b").hello().WhichOneof("kind") == "welcome"
    assert raws[0].hello().WhichOneof("kind") == "welcome"


def test_a_callback_that_fails_ends_its_own_stream_only(world: World) -> None:
    world.hub._on_connect = lambda party: 1 / 0 if party == "a" else None  # type: ignore[assignment]  # broken on purpose
    raw = world.raw("a")
    raw.hello()
    assert "could not go on" in raw.until("goodbye").goodbye.reason
    world.link("b")
    assert world.hub.request("b", ask("b")).result(10).status == "ok"


def test_a_flood_is_slowed_down(world: World) -> None:
    world.start(replace(FAST, rate=100.0, burst=20.0))
    raw = world.raw("a")
    raw.hello()
    started = time.monotonic()
    for count in range(1, 61):
        raw.send(link_pb2.Frame(heartbeat=link_pb2.Heartbeat(count=count)))
    while not ((beat := raw.until("heartbeat").heartbeat).echo and beat.count == 60):
        pass
    assert time.monotonic() - started > 0.3


def test_closing_fails_what_is_unanswered(world: World) -> None:
    future = world.hub.request("a", ask("a"))
    world.hub.close()
    with pytest.raises(Unreachable, match="stopped"):
        future.result(1)
