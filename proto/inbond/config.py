"""One `inbond.toml` per node, validated; `INBOND_<SECTION>_<KEY>` variables override single keys.

Every error names the file, the key, what was wrong and what would be right.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inbond.errors import ConfigError

FILE = "inbond.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSection(_Section):
    """Who this node is."""

    role: Literal["party", "coordinator", "user"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    consortium: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?$")
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2: where this node can read data")


class AddressSection(_Section):
    """Where the others answer."""

    authority: str = Field("", description="host:port of the authority's mutual TLS service")
    coordinator: str = Field("", description="host:port of the coordinator")
    listen: str = Field("", description="host:port on which the coordinator serves")


class KeySection(_Section):
    """How the key store is unlocked."""

    unlock: str = Field("file:keys/unlock.key", pattern=r"^(file:.+|env:[A-Z_]+)$")


class LimitSection(_Section):
    """Bounds that keep a node alive under a hostile peer or a greedy job."""

    message_mib: int = Field(512, ge=1, le=4096, description="largest message body")
    frames_per_s: int = Field(4000, ge=10, le=100_000, description="frames a peer may send per second")
    worker_memory_mib: int = Field(8192, ge=512, description="address space of one job's worker")
    step_seconds: int = Field(600, ge=5, le=86_400, description="longest time one step of a job may take here")
    jobs_at_once: int = Field(8, ge=1, le=256, description="jobs that may run at the same time")


class LifeSection(_Section):
    """Times."""

    certificate_hours: float = Field(8, gt=0, le=24, description="life of a leaf certificate; renewed at half")
    denylist_seconds: float = Field(2, ge=0.2, le=300, description="how often the deny list is fetched")
    heartbeat_seconds: float = Field(2, ge=0.2, le=60, description="heartbeat on the link")
    rejoin_seconds: float = Field(120, ge=5, le=86_400, description="how long a job waits for a lost party")


class NodeConfig(_Section):
    """The whole file."""

    node: NodeSection
    address: AddressSection = AddressSection()  # type: ignore[call-arg]  # all fields have defaults
    keys: KeySection = KeySection()  # type: ignore[call-arg]  # all fields have defaults
    limits: LimitSection = LimitSection()  # type: ignore[call-arg]  # all fields have defaults
    life: LifeSection = LifeSection()  # type: ignore[call-arg]  # all fields have defaults


def _overrides(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Keys set by the environment: INBOND_LIMITS_STEP_SECONDS=5 is limits.step_seconds."""
    found: dict[str, dict[str, str]] = {}
    for section, field in NodeConfig.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        for key in model.model_fields:
            value = environ.get(f"INBOND_{section}_{key}".upper())
            if value is not None:
                found.setdefault(section, {})[key] = value
    return found


def describe(error: ValidationError, where: str) -> ConfigError:
    """The first fault of a pydantic error as one line that names the key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    expected = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "missing":
        return ConfigError(f"key {key} is missing", where=where, right="add it")
    given = f", not {first['input']!r}" if not isinstance(first["input"], dict) else ""
    return ConfigError(f"key {key} is wrong", where=where, right=f"{expected}{given}")


def parse(text: str, *, where: str, environ: Mapping[str, str] | None = None) -> NodeConfig:
    """The configuration in `text`; raises ConfigError."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML ({error})", where=where, right="see docs/configuration.md") from None
    for section, keys in _overrides(environ or {}).items():
        data.setdefault(section, {}).update(keys)
    try:
        return NodeConfig.model_validate(data)
    except ValidationError as error:
        raise describe(error, where) from None


def load(home: Path) -> NodeConfig:
    """The configuration of the node in folder `home`; raises ConfigError."""
    path = home / FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "no node here",
            where=str(path),
            right="make one with `inbond party|coordinator|user init --home DIR`",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path), right="a UTF-8 file you may read") from None
    return parse(text, where=str(path), environ=os.environ)


def save(config: NodeConfig, home: Path) -> None:
    """Write the keys that differ from the defaults, and all of [node]; never overwrites a node."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / FILE
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(tomli_w.dumps(config.model_dump(exclude_defaults=True)))
    except FileExistsError:
        raise ConfigError("a node is already here", where=str(path), right="choose an empty folder") from None
