"""Chapter 1: the consortium is founded, enrolled and started; who is in it, where, with which tables."""

import pyarrow.parquet as pq

from examples.consortium import COORDINATOR, COORDINATOR_COUNTRY, Consortium
from examples.demo.stage import Stage
from examples.members import PARTIES, RESEARCHERS


def introduce(stage: Stage, consortium: Consortium, *, real: bool) -> None:
    """Found, enrol and start the consortium, and show it."""
    stage.chapter(
        "A consortium: one process, folder, key and database per organisation",
        "Nodes meet only over mutual TLS 1.3 on loopback, with certificates from the consortium's own authority. "
        f"Parties dial out; none opens a port. Tables: {'the public data sets' if real else 'synthetic, from a seed'}.",
    )
    with stage.work("founding it and enrolling 11 members by invitation"):
        consortium.make()
    with stage.work("starting authority, coordinator and 8 parties"):
        consortium.start()
    rows = [(name, *PARTIES[name], _tables(consortium, name)) for name in PARTIES]
    rows += [(COORDINATOR, "coordinator", COORDINATOR_COUNTRY, "-")]
    rows += [(name, "researcher", where, "-") for name, where in RESEARCHERS.items()]
    stage.table(("name", "is a", "in", "tables (rows)"), rows)
    running = [process.pid for process in consortium.processes.values() if process.poll() is None]
    what = f"{len(running)} processes run, and all {len(PARTIES)} parties are connected"
    stage.check(what, holds=len(running) == 2 + len(PARTIES))


def _tables(consortium: Consortium, name: str) -> str:
    files = sorted(consortium.home(name).glob("*.parquet"))
    return ", ".join(f"{file.stem} ({pq.read_metadata(file).num_rows:,})" for file in files)
