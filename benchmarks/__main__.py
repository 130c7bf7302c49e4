"""`python -m benchmarks NAME [--json] [--write FILE]`: every figure beside its peer, measured in this one run."""

import argparse
import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import audit, encrypted_sum, policy, rounds
from benchmarks.machine import Machine
from benchmarks.report import markdown, table
from benchmarks.row import Row

BENCHMARKS: Mapping[str, Callable[[], list[Row]]] = {
    "rounds": rounds.run,
    "encrypted_sum": encrypted_sum.run,
    "policy": policy.run,
    "audit": audit.run,
}
ALL = "all"
BAD_INPUT = 2
STDOUT, STDERR = 1, 2  # file descriptors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write where asked; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", help=", ".join([*BENCHMARKS, ALL]))
    parser.add_argument("--json", action="store_true", help="print a JSON list of rows")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report here, as Markdown")
    chosen = parser.parse_args(arguments)
    if chosen.name not in {*BENCHMARKS, ALL}:
        print(f"benchmarks: no benchmark {chosen.name!r}; one of {', '.join([*BENCHMARKS, ALL])}", file=sys.stderr)
        return BAD_INPUT
    names = list(BENCHMARKS) if chosen.name == ALL else [chosen.name]
    measured = {name: _measure(name) for name in names}
    rows = [row for found in measured.values() for row in found]
    print(json.dumps([asdict(row) for row in rows], indent=2) if chosen.json else table(rows))
    if chosen.write is not None:
        chosen.write.write_text(markdown(measured, Machine.look()), "utf-8")
    return 0


def _measure(name: str) -> list[Row]:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with _output_to_error():
        rows = BENCHMARKS[name]()
    print(f"measured {name} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return rows


@contextlib.contextmanager
def _output_to_error() -> Iterator[None]:
    """Send what libraries print to standard error: standard output is for the rows alone."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        libc.fflush(None)
        os.dup2(kept, STDOUT)
        os.close(kept)


if __name__ == "__main__":
    raise SystemExit(main())
