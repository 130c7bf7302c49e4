"""Child processes of a node: their own interpreter, one socket to the parent, few rights, and no longer life.

The parent gives a child a socket, a private directory, a short environment and limits. The child inherits
no other descriptor, has no standard input, and dies with its parent. What it prints stays in a bounded ring
for the log of the node's owner; nothing of it ever reaches a peer. A child may run a recipe: it is
contained, not trusted.
"""

import concurrent.futures
import contextlib
import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from inbond.errors import InbondError
from inbond.ipc import Channel, ChannelLimits
from inbond.memory import keep_freed_memory

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_RING = 64 << 10
_ALWAYS = ("LANG", "LC_ALL", "TZ", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_QUIET_FLOWER = {  # read by flwr.supercore.telemetry, .update_check and .tracing: nothing calls home
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_TELEMETRY_LOGGING": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TRACING_ENABLED": "0",
}


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child may use: bytes of address space, seconds of processor time (None: any), open files."""

    address_space: int | None = 16 << 30
    cpu_seconds: int | None = None
    open_files: int = 256


class Child:
    """A running child: `channel` speaks with it, `kill` ends it, `log_tail` is what it printed last."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, home: str, name: str) -> None:
        self.process = process
        self.channel = channel
        self.name = name
        self._home = home
        self._ring: deque[bytes] = deque()
        self._ring_size = 0
        self._ring_lock = threading.Lock()
        self._drain = threading.Thread(target=self._read_output, name=f"{name}-output", daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def alive(self) -> bool:
        """Say whether it still runs."""
        return self.process.poll() is None

    def kill(self) -> int:
        """End it and everything it started, at once; return its exit status. May be called again."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self.channel.close()
        self._drain.join(1.0)
        shutil.rmtree(self._home, ignore_errors=True)
        return status

    def log_tail(self) -> str:
        """Return the last 64 KiB of its standard output and error, for the owner's log only."""
        with self._ring_lock:
            return b"".join(self._ring).decode(errors="replace")

    def _read_output(self) -> None:
        if self.process.stdout is None:
            return
        with self.process.stdout as output:
            while piece := os.read(output.fileno(), 4096):
                self._remember(piece)

    def _remember(self, piece: bytes) -> None:
        with self._ring_lock:
            self._ring.append(piece)
            self._ring_size += len(piece)
            while self._ring_size > _RING:
                self._ring_size -= len(self._ring.popleft())


def spawn(
    module: str,
    *,
    limits: ChildLimits | None = None,
    env: Iterable[str] = (),
    extra_env: Mapping[str, str] | None = None,
    name: str = "child",
    channel_limits: ChannelLimits | None = None,
) -> Child:
    """Start `module`.main(channel) in its own interpreter; `env` names the variables that it may inherit.

    Raises InbondError when the process cannot be started. The child's import errors show in its log.
    """
    home = tempfile.mkdtemp(prefix="inbond-child-")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    own = {"module": module, "socket": theirs.fileno(), "parent": os.getpid()}
    settings = own | asdict(limits or ChildLimits())
    environment = _environment(home, env) | dict(extra_env or {})
    try:
        process = starter().submit(_start, settings, environment, home).result()
    except OSError as error:
        ours.close()
        shutil.rmtree(home, ignore_errors=True)
        raise InbondError(f"cannot be started ({error.strerror})", where=name, right="free memory or files") from None
    finally:
        theirs.close()
    return Child(process, Channel(ours, channel_limits, name=name), home, name)


def _environment(home: str, names: Iterable[str]) -> dict[str, str]:
    kept = {key: os.environ[key] for key in (*_ALWAYS, *names) if key in os.environ}
    return kept | {"HOME": home, "TMPDIR": home, "PATH": os.defpath, "FLWR_HOME": home} | _QUIET_FLOWER


def _start(settings: Mapping[str, object], environment: dict[str, str], home: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "inbond.child", json.dumps(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        close_fds=True,
        pass_fds=[int(str(settings["socket"]))],
        start_new_session=True,
        env=environment,
        cwd=home,
    )


_STARTERS: list[concurrent.futures.ThreadPoolExecutor] = []
_STARTERS_LOCK = threading.Lock()


def starter() -> concurrent.futures.ThreadPoolExecutor:
    """Return the one thread that starts children: PR_SET_PDEATHSIG is tied to the starting *thread*."""
    with _STARTERS_LOCK:
        if not _STARTERS:
            _STARTERS.append(concurrent.futures.ThreadPoolExecutor(1, "inbond-children"))
        return _STARTERS[0]


def _confine(settings: Mapping[str, int | str | None]) -> None:
    """Bind this process to its parent's life and to its limits, before anything else is imported."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != settings["parent"]:
        os._exit(1)  # the parent died before the line above
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: settings["open_files"],
        resource.RLIMIT_AS: settings["address_space"],
        resource.RLIMIT_CPU: settings["cpu_seconds"],
    }
    for kind, most in wanted.items():
        if most is not None:
            hard = resource.getrlimit(kind)[1]
            value = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
            resource.setrlimit(kind, (value, value))


def leave_network() -> bool:
    """Move this process into a network namespace of its own, which has no way out; say whether that was granted.

    Root may do so; others may within a user namespace of their own, where the system allows those.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def main() -> None:
    """Run as the child: `python -m inbond.child SETTINGS`, or `probe`, which says whether it can leave the network."""
    if sys.argv[1] == "probe":
        sys.exit(0 if leave_network() else 1)
    settings = json.loads(sys.argv[1])
    keep_freed_memory()
    _confine(settings)
    if not leave_network():
        print("no network namespace was granted: this process is kept from the network by nothing but its code")
    channel = Channel(socket.socket(fileno=settings["socket"]), name="parent")
    importlib.import_module(settings["module"]).main(channel)


if __name__ == "__main__":
    main()
