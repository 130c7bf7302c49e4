"""The party's end of the link: one outgoing stream, kept alive, and a handler for requests.

The party dials out and needs no inbound port. It trusts the coordinator's certificate and the signed welcome
that `verify` checks; what arrives afterwards is still hostile until the framing has accepted it and the
handler, which is the enforcement point, has decided. Requests may come twice: the handler answers a repeated
id from its outbox.
"""

import contextlib
import itertools
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from inbond import codec
from inbond.errors import InbondError, Refused, Unreachable
from inbond.framing import METHOD, Assembler, Chunk, Incoming, Limits, Outbox, Outgoing, parse, violation
from inbond.messages import PeerViolation, Reply, Request
from inbond.v1 import link_pb2
from parties.early import NotYet

_log = logging.getLogger(__name__)
_Code = link_pb2.Goodbye.Code


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Times in seconds. `workers` handle requests; at most `in_hand` may be accepted and not yet answered."""

    greeting: float = 10.0
    heartbeat: float = 2.0
    dead_after: float = 10.0
    backoff_first: float = 0.2
    backoff_most: float = 30.0
    workers: int = 4
    in_hand: int = 256


@dataclass(slots=True, eq=False)
class _Stream:
    """One call to the coordinator."""

    channel: grpc.Channel
    assembler: Assembler
    nonce: bytes = field(default_factory=lambda: os.urandom(32))
    outbox: Outbox = field(default_factory=Outbox)
    call: Any = None  # grpc.Call and an iterator of frames, which the stubs do not join in one type
    heard: float = field(default_factory=time.monotonic)
    welcomed: bool = False
    error: InbondError | None = None
    settled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def close(self) -> list[Outgoing]:
        """End the call; return the messages that were not sent in full."""
        left = self.outbox.close()
        if self.call is not None:
            self.call.cancel()
        self.channel.close()
        return left


class Link:
    """Keeps the party connected; `run` works until `stop`.

    `connect()` opens a channel with the credentials of the moment. `handler(request)` is called on a worker thread and
    returns the reply, or raises NotYet and brings the request to `again` later. `verify(nonce, token)` raises `Refused`
    unless the welcome is the coordinator's. `on_state` hears "connected", "disconnected" and "refused: why".
    """

    def __init__(
        self,
        connect: Callable[[], grpc.Channel],
        handler: Callable[[Request], Reply],
        *,
        verify: Callable[[bytes, bytes], None],
        version: str,
        limits: Limits | None = None,
        settings: LinkSettings | None = None,
        on_state: Callable[[str], None] | None = None,
    ) -> None:
        self._connect = connect
        self._handler = handler
        self._verify = verify
        self._version = version
        self._limits = limits or Limits()
        self._settings = settings or LinkSettings()
        self._on_state = on_state or (lambda _state: None)
        self._lock = threading.RLock()
        self._opening = threading.Lock()  # one dial at a time
        self._current: _Stream | None = None
        self._told = "disconnected"
        self._session = b""
        self._in_hand: set[str] = set()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(self._settings.workers, "link-worker")

    def run(self) -> None:
        """Stay connected until `stop`. Raises Refused when the coordinator says this identity is revoked."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                with self._opening:  # a rotation under way may bring the stream that is missed
                    stream = self._current or self._open()
                attempt = 0
                self._tell()
                self._watch(stream)
            except Refused as refusal:
                self._on_state(f"refused: {refusal.what}")
                raise
            except InbondError as error:
                _log.info("the link is down: %s", error)
            if self._current is None:
                self._stopping.wait(self._backoff(attempt))
                attempt += 1
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Say goodbye and let `run` return; requests in hand are answered after the next connection."""
        self._stopping.set()
        with self._lock:
            stream, self._current = self._current, None
        if stream is not None:
            stream.outbox.control(link_pb2.Frame(goodbye=link_pb2.Goodbye(code=_Code.CODE_SHUTDOWN)))
            stream.outbox.close()
            stream.ended.wait(1.0)
            stream.close()

    def rotate(self) -> None:
        """Open a stream with new credentials, move what is unsent to it, and only then drop the old one.

        Raises InbondError, and keeps the old stream, when the new one is not welcome.
        """
        try:
            with self._opening:
                self._open()
        finally:
            self._tell()

    def connected(self) -> bool:
        """Say whether a welcomed stream stands."""
        return self._current is not None

    # one stream

    def _open(self) -> _Stream:
        stream = _Stream(self._connect(), Assembler(self._limits, self._wanted))
        hello = link_pb2.Hello(nonce=stream.nonce, version=self._version, session=self._session)
        stream.outbox.control(link_pb2.Frame(hello=hello))
        stream.call = stream.channel.stream_stream(METHOD, None, None)(stream.outbox)
        threading.Thread(target=self._read, args=(stream,), name="link-reader", daemon=True).start()
        if not stream.settled.wait(self._settings.greeting):
            stream.error = Unreachable("sent no welcome in time", where="coordinator", right="see its log")
        if stream.error is not None:
            stream.close()
            raise stream.error
        return stream

    def _watch(self, stream: _Stream) -> None:
        """Wait until the party has no stream; a stream replaced by `rotate` hands over to the next one."""
        beats = itertools.count(1)
        while not self._stopping.is_set():
            with self._lock:
                following = self._current
            if following is None:
                break
            stream = following
            # The party beats by itself: an echo would wait behind a large body on a slow line.
            beat = link_pb2.Heartbeat(count=next(beats))
            stream.outbox.control(link_pb2.Frame(heartbeat=beat))
            stream.ended.wait(self._settings.heartbeat)
            if time.monotonic() - stream.heard > self._settings.dead_after:
                _log.warning("the coordinator shows no sign of life")
                stream.close()
                stream.ended.wait(self._settings.heartbeat)
        if isinstance(stream.error, Refused):
            raise stream.error

    def _backoff(self, attempt: int) -> float:
        """Return seconds to wait: exponential with jitter, so that parties do not come back all at once."""
        most = min(self._settings.backoff_most, self._settings.backoff_first * 2 ** min(attempt, 16))
        return random.uniform(most / 4, most)  # noqa: S311 - spreads load, guards nothing

    def _read(self, stream: _Stream) -> None:
        try:
            for frame in stream.call:
                stream.heard = time.monotonic()
                self._take(stream, frame)
        except PeerViolation as breach:
            _log.warning("the coordinator broke the link's rules: %s", breach)
            stream.error = stream.error or breach
        except Refused as refusal:
            stream.error = refusal
        except grpc.RpcError as error:
            stream.error = stream.error or _translated(error)
        finally:
            self._ended(stream)

    def _ended(self, stream: _Stream) -> None:
        with self._lock:
            if self._current is stream:
                self._current = None
        if not stream.welcomed and stream.error is None:
            stream.error = Unreachable("closed the stream", where="coordinator", right="see its log")
        stream.close()
        stream.settled.set()
        stream.ended.set()
        if not self._opening.locked():  # else who dials tells how that ends
            self._tell()

    def _tell(self) -> None:
        """Say whether the party is connected, when that has changed."""
        with self._lock:
            state = "connected" if self._current is not None else "disconnected"
            changed, self._told = state != self._told, state
        if changed:
            self._on_state(state)

    def _take(self, stream: _Stream, data: bytes) -> None:
        frame = parse(data, self._limits)
        if isinstance(frame, Chunk):
            self._arrived(stream.assembler.chunk(frame, stream.heard))
            return
        kind = frame.WhichOneof("kind")
        if kind == "goodbye":
            self._goodbye(stream, frame.goodbye)
        elif kind == "welcome" and not stream.welcomed:
            self._adopt(stream, frame.welcome)
        elif not stream.welcomed:
            raise violation("no welcome first")
        elif kind == "head":
            self._arrived(stream.assembler.head(frame.head, stream.heard))
        elif kind == "heartbeat":
            _answer(stream, frame.heartbeat)
        elif kind == "abort":
            stream.assembler.abort(frame.abort.number)
        else:
            raise violation(f"a frame that a coordinator may not send ({kind or 'empty'})")

    def _goodbye(self, stream: _Stream, goodbye: link_pb2.Goodbye) -> None:
        reason = goodbye.reason[:200]
        if goodbye.code == _Code.CODE_REVOKED:
            raise Refused(reason, where="coordinator", right="ask the consortium for a new certificate")
        if goodbye.code == _Code.CODE_DUPLICATE:
            self._on_state(f"refused: {reason}")
        stream.error = Unreachable(reason, where="coordinator", right="the link tries again by itself")
        stream.outbox.close()

    def _adopt(self, stream: _Stream, welcome: link_pb2.Welcome) -> None:
        self._verify(stream.nonce, welcome.token)
        with self._lock:
            if self._stopping.is_set() or stream.settled.is_set():
                return
            old, self._current = self._current, stream
            self._session = welcome.session
            stream.welcomed = True
            for message in old.outbox.close() if old is not None else ():
                stream.outbox.put(message)
        stream.settled.set()

    # requests

    def _wanted(self, head: link_pb2.Head) -> bool:
        with self._lock:
            return head.request.id not in self._in_hand

    def _arrived(self, incoming: Incoming | None) -> None:
        if incoming is None:
            return
        request = codec.request(incoming)
        with self._lock:
            if request.id in self._in_hand:
                return
            if len(self._in_hand) >= self._settings.in_hand:
                busy = Reply(request.id, "failed", "the party has too many requests in hand")
                if self._current is not None:
                    self._current.outbox.put(codec.outgoing(busy))
                return
            self._in_hand.add(request.id)
        self.again(request)

    def again(self, request: Request) -> None:
        """Handle a request, for the first time or after it was put aside."""
        with contextlib.suppress(RuntimeError):  # the pool is shut: this node stops, the hub asks again
            self._pool.submit(self._handle, request)

    def _handle(self, request: Request) -> None:
        try:
            self._answered(request, codec.outgoing(self._handler(request)))
        except NotYet:
            return
        except Exception:  # noqa: BLE001 - whatever fails here is for this node's log, never for the peer
            _log.exception("request %s (%s) failed", request.id, request.step)
            failed = Reply(request.id, "failed", "the party could not handle the request")
            self._answered(request, codec.outgoing(failed))

    def _answered(self, request: Request, message: Outgoing) -> None:
        with self._lock:
            self._in_hand.discard(request.id)
            if self._current is not None:
                self._current.outbox.put(message)


def _answer(stream: _Stream, beat: link_pb2.Heartbeat) -> None:
    if not beat.echo:
        echo = link_pb2.Heartbeat(count=beat.count, echo=True)
        stream.outbox.control(link_pb2.Frame(heartbeat=echo))


def _translated(error: Any) -> InbondError:
    """Return what a broken call means for the user; a denied one is final."""
    details = str(error.details() or "")[:200]
    if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return Refused(details, where="coordinator", right="check this node's certificate with the consortium")
    return Unreachable(details or "the stream broke", where="coordinator", right="the link tries again by itself")
