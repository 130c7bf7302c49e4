"""What every member's command group shares: `init` (keys, configuration), `join` (enrolment), `status`, serving."""

import contextlib
import io
import json as _json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TextIO, cast

import structlog
import typer
from pydantic import ValidationError

from compliance.audit.entry import EntryType
from inbond.config import AddressSection, NodeConfig, NodeSection, describe, load, replace, save
from inbond.console import emit, facts
from inbond.credentials import Credentials
from inbond.enrolment import Invitation, enrol
from inbond.errors import ConfigError
from inbond.keystore import KeyStore, Unlock
from inbond.node import LOGIN_FILE, Node, utc_now

Home = Annotated[Path, typer.Option("--home", envvar="INBOND_HOME", help="Folder of the node.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
DEFAULT_HOME = Path()
Role = Literal["party", "coordinator", "user"]
_YEARS = range(1970, 3000)  # what is no slip of the finger, and far from where calendars end


def time_of(text: str, where: str) -> datetime:
    """A time that a person typed, in UTC: `now`, or ISO 8601 with a zone; raises ConfigError, which names `where`."""
    if text == "now":
        return utc_now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found.year not in _YEARS:
        right = "now, or 2026-11-26T09:30+01:00"
        raise ConfigError(f"{text[:40]!r} is no time with a zone", where=where, right=right)
    return found.astimezone(UTC)


class Service(Protocol):
    """A node's process."""

    def run(self) -> None:
        """Serve until `stop`."""

    def stop(self) -> None:
        """Let `run` return."""


def make_node(
    role: Role, name: str, consortium: str, country: str, home: Path, addresses: AddressSection
) -> NodeConfig:
    """Make a node's folder: configuration, and keys that never leave it; raises ConfigError for a used folder."""
    try:
        section = NodeSection(role=role, name=name, consortium=consortium, country=country)
    except ValidationError as error:
        raise describe(error, f"{role} init") from None
    config = NodeConfig(node=section, address=addresses)
    save(config, home)
    unlock_file = home / "keys" / "unlock.key"
    unlock_file.parent.mkdir(mode=0o700, exist_ok=True)
    Unlock.new_file(unlock_file)
    KeyStore.create(home / "keys", Unlock.from_setting(config.keys.unlock, home, os.environ))
    return config


def load_role(home: Path, role: Role) -> NodeConfig:
    """The configuration in `home`; raises ConfigError for no node and for one of another role."""
    config = load(home)
    if config.node.role != role:
        right = f"inbond {config.node.role} ..., or the --home of a {role}"
        raise ConfigError(f"this is a {config.node.role}'s node", where=str(home), right=right)
    return config


def join_consortium(home: Path, role: Role, invitation: str) -> Credentials:
    """Enrol the `role`'s node in `home`; raises ConfigError when the invitation is for somebody else."""
    config = load_role(home, role)
    node = config.node
    invited = Invitation.parse(invitation)
    wanted = f"spiffe://{node.consortium}/" + (
        "coordinator" if node.role == "coordinator" else f"{node.role}/{node.name}"
    )
    if str(invited.spiffe_id) != wanted:
        raise ConfigError(f"the invitation is for {invited.spiffe_id}", where="invitation", right=f"one for {wanted}")
    keystore = KeyStore.open(home / "keys", Unlock.from_setting(config.keys.unlock, home, os.environ))
    credentials = enrol(invitation, keystore, home / "certs")
    (home / LOGIN_FILE).unlink(missing_ok=True)  # from now on the node renews its certificates
    settle(home, config, invited, {"event": "joined", "authority": invited.fingerprint})
    return credentials


def settle(home: Path, config: NodeConfig, places: "Places", event: Mapping[str, str]) -> None:
    """Keep the consortium's addresses, and note in the node's evidence how it came in."""
    _remember_addresses(home, config, places)
    opened = Node.open(home)
    opened.record(EntryType.CERTIFICATE, data=event)
    opened.close()


class Places(Protocol):
    """An invitation, or whatever else says where the others answer (`host:port`)."""

    @property
    def authority_address(self) -> str:
        """The authority's mutual TLS service."""

    @property
    def coordinator_address(self) -> str:
        """The coordinator; empty where it is not said."""


def _remember_addresses(home: Path, config: NodeConfig, invited: Places) -> None:
    """Take the addresses that the invitation carries, where the configuration names none."""
    own = config.address
    address = own.model_copy(
        update={
            "authority": own.authority or invited.authority_address,
            "coordinator": own.coordinator or invited.coordinator_address,
        }
    )
    if address != own:
        written = load(home, {})  # what the environment overrides for this process is not to be kept
        replace(written.model_copy(update={"address": address}), home)


def read_invitation(text: str) -> str:
    """The invitation itself, or the content of the file that `text` names with a leading @."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise ConfigError(f"cannot be read ({reason})", where=text[1:], right="a file with an invitation") from None


def show_joined(credentials: Credentials, json: bool) -> None:
    """Say who this node now is."""
    data = {
        "id": str(credentials.spiffe_id),
        "certificate_until": credentials.not_after.isoformat(timespec="seconds"),
    }
    emit(data, json=json, human=lambda console: console.print(facts(data)))


def life_of(home: Path, file: str) -> dict[str, Any]:
    """The process's own last sign of life, `running` checked against the operating system."""
    path = home / file
    if not path.exists():
        return {"state": "never started", "running": False}
    try:
        sign: dict[str, Any] = _json.loads(path.read_text())
        running = _exists(int(sign["pid"])) and sign["state"] != "stopped"
    except (OSError, ValueError, KeyError, TypeError):
        right = "remove it; the node writes it again when it starts"
        raise ConfigError("damaged sign of life", where=str(path), right=right) from None
    return {**sign, "running": running}


def _exists(pid: int) -> bool:
    """Whether a process of that number runs, also another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def certificate_facts(home: Path) -> dict[str, Any]:
    """Who the node is and until when its certificate holds."""
    credentials = Credentials.load(home / "certs")
    left = (credentials.not_after - utc_now()).total_seconds()
    return {
        "id": str(credentials.spiffe_id),
        "certificate_until": credentials.not_after.isoformat(timespec="seconds"),
        "certificate_valid": left > 0,
        "attested_country": credentials.standing.country or "none",
        "deny_list": credentials.trust.denied.version,
    }


def serve(service: Service, started: Callable[[], None]) -> None:
    """Run a node's process in the foreground until SIGINT or SIGTERM."""
    stopping = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        if not stopping.is_set():
            stopping.set()
            threading.Thread(target=service.stop, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    started()
    service.run()


class _StandardError(io.TextIOBase):
    """Standard error as a place for logs: a full disk behind it must not stop a step (evidence has its own log)."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def log_to_stderr(json: bool) -> None:
    """Structured logs on standard error: JSON lines, or readable ones for a person."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _StandardError())),
    )
