"""A process that holds the one BFV key of one job and does nothing but encrypt and decrypt.

Who learns what: the child sees masked slots, sums and its key: no identity key, no data, no network. Keys
that peers sealed to us are parsed there, by a C++ library that was not written for hostile input; if it
crashes or is taken over, the damage ends at that key. The parent keeps the key too, to start another child.

The child is forked by `inbond.cipher_nursery`. The two speak over a socket pair: one 9-byte frame each way (operation
or status, length), its body in a memory file that travels with it. The parent copies bodies out of the file, never maps
it, and trusts no length in it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from inbond.cipher_nursery import NURSERY, Forked
from inbond.errors import JobFailed
from protocols.errors import MisuseError, PeerViolation
from protocols.packing import U64
from protocols.params import BfvParams, named

if TYPE_CHECKING:
    from protocols import bfv

_FRAME = struct.Struct("<BQ")  # operation or status, length of the body
_SIZE = struct.Struct("<Q")
_GENERATE, _LOAD, _ENCRYPT, _DECRYPT = 1, 2, 3, 4
_DONE, _VIOLATION, _MISUSE = 0, 1, 2
_MEMORY = 4 << 30  # address space: libraries map 1.4 GB of it, 67 million parameters take about 1.5 GB more
_FILES = 64
_MAX_BODY = 1 << 30
_PR_SET_PDEATHSIG = 1


class KeyPair(NamedTuple):
    """Key blobs of `protocols.bfv`: the secret one opens sums, the public one only encrypts."""

    secret: bytes
    public: bytes


class CipherProcess:
    """The parent's handle: a context manager around one child; call its methods from any thread.

    A child that dies, overruns `timeout` (seconds for one operation) or breaks the protocol is replaced, and
    the operation fails: with `PeerViolation` if it worked on a peer's bytes (a key, a sum), else with
    `JobFailed`. The child dies with this process.
    """

    def __init__(self, params: BfvParams, *, timeout: float = 120.0) -> None:
        self._params, self._timeout = params, timeout
        self._keys: list[bytes] = []
        self._child: Forked | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()

    def close(self) -> None:
        """End the child and forget its keys; may be called again."""
        self._stop()
        self._keys.clear()

    @property
    def pid(self) -> int:
        """The child's process id.

        Raises:
            MisuseError: outside the `with` block.
        """
        if self._child is None:
            raise MisuseError("the cipher process is not running", where="cipher", right="use a with block")
        return self._child.pid

    def generate(self) -> KeyPair:
        """Make the job's key pair and load both keys.

        Raises:
            JobFailed: the child failed.
        """
        body = self._ask(_GENERATE, b"")
        size = _SIZE.unpack_from(body)[0]
        pair = KeyPair(body[_SIZE.size : _SIZE.size + size], body[_SIZE.size + size :])
        self._keys[:] = [pair.secret] if self._params.symmetric else pair
        return pair

    def load_key(self, key: bytes) -> None:
        """Load a key blob; a secret one encrypts (symmetric sets) and decrypts, a public one encrypts.

        Raises:
            PeerViolation: it is not a key of this parameter set, or crashed the child.
        """
        self._ask(_LOAD, key)
        self._keys.append(key)

    def encrypt(self, slots: U64) -> bytes:
        """Slots (rows, degree) uint64 to a fresh blob; see `protocols.bfv.Encryptor.encrypt`.

        Raises:
            MisuseError: no key to encrypt with, or slots that do not fit.
            JobFailed: the child failed.
        """
        if slots.ndim != 2 or slots.shape[1] != self._params.degree or slots.dtype != np.uint64:
            raise MisuseError("not rows of slots", where="cipher", right=f"give (rows, {self._params.degree})")
        return self._ask(_ENCRYPT, np.ascontiguousarray(slots).data.cast("B"))

    def decrypt(self, blob: bytes) -> U64:
        """A sum blob to slots (rows, degree) uint64; see `protocols.bfv.Decryptor.decrypt`.

        Raises:
            PeerViolation: it is not a sum of this parameter set, or crashed the child.
            MisuseError: no secret key is loaded.
        """
        body = self._ask(_DECRYPT, blob)
        return np.frombuffer(body, np.uint64).reshape(-1, self._params.degree)

    # ---- the child and the frames -------------------------------------------------------------------------

    def _ask(self, operation: int, body: bytes | memoryview) -> bytes:
        """One operation; a broken child is replaced before the error goes up."""
        with self._lock:
            try:
                status, reply = self._exchange(operation, body)
                self._check_reply(operation, status, reply)
            except (OSError, ValueError) as broken:
                self._restart()
                raise _crash(operation) from broken
            except BaseException:  # interrupted between request and reply: the next reply would be stale
                self._stop()
                raise
        if status == _MISUSE:
            raise MisuseError("the child has no key for this", where="cipher", right="load or generate a key")
        if status == _VIOLATION:
            raise _refusal(operation)
        return reply

    def _exchange(self, operation: int, body: bytes | memoryview) -> tuple[int, bytes]:
        if self._socket is None:
            raise MisuseError("the cipher process is not running", where="cipher", right="use a with block")
        _send(self._socket, operation, body)
        answer = _receive(self._socket)
        if answer is None:
            raise ConnectionResetError
        return answer

    def _check_reply(self, operation: int, status: int, reply: bytes) -> None:
        """Raise ValueError for a reply that an honest child cannot give."""
        fits = status in (_DONE, _VIOLATION, _MISUSE)
        if status == _DONE and operation == _DECRYPT:
            fits = len(reply) > 0 and len(reply) % (8 * self._params.degree) == 0
        if status == _DONE and operation == _GENERATE:
            fits = len(reply) > _SIZE.size and _SIZE.unpack_from(reply)[0] < len(reply) - _SIZE.size
        if not fits:
            raise ValueError("the child's reply is malformed")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self._timeout)
        with theirs:
            self._child = NURSERY.fork(self._params.name, theirs)
        self._socket = ours

    def _stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._child is not None:
            self._child.kill()
        self._socket = self._child = None

    def _restart(self) -> None:
        """A new child with the keys that the old one had; keys that fail now had been accepted before."""
        self._stop()
        self._start()
        with suppress(OSError, ValueError):
            for key in self._keys:
                self._exchange(_LOAD, key)


def _crash(operation: int) -> PeerViolation | JobFailed:
    if operation in (_LOAD, _DECRYPT):
        return PeerViolation("a key or sum broke the cipher process", where="cipher", right="send a sound one")
    return JobFailed("the cipher process failed", where="cipher", right="try again; check memory limits")


def _refusal(operation: int) -> PeerViolation | JobFailed:
    if operation == _LOAD:
        return PeerViolation("a key is not one of this job", where="cipher", right="send its key blob")
    if operation == _DECRYPT:
        return PeerViolation("a sum does not open", where="cipher", right="add fresh blobs of this job")
    return JobFailed("the cipher process refused", where="cipher", right="check the slots")


def _send(channel: socket.socket, code: int, body: bytes | memoryview) -> None:
    file = os.memfd_create("inbond-cipher", os.MFD_CLOEXEC)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(file, rest) :]
        socket.send_fds(channel, [_FRAME.pack(code, len(body))], [file])
    finally:
        os.close(file)


def _receive(channel: socket.socket) -> tuple[int, bytes] | None:
    """The next frame as (code, body); None when the other side has closed.

    Raises:
        ValueError: a frame that is not one, or a body that is shorter than it says.
    """
    frame, files, _, _ = socket.recv_fds(channel, _FRAME.size, 1)
    try:
        if not frame:
            return None
        if len(frame) != _FRAME.size or len(files) != 1:
            raise ValueError("not a frame")
        code, size = _FRAME.unpack(frame)
        return code, _read(files[0], size)
    finally:
        for file in files:
            os.close(file)


def _read(file: int, size: int) -> bytes:
    """`size` bytes of a memory file, copied: the other side may still change or cut it."""
    if size > min(_MAX_BODY, os.fstat(file).st_size):
        raise ValueError("a body is shorter than announced, or too long")
    body = os.pread(file, size, 0)
    if len(body) != size:
        raise ValueError("a body is shorter than announced")
    return body


# ---- the child
# ----------------------------------------------------------------------------------------------


class _Child:
    """The child's state: what its keys allow it to do."""

    def __init__(self, params: BfvParams) -> None:
        from protocols import bfv  # noqa: PLC0415 - TenSEAL is for the child, never the parent

        self._bfv, self._params = bfv, params
        self._encryptor: bfv.Encryptor | None = None
        self._decryptor: bfv.Decryptor | None = None

    def answer(self, operation: int, body: bytes) -> tuple[int, bytes | memoryview]:
        """Status and body of the reply."""
        work: dict[int, Callable[[bytes], bytes | memoryview]] = {
            _GENERATE: self._generate,
            _LOAD: self._load,
            _ENCRYPT: self._encrypt,
            _DECRYPT: self._decrypt,
        }
        try:
            return _DONE, work[operation](body)
        except PeerViolation:
            return _VIOLATION, b""
        except MisuseError:
            return _MISUSE, b""

    def _generate(self, _: bytes) -> bytes:
        secret, public = self._bfv.generate_key_pair(self._params)
        for key in (secret,) if self._params.symmetric else (secret, public):
            self._load(key)
        return _SIZE.pack(len(secret)) + secret + public

    def _load(self, key: bytes) -> bytes:
        secret = self._bfv.is_secret(self._params, key)
        if self._params.symmetric or not secret:
            self._encryptor = self._bfv.Encryptor(self._params, key)
        if secret:
            self._decryptor = self._bfv.Decryptor(self._params, key)
        return b""

    def _encrypt(self, body: bytes) -> bytes:
        if self._encryptor is None:
            raise MisuseError("no key to encrypt with", where="cipher", right="load one")
        return self._encryptor.encrypt(np.frombuffer(body, np.uint64).reshape(-1, self._params.degree))

    def _decrypt(self, body: bytes) -> memoryview:
        if self._decryptor is None:
            raise MisuseError("no key to decrypt with", where="cipher", right="load one")
        return self._decryptor.decrypt(body).data.cast("B")


def load() -> None:
    """Load what every child needs, in one thread, for it is about to be forked."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from protocols import bfv  # noqa: F401, PLC0415


def confine(parent: int, *, memory: bool = True) -> None:
    """Die with the parent; no core files, few files, and where `memory` is true, little memory."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def serve(descriptor: int, name: str, parent: int) -> None:
    """Be the child of `parent` (process id) that serves the socket `descriptor` under the parameter set `name`."""
    confine(parent)
    with socket.socket(fileno=descriptor) as channel:
        child = _Child(named(name))
        while (request := _receive(channel)) is not None:
            _send(channel, *child.answer(*request))
