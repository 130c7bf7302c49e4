"""The coordinator's end of all links: who is connected, what was asked, and what is not answered.

The hub learns identities, sizes and timing; bodies are bytes to it. It relies on mutual TLS and on the
injected `authorise` for who calls, and asks `still_valid` again at least every second while a stream is
open. A request stays with the hub until its reply arrives: after a reconnect it is sent again, and the
party's outbox makes the effect one.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import grpc

from inbond import codec
from inbond.errors import Refused, Unreachable
from inbond.framing import METHOD, Assembler, Chunk, Incoming, Limits, Outbox, Outgoing, parse, violation
from inbond.messages import PeerViolation, Reply, Request
from inbond.v1 import link_pb2

_log = logging.getLogger(__name__)
_Code = link_pb2.Goodbye.Code

Tap = Callable[[str, str, str, bytes], None]  # direction, party, its stream, frame
"""Called with "in" or "out", the party and each frame: all that the process sees on its links."""


class PeerIdentity(Protocol):
    """Who is at the other end, as `authorise` found it in the certificate."""

    @property
    def name(self) -> str:
        """The party's short name."""

    @property
    def spiffe_id(self) -> str:
        """The whole SPIFFE ID."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Times in seconds; the counts are per party: frames per second (`rate`) and at once (`burst`),
    unanswered requests (`pending`), and open streams, each of which takes a thread of the server (`streams`).
    """

    heartbeat: float = 2.0
    dead_after: float = 10.0
    probe: float = 2.0
    greeting: float = 5.0
    revalidate: float = 0.5
    rate: float = 5000.0
    burst: float = 10_000.0
    pending: int = 256
    streams: int = 4


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One live link: `since` in Unix seconds, `rtt` in seconds (None before the first heartbeat), bytes."""

    since: float
    rtt: float | None
    bytes_in: int
    bytes_out: int


@dataclass(slots=True)
class _Pending:
    party: str
    request: Request
    message: Outgoing
    future: "Future[Reply]"


class _Bucket:
    """A token bucket that delays: the reader pauses, and HTTP/2 flow control passes the pause on."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, now

    def delay(self, now: float) -> float:
        """Take one token; return the seconds to wait for it."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)


@dataclass(slots=True, eq=False)
class _Session:
    """One open stream."""

    identity: PeerIdentity
    context: grpc.ServicerContext
    assembler: Assembler
    heard: float
    outbox: Outbox = field(default_factory=Outbox)
    token: bytes = field(default_factory=lambda: os.urandom(16))
    since: float = field(default_factory=time.time)
    greeted: bool = False
    ended: bool = False
    beat: int = 0
    beat_at: float = 0.0
    rtt: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    sign: threading.Event = field(default_factory=threading.Event)

    @property
    def party(self) -> str:
        return self.identity.name

    def send_heartbeat(self, now: float) -> None:
        self.beat += 1
        self.beat_at = now
        self.outbox.control(link_pb2.Frame(heartbeat=link_pb2.Heartbeat(count=self.beat)))

    def end(self, code: "link_pb2.Goodbye.Code", reason: str) -> None:
        """Say goodbye and close the stream once the goodbye is out."""
        if not self.ended:
            self.ended = True
            self.outbox.control(link_pb2.Frame(goodbye=link_pb2.Goodbye(code=code, reason=reason)))
            self.outbox.close()

    def info(self) -> LinkInfo:
        return LinkInfo(self.since, self.rtt, self.bytes_in, self.bytes_out)


class Hub:
    """The servicer of `link.proto`; see the module's text.

    `authorise(context)` returns the caller's identity or raises `Refused`; `still_valid(identity)` says
    whether it may stay; `welcome(identity, nonce)` returns the signed token the party checks. The callbacks
    run on the hub's threads and must be quick.
    """

    def __init__(
        self,
        *,
        authorise: Callable[[grpc.ServicerContext], PeerIdentity],
        still_valid: Callable[[PeerIdentity], bool],
        welcome: Callable[[PeerIdentity, bytes], bytes],
        limits: Limits | None = None,
        settings: HubSettings | None = None,
        on_connect: Callable[[str], None] | None = None,
        on_disconnect: Callable[[str], None] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._authorise = authorise
        self._still_valid = still_valid
        self._welcome = welcome
        self._limits = limits or Limits()
        self._settings = settings or HubSettings()
        self._on_connect = on_connect or (lambda _party: None)
        self._on_disconnect = on_disconnect or (lambda _party: None)
        self._tap = tap
        self._lock = threading.RLock()
        self._sessions: dict[str, _Session] = {}
        self._streams: set[_Session] = set()
        self._pending: dict[str, _Pending] = {}
        self._closing = threading.Event()
        self._ticker = threading.Thread(target=self._tick_until_closed, name="hub-ticker", daemon=True)
        self._ticker.start()

    # what the coordinator uses

    def register(self, server: grpc.Server) -> None:
        """Serve links on `server`: one thread of its pool per connected party."""
        handler = grpc.stream_stream_rpc_method_handler(self._connect)
        service, method = METHOD.strip("/").split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def request(self, party: str, request: Request) -> "Future[Reply]":
        """Ask `party`, now or as soon as it connects; the future ends with its reply.

        Asking again with the same id returns the same future. The future fails with Unreachable when the
        request expires or the hub closes; cancelling it gives the request up. Raises Refused when the party
        has too many unanswered requests or the id belongs to another party, InbondError when it cannot be
        sent.
        """
        message = codec.outgoing(request)
        with self._lock:
            if (known := self._pending.get(request.id)) is not None:
                return self._known(party, known)
            if sum(item.party == party for item in self._pending.values()) >= self._settings.pending:
                raise Refused("has too many unanswered requests", where=party, right="wait for replies first")
            future: Future[Reply] = Future()
            self._pending[request.id] = _Pending(party, request, message, future)
            session = self._sessions.get(party)
            if session is not None:
                session.outbox.put(message)
        future.add_done_callback(lambda done: self.cancel(request.id) if done.cancelled() else None)
        return future

    def cancel(self, request_id: str) -> bool:
        """Give a request up: stop sending it and drop its reply. Say whether it was unanswered."""
        with self._lock:
            pending = self._pending.pop(request_id, None)
            if pending is None:
                return False
            session = self._sessions.get(pending.party)
            if session is not None:
                session.outbox.drop(request_id)
        pending.future.cancel()
        return True

    def connected(self) -> Mapping[str, LinkInfo]:
        """Return the live links by party name."""
        with self._lock:
            return MappingProxyType({party: session.info() for party, session in self._sessions.items()})

    def disconnect(self, party: str, reason: str = "closed by the coordinator") -> bool:
        """Close the link of `party`, which may come back; say whether there was one."""
        with self._lock:
            session = self._sessions.get(party)
        if session is None:
            return False
        self._leave(session, _Code.CODE_SHUTDOWN, reason)
        return True

    def close(self) -> None:
        """Say goodbye to all, fail what is unanswered and refuse newcomers."""
        self._closing.set()
        with self._lock:
            streams, pending = list(self._streams), list(self._pending.values())
            self._pending.clear()
        for session in streams:
            self._leave(session, _Code.CODE_SHUTDOWN, "the coordinator stops")
        for item in pending:
            _fail(item.future, Unreachable("no reply before the coordinator stopped", where=item.party))
        self._ticker.join(2.0)

    # one stream

    def _connect(self, frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        identity = self._identify(context)
        session = _Session(identity, context, Assembler(self._limits, self._wanted(identity.name)), time.monotonic())
        with self._lock:
            mine = sum(stream.party == identity.name for stream in self._streams)
            if mine < self._settings.streams:
                self._streams.add(session)
        if mine >= self._settings.streams:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of this identity")
        if not context.add_callback(lambda: self._gone(session)):
            self._gone(session)
            return
        threading.Thread(target=self._read, args=(session, frames), name=f"hub-{identity.name}", daemon=True).start()
        for frame in session.outbox:
            session.bytes_out += len(frame)
            if self._tap is not None:
                self._tap("out", identity.name, session.token.hex(), frame)
            yield frame

    def _identify(self, context: grpc.ServicerContext) -> PeerIdentity:
        if self._closing.is_set():
            context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator stops")
        try:
            identity = self._authorise(context)
        except Refused as refusal:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refusal))
        if not self._valid(identity):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this identity is revoked or expired")
        return identity

    def _valid(self, identity: PeerIdentity) -> bool:
        try:
            return self._still_valid(identity)
        except Exception:  # noqa: BLE001 - whatever fails in the check, the answer is no
            _log.exception("the check of %s failed; taken as no", identity.spiffe_id)
            return False

    def _wanted(self, party: str) -> Callable[[link_pb2.Head], bool]:
        def wanted(head: link_pb2.Head) -> bool:
            with self._lock:
                pending = self._pending.get(head.reply.to)
            return pending is not None and pending.party == party

        return wanted

    def _read(self, session: _Session, frames: Iterator[bytes]) -> None:
        bucket = _Bucket(self._settings.rate, self._settings.burst, time.monotonic())
        try:
            for frame in frames:
                now = time.monotonic()
                session.heard = now
                session.sign.set()
                session.bytes_in += len(frame)
                if self._tap is not None:
                    self._tap("in", session.party, session.token.hex(), frame)
                self._take(session, frame, now)
                if session.ended:
                    break
                if (delay := bucket.delay(now)) > 0:
                    self._closing.wait(min(delay, 1.0))
        except PeerViolation as breach:
            _log.warning("%s broke the link's rules: %s", session.identity.spiffe_id, breach)
            self._leave(session, _Code.CODE_VIOLATION, breach.what)
        except grpc.RpcError:
            self._gone(session)
        except Exception:  # noqa: BLE001 - a fault of ours ends this stream only, and tells the peer nothing
            _log.exception("the stream of %s failed", session.identity.spiffe_id)
            self._leave(session, _Code.CODE_SHUTDOWN, "the coordinator could not go on")
        else:
            self._leave(session, _Code.CODE_SHUTDOWN, "the stream ended")

    def _take(self, session: _Session, data: bytes, now: float) -> None:
        frame = parse(data, self._limits)
        if isinstance(frame, Chunk):
            self._arrived(session, session.assembler.chunk(frame, now))
            return
        kind = frame.WhichOneof("kind")
        if kind == "hello" and not session.greeted:
            self._greet(session, frame.hello)
        elif not session.greeted:
            raise violation("no hello first")
        elif kind == "head":
            self._arrived(session, session.assembler.head(frame.head, now))
        elif kind == "heartbeat":
            self._beat(session, frame.heartbeat, now)
        elif kind == "abort":
            session.assembler.abort(frame.abort.number)
        elif kind == "goodbye":
            self._leave(session, _Code.CODE_SHUTDOWN, "goodbye")
        else:
            raise violation(f"a frame that a party may not send ({kind or 'empty'})")

    def _beat(self, session: _Session, beat: link_pb2.Heartbeat, now: float) -> None:
        if not beat.echo:
            echo = link_pb2.Heartbeat(count=beat.count, echo=True)
            session.outbox.control(link_pb2.Frame(heartbeat=echo))
        elif beat.count == session.beat:
            session.rtt = now - session.beat_at

    def _arrived(self, session: _Session, incoming: Incoming | None) -> None:
        if incoming is None:
            return
        reply = codec.reply(incoming)
        with self._lock:
            pending = self._pending.get(reply.to)
            if pending is None or pending.party != session.party:
                return
            del self._pending[reply.to]
        if pending.future.set_running_or_notify_cancel():
            pending.future.set_result(reply)

    # coming and going

    def _greet(self, session: _Session, hello: link_pb2.Hello) -> None:
        if not 16 <= len(hello.nonce) <= 64 or len(hello.version) > 64:
            raise violation("a hello without a nonce of 16 to 64 bytes")
        token = self._welcome(session.identity, hello.nonce)
        if not self._admit(session, hello.session):
            reason = "another node with this identity is connected and answers; stop one of the two"
            self._leave(session, _Code.CODE_DUPLICATE, reason)
            return
        welcome = link_pb2.Welcome(token=token, session=session.token)
        self._take_over(session, link_pb2.Frame(welcome=welcome))

    def _admit(self, session: _Session, resumed: bytes) -> bool:
        """Say whether the newcomer may be the party's one link: no other lives, or it is the same node's."""
        with self._lock:
            old = self._sessions.get(session.party)
        if old is None or old.token == resumed:
            return True
        old.sign.clear()
        old.send_heartbeat(time.monotonic())
        return not old.sign.wait(self._settings.probe) or old.ended

    def _take_over(self, session: _Session, welcome: link_pb2.Frame) -> None:
        with self._lock:
            if session.ended or self._closing.is_set():
                return
            old = self._sessions.get(session.party)
            self._sessions[session.party] = session
            session.greeted = True
            session.outbox.control(welcome)
            for item in self._pending.values():
                if item.party == session.party:
                    session.outbox.put(item.message)
        if old is not None:
            old.end(_Code.CODE_REPLACED, "replaced by a newer stream of this identity")
        self._on_connect(session.party)  # also for a renewed certificate: what the party signed has to be asked anew

    def _leave(self, session: _Session, code: "link_pb2.Goodbye.Code", reason: str) -> None:
        session.end(code, reason)
        self._forget(session)

    def _gone(self, session: _Session) -> None:
        session.ended = True
        session.outbox.close()
        self._forget(session)

    def _forget(self, session: _Session) -> None:
        with self._lock:
            self._streams.discard(session)
            mine = self._sessions.get(session.party) is session
            if mine:
                del self._sessions[session.party]
        session.sign.set()
        if mine:
            self._on_disconnect(session.party)

    # time

    def _tick_until_closed(self) -> None:
        period = min(self._settings.revalidate, self._settings.heartbeat / 2)
        while not self._closing.wait(period):
            with self._lock:
                streams = list(self._streams)
            for session in streams:
                try:
                    self._check(session, time.monotonic())
                except Exception:  # noqa: BLE001 - one stream's fault must not end the checks of the others
                    _log.exception("the check of %s failed", session.identity.spiffe_id)
            self._expire(time.time())

    def _check(self, session: _Session, now: float) -> None:
        settings = self._settings
        if not self._valid(session.identity):
            self._leave(session, _Code.CODE_REVOKED, "this identity is revoked or expired")
        elif not session.greeted and now - session.heard > settings.greeting:
            self._leave(session, _Code.CODE_VIOLATION, "no hello in time")
        elif now - session.heard > settings.dead_after:
            self._leave(session, _Code.CODE_SILENT, "no sign of life")
            session.context.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs
        elif session.greeted and now - session.beat_at >= settings.heartbeat:
            session.send_heartbeat(now)
        try:
            session.assembler.check_idle(now)
        except PeerViolation as breach:
            self._leave(session, _Code.CODE_VIOLATION, breach.what)

    def _expire(self, now: float) -> None:
        with self._lock:
            late = [item for item in self._pending.values() if item.request.expires < now]
            for item in late:
                del self._pending[item.request.id]
                if (session := self._sessions.get(item.party)) is not None:
                    session.outbox.drop(item.request.id)
        for item in late:
            _fail(item.future, Unreachable("did not answer in time", where=item.party, right="ask again"))

    def _known(self, party: str, known: _Pending) -> "Future[Reply]":
        if known.party != party:
            raise Refused("this request id is in use for another party", where=party, right="use request_id()")
        return known.future


def _fail(future: "Future[Reply]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
