"""Private set intersection of two processes joined by a socket, beside openmined-psi and SPU in the same run.

From identifiers in memory to the receiver's matches; half of them are common. Digests and every message are in the
time, start-up is not. Bytes are those of all messages. The peers want an older NumPy, so they live in an environment
of their own, `.venv-peers` or the one that INBOND_PEERS names:

    python3.11 -m venv .venv-peers
    .venv-peers/bin/pip install openmined-psi==2.0.6 spu==0.9.5 'numpy<2'
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.row import Row
from protocols.psi import elliptic, items, kkrt
from protocols.psi.agreement import Agreement
from protocols.psi.ristretto import U8

SIZES = (100_000, 1_000_000, 10_000_000)
PASSES = 3
LARGEST_EC = 100_000  # elliptic curves take minutes beyond, ours and openmined's
LARGEST_REPEATED = 1_000_000
TYPICAL = 1_000_000  # the size whose bytes an element stand for all
WINDOW = 2  # requests under way: one is answered while the next is made
CHUNK = 1 << 16
SESSION = bytes(range(32))
OPENMINED, RR22, KKRT, ECDH = "openmined-psi", "SPU RR22", "SPU KKRT", "SPU ECDH"  # names known to psi_peers.py
INSTALL = "not installed: python3.11 -m venv .venv-peers; .venv-peers/bin/pip install {}"
PACKAGES = dict.fromkeys((RR22, KKRT, ECDH), "spu==0.9.5 'numpy<2'") | {OPENMINED: "openmined-psi==2.0.6"}

Ids = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class Figures:
    """Seconds, bytes of all messages per element, peak resident memory (MB) of the larger process; None: not known."""

    seconds: float
    bytes_each: float | None
    memory: float


def run(sizes: Sequence[int] | None = None) -> list[Row]:
    """Measure matching of n by n items for each n: OT extension, and elliptic curves up to 100,000 items."""
    rows = []
    for size in sizes or SIZES:
        name = label(size)
        ot = measure(_ot, size)
        fast, alike = _peer(RR22, size), _peer(KKRT, size)
        rows.append(_row(f"psi_ot_s_{name}", "s", "seconds", ot, fast))
        rows.append(_row(f"psi_ot_s_{name}", "s", "seconds", ot, alike))
        if size <= LARGEST_EC:
            openmined = _peer(OPENMINED, size)
            rows.append(_row(f"psi_ot_s_{name}", "s", "seconds", ot, openmined))
            ec = measure(_ec, size)
            rows += [_row(f"psi_ec_s_{name}", "s", "seconds", ec, peer) for peer in (openmined, _peer(ECDH, size))]
        if size == min(max(sizes or SIZES), TYPICAL):
            rows += [_row("psi_ot_bytes_per_element", "B", "bytes_each", ot, peer) for peer in (fast, alike)]
        if size >= TYPICAL or size == max(sizes or SIZES):
            rows += [_row(f"psi_peak_rss_mb_{name}", "MB", "memory", ot, peer) for peer in (fast, alike)]
    return rows


GOALS = {
    "psi_ot_s_100k": "<= 0.6",
    "psi_ot_s_1M": "<= 4.9",
    "psi_ec_s_100k": "<= 9",
    "psi_ot_bytes_per_element": "<= 120",
    "psi_peak_rss_mb_1M": "<= 800",
    "psi_peak_rss_mb_10M": "<= 1,073",
}


@dataclass(frozen=True)
class Peer:
    """What was measured of a peer, or None and the reason."""

    name: str
    figures: Figures | None
    note: str


def _row(metric: str, unit: str, name: str, ours: Figures, peer: Peer) -> Row:
    mine, other = getattr(ours, name), getattr(peer.figures, name, None)
    return Row(
        metric, unit, mine, peer.name, other, mine / other if other else None, GOALS.get(metric, "none"), peer.note
    )


def label(size: int) -> str:
    """A size in the name of a metric: 100k, 1M."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


# ours


class Link:
    """One end of the socket: sends whole messages, and reads ahead so that both sides can send at once."""

    def __init__(self, end: Connection) -> None:
        self._end, self._read = end, queue.SimpleQueue[bytes]()
        self.sent = 0
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        try:
            while True:
                self._read.put(self._end.recv_bytes())
        except (EOFError, OSError):
            self._read.put(b"")

    def send(self, message: bytes | npt.NDArray[Any]) -> None:
        """Send a message, all of it before this returns."""
        flat = np.frombuffer(message, np.uint8)
        self.sent += len(flat)
        self._end.send_bytes(flat.data)

    def receive(self) -> bytes:
        """The next message; raises EOFError when the other end is gone."""
        if not (message := self._read.get()):
            raise EOFError
        return message


