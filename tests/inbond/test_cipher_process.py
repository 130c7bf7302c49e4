"""The cipher process: a real child, that serves, refuses, dies, comes back, and never outlives us."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inbond.cipher_process import CipherProcess
from inbond.errors import JobFailed
from protocols import bfv
from protocols.errors import MisuseError, PeerViolation
from protocols.params import PUBLIC_4096, SHARED_2048

SLOTS = np.random.default_rng(1).integers(0, 2**38, (3, 2048), np.uint64)


@pytest.fixture(scope="module")
def cipher() -> Iterator[CipherProcess]:
    with CipherProcess(SHARED_2048, timeout=20) as process:
        process.generate()
        yield process


def test_encrypts_and_decrypts_sums(cipher: CipherProcess) -> None:
    blobs = [cipher.encrypt(SLOTS), cipher.encrypt(SLOTS)]
    assert (cipher.decrypt(bfv.add(SHARED_2048, blobs)) == 2 * SLOTS % 2**38).all()


def test_a_second_process_with_the_same_key_opens_the_sum(cipher: CipherProcess) -> None:
    with CipherProcess(SHARED_2048) as leader, CipherProcess(SHARED_2048) as trainer:
        trainer.load_key(leader.generate().secret)
        added = bfv.add(SHARED_2048, [leader.encrypt(SLOTS), trainer.encrypt(SLOTS)])
        assert (leader.decrypt(added) == trainer.decrypt(added)).all()


def test_a_public_key_encrypts_and_does_not_open() -> None:
    slots = np.arange(4096, dtype=np.uint64)[None]
    with CipherProcess(PUBLIC_4096) as holder, CipherProcess(PUBLIC_4096) as party:
        party.load_key(holder.generate().public)
        added = bfv.add(PUBLIC_4096, [party.encrypt(slots)])
        assert (holder.decrypt(added) == slots).all()
        with pytest.raises(MisuseError, match="no key"):
            party.decrypt(added)


def test_a_public_key_is_no_key_of_a_shared_key_job(cipher: CipherProcess) -> None:
    with pytest.raises(PeerViolation, match="key is not one"):
        cipher.load_key(bfv.generate_key_pair(SHARED_2048)[1])


def test_an_interrupted_exchange_leaves_no_stale_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with CipherProcess(SHARED_2048) as process:
        process.generate()
        monkeypatch.setattr("inbond.cipher_process._receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            process.encrypt(SLOTS)
        monkeypatch.undo()
        with pytest.raises(MisuseError, match="not running"):
            process.encrypt(SLOTS)


@pytest.mark.parametrize("blob", [b"", b"junk" * 10, bfv._header(SHARED_2048, bfv.SUM, 1, 1) + bytes(99)])
def test_a_bad_sum_is_refused_and_the_child_lives_on(cipher: CipherProcess, blob: bytes) -> None:
    before = cipher.pid
    with pytest.raises(PeerViolation, match="does not open"):
        cipher.decrypt(blob)
    with pytest.raises(PeerViolation, match="key is not one"):
        cipher.load_key(blob)
    assert cipher.pid == before


def test_a_crash_while_decrypting_is_one_violation_and_the_keys_come_back(cipher: CipherProcess) -> None:
    added, before = bfv.add(SHARED_2048, [cipher.encrypt(SLOTS)]), cipher.pid
    os.kill(before, signal.SIGSEGV)
    with pytest.raises(PeerViolation, match="broke the cipher process"):
        cipher.decrypt(added)
    assert cipher.pid != before
    assert (cipher.decrypt(added) == SLOTS).all()


def test_a_crash_while_encrypting_is_our_failure(cipher: CipherProcess) -> None:
    os.kill(cipher.pid, signal.SIGKILL)
    with pytest.raises(JobFailed, match="failed"):
        cipher.encrypt(SLOTS)
    assert len(cipher.encrypt(SLOTS)) == bfv.blob_bytes(SHARED_2048, 3)


def test_a_child_that_hangs_is_replaced() -> None:
    with CipherProcess(SHARED_2048, timeout=5) as process:
        process.generate()
        added, stuck = bfv.add(SHARED_2048, [process.encrypt(SLOTS)]), process.pid
        process._socket.settimeout(0.3)  # type: ignore[union-attr]  # running, so there is one
        os.kill(stuck, signal.SIGSTOP)
        with pytest.raises(PeerViolation):
            process.decrypt(added)
        gone = time.monotonic() + 5
        while Path(f"/proc/{stuck}").exists() and time.monotonic() < gone:
            time.sleep(0.01)
        assert not Path(f"/proc/{stuck}").exists()
        assert (process.decrypt(added) == SLOTS).all()


def test_the_child_is_confined(cipher: CipherProcess) -> None:
    limits = Path(f"/proc/{cipher.pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max open files"] == ["64", "64"]
    assert rows["Max address space"][1] == str(4 << 30)
    assert Path(f"/proc/{cipher.pid}/environ").read_bytes() == b""
    links = [str(fd.readlink()) for fd in Path(f"/proc/{cipher.pid}/fd").iterdir()]
    kinds = {link.split(":")[0] for link in links}
    assert kinds <= {"socket", "/dev/null", "/memfd"}
    assert sum(link.startswith("socket") for link in links) == 1


def test_the_child_dies_with_its_parent() -> None:
    script = """
        import os, signal
        from inbond.cipher_process import CipherProcess
        from protocols.params import SHARED_2048
        process = CipherProcess(SHARED_2048).__enter__()
        process.generate()
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    child = Path(f"/proc/{int(run.stdout)}/cmdline")
    deadline = time.monotonic() + 5
    while child.exists() and child.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or not child.read_bytes()


def test_the_parent_never_imports_tenseal() -> None:
    heavy = "[m for m in sys.modules if 'tenseal' in m or 'pyarrow' in m]"
    code = f"import sys, inbond.cipher_process; print({heavy})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_misuse_is_ours(cipher: CipherProcess) -> None:
    with pytest.raises(MisuseError, match="not rows"):
        cipher.encrypt(np.zeros((1, 5), np.uint64))
    with pytest.raises(MisuseError, match="with block"):
        CipherProcess(SHARED_2048).encrypt(SLOTS)
    with CipherProcess(SHARED_2048) as empty, pytest.raises(MisuseError, match="no key"):
        empty.encrypt(SLOTS)
