"""A joined query as a job of a whole consortium, as a multiple of its bare protocol, all measured here.

The bare protocol goes twice: message after message, as it stands in the papers and in `benchmarks.join`, which is what
the goal is about; and cut into the parts of the job, whose sides then work at the same time as they do in the job.

The job's seconds run from its signature to the opened answer: planning, decisions, reading both tables from Parquet,
sealed mail through the coordinator, durable evidence, the count and the release. Coordinator, parties and their
children are processes of their own on loopback, made by the command line. The bare protocol has the same columns.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import join
from benchmarks.psi import label
from benchmarks.row import Row
from examples.consortium import Consortium, Member
from federation.client import Researcher
from federation.join_planner import parts_of

PEER = "the bare protocol between two processes"
PARTED = "the same protocol cut into the job's parts"
GOAL = "<= 1.2"
STARTED = 3.0  # seconds after which all processes that wait for a job are up
COUNTS = 2  # value columns of the query that count: rows, and rows whose amount is known
PURPOSE = "dpv:FraudPreventionAndDetection"
SQL = (
    "SELECT o.section, COUNT(*) AS n, SUM(p.cents) AS cents "
    "FROM orders o JOIN payments p ON o.order_id = p.order_id GROUP BY o.section"
)
CONTRACT = """
dataset: {dataset}
version: 1
controller: Benchmark of a join
jurisdiction: GB
schema_name: {dataset}/1
source: {{kind: parquet, path: {dataset}.parquet}}
columns:
  order_id:
    type: text
    class: pseudonymous
    category: order_ref
    uses: [join]
    key:
      as: order-id
      rows_per_key: 1
      counterparts: {{"*": [set size bucket, group counts, intersection size, intersection members]}}
  {column}
purposes: [{purpose}]
recipients: {{countries: [GB]}}
minimum_parties: 2
noise: none
published_rows: {size}
law: {{organisation: merchant, subjects: {size}, recipients: {{"*": {{recipient_kind: merchant}}}}}}
expires: 2036-12-31
"""
SECTION = "section: {{type: int, class: operational, uses: [group], domain: {domain}}}"
CENTS = "cents: {{type: int, class: commercial, uses: [aggregate], bounds: [0, {most}]}}"


def run(sizes: Sequence[int] | None = None) -> list[Row]:
    """Measure job and protocol with n rows a side for each n."""
    return [row for size in sizes or join.SIZES for row in _rows(size)]


def _rows(size: int) -> list[Row]:
    parts = parts_of("ot", size)
    passes = [
        (_job(size), join.bare("ot", size, COUNTS).seconds, join.bare("ot", size, COUNTS, parts).seconds)
        for _ in range(join.PASSES)
    ]
    job, bare, parted = (median(seconds) for seconds in zip(*passes, strict=True))
    goal = GOAL if size == join.SIZES[0] else "none"
    return [
        _row(f"job_over_protocol_ratio_{label(size)}", job, bare, PEER, goal),
        _row(f"job_over_{parts}_parts_ratio_{label(size)}", job, parted, PARTED, "none"),
    ]


def _row(name: str, job: float, bare: float, peer: str, goal: str) -> Row:
    note = f"{job:.1f} s the job, {bare:.1f} s the protocol, medians of {join.PASSES} in turn"
    return Row(name, "x", job / bare, peer, 1.0, job / bare, goal, note)


def _job(size: int, published: int | None = None) -> float:
    """Seconds of the job, whose answer is checked; contracts publish `published` rows (None: as many as there are)."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        published = published or size
        members = [_merchant(root, size, published), _firm(root, size, published), Member("rosa", "GB", user=True)]
        with Consortium(root / "nodes", members) as consortium:
            consortium.make()
            consortium.start()
            time.sleep(STARTED)
            with consortium.researcher() as researcher:
                return _asked(researcher, size)


def _asked(researcher: Researcher, size: int) -> float:
    start = time.perf_counter()
    rows = researcher.query(SQL, purpose=PURPOSE, matching="fast").rows
    seconds = time.perf_counter() - start
    found = [[row["section"], row["n"], row["cents"]] for row in sorted(rows, key=lambda row: int(row["section"]))]
    expected = join.expected(size, join.GROUPS)
    if found != np.column_stack([np.arange(join.GROUPS), expected]).tolist():
        raise AssertionError("the answer is wrong")
    return seconds


def _merchant(root: Path, size: int, published: int) -> Member:
    sections = pa.array(np.arange(size) % join.GROUPS)
    column = SECTION.format(domain=list(range(join.GROUPS)))
    return _member("m1", root, "orders", column, {"order_id": _ids(0, size), "section": sections}, published)


def _firm(root: Path, size: int, published: int) -> Member:
    column = CENTS.format(most=join.LARGEST_AMOUNT)
    columns = {"order_id": _ids(size // 2, size), "cents": pa.array(join.amounts(size))}
    return _member("p1", root, "payments", column, columns, published)


def _ids(first: int, size: int) -> pa.Array:
    return pa.array(np.char.mod("order-%d", np.arange(first, first + size)))


def _member(name: str, root: Path, dataset: str, column: str, columns: dict[str, pa.Array], published: int) -> Member:
    table = root / f"{dataset}.parquet"
    pq.write_table(pa.table(columns), table)
    contract = CONTRACT.format(dataset=dataset, column=column, purpose=PURPOSE, size=published)
    return Member(name, "GB", {f"{dataset}.yaml": contract}, {table.name: table})
