"""Messages cut into frames and put together again, without any input or output of its own.

Relies on the stream below for order and integrity. Whatever the other side sends is hostile until it has
passed the limits here: sizes are compared before memory is taken, and every breach is one `PeerViolation`.

A chunk is written and read by hand, in the wire format of protobuf (encoding guide, "Message Structure"): the
generated class would copy each megabyte three times more.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
from google.protobuf.message import DecodeError, Message

from inbond.errors import InbondError
from inbond.messages import Buffer, PeerViolation, size
from inbond.v1 import link_pb2

METHOD = "/inbond.v1.Link/Connect"
"""The one call of `link.proto`."""

FRAME = 1 << 20
"""Bytes of the largest frame that we send: the size that gRPC moves fastest."""

INLINE = 32 << 10
"""A body of at most this many bytes travels inside the head."""

_OVERHEAD = 32  # tags, lengths and numbers of a chunk frame take at most 1+5+1+5+1+5+1+5 = 24 bytes
_PIECE = FRAME - _OVERHEAD
_MOST_OPEN = 16  # large messages that one side sends at the same time; the rest wait their turn
_CHUNK_TAG = (link_pb2.Frame.CHUNK_FIELD_NUMBER << 3) | 2
_LAST_NUMBER = (1 << 32) - 1

GRPC_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", 2 * FRAME),
    ("grpc.max_receive_message_length", 2 * FRAME),
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.lookahead_bytes", 4 << 20),
]
"""Channel and server options of a link."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one side accepts from the other: sizes in bytes, `idle` in seconds between chunks of a message."""

    message: int = 512 << 20
    in_flight: int = 64
    total: int = 1 << 30
    frame: int = FRAME + 4096
    parts: int = 65_536
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One slice of the body of message `number`."""

    number: int
    index: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Incoming:
    """A complete message: its head and its body, one read-only view per part."""

    head: link_pb2.Head
    body: Sequence[memoryview]


def violation(what: str) -> PeerViolation:
    """Return the error for a breach of the framing rules."""
    return PeerViolation(what, where="link", right="the other node must follow link.proto and its limits")


def parse_strictly(data: Buffer, message: Message) -> None:
    """Fill `message` from `data`; unknown fields and non-canonical encodings raise `PeerViolation`.

    Unknown fields survive a round trip through protobuf, so a receiver that ignores them could be made to
    sign or forward what it has not understood.
    """
    try:
        message.ParseFromString(bytes(data))
    except DecodeError:
        raise violation("bytes that are no message") from None
    message.DiscardUnknownFields()
    if message.ByteSize() != len(data):
        raise violation("a message with unknown or repeated fields")


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append((value & 0x7F) | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(5):
        if at >= len(data):
            break
        octet = data[at]
        at += 1
        value |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            return value, at
    raise violation("a chunk with a broken number")


def _expect_varint(data: bytes, at: int, tag: int) -> tuple[int, int]:
    if at >= len(data) or data[at] != tag:
        raise violation("a chunk whose fields are not number, index, data")
    return _read_varint(data, at + 1)


def chunk_frame(number: int, index: int, pieces: Sequence[Buffer]) -> bytes:
    """Return the frame that carries `pieces`, one after the other, as one chunk: one copy of the data."""
    length = size(pieces)
    inner = b"\x08" + _varint(number) + b"\x10" + _varint(index) + b"\x1a" + _varint(length)
    return b"".join((bytes((_CHUNK_TAG,)), _varint(len(inner) + length), inner, *pieces))


def parse(frame: bytes, limits: Limits) -> Chunk | link_pb2.Frame:
    """Return what `frame` carries; a chunk's data is a view into it. Raises `PeerViolation`."""
    if len(frame) > limits.frame:
        raise violation(f"a frame of {len(frame)} bytes, above {limits.frame}")
    if not frame or frame[0] != _CHUNK_TAG:
        parsed = link_pb2.Frame()
        parse_strictly(frame, parsed)
        return parsed
    return _parse_chunk(frame)


def _parse_chunk(frame: bytes) -> Chunk:
    length, at = _read_varint(frame, 1)
    if length != len(frame) - at:
        raise violation("a chunk whose length is not that of its frame")
    number, at = _expect_varint(frame, at, 0x08)
    index, at = _expect_varint(frame, at, 0x10)
    length, at = _expect_varint(frame, at, 0x1A)
    if length != len(frame) - at or length == 0:
        raise violation("a chunk whose data is empty or of another length")
    return Chunk(number, index, memoryview(frame)[at:])


