"""The peer of `rounds`: stock Flower on this machine, a SuperLink and three SuperNodes on loopback, no TLS.

The ServerApp sends one float32 array to all nodes with `send_and_receive` and reads back the same size.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

NODES = 3
SECONDS_A_ROUND = 20.0  # it takes about six
START_SECONDS = 60.0
LINE = re.compile(r"ROUND ([0-9.]+) ([0-9]+)")
INSTALL = "pip install flwr==1.41.0"

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "echo-rounds"
version = "1.0.0"
license = "Apache-2.0"
dependencies = ["flwr"]
[tool.flwr.app]
publisher = "benchmark"
[tool.flwr.app.components]
serverapp = "echo_rounds.server:app"
clientapp = "echo_rounds.client:app"
[tool.flwr.app.config]
values = 10
rounds = 3
"""
CLIENT = """
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)
"""
SERVER = f"""
import time
import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
app = ServerApp()
@app.main()
def main(grid: Grid, context: Context) -> None:
    while len(nodes := list(grid.get_node_ids())) < {NODES}:
        time.sleep(0.2)
    for number in range(int(context.run_config["rounds"]) + 1):
        array = np.full(int(context.run_config["values"]), number, np.float32)
        start = time.perf_counter()
        content = RecordDict({{"arrays": ArrayRecord([array])}})
        sent = [Message(content, dst_node_id=node, message_type="train") for node in nodes]
        back = [reply for reply in grid.send_and_receive(sent) if not reply.has_error()]
        same = sum(reply.content["arrays"].to_numpy_ndarrays()[0].size == array.size for reply in back)
        print(f"ROUND {{time.perf_counter() - start:.4f}} {{same}}", flush=True)
"""


def measure(rounds: Mapping[int, int]) -> tuple[dict[int, list[float]], str]:
    """Bytes -> seconds of each of so many rounds, the first of a run not counted; else why there is none."""
    tools = Path(sys.executable).parent
    if find_spec("flwr") is None or not (tools / "flower-superlink").exists():
        return {}, f"not installed: {INSTALL}"
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as processes:
        deployment = _Deployment(Path(name), tools, processes)
        try:
            deployment.start()
            return {size: deployment.run(size, count) for size, count in rounds.items()}, ""
        except (OSError, RuntimeError) as error:
            return {}, f"did not run here ({error})"


class _Deployment:
    """SuperLink and SuperNodes in a folder of their own; `processes` ends them."""

    def __init__(self, folder: Path, tools: Path, processes: contextlib.ExitStack) -> None:
        self._folder, self._tools, self._processes = folder, tools, processes
        self._port, *self._ports = _free_ports(NODES + 1)
        self._environment = {
            **os.environ,
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self) -> None:
        """Write the app and start the processes. Raises RuntimeError when one does not stay."""
        _write(self._folder / "app" / "pyproject.toml", PROJECT)
        _write(self._folder / "app" / "echo_rounds" / "__init__.py", "")
        _write(self._folder / "app" / "echo_rounds" / "client.py", CLIENT)
        _write(self._folder / "app" / "echo_rounds" / "server.py", SERVER)
        where = (
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{self._port}"\ninsecure = true\n'
        )
        _write(self._folder / "home" / "config.toml", where)
        print("rounds: starting Flower's deployment", file=sys.stderr, flush=True)
        link = (
            "flower-superlink",
            "--insecure",
            "--port",
            str(self._port),
            "--disable-runtime-dependency-installation",
        )
        self._launch(*link)
        self._wait()
        for port in self._ports:
            to = f"127.0.0.1:{self._port}"
            self._launch("flower-supernode", "--insecure", "--superlink", to, "--port", str(port))

    def run(self, size: int, count: int) -> list[float]:
        """Seconds of `count` rounds of `size` bytes each way. Raises RuntimeError when they do not come."""
        print(f"rounds: Flower, {count} rounds of {size:,} bytes", file=sys.stderr, flush=True)
        config = f"values={size // 4} rounds={count}"
        log = self._launch("flwr", "run", str(self._folder / "app"), "here", "--stream", "--run-config", config)
        deadline = time.monotonic() + START_SECONDS + SECONDS_A_ROUND * (count + 1)
        while len(found := LINE.findall(log.read_text(errors="replace"))) <= count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} rounds of {size} bytes in time")
            time.sleep(0.2)
        if any(int(same) != NODES for _, same in found):
            raise RuntimeError("a node did not answer")
        return [float(seconds) for seconds, _ in found[1:]]

    def _launch(self, tool: str, *arguments: str) -> Path:
        log = self._folder / f"{tool}-{time.monotonic_ns()}.log"
        with log.open("wb") as out:
            command = [str(self._tools / tool), *arguments]
            process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._processes.callback(_end, process)
        return log

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1.0):
                return
            time.sleep(0.2)
        raise RuntimeError("the SuperLink does not answer")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _free_ports(count: int) -> Sequence[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and everything that it started in its own session."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
