"""Run one peer's set intersection and print its figures as a line of JSON: `psi_peers.py NAME N`.

Runs in the peers' own environment, so it imports nothing of ours; `psi.py` says how to make that.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PASSES = 3
LARGEST_REPEATED = 1_000_000


def ids(first: int, count: int) -> list[str]:
    """The identifiers that psi.py uses, too."""
    return [f"cust-{i:012d}@example.test" for i in range(first, first + count)]


def peak_memory() -> float:
    """MB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def openmined(size: int) -> dict[str, Any]:
    """Both halves one after the other, in one thread: the library has no other way of its own."""
    import private_set_intersection.python as psi  # type: ignore[import-not-found]

    mine, theirs = ids(0, size), ids(size // 2, size)
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    start = time.perf_counter()
    setup = server.CreateSetupMessage(1e-9, size, theirs, psi.DataStructure.GCS)
    request = client.CreateRequest(mine)
    response = server.ProcessRequest(request)
    found = client.GetIntersection(setup, response)
    seconds = time.perf_counter() - start
    if abs(len(found) - (size - size // 2)) > 1:  # its filter errs with chance 1e-9
        raise AssertionError("the matches are wrong")
    sent = sum(len(message.SerializeToString()) for message in (setup, request, response))
    note = "both halves in one thread, Golomb-compressed set"
    return {"seconds": seconds, "bytes_each": sent / size, "memory": peak_memory(), "note": note}


def spu(protocol: str, size: int) -> dict[str, Any]:
    """Two processes over loopback without TLS, CSV in and out; bytes are not counted by the library."""
    passes = [_spu_pass(protocol, size) for _ in range(PASSES if size <= LARGEST_REPEATED else 1)]
    best = min(passes, key=lambda found: found["seconds"])
    traffic = min(found["bytes_each"] for found in passes)
    return {**best, "bytes_each": traffic, "memory": max(found["memory"] for found in passes)}


def _spu_pass(protocol: str, size: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(2):
            lines = "\n".join(["id", *ids(rank * (size // 2), size), ""])
            (Path(folder) / f"in{rank}.csv").write_text(lines, "ascii")
        addresses, reports = _free_addresses(), spawn.Queue()
        nodes = [
            spawn.Process(target=_spu_party, args=(rank, addresses, protocol, folder, reports)) for rank in range(2)
        ]
        for node in nodes:
            node.start()
        found = [reports.get(timeout=900) for _ in nodes]
        for node in nodes:
            node.join()
    if size - size // 2 not in [matched for *_, matched in found]:
        raise AssertionError("the matches are wrong")
    return {
        "seconds": max(seconds for seconds, _, _, _ in found),
        "bytes_each": min(traffic for _, traffic, _, _ in found) / size,
        "memory": max(memory for _, _, memory, _ in found),
        "note": "CSV in and out is in its time, TCP headers in its bytes",
    }


def _spu_party(rank: int, addresses: list[str], protocol: str, folder: str, reports: Any) -> None:
    from spu import psi  # type: ignore[import-not-found]
    from spu.libspu import link  # type: ignore[import-not-found]

    line = link.Desc()
    line.id, line.recv_timeout_ms = "benchmark", 600_000
    for index, address in enumerate(addresses):
        line.add_party(f"p{index}", address)
    context = link.create_brpc(line, rank)
    parameters = {
        "SPU RR22": {"protocol": psi.PsiProtocol.PROTOCOL_RR22, "rr22_params": psi.Rr22Rarams(low_comm_mode=False)},
        "SPU KKRT": {"protocol": psi.PsiProtocol.PROTOCOL_KKRT},
        "SPU ECDH": {
            "protocol": psi.PsiProtocol.PROTOCOL_ECDH,
            "ecdh_params": psi.EcdhParams(curve=psi.EllipticCurveType.CURVE_25519),
        },
    }
    source = {"path": f"{folder}/in{rank}.csv", "selected_keys": ["id"], "keys_unique": True}
    configuration = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(receiver_rank=0, broadcast_result=False, **parameters[protocol]),
        input_params=psi.InputParams(**source),
        output_params=psi.OutputParams(path=f"{folder}/out{rank}.csv", disable_alignment=True),
    )
    before, start = _loopback_bytes(), time.perf_counter()
    report = psi.psi_execute(configuration, context)
    seconds, traffic = time.perf_counter() - start, _loopback_bytes() - before
    reports.put((seconds, traffic, peak_memory(), report.intersection_count))
    context.stop_link()


def _free_addresses() -> list[str]:
    """Two ports of loopback that are free now."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]


def _loopback_bytes() -> int:
    """Received by the loopback interface so far, whoever used it."""
    lines = Path("/proc/net/dev").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[1])


def main() -> None:
    """Measure and print."""
    name, size = sys.argv[1], int(sys.argv[2])
    print(json.dumps(openmined(size) if name == "openmined-psi" else spu(name, size)))


if __name__ == "__main__":
    main()
