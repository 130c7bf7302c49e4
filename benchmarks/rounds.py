"""Seconds of a round of three parties: a plain `echo` job over a real consortium, beside Flower's own deployment.

Everything is in the path: mutual TLS, the check against the verdict, durable evidence at coordinator and parties,
kept replies, the runner's and the workers' processes. Authority, coordinator, parties and children are processes of
their own on loopback, made by the command line.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import flower_rounds
from benchmarks.row import Row
from examples.consortium import NAME, Consortium, Member
from federation.client import Researcher, TrainedModel
from policies.document import Document, validate
from policies.job import JobSpec

PEER = "Flower 1.41 deployment (SuperLink, 3 SuperNodes)"
FLOAT = 4  # bytes of a float32
WARM = 2  # rounds at first that are not counted: the first one loads the workers' code
PARTIES = {"w1": "DE", "w2": "GB", "w3": "FR"}
TABLE = "line.csv"
CONTRACT = f"""
dataset: line
version: 1
controller: Test of the line
jurisdiction: {{country}}
schema_name: line/1
source: {{{{kind: csv, path: {TABLE}}}}}
columns:
  nothing: {{{{type: int, class: public, uses: [feature]}}}}
purposes: [dpv:ServiceOptimisation]
recipients: {{{{countries: [DE, GB, FR], ids: ["*"]}}}}
minimum_parties: 3
allow_plain: true
noise: none
law: {{{{organisation: warehouse, personal: false, facts: {{{{recipient_kind: warehouse}}}}}}}}
expires: 2036-12-31
"""


class Size:
    """One size of the array: its name in the metric, bytes, rounds of ours and of the peer, and the goal."""

    def __init__(self, label: str, size: int, ours: int, peer: int, goal_ms: int) -> None:
        self.metric = f"round_p50_ms_{label}"
        self.bytes, self.ours, self.peer, self.goal_ms = size, ours, peer, goal_ms


SIZES = (
    Size("40B", 40, 200, 5, 10),
    Size("4MB", 4_000_000, 25, 3, 80),
    Size("40MB", 40_000_000, 9, 2, 800),
)


def run(sizes: Sequence[Size] = SIZES, *, with_peer: bool = True, folder: Path | None = None) -> list[Row]:
    """Measure median rounds in milliseconds; about half a minute, and 100 s more with the peer.

    `folder` decides which disk holds the nodes; by default the system's temporary one.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        ours = _ours(Path(name), sizes)
    peer, why = flower_rounds.measure({size.bytes: size.peer for size in sizes}) if with_peer else ({}, "not asked for")
    return [_row(size, ours[size.bytes], peer.get(size.bytes), why) for size in sizes]


def _row(size: Size, ours: Sequence[float], peer: Sequence[float] | None, why: str) -> Row:
    mine = 1e3 * statistics.median(ours)
    note = f"{len(ours)} rounds, {1e3 * min(ours):.1f} to {1e3 * max(ours):.1f} ms"
    if not peer:
        return Row(size.metric, "ms", mine, PEER, None, None, f"<= {size.goal_ms}", f"{note}; peer: {why}")
    theirs = 1e3 * statistics.median(peer)
    return Row(size.metric, "ms", mine, PEER, theirs, mine / theirs, f"<= {size.goal_ms}", note)


def _ours(root: Path, sizes: Sequence[Size]) -> dict[int, list[float]]:
    """Bytes -> seconds of each counted round."""
    table = root / TABLE
    table.write_text("nothing\n1\n", "utf-8")
    parties = [
        Member(name, country, {"line.yaml": CONTRACT.format(country=country)}, {TABLE: table})
        for name, country in PARTIES.items()
    ]
    with Consortium(root / "nodes", [*parties, Member("rosa", "GB", user=True)]) as consortium:
        _tell("making a consortium of real processes")
        consortium.make()
        consortium.start()
        with consortium.researcher() as researcher:
            return {size.bytes: _rounds(researcher, size) for size in sizes}


def _rounds(researcher: Researcher, size: Size) -> list[float]:
    """Run one job and return the seconds of its rounds, without the first ones."""
    _tell(f"{size.ours} rounds of {size.bytes:,} bytes")
    job = researcher.submit(validate(JobSpec, Document(_job(size), "echo", {})))
    researcher.wait(job)
    result = researcher.result(job)
    assert isinstance(result, TrainedModel)
    return [float(seconds) for seconds in np.asarray(result.parameters)[WARM:]]


def _job(size: Size) -> Mapping[str, Any]:
    return {
        "kind": "train",
        "name": "echo",
        "purpose": "dpv:ServiceOptimisation",
        "dataset": "line",
        "protection": "plain",
        "minimum_parties": 3,
        "rounds": size.ours + WARM,
        "recipe": {"name": "echo", "version": 1, "parameters": {"values": size.bytes // FLOAT}},
        "recipients": [{"id": f"spiffe://{NAME}/user/rosa", "country": "GB"}],
        "deadline_s": 600,
    }


def _tell(what: str) -> None:
    print(f"rounds: {what}", file=sys.stderr, flush=True)