class Outgoing:
    """A message on its way out: `key` names it for `Outbox.drop`, `frames` cuts it when its turn comes.

    It may be sent on several streams, one after the other. Raises InbondError for a body that no receiver
    accepts.
    """

    def __init__(self, key: str, head: link_pb2.Head, body: Sequence[Buffer]) -> None:
        self.key = key
        self.size = size(body)
        self._head = head
        self._body = body
        accepted = Limits()
        if self.size > accepted.message or len(body) > accepted.parts:
            raise InbondError(
                f"a body of {self.size} bytes in {len(body)} parts cannot be sent",
                where="link",
                right=f"stay below {accepted.message} bytes in {accepted.parts} parts",
            )

    def frames(self, number: int) -> Iterator[bytes]:
        """Yield the frames of this message under `number`; a piece is copied once, when asked for."""
        head = link_pb2.Head()
        head.CopyFrom(self._head)
        head.number = number
        head.parts.extend(len(part) for part in self._body)
        if self.size <= INLINE:
            head.body = b"".join(self._body)
        yield link_pb2.Frame(head=head).SerializeToString()
        if self.size > INLINE:
            for index, pieces in enumerate(_pieces(self._body), 1):
                yield chunk_frame(number, index, pieces)


def _pieces(body: Sequence[Buffer]) -> Iterator[list[memoryview]]:
    """Yield views of `body` in lists of `_PIECE` bytes (the last may be shorter)."""
    held: list[memoryview] = []
    room = _PIECE
    for part in body:
        view = memoryview(part).cast("B")
        while len(view):
            held.append(view[:room])
            view = view[len(held[-1]) :]
            room -= len(held[-1])
            if room == 0:
                yield held
                held, room = [], _PIECE
    if held:
        yield held


