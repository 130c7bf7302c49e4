"""A whole consortium on this machine, as separate processes on loopback with real certificates.

    with Consortium(Path("run"), members) as consortium:
        consortium.start()
        consortium.cli("job", "list", home="rosa")

Each node has its own folder, keys, database and process, and speaks to the others only as it would across the world.
The demo and the tests run on it.
"""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import typer

from compliance.errors import ComplianceError
from examples.papers import papers
from federation.client import Researcher
from inbond.cli import build, exit_code
from inbond.errors import InbondError, Unreachable
from policies.errors import PolicyError

NAME = "acme.example"
AUTHORITY, COORDINATOR = "authority", "coordinator"
COORDINATOR_COUNTRY = "DE"
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class CommandFailed(RuntimeError):
    """A command of the consortium ended with an error; the message is the command's own line."""

    def __init__(self, arguments: Sequence[str], code: int, stderr: str) -> None:
        self.code, self.stderr = code, stderr
        super().__init__(f"inbond {' '.join(arguments)}: exit {code}: {stderr.strip()}")


class NodeFailed(RuntimeError):
    """A node's process ended by itself; the message is the end of its log."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, its country, which the authority attests, and contracts (file name -> YAML text) with the
    tables beside them.

    `standing` is a person's organisation and role, as the authority is told to certify. `papers` are the records of
    evidence that a party has (file name -> YAML text): those of `examples.papers`, where nothing else is said.
    """

    name: str
    country: str
    contracts: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)
    user: bool = False
    standing: tuple[str, str] | None = None
    papers: Mapping[str, str] | None = None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Consortium:
    """The processes of one consortium under `root`; `with` ends them all."""

    def __init__(self, root: Path, members: Sequence[Member], settings: Mapping[str, str] | None = None) -> None:
        self.root, self.members = root, {member.name: member for member in members}
        self._settings = {"INBOND_LIFE_REJOIN_SECONDS": "60", **(settings or {})}
        self._enrol, self._authority, self._serve = free_ports(3)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where the coordinator answers."""
        return f"localhost:{self._serve}"

    def home(self, name: str) -> Path:
        """A node's folder."""
        return self.root / name

    # making

    def make(self) -> None:
        """Found the consortium, make and enrol every node by invitation. The authority runs from here on."""
        self.root.mkdir(parents=True, exist_ok=True)
        at = ("--enrol-address", f"localhost:{self._enrol}", "--address", f"localhost:{self._authority}")
        self.command("ca", "init", NAME, *at, home=AUTHORITY)
        self.launch(AUTHORITY)
        listen = f"localhost:{self._serve}"
        self.command(
            "coordinator", "init", NAME, "--country", COORDINATOR_COUNTRY, "--listen", listen, home=COORDINATOR
        )
        self._join(COORDINATOR, "coordinator", "coordinator", COORDINATOR_COUNTRY)
        for member in self.members.values():
            role = "user" if member.user else "party"
            where = ("--consortium", NAME, "--country", member.country)
            self.command(role, "init", member.name, *where, home=member.name)
            self._furnish(member)
            self._join(member.name, role, f"{role}/{member.name}", member.country, member.standing)
            self._prove(member)

    def _furnish(self, member: Member) -> None:
        folder = self.home(member.name)
        for file, text in member.contracts.items():
            (folder / "contracts" / file).write_text(text, "utf-8")
        for file, source in member.tables.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(source.read_bytes())

    def _prove(self, member: Member) -> None:
        """Give a party its records of evidence on transfers to all others."""
        others = {one.name: one.country for one in self.members.values()} | {COORDINATOR: COORDINATOR_COUNTRY}
        texts = papers(member.name, member.country, others) if member.papers is None else member.papers
        if member.user or not texts:
            return
        folder = self.home(member.name) / "papers"
        folder.mkdir()
        for file, text in texts.items():
            (folder / file).write_text(text, "utf-8")
        self.command("record", "add", *(str(folder / file) for file in texts), home=member.name)

    def _join(self, home: str, role: str, identity: str, country: str, standing: tuple[str, str] | None = None) -> None:
        person = ("--organisation", standing[0], "--role", standing[1]) if standing else ()
        told = ("--country", country, *person)
        hosts = ("--dns", "localhost", "--ip", "127.0.0.1") if role == "coordinator" else ()
        coordinator = ("--coordinator", self.address)
        invited = self.command("ca", "invite", identity, *hosts, *coordinator, *told, "--json", home=AUTHORITY)
        self.command(role, "join", json.loads(invited)["invitation"], home=home)

    # running

    def start(self) -> None:
        """Start coordinator and parties, and wait until all parties are connected and published."""
        self.launch(COORDINATOR)
        for member in self.members.values():
            if not member.user:
                self.launch(member.name)
        self.wait_connected()

    def launch(self, name: str) -> None:
        """Start one node's process; its output goes to `<name>.log` beside its folder."""
        group = {AUTHORITY: "ca", COORDINATOR: "coordinator"}.get(name, "party")
        command = [sys.executable, "-m", "inbond", group, "start", "--home", str(self.home(name))]
        if name == AUTHORITY:
            command += [
                "--enrol-listen",
                f"127.0.0.1:{self._enrol}",
                "--listen",
                f"127.0.0.1:{self._authority}",
            ]
        with (self.root / f"{name}.log").open("ab") as log, _uninterrupted():
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        if name == AUTHORITY:
            self._wait_port(self._authority, name)
        if name == COORDINATOR:
            self._wait_port(self._serve, name)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._settings, "PYTHONUNBUFFERED": "1"}

    def _wait_port(self, port: int, name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
            except OSError:
                self._check_alive(name)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{name} does not answer on port {port}") from None
                time.sleep(0.1)

    def _check_alive(self, name: str) -> None:
        process = self.processes[name]
        if process.poll() is not None:
            log = (self.root / f"{name}.log").read_text(errors="replace")
            raise NodeFailed(f"{name} ended with exit code {process.returncode}: {log[-2000:]}")

    def wait_connected(self, names: Sequence[str] = ()) -> None:
        """Wait until the named parties (default: all that run) have published their datasets."""
        wanted = set(names) or {name for name in self.processes if name in self.members}
        deadline = time.monotonic() + START_SECONDS
        with self.researcher() as researcher:
            while missing := wanted - _published(researcher):
                for name in (COORDINATOR, *missing):
                    self._check_alive(name)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not connected after {START_SECONDS:.0f} s: {', '.join(sorted(missing))}")
                time.sleep(0.2)

    def kill(self, name: str) -> None:
        """Kill -9 one node, as a power cut would."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def stop(self) -> None:
        """End every process: politely, then not."""
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # asking

    def researcher(self, name: str = "") -> Researcher:
        """A user's connection to the coordinator (the first user's), in this process; the caller closes it."""
        chosen = name or next(member.name for member in self.members.values() if member.user)
        return Researcher.open(self.home(chosen))

    def command(self, *arguments: str, home: str) -> str:
        """Run one `inbond` command in this process, which saves starting an interpreter; its standard output.

        The command is the one that `cli` runs, so everything it does is the same. Not for several threads at once.
        Raises CommandFailed.
        """
        shown, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told), _variables(self._settings):
            root = typer.main.get_command(build(arguments))
            try:
                code = root.main([*arguments, "--home", str(self.home(home))], "inbond", standalone_mode=False)
            except click.ClickException as error:
                raise CommandFailed(arguments, error.exit_code, error.format_message()) from None
            except (InbondError, PolicyError, ComplianceError) as error:
                raise CommandFailed(arguments, exit_code(error), str(error)) from None
        if code:
            raise CommandFailed(arguments, code, told.getvalue())
        return shown.getvalue()

    def cli(self, *arguments: str, home: str, timeout: float = 300.0) -> str:
        """Run one `inbond` command for the node `home`; its standard output. Raises CommandFailed."""
        command = [sys.executable, "-m", "inbond", *arguments, "--home", str(self.home(home))]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(arguments, done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str, home: str, timeout: float = 300.0) -> Any:
        """What a command prints with --json."""
        return json.loads(self.cli(*arguments, "--json", home=home, timeout=timeout))


def _published(researcher: Researcher) -> set[str]:
    """The parties that are connected and have published their datasets; none while the coordinator is not up."""
    try:
        return set(researcher.catalogue()) & set(researcher.nodes()["parties"])
    except Unreachable:
        return set()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back while a process is started: one that is not yet in the list would never be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda came, _frame: held.append(came)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in dict.fromkeys(held):
            signal.raise_signal(came)


@contextlib.contextmanager
def _variables(settings: Mapping[str, str]) -> Iterator[None]:
    """The environment with `settings` in it, for as long as the context lasts."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
