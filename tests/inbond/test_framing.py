"""Frames: what is cut comes together again, in turns, within limits, and any breach is one typed error."""

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbond.errors import InbondError
from inbond.framing import (
    FRAME,
    INLINE,
    Assembler,
    Chunk,
    Incoming,
    Limits,
    Outbox,
    Outgoing,
    chunk_frame,
    parse,
)
from inbond.messages import PeerViolation
from inbond.v1 import link_pb2


def _head(number: int, *parts: int, body: bytes = b"") -> link_pb2.Head:
    return link_pb2.Head(number=number, reply=link_pb2.Reply(to="x"), parts=parts, body=body)


def _message(key: str, *body: bytes) -> Outgoing:
    return Outgoing(key, link_pb2.Head(reply=link_pb2.Reply(to=key)), body)


def _feed(assembler: Assembler, data: bytes) -> Incoming | None:
    frame = parse(data, assembler.limits)
    return assembler.chunk(frame, 0) if isinstance(frame, Chunk) else assembler.head(frame.head, 0)


def test_a_chunk_is_what_protobuf_would_write() -> None:
    chunk = link_pb2.Chunk(number=300, index=1, data=b"abc")
    assert chunk_frame(300, 1, [b"a", b"bc"]) == link_pb2.Frame(chunk=chunk).SerializeToString()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 1000, INLINE, FRAME - 33, FRAME - 32, FRAME, 3 * FRAME]), max_size=4))
def test_any_body_comes_together_again(sizes: list[int]) -> None:
    body = [bytes([index + 1]) * length for index, length in enumerate(sizes)]
    assembler, found = Assembler(), []
    for frame in _message("m", *body).frames(1):
        assert len(frame) <= FRAME
        found.append(_feed(assembler, frame))
    assert found[:-1] == [None] * (len(found) - 1)
    assert found[-1] is not None
    assert [bytes(part) for part in found[-1].body] == body
    assert all(part.readonly for part in found[-1].body)


def test_messages_take_turns_and_control_frames_go_first() -> None:
    outbox = Outbox()
    outbox.put(_message("large", bytes(5 * FRAME)))
    first = next(outbox)
    assert parse(first, Limits()).head.number == 1  # type: ignore[union-attr]  # it is a head
    next(outbox)
    outbox.put(_message("small", b"s"))
    outbox.control(link_pb2.Frame(heartbeat=link_pb2.Heartbeat(count=1)))
    assert parse(next(outbox), Limits()).WhichOneof("kind") == "heartbeat"  # type: ignore[union-attr]  # same
    assert parse(next(outbox), Limits()).head.body == b"s"  # type: ignore[union-attr]  # same


def test_two_large_bodies_advance_together() -> None:
    outbox, assembler = Outbox(), Assembler()
    for key in ("a", "b"):
        outbox.put(_message(key, key.encode() * (3 * FRAME)))
    outbox_left: list[str] = []
    order = []
    while len(outbox_left) < 2:
        data = next(outbox)
        frame = parse(data, Limits())
        order.append(frame.number if isinstance(frame, Chunk) else frame.head.number)
        if (done := _feed(assembler, data)) is not None:
            outbox_left.append(bytes(done.body[0][:1]).decode())
    assert outbox_left == ["a", "b"]
    assert order[2:6] == [1, 2, 1, 2]


def test_what_a_sender_has_in_flight_stays_within_the_receivers_limits() -> None:
    outbox, assembler, done = Outbox(), Assembler(), 0
    for number in range(100):
        outbox.put(_message(f"large {number}", bytes(FRAME)))
    for _ in range(20):
        _feed(assembler, next(outbox))
    outbox.put(_message("small", b"s"))
    found = _feed(assembler, next(outbox))
    assert found is not None
    assert bytes(found.body[0]) == b"s"
    while done < 100:
        done += _feed(assembler, next(outbox)) is not None


def test_a_body_beyond_every_limit_is_refused_at_the_sender() -> None:
    with pytest.raises(InbondError, match="cannot be sent"):
        _message("m", *[b""] * 70_000)


