"""Messages between a node and its own child process, over a Unix socket pair.

A message is a head (bytes), a body (buffers) and, rarely, file descriptors. Bodies above 64 KiB travel as
sealed memory files: nobody can change one after it was sent, so the receiver may check first and read
later. The other end may run code we do not trust: sizes are checked before memory is taken, and seals
before anything is mapped.
"""

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from inbond.bodies import write_all
from inbond.errors import InbondError
from inbond.messages import Buffer, size

INLINE = 64 << 10
"""A body of at most this many bytes is written to the socket itself."""

MAX_FILES = 4
"""File descriptors that may accompany a message, besides its own body."""

_PREFIX = struct.Struct("!IIQB")  # bytes of the head, parts, bytes of the body, 1 for a memory file
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_IOV = 512  # buffers of one sendmsg; the kernel takes at most 1024


class ChannelBroken(InbondError):
    """The process at the other end is gone, or wrote what is no message."""

    exit_code = 6


class ChannelTimeout(ChannelBroken):
    """The process at the other end did not answer in time."""


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What one end accepts: bytes of head and body, number of parts, `stall` seconds within one message."""

    head: int = 1 << 20
    parts: int = 65_537
    body: int = 1 << 30
    stall: float = 30.0


@dataclass(frozen=True, slots=True)
class Packet:
    """One received message; `files` are descriptors which the receiver owns and closes."""

    head: bytes
    body: Sequence[memoryview]
    files: Sequence[int] = ()


class Channel:
    """One end of the pair. `send` may be called from any thread, `receive` from one at a time."""

    def __init__(self, sock: socket.socket, limits: ChannelLimits | None = None, *, name: str = "child") -> None:
        self._sock = sock
        self._limits = limits or ChannelLimits()
        self._name = name
        self._sending = threading.Lock()
        sock.settimeout(self._limits.stall)

    def send(self, head: bytes, body: Sequence[Buffer] = (), files: Sequence[int] = ()) -> None:
        """Send one message; raises ChannelBroken or ChannelTimeout, InbondError for a bad call."""
        self._check(len(head), len(body), size(body), len(files))
        large = size(body) > INLINE
        lengths = struct.pack(f"!{len(body)}Q", *(len(part) for part in body))
        prefix = _PREFIX.pack(len(head), len(body), size(body), large)
        memory = memory_file(body) if large else -1
        passed = [memory, *files] if large else list(files)
        try:
            with self._sending, self._translated():
                self._send_all([prefix, lengths, head, *(() if large else body)], passed)
        finally:
            if large:
                os.close(memory)

    def receive(self, timeout: float | None = None) -> Packet:
        """Return the next message, waiting `timeout` seconds for it to begin (None: for ever).

        Raises ChannelTimeout when none begins, ChannelBroken when the other end is gone or breaks the rules.
        """
        with self._translated():
            self._wait(timeout)
            deadline = time.monotonic() + self._limits.stall
            prefix, files = self._receive_prefix(deadline)
            try:
                return self._receive_rest(prefix, files, deadline)
            except BaseException:
                _close_all(files)
                raise

    def close(self) -> None:
        """Close this end; a thread that waits in `receive` gets ChannelBroken."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _check(self, head: int, parts: int, body: int, files: int) -> None:
        limits = self._limits
        if head > limits.head or parts > limits.parts or body > limits.body or files > MAX_FILES:
            raise InbondError(
                f"a message with a head of {head} bytes, {parts} parts of {body} bytes and {files} files",
                where=self._name,
                right=f"stay below {limits.head}, {limits.parts} of {limits.body} and {MAX_FILES}",
            )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise ChannelTimeout("does not answer in time", where=self._name, right="see its log") from None
        except (OSError, ValueError):
            raise self._broken("its end of the channel is closed") from None

    def _broken(self, what: str) -> ChannelBroken:
        return ChannelBroken(what, where=self._name, right="see its log")

    def _send_all(self, buffers: list[Buffer], files: list[int]) -> None:
        views = [memoryview(part).cast("B") for part in buffers if len(part)]
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        while views:
            sent = self._sock.sendmsg(views[:_IOV], control)
            control = []
            while sent:
                step = min(sent, len(views[0]))
                sent -= step
                views[0] = views[0][step:]
                if not len(views[0]):
                    del views[0]

    def _wait(self, timeout: float | None) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
            raise TimeoutError

    def _receive_prefix(self, deadline: float) -> tuple[bytes, list[int]]:
        data, control, flags, _ = self._sock.recvmsg(
            _PREFIX.size, socket.CMSG_SPACE((MAX_FILES + 1) * 4), socket.MSG_CMSG_CLOEXEC
        )
        files = array.array("i")
        for level, kind, content in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                files.frombytes(content[: len(content) - len(content) % files.itemsize])
        if not data or flags & socket.MSG_CTRUNC:
            _close_all(files)
            raise self._broken("its end of the channel is closed" if not data else "sends too many files")
        rest = _PREFIX.size - len(data)
        return (data + bytes(self._read(rest, deadline)) if rest else data), list(files)

    def _receive_rest(self, prefix: bytes, files: list[int], deadline: float) -> Packet:
        head_size, count, body_size, large = _PREFIX.unpack(prefix)
        limits = self._limits
        if head_size > limits.head or count > limits.parts or body_size > limits.body or large > 1:
            raise self._broken("sends a message above the limits")
        lengths = struct.unpack(f"!{count}Q", self._read(8 * count, deadline))
        if sum(lengths) != body_size or (large and not files) or (not large and body_size > INLINE):
            raise self._broken("sends a message whose parts do not fit its body")
        head = bytes(self._read(head_size, deadline))
        if large:
            whole = self._map(files[0], body_size)
            os.close(files.pop(0))
        else:
            whole = self._read(body_size, deadline).toreadonly()
        edges = pairwise(accumulate(lengths, initial=0))
        return Packet(head, [whole[start:end] for start, end in edges], tuple(files))

    def _read(self, length: int, deadline: float) -> memoryview:
        held = memoryview(bytearray(length))
        filled = 0
        while filled < length:
            got = self._sock.recv_into(held[filled:])
            if not got:
                raise self._broken("its end of the channel is closed")
            filled += got
            if time.monotonic() > deadline:
                raise TimeoutError
        return held

    def _map(self, file: int, length: int) -> memoryview:
        if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS or os.fstat(file).st_size != length:
            raise self._broken("sends a memory file that is not sealed or has another size")
        return memoryview(mmap.mmap(file, length, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ))


def memory_file(body: Sequence[Buffer]) -> int:
    """Return the descriptor of a sealed memory file that holds `body`; the caller closes it."""
    file = os.memfd_create("inbond", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        write_all(file, body)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(file)
        raise
    return file


def _close_all(files: Sequence[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
