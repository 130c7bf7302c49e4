"""What the figures of a run depend on: the machine, its disk and how busy it was."""

import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

SYNCS = 100
PAGE = 4096


@dataclass(frozen=True)
class Machine:
    """`fsync_ms` is the median time to make 4 KiB durable, `load` the mean number of waiting processes (1 minute)."""

    date: str
    system: str
    python: str
    cores: int
    fsync_ms: float
    load: float

    @classmethod
    def look(cls) -> Self:
        """This machine, now."""
        return cls(
            date=datetime.now(UTC).date().isoformat(),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            cores=len(os.sched_getaffinity(0)),
            fsync_ms=1e3 * statistics.median(_sync_times()),
            load=os.getloadavg()[0],
        )


def _sync_times() -> list[float]:
    """Seconds of each write that is made durable, in the folder for temporary files, where the benchmarks write."""
    times = []
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "page").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(PAGE))
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return times