def test_a_dropped_message_is_aborted_and_its_memory_freed() -> None:
    outbox, assembler = Outbox(), Assembler()
    outbox.put(_message("m", bytes(3 * FRAME)))
    _feed(assembler, next(outbox))
    _feed(assembler, next(outbox))
    outbox.drop("m")
    abort = parse(next(outbox), Limits())
    assert isinstance(abort, link_pb2.Frame)
    assembler.abort(abort.abort.number)
    with pytest.raises(PeerViolation, match="not in flight"):
        assembler.chunk(Chunk(1, 2, memoryview(b"x")), 0)


def test_closing_wakes_the_reader_and_returns_what_is_left() -> None:
    outbox = Outbox()
    reader = threading.Thread(target=lambda: list(outbox))
    reader.start()
    time.sleep(0.05)
    outbox.close()
    reader.join(2)
    assert not reader.is_alive()
    outbox = Outbox()
    outbox.put(_message("a", bytes(2 * FRAME)))
    outbox.put(_message("b", b""))
    next(outbox)
    assert sorted(message.key for message in outbox.close()) == ["a", "b"]
    assert list(outbox) == []


def _began(limits: Limits | None = None) -> Assembler:
    assembler = Assembler(limits or Limits())
    assembler.head(_head(1, 2 * FRAME), 0)
    return assembler


BREACHES: list[tuple[str, Callable[[], object]]] = [
    ("a frame of", lambda: parse(bytes(3 << 20), Limits())),
    ("no message", lambda: parse(b"\xff\xff\xff", Limits())),
    ("unknown or repeated", lambda: parse(b"\x7a\x01a", Limits())),
    ("length is not that", lambda: parse(chunk_frame(1, 1, [b"abc"])[:-1], Limits())),
    ("length is not that", lambda: parse(chunk_frame(1, 1, [b"abc"]) + b"x", Limits())),
    ("broken number", lambda: parse(b"\x22\xff\xff\xff\xff\xff\x01", Limits())),
    ("not number, index, data", lambda: parse(b"\x22\x02\x10\x01", Limits())),
    ("empty", lambda: parse(chunk_frame(1, 1, []), Limits())),
    ("not in flight", lambda: Assembler().chunk(Chunk(1, 1, memoryview(b"x")), 0)),
    ("chunk 2 of message 1 after chunk 0", lambda: _began().chunk(Chunk(1, 2, memoryview(b"x")), 0)),
    ("message number 1 after 1", lambda: _began().head(_head(1, FRAME), 0)),
    ("message number 0", lambda: Assembler().head(_head(0, 1, body=b"x"), 0)),
    ("longer than its head", lambda: _began().chunk(Chunk(1, 1, memoryview(bytes(2 * FRAME + 1))), 0)),
    ("above 536870912", lambda: Assembler().head(_head(1, 1 << 30), 0)),
    ("above 536870912", lambda: Assembler().head(_head(1, 2**64 - 1, 2**64 - 1), 0)),
    ("2 parts, above 1", lambda: Assembler(Limits(parts=1)).head(_head(1, 1, 1), 0)),
    ("in flight than allowed", lambda: _began(Limits(in_flight=1)).head(_head(2, FRAME), 0)),
    ("in flight than allowed", lambda: _began(Limits(total=3 * FRAME)).head(_head(2, 2 * FRAME), 0)),
    ("another size", lambda: Assembler().head(_head(1, 3, body=b"ab"), 0)),
    ("both inside", lambda: Assembler().head(_head(1, FRAME, body=b"ab"), 0)),
    ("stopped for more", lambda: _began(Limits(idle=5)).check_idle(5.1)),
]


@pytest.mark.parametrize(("why", "breach"), BREACHES)
def test_every_breach_is_one_typed_error(why: str, breach: Callable[[], object]) -> None:
    with pytest.raises(PeerViolation, match=why):
        breach()


def test_a_body_nobody_wants_is_read_and_not_kept() -> None:
    assembler = Assembler(wanted=lambda head: head.reply.to != "late")
    for frame in _message("late", bytes(2 * FRAME)).frames(1):
        assert _feed(assembler, frame) is None
    found = [_feed(assembler, frame) for frame in _message("due", b"x").frames(2)]
    assert found[-1] is not None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_one_typed_error(data: bytes) -> None:
    for frame in (data, b"\x22" + data):
        with contextlib.suppress(PeerViolation):
            parse(frame, Limits())
