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

from benchmarks import audit, encrypted_sum, join, join_job, law, policy, psi, rounds
from benchmarks.machine import Machine
from benchmarks.report import markdown, table
from benchmarks.row import Row

BENCHMARKS: Mapping[str, Callable[[], list[Row]]] = {
    "rounds": rounds.run,
    "encrypted_sum": encrypted_sum.run,
    "policy": policy.run,
    "law": law.run,
    "audit": audit.run,
}
SIZED: Mapping[str, Callable[[Sequence[int] | None], list[Row]]] = {
    "psi": psi.run,
    "join": lambda sizes: [*join.run(sizes), *join_job.run(sizes)],
}
ALL = "all"
BAD_INPUT = 2
STDOUT, STDERR = 1, 2  # file descriptors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write where asked; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*BENCHMARKS, *SIZED]
    parser.add_argument("name", help=", ".join([*names, ALL]))
    parser.add_argument("--n", type=int, action="append", metavar="ITEMS", help=f"a size, for {', '.join(SIZED)}")
    parser.add_argument("--json", action="store_true", help="print a JSON list of rows")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report here, as Markdown")
    chosen = parser.parse_args(arguments)
    wrong = _wrong(chosen.name, chosen.n)
    if wrong:
        print(f"benchmarks: {wrong}", file=sys.stderr)
        return BAD_INPUT
    measured = {name: _measure(name, chosen.n) for name in (names if chosen.name == ALL else [chosen.name])}
    rows = [row for found in measured.values() for row in found]
    print(json.dumps([asdict(row) for row in rows], indent=2) if chosen.json else table(rows))
    if chosen.write is not None:
        chosen.write.write_text(markdown(measured, Machine.look()), "utf-8")
    return 0


def _wrong(name: str, sizes: Sequence[int] | None) -> str:
    """What is wrong with the arguments, and what would be right; nothing where they are fine."""
    if name not in {*BENCHMARKS, *SIZED, ALL}:
        return f"no benchmark {name!r}; one of {', '.join([*BENCHMARKS, *SIZED, ALL])}"
    if sizes and name not in SIZED:
        return f"--n does not go with {name}; it goes with {', '.join(SIZED)}"
    if sizes and min(sizes) < 1:
        return f"--n {min(sizes)} is no size; write a number of items such as 100000"
    return ""


def _measure(name: str, sizes: Sequence[int] | None) -> list[Row]:
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with _output_to_error():
        rows = SIZED[name](sizes) if name in SIZED else BENCHMARKS[name]()
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
