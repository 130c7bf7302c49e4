"""Node and child: messages arrive whole, memory files never change, a child ends when its parent does."""

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbond.child import Child, ChildLimits, spawn
from inbond.errors import InbondError
from inbond.ipc import Channel, ChannelBroken, ChannelLimits, ChannelTimeout, memory_file

ROOT = str(Path(__file__).resolve().parents[2])
THIS = "tests.inbond.test_ipc"


class Pair:
    """Both ends of a channel, and the first one's bare socket."""

    def __init__(self, limits: ChannelLimits | None = None) -> None:
        self.raw, theirs = socket.socketpair()
        self.one, self.other = Channel(self.raw, limits), Channel(theirs, limits)

    def __enter__(self) -> tuple[Channel, Channel, socket.socket]:
        return self.one, self.other, self.raw

    def __exit__(self, *error: object) -> None:
        self.one.close()
        self.other.close()


@pytest.mark.parametrize("sizes", [[], [0], [10, 0, 20], [64 << 10], [(64 << 10) + 1], [5_000_000, 0, 7], [1] * 3000])
def test_bodies_arrive_whole_and_read_only(sizes: list[int]) -> None:
    with Pair() as (one, other, _):
        body = [os.urandom(length) for length in sizes]
        one.send(b"head", body)
        packet = other.receive(5)
        assert packet.head == b"head"
        assert [bytes(part) for part in packet.body] == body
        assert all(part.readonly for part in packet.body)


def test_files_travel_beside_a_body() -> None:
    with Pair() as (one, other, _):
        file = memory_file([b"view"])
        one.send(b"h", [bytes(100_000)], [file])
        packet = other.receive(5)
        assert os.pread(packet.files[0], 4, 0) == b"view"
        os.close(packet.files[0])
        os.close(file)


def test_a_memory_file_cannot_change_after_it_was_sent() -> None:
    file = memory_file([b"abc"])
    for change in (lambda: os.pwrite(file, b"x", 0), lambda: os.ftruncate(file, 1)):
        with pytest.raises(PermissionError):
            change()
    os.close(file)


def test_an_unsealed_memory_file_is_refused() -> None:
    with Pair() as (_, other, raw):
        file = os.memfd_create("open", os.MFD_ALLOW_SEALING)
        os.write(file, bytes(100_000))
        prefix = struct.pack("!IIQB", 0, 1, 100_000, 1)
        socket.send_fds(raw, [prefix], [file])
        raw.sendall(struct.pack("!Q", 100_000))
        with pytest.raises(ChannelBroken, match="not sealed"):
            other.receive(5)


@pytest.mark.parametrize(
    "prefix",
    [
        struct.pack("!IIQB", 1 << 31, 0, 0, 0),
        struct.pack("!IIQB", 0, 1 << 31, 0, 0),
        struct.pack("!IIQB", 0, 0, 1 << 60, 1),
        struct.pack("!IIQB", 0, 0, 0, 9),
        struct.pack("!IIQB", 0, 1, 5, 0) + struct.pack("!Q", 4),
        struct.pack("!IIQB", 0, 1, 100_000, 0) + struct.pack("!Q", 100_000),
        struct.pack("!IIQB", 0, 1, 100_000, 1) + struct.pack("!Q", 100_000),
    ],
)
def test_a_message_above_the_limits_is_refused_before_memory_is_taken(prefix: bytes) -> None:
    with Pair() as (_, other, raw):
        raw.sendall(prefix)
        with pytest.raises(ChannelBroken, match=r"limits|do not fit"):
            other.receive(5)


def test_silence_and_a_stall_are_timeouts() -> None:
    with Pair(ChannelLimits(stall=0.2)) as (_, other, raw):
        with pytest.raises(ChannelTimeout):
            other.receive(0.05)
        raw.sendall(b"\0\0")
        with pytest.raises(ChannelTimeout):
            other.receive(1)


def test_a_closed_end_is_an_error_at_the_other() -> None:
    with Pair() as (one, other, _):
        one.close()
        with pytest.raises(ChannelBroken):
            other.receive(1)


def test_what_is_too_large_is_not_sent() -> None:
    with Pair(ChannelLimits(head=10)) as (one, _, _), pytest.raises(InbondError, match="head of 11 bytes"):
        one.send(bytes(11))


def _open_files() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(entry.readlink())


def main(channel: Channel) -> None:
    """Answer one word at a time."""
    while True:
        word = channel.receive().head.decode()
        if word == "environment":
            channel.send("\n".join(sorted(os.environ)).encode())
        elif word == "limits":
            kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
            channel.send(repr([resource.getrlimit(kind)[0] for kind in kinds]).encode())
        elif word == "files":
            channel.send("\n".join(_open_files()).encode())
        elif word == "raise":
            raise ValueError("secret row")
        elif word == "sleep":
            time.sleep(60)
        elif word == "grow":
            bytearray(8 << 30)


@pytest.fixture
def child() -> Iterator[Child]:
    limits = ChildLimits(address_space=4 << 30)
    started = spawn(THIS, limits=limits, env=["NOT_SET"], extra_env={"PYTHONPATH": ROOT})
    yield started
    started.kill()


def test_a_child_has_a_short_environment_and_limits(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOND_SECRET", "x")
    child.channel.send(b"environment")
    names = set(child.channel.receive(20).head.decode().split("\n"))
    assert "INBOND_SECRET" not in names
    assert {"HOME", "TMPDIR", "FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK"} <= names
    child.channel.send(b"limits")
    assert child.channel.receive(5).head == b"[0, 256]"


def test_a_child_inherits_no_other_descriptor(child: Child) -> None:
    child.channel.send(b"files")
    held = child.channel.receive(20).head.decode().split("\n")
    assert sorted(name.split(":")[0] for name in held) == ["/dev/null", "pipe", "pipe", "socket"]


def test_a_traceback_stays_in_the_owners_ring(child: Child) -> None:
    child.channel.send(b"raise")
    with pytest.raises(ChannelBroken) as broken:
        child.channel.receive(20)
    child.kill()
    assert "secret row" in child.log_tail()
    assert "secret" not in str(broken.value)


def test_memory_is_bounded(child: Child) -> None:
    child.channel.send(b"grow")
    with pytest.raises(ChannelBroken):
        child.channel.receive(20)
    child.kill()
    assert "MemoryError" in child.log_tail()


def test_killing_removes_the_private_directory(child: Child) -> None:
    home = Path(f"/proc/{child.pid}/cwd").readlink()
    child.kill()
    assert not home.exists()
    assert not child.alive()
    assert child.kill() == -signal.SIGKILL


def test_a_child_that_does_not_listen_dies_with_its_parent() -> None:
    script = (
        "import time; from inbond.child import spawn\n"
        f"child = spawn({THIS!r}, extra_env={{'PYTHONPATH': {ROOT!r}}})\n"
        "child.channel.send(b'limits'); child.channel.receive(20)\n"
        "child.channel.send(b'sleep'); time.sleep(0.2)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while _runs(pid):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return False


def test_a_child_has_no_way_to_the_network() -> None:
    """A network namespace of its own: not even the loopback interface of this machine answers."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    program = (
        "import socket, sys\nfrom inbond.child import leave_network\n"
        "granted = leave_network()\n"
        "try:\n    socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=2)\n"
        "except OSError:\n    sys.exit(0 if granted else 3)\nsys.exit(4)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(port)], check=False, timeout=30)
    server.close()
    assert done.returncode == 0
