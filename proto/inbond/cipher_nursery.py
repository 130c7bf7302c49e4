"""A process that has loaded what ciphers need, and forks one for each key: a key's process is there at once.

Who learns what: it holds no key and no data, and its forks know nothing of each other. Loading NumPy and SEAL takes
longer than a small job's sums; it is done once for each node or command, before anybody waits for it.

The two speak over a socket pair. A request is the name of a parameter set, with the socket that the new process is to
serve; the answer its process id, with a descriptor of the process (pidfd_open(2)), which cannot come to mean another.
Where the system gives no such descriptor, a fork ends when its socket is closed, and is not ended otherwise.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from inbond.child import starter
from inbond.errors import JobFailed

_PID = struct.Struct("<i")
_NAME = 64
_WAIT = 30.0  # seconds; the first fork waits for the libraries


class Forked:
    """A process that the nursery made: `pid` names it, `kill` ends it."""

    def __init__(self, pid: int, descriptor: int | None) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def kill(self) -> None:
        """End it, and return when it is gone; may be called again."""
        if self._descriptor is None:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        gone = select.poll()
        gone.register(self._descriptor, select.POLLIN)
        gone.poll(5000)
        os.close(self._descriptor)
        self._descriptor = None


class Nursery:
    """The parent's handle; it starts the process when that is first needed, and again when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def warm(self) -> None:
        """Start it, so that it loads its libraries while nothing waits for it. What fails here, `fork` tells."""
        with self._lock, suppress(OSError):
            self._connected()

    def fork(self, params: str, theirs: socket.socket) -> Forked:
        """A new process that serves `theirs` under the parameter set `params`; raises JobFailed."""
        with self._lock:
            for _ in range(2):  # the second time with a new one
                try:
                    return self._ask(self._connected(), params, theirs)
                except OSError:
                    self._stop()
        raise JobFailed("no process can be started", where="cipher", right="free memory or files; see the log")

    @staticmethod
    def _ask(nursery: socket.socket, params: str, theirs: socket.socket) -> Forked:
        socket.send_fds(nursery, [params.encode()], [theirs.fileno()])
        answer, files, _, _ = socket.recv_fds(nursery, _PID.size, 1)
        if len(answer) != _PID.size:
            for file in files:
                os.close(file)
            raise ConnectionResetError
        return Forked(_PID.unpack(answer)[0], files[0] if files else None)

    def _connected(self) -> socket.socket:
        """The socket to the process, which is started where there is none."""
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(_WAIT)
            try:
                with theirs:
                    self._process = starter().submit(_spawn, theirs.fileno()).result()
            except OSError:
                ours.close()
                raise
            self._socket = ours
        return self._socket

    def _stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


NURSERY = Nursery()
"""Of this process."""


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "inbond.cipher_nursery", str(descriptor), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env={},
        cwd="/",
    )


def _serve(parent: socket.socket, serve: Callable[[int, str, int], None]) -> None:
    """Fork for the parent until it closes; a fork is to `serve` its own socket, and ends."""
    while True:
        name, files, _, _ = socket.recv_fds(parent, _NAME, 1)
        if not name or len(files) != 1:
            return
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                parent.close()
                serve(files[0], name.decode(), me)
            finally:
                os._exit(0)
        os.close(files[0])
        descriptors = _descriptors(pid)
        try:
            socket.send_fds(parent, [_PID.pack(pid)], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _descriptors(pid: int) -> list[int]:
    """What names the process for good; nothing where the system has no such thing (or it is gone already)."""
    try:
        return [os.pidfd_open(pid)]
    except OSError:
        return []


def main(arguments: list[str]) -> None:
    """Serve one parent; arguments: the socket's number and the parent's process id."""
    from inbond import cipher_process  # noqa: PLC0415 - which needs this module

    descriptor, owner = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever is gone is nobody's to wait for
    cipher_process.confine(int(owner), memory=False)
    cipher_process.load()
    with socket.socket(fileno=int(descriptor)) as parent:
        _serve(parent, cipher_process.serve)


if __name__ == "__main__":
    main(sys.argv[1:])
