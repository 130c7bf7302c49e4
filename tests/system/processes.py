"""Processes of this machine, as /proc shows them (proc(5)): whose children they are, and whether they still live."""

import json
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process; `started` (clock ticks since boot) tells it from a later one with the same number."""

    pid: int
    parent: int
    state: str
    started: int
    command: str


def running() -> dict[int, Process]:
    """Every process that lives: a zombie is dead and waits for its parent."""
    found = (_read(int(path.name)) for path in PROC.iterdir() if path.name.isdigit())
    return {one.pid: one for one in found if one is not None and one.state not in "ZX"}


def _read(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = stat.rpartition(")")[2].split()  # field 3 on: state, parent, ...; the name before may hold anything
    return Process(pid, int(fields[1]), fields[0], int(fields[19]), command)


def children(pid: int, name: str = "") -> set[Process]:
    """All descendants of a process whose command line holds `name`."""
    everything, found, fresh = running(), set[Process](), {pid}
    while fresh:
        below = {one for one in everything.values() if one.parent in fresh}
        fresh = {one.pid for one in below}
        found |= below
    return {one for one in found if name in one.command}


def alive(processes: set[Process]) -> set[Process]:
    """Those of `processes` that still live."""
    now = running()
    return {one for one in processes if one.pid in now and now[one.pid].started == one.started}


def module(process: Process) -> str:
    """The module that a child of a node runs, from its command line."""
    start = process.command.find("{")
    return str(json.loads(process.command[start:])["module"]) if start >= 0 else ""
