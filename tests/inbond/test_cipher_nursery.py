"""The process that forks one child for each key: it comes back when it was killed, and its forks share no secret."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inbond.cipher_nursery import Forked, Nursery, _descriptors
from inbond.cipher_process import CipherProcess
from inbond.errors import JobFailed
from protocols.params import SHARED_2048
from tests.system.world import eventually


@pytest.fixture
def nursery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    made = Nursery()
    monkeypatch.setattr("inbond.cipher_process.NURSERY", made)
    yield made
    made._stop()


def pid_of(nursery: Nursery) -> int:
    assert nursery._process is not None
    return nursery._process.pid


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except FileNotFoundError:
        return True


def test_forks_of_one_nursery_make_keys_and_ciphertexts_of_their_own(nursery: Nursery) -> None:
    """Nothing random was drawn before the fork: what is forked twice would otherwise be drawn twice."""
    slots = np.zeros((1, SHARED_2048.degree), np.uint64)
    keys, blobs = [], []
    for _ in range(3):
        with CipherProcess(SHARED_2048) as process:
            keys.append(process.generate().secret)
            blobs.append(process.encrypt(slots))
    assert len(set(keys)) == len(set(blobs)) == 3
    for _ in range(2):
        with CipherProcess(SHARED_2048) as process:
            process.load_key(keys[0])
            blobs.append(process.encrypt(slots))
    assert len(set(blobs)) == 5


def test_a_nursery_is_warm_once_and_a_killed_one_is_replaced(nursery: Nursery) -> None:
    nursery.warm()
    first = pid_of(nursery)
    nursery.warm()
    assert pid_of(nursery) == first
    with CipherProcess(SHARED_2048) as process:
        process.generate()
        child = process.pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: gone(child), "a fork outlives its nursery", 5)
    with CipherProcess(SHARED_2048) as process:
        assert process.generate().secret
        assert pid_of(nursery) != first


def test_a_fork_has_no_way_to_its_nursery_nor_to_another_fork(nursery: Nursery) -> None:
    with CipherProcess(SHARED_2048) as one, CipherProcess(SHARED_2048) as other:
        for process in (one, other):
            process.generate()
            links = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
            assert sum(link.startswith("socket") for link in links) == 1
            assert not [link for link in links if "pidfd" in link]
        held = [str(fd.readlink()) for fd in Path(f"/proc/{pid_of(nursery)}/fd").iterdir()]
        assert sum(link.startswith("socket") for link in held) == 1, "it keeps nothing of its forks"
        assert {process.pid for process in (one, other)}.isdisjoint({pid_of(nursery)})


def test_what_is_closed_is_gone_and_may_be_closed_again(nursery: Nursery) -> None:
    with CipherProcess(SHARED_2048) as process:
        pid = process.pid
        process.close()
        eventually(lambda: gone(pid), "a closed child lives on", 5)
        process.close()


def test_without_process_descriptors_a_fork_ends_with_its_socket(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr("os.pidfd_open", refused)
    assert _descriptors(os.getpid()) == []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        forked = nursery.fork(SHARED_2048.name, theirs)
        Forked(forked.pid, None).kill()
        assert not gone(forked.pid)
    eventually(lambda: gone(forked.pid), "it goes on without a socket", 5)
    forked.kill()


def test_a_request_that_is_none_ends_the_nursery_and_nothing_else(nursery: Nursery) -> None:
    nursery.warm()
    assert nursery._socket is not None
    before = pid_of(nursery)
    nursery._socket.send(b"no socket with it")
    eventually(lambda: gone(before), "it goes on", 10)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        forked = nursery.fork(SHARED_2048.name, theirs)
        assert pid_of(nursery) != before
        forked.kill()


def test_where_no_process_can_be_started_warming_waits_and_a_fork_says_so(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_descriptor: int) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr("inbond.cipher_nursery._spawn", refused)
    nursery.warm()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(JobFailed, match="no process can be started"):
        nursery.fork(SHARED_2048.name, theirs)


def test_a_nursery_ends_with_its_parent() -> None:
    script = """
        import os, signal
        from inbond.cipher_nursery import NURSERY
        NURSERY.warm()
        print(NURSERY._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    eventually(lambda: gone(int(run.stdout)), "the nursery outlives its parent", 5)