class Outbox:
    """The frames of one direction of one stream, as the iterator that gRPC consumes.

    Control frames go first; messages in flight take turns, frame by frame, so a large body never blocks a
    small one. It holds references to bodies, and cuts a frame only when gRPC asks for it: a slow reader
    costs nothing.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._control: deque[bytes] = deque()
        self._waiting: deque[Outgoing] = deque()
        self._open: deque[tuple[int, Outgoing, Iterator[bytes]]] = deque()
        self._number = 0
        self._closed = False

    def control(self, frame: link_pb2.Frame) -> None:
        """Send a frame that is no message before anything else."""
        with self._ready:
            self._control.append(frame.SerializeToString())
            self._ready.notify()

    def put(self, message: Outgoing) -> None:
        """Send a message; it shares the stream with those already in flight."""
        with self._ready:
            if not self._closed:
                self._waiting.append(message)
                self._ready.notify()

    def drop(self, key: str) -> None:
        """Stop sending the message named `key`; the other side is told when it already has a piece of it."""
        with self._ready:
            self._waiting = deque(message for message in self._waiting if message.key != key)
            for number, message, _ in self._open:
                if message.key == key:
                    abort = link_pb2.Frame(abort=link_pb2.Abort(number=number))
                    self._control.append(abort.SerializeToString())
            self._open = deque(item for item in self._open if item[1].key != key)
            self._ready.notify()

    def close(self) -> list[Outgoing]:
        """End the stream after the control frames; return the messages that were not sent in full."""
        with self._ready:
            left = [message for _, message, _ in self._open] + list(self._waiting)
            self._open.clear()
            self._waiting.clear()
            self._closed = True
            self._ready.notify_all()
            return left

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._ready:
            while True:
                if self._control:
                    return self._control.popleft()
                if (message := self._next_waiting()) is not None:
                    return self._begin(message)
                if (frame := self._continue()) is not None:
                    return frame
                if self._closed:
                    raise StopIteration
                if not self._waiting:  # else the last frame of another message has just made room
                    self._ready.wait()

    def _next_waiting(self) -> Outgoing | None:
        """Return the first message that may begin: any small one, a large one within the limits."""
        held = sum(message.size for _, message, _ in self._open)
        for message in self._waiting:
            fits = len(self._open) < _MOST_OPEN and held + message.size <= Limits().message
            if fits or message.size <= INLINE:
                self._waiting.remove(message)
                return message
        return None

    def _begin(self, message: Outgoing) -> bytes:
        self._number += 1
        frames = message.frames(self._number)
        head = next(frames)
        self._open.append((self._number, message, frames))
        return head

    def _continue(self) -> bytes | None:
        while self._open:
            number, message, frames = self._open.popleft()
            if (frame := next(frames, None)) is not None:
                self._open.append((number, message, frames))
                return frame
        return None


@dataclass(slots=True)
class _Partial:
    head: link_pb2.Head
    store: memoryview | None
    size: int
    heard: float
    filled: int = 0
    index: int = 0


def _sliced(whole: memoryview, parts: Sequence[int]) -> list[memoryview]:
    edges = list(accumulate(parts, initial=0))
    return [whole[start:end] for start, end in pairwise(edges)]


@dataclass(slots=True)
class Assembler:
    """Puts the messages of one direction of one stream together.

    `wanted` decides by the head whether a body is kept: what nobody waits for is counted against the
    limits, read and thrown away. Time is an argument, in seconds of any one clock.
    """

    limits: Limits = field(default_factory=Limits)
    wanted: Callable[[link_pb2.Head], bool] = lambda _head: True
    _partial: dict[int, _Partial] = field(default_factory=dict)
    _last: int = 0
    _total: int = 0

    def head(self, head: link_pb2.Head, now: float) -> Incoming | None:
        """Take a head; return the message when its body came inside. Raises `PeerViolation`."""
        self._check_number(head.number)
        whole = self._check_size(head)
        keep = self.wanted(head)
        if whole <= INLINE:
            return self._inline(head, whole) if keep else None
        if head.body:
            raise violation("a body both inside its head and in chunks")
        if len(self._partial) >= self.limits.in_flight or self._total + whole > self.limits.total:
            raise violation("more messages or bytes in flight than allowed")
        store = np.empty(whole, np.uint8).data if keep else None
        self._partial[head.number] = _Partial(head, store, whole, now)
        self._total += whole
        return None

    def chunk(self, chunk: Chunk, now: float) -> Incoming | None:
        """Take a slice of a body; return the message when it is complete. Raises `PeerViolation`."""
        partial = self._partial.get(chunk.number)
        if partial is None:
            raise violation(f"a chunk of message {chunk.number}, which is not in flight")
        if chunk.index != partial.index + 1:
            raise violation(f"chunk {chunk.index} of message {chunk.number} after chunk {partial.index}")
        end = partial.filled + len(chunk.data)
        if end > partial.size:
            raise violation(f"message {chunk.number} is longer than its head says")
        if partial.store is not None:
            partial.store[partial.filled : end] = chunk.data
        partial.filled, partial.index, partial.heard = end, chunk.index, now
        return self._finish(chunk.number, partial) if end == partial.size else None

    def abort(self, number: int) -> None:
        """Forget a message that its sender gave up. Raises `PeerViolation` when it is not in flight."""
        partial = self._partial.pop(number, None)
        if partial is None:
            raise violation(f"message {number} was given up, but is not in flight")
        self._total -= partial.size

    def check_idle(self, now: float) -> None:
        """Raise `PeerViolation` when a message in flight has had no chunk for `limits.idle` seconds."""
        if any(now - partial.heard > self.limits.idle for partial in list(self._partial.values())):
            raise violation(f"a message stopped for more than {self.limits.idle:g} s")

    def _check_number(self, number: int) -> None:
        if not self._last < number <= _LAST_NUMBER:
            raise violation(f"message number {number} after {self._last}")
        self._last = number

    def _check_size(self, head: link_pb2.Head) -> int:
        if len(head.parts) > self.limits.parts:
            raise violation(f"a body of {len(head.parts)} parts, above {self.limits.parts}")
        whole = sum(head.parts)
        if whole > self.limits.message:
            raise violation(f"a body of {whole} bytes, above {self.limits.message}")
        return whole

    def _inline(self, head: link_pb2.Head, whole: int) -> Incoming:
        if len(head.body) != whole:
            raise violation("a body inside a head that has another size than its parts")
        return Incoming(head, _sliced(memoryview(head.body), head.parts))

    def _finish(self, number: int, partial: _Partial) -> Incoming | None:
        del self._partial[number]
        self._total -= partial.size
        if partial.store is None:
            return None
        return Incoming(partial.head, _sliced(partial.store.toreadonly(), partial.head.parts))
