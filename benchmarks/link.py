"""Latency of a round over hub, link, runner and worker: real processes and TLS, an echo for a recipe.

Policy and audit are not in this path. Usage: python -m benchmarks.link [ROUNDS-AT-40-BYTES]
"""

import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from federation.hub import Hub
from federation.runner import Asked, RunnerJob, RunnerProcess, runner_child
from inbond.messages import Reply, Request, request_id
from parties.link import Link
from parties.worker import WorkerJob, WorkerProcess
from tests.federation.tls import Consortium, dial, verify, welcome
from tests.federation.toy import PARTIES

ROOT = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def party(port: int, credentials: tuple[bytes, bytes, bytes], name: str) -> None:
    """Run one party: a link whose handler passes bodies to a worker."""
    job = WorkerJob(name, "tests.federation.toy:client", name)
    worker = WorkerProcess(job, extra_env=ROOT)

    def handle(request: Request) -> Reply:
        body = worker.exchange(request.step, request.body, round_number=request.round)
        return Reply(request.id, "ok", "", body)

    Link(lambda: dial(port, credentials), handle, verify=verify, version="benchmark").run()


def rounds(hub: Hub, size: int, count: int) -> list[float]:
    """Seconds of each of `count` rounds with `size` bytes each way and party."""

    def ask(name: str, asked: Asked) -> "Future[Reply]":
        key = request_id(f"bench-{size}", asked.attempt, asked.step, asked.round, name)
        expires = time.time() + 60
        return hub.request(name, Request(key, "bench", "step", asked.step, asked.round, 0, "", expires, asked.body))

    app = "tests.federation.toy:echo_server"
    job = RunnerJob("bench", app, [app], PARTIES, run_config={"bytes": size, "rounds": count})
    state = RunnerProcess(job, ask, start=partial(runner_child, extra_env=ROOT)).result(120)
    measured = state.metric_records["seconds"]["rounds"]
    return list(measured) if isinstance(measured, list) else [measured]


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    consortium = Consortium()
    hub = Hub(authorise=consortium.authorise, still_valid=consortium.still_valid, welcome=welcome)
    server, port = consortium.serve(hub)
    spawn = multiprocessing.get_context("spawn")
    arguments = [(port, consortium.credentials(name), name) for name in PARTIES]
    nodes = [spawn.Process(target=party, args=each) for each in arguments]
    for node in nodes:
        node.start()
    while len(hub.connected()) < len(PARTIES):
        time.sleep(0.1)
    print(f"{len(PARTIES)} parties, {os.cpu_count()} cores")
    for size, number in ((40, count), (4_000_000, 15), (40_000_000, 6)):
        seconds = sorted(rounds(hub, size, number + 2)[2:])
        p99 = seconds[int(len(seconds) * 0.99)]
        print(f"{size:>10} B  p50 {1e3 * statistics.median(seconds):8.2f} ms  p99 {1e3 * p99:8.2f} ms")
    hub.close()
    server.stop(0)
    for node in nodes:
        node.kill()


if __name__ == "__main__":
    main()
