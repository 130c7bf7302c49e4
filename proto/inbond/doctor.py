"""`inbond doctor`: looks at a node and says, line by line, what is well and what to mend."""

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import typer

from compliance.audit.verify import verify
from compliance.errors import ComplianceError
from inbond.config import NodeConfig, load
from inbond.console import emit, table
from inbond.contract_files import read_contracts
from inbond.credentials import Credentials
from inbond.errors import InbondError
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.node import Node, extra_policies, utc_now
from policies.bundle import load_baseline
from policies.errors import PolicyError

app = typer.Typer()
FREE_MIB = 512


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: `what` was looked at, whether it is well, and what is to be known or mended."""

    what: str
    well: bool
    says: str


def _look(what: str, act: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, act())
    except (InbondError, PolicyError, ComplianceError, OSError) as error:
        return Finding(what, False, str(error))


def examine(home: Path) -> Iterator[Finding]:
    """All findings about the node in `home`."""
    yield _look("python", _python)
    yield _look("disk", lambda: _disk(home))
    first = _look("configuration", lambda: f"{load(home).node.role} {load(home).node.name}")
    yield first
    if not first.well:
        return
    config = load(home)
    yield _look("keys and certificates", lambda: _certificates(home))
    yield _look("country", lambda: _country(home, config))
    yield _look("evidence log", lambda: _evidence(home))
    if config.node.role != "user":
        yield _look("policies", lambda: _policies(home))
    if config.node.role != "coordinator":
        yield _look("coordinator", lambda: _reach(config))
    yield _look("workers", _isolation)
    yield _look("recipes", lambda: ", ".join(sorted(entry_points(group="inbond.recipes").names)) or "none")


def _python() -> str:
    return f"{sys.version.split()[0]}, {ssl.OPENSSL_VERSION}"


def _disk(home: Path) -> str:
    free = shutil.disk_usage(home if home.exists() else Path()).free // 2**20
    if free < FREE_MIB:
        raise InbondError(
            f"{free} MiB free", where=str(home), right=f"at least {FREE_MIB} MiB, or evidence cannot be kept"
        )
    return f"{free} MiB free"


def _certificates(home: Path) -> str:
    node = Node.open(home, audit=False)
    left = (node.credentials.not_after - utc_now()).total_seconds() / 3600
    if left <= 0:
        raise InbondError(
            "the certificate has expired", where=str(home), right="start the node while the authority runs"
        )
    return f"{Credentials.load(home / 'certs').spiffe_id}, {left:.1f} h left"


def _country(home: Path, config: NodeConfig) -> str:
    """What this node and its contracts claim, beside what the authority attests: others refuse what differs."""
    claimed, credentials = config.node.country, Credentials.load(home / "certs")
    attested = credentials.standing.country
    if not attested:
        return f"{claimed}, as this node claims; its certificate names no country"
    credentials.check_country(claimed, or_else=f"an invitation or a login that attests {claimed}")
    for path, contract in read_contracts(home).items():
        if contract.jurisdiction != attested:
            what = f"claims jurisdiction {contract.jurisdiction}, and the authority attests {attested}"
            raise InbondError(what, where=str(path), right=f"jurisdiction: {attested}, or a node there")
    return f"{claimed}, as the authority attests"


def _evidence(home: Path) -> str:
    if not (home / "audit.db").exists():
        return "none yet"
    report = verify(home / "audit.db")
    if not report.ok:
        raise InbondError(f"does not verify: {report.problem}", where=str(home / "audit.db"), right="ask the officer")
    return f"{report.size} entries verify"


def _isolation() -> str:
    command = [sys.executable, "-m", "inbond.child", "probe"]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        right = "root, or a system that allows user namespaces"
        raise InbondError("a worker cannot be cut off from the network", where="this system", right=right)
    return "run without network"


def _policies(home: Path) -> str:
    bundle = load_baseline(extra_policies(home))
    return f"{len(bundle.notes)} policies, {bundle.fingerprint[:12]}"


def _reach(config: NodeConfig) -> str:
    if not config.address.coordinator:
        raise InbondError("not known yet", where="[address] coordinator", right="join, or set it in inbond.toml")
    host, _, port = config.address.coordinator.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=3):
            return f"{config.address.coordinator} answers"
    except (ValueError, OverflowError):
        raise InbondError(
            "not an address", where="[address] coordinator", right='host:port in inbond.toml, such as "host:8440"'
        ) from None
    except OSError as error:
        right = "a running coordinator, and the right [address] coordinator"
        reason = error.strerror or error
        raise InbondError(f"no connection ({reason})", where=config.address.coordinator, right=right) from None


@app.command()
def doctor(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Check a node and say what to mend; exit code 2 when something is not well."""
    findings = list(examine(home))
    rows: list[dict[str, Any]] = [{"what": one.what, "well": one.well, "says": one.says} for one in findings]
    cells = ((one.what, "ok" if one.well else "MEND", one.says) for one in findings)
    emit(rows, json=json, human=lambda console: console.print(table(("checked", "", "finding"), cells)))
    if not all(one.well for one in findings):
        raise typer.Exit(2)