Role = Callable[[Ids, Link], object]


def measure(protocol: Callable[[int], tuple[Role, Role]], size: int, count: int | None = None) -> Figures:
    """Run both roles in a process each; the least of `count` passes, but for memory, which is the most."""
    count = count or (PASSES if size <= LARGEST_REPEATED else 1)
    passes = [_pass(protocol, size) for _ in range(count)]
    return Figures(min(p.seconds for p in passes), passes[0].bytes_each, max(p.memory for p in passes))


def _pass(protocol: Callable[[int], tuple[Role, Role]], size: int) -> Figures:
    spawn = multiprocessing.get_context("spawn")
    barrier, ends = spawn.Barrier(2), spawn.Pipe()
    reports = [spawn.Pipe(duplex=False) for _ in ends]
    nodes = [
        spawn.Process(target=_party, args=(protocol, index, size, end, barrier, reports[index][1]), daemon=True)
        for index, end in enumerate(ends)
    ]
    for node in nodes:
        node.start()
    for handle in (*ends, *(writer for _, writer in reports)):
        handle.close()  # the processes have theirs; an end that dies is then seen as such
    found = [reader.recv() for reader, _ in reports]
    for node in nodes:
        node.join()
    return Figures(
        max(seconds for seconds, _, _ in found),
        sum(sent for _, sent, _ in found) / size,
        max(memory for _, _, memory in found),
    )


def _party(
    protocol: Callable[[int], tuple[Role, Role]],
    index: int,
    size: int,
    end: Connection,
    barrier: Barrier,
    report: Connection,
) -> None:
    ids = _ids(index * (size // 2), size)
    link = Link(end)
    barrier.wait()
    start = time.perf_counter()
    protocol(size)[index](ids, link)
    report.send((time.perf_counter() - start, link.sent, _peak_memory()))
    barrier.wait()  # neither end closes while the other reads


def _ids(first: int, count: int) -> Ids:
    ids = np.empty(count, "S30")
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        ids[start:stop] = [b"cust-%012d@example.test" % i for i in range(first + start, first + stop)]
    return ids


def _peak_memory() -> float:
    """Of this process, in MB; `ru_maxrss` would count what its parent had."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def _ot(size: int) -> tuple[Role, Role]:
    agreement = Agreement(SESSION, size, size)

    def receive(ids: Ids, link: Link) -> None:
        receiver = kkrt.Receiver(agreement, _digests(ids))
        link.send(receiver.offer())
        receiver.accept(link.receive())
        for turn in range(agreement.buckets + WINDOW):
            if turn < agreement.buckets:
                link.send(receiver.request())
            if turn >= WINDOW:
                receiver.receive(link.receive())
        if ((receiver.matches >= 0) != (np.arange(size) >= size // 2)).any():
            raise AssertionError("the matches are wrong")

    def send(ids: Ids, link: Link) -> None:
        sender = kkrt.Sender(agreement, _digests(ids))
        link.send(sender.choose(link.receive()))
        for _ in range(agreement.buckets):
            link.send(sender.respond(link.receive()))

    return receive, send


def _digests(ids: Ids) -> U8:
    digests = np.empty((len(ids), items.DIGEST), np.uint8)
    for start in range(0, len(ids), CHUNK):
        digests[start : start + CHUNK] = items.digests(ids[start : start + CHUNK].tolist(), SESSION)
    return digests


def _ec(size: int) -> tuple[Role, Role]:
    terms = elliptic.Terms(SESSION, size, size)

    def points(message: bytes) -> U8:
        return np.frombuffer(message, np.uint8).reshape(size, -1)

    def initiate(ids: Ids, link: Link) -> None:
        initiator = elliptic.Initiator(terms, ids.tolist())
        link.send(initiator.offer())
        initiator.answer(points(link.receive()))
        if initiator.finish(points(link.receive())).size != size - size // 2:
            raise AssertionError("the matches are wrong")

    def respond(ids: Ids, link: Link) -> None:
        responder = elliptic.Responder(terms, ids.tolist())
        link.send(responder.offer())
        link.send(responder.answer(points(link.receive())))

    return initiate, respond


# peers


def _peer(name: str, size: int) -> Peer:
    """Run a peer in its environment; what goes wrong there is its note."""
    python = Path(os.environ.get("INBOND_PEERS", ".venv-peers")) / "bin" / "python"
    missing = Peer(name, None, INSTALL.format(PACKAGES[name]))
    if not python.exists():
        return missing
    script = Path(__file__).with_name("psi_peers.py")
    done = subprocess.run([python, script, name, str(size)], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return missing if "ModuleNotFoundError" in last else Peer(name, None, f"failed: {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Peer(name, Figures(found["seconds"], found["bytes_each"], found["memory"]), found["note"])
