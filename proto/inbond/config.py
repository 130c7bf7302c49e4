"""One `inbond.toml` per node, validated; `INBOND_<SECTION>_<KEY>` variables override single keys.

Every error names the file, the key, what was wrong and what would be right.
"""

import contextlib
import os
import tomllib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inbond.errors import ConfigError
from policies.approval_rule import ApprovalRule

FILE = "inbond.toml"
M = TypeVar("M", bound=BaseModel)
_SHOWN = 60  # characters of a wrong value that an error repeats


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

    denylist_seconds: float = Field(2, ge=0.2, le=300, description="how often the deny list is fetched")
    heartbeat_seconds: float = Field(2, ge=0.2, le=60, description="heartbeat on the link")
    rejoin_seconds: float = Field(120, ge=5, le=86_400, description="how long a job waits for a lost party")


class OpeningSection(_Section):
    """What is kept of encrypted join values, for auditors whom a contract names; else nothing is."""

    keep_days: int = Field(30, ge=0, le=365, description="how long; 0 keeps nothing")
    keep_mib: int = Field(1024, ge=1, le=1 << 20, description="how much in all; the oldest goes first")


class ApprovalSection(_Section):
    """What this node does only once people have approved it; nobody is asked where a rule is left out."""

    agreements: ApprovalRule | None = Field(None, description="people, role, hours: before it signs an agreement")
    policies: ApprovalRule | None = Field(None, description="the same before it runs under its own Cedar files")

    @model_validator(mode="after")
    def _nodes_have_no_organisation(self) -> "ApprovalSection":
        if any(rule is not None and rule.other_organisation for rule in (self.agreements, self.policies)):
            raise ValueError("leave `other_organisation` out: a node belongs to none that people could differ from")
        return self


class PeopleSection(_Section):
    """Who acts at this node's own command line besides its keeper."""

    organisation: str = Field(
        "", pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$", description="whose people may act here, each as their role allows"
    )


class NodeConfig(_Section):
    """The whole file."""

    node: NodeSection
    address: AddressSection = AddressSection()  # type: ignore[call-arg]  # all fields have defaults
    keys: KeySection = KeySection()  # type: ignore[call-arg]  # all fields have defaults
    limits: LimitSection = LimitSection()  # type: ignore[call-arg]  # all fields have defaults
    life: LifeSection = LifeSection()  # type: ignore[call-arg]  # all fields have defaults
    openings: OpeningSection = OpeningSection()  # type: ignore[call-arg]  # all fields have defaults
    approval: ApprovalSection = ApprovalSection()  # type: ignore[call-arg]  # all fields have defaults
    people: PeopleSection = PeopleSection()  # type: ignore[call-arg]  # all fields have defaults


class AuthorityConfig(_Section):
    """The file in an authority's folder, which may be left out: everything else it keeps in its database."""

    people: PeopleSection = PeopleSection()  # type: ignore[call-arg]  # all fields have defaults


def _overrides(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Keys set by the environment: INBOND_LIMITS_STEP_SECONDS=5 is limits.step_seconds."""
    found: dict[str, dict[str, str]] = {}
    for section, field in NodeConfig.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        for key in model.model_fields:
            value = environ.get(_variable(section, key))
            if value is not None:
                found.setdefault(section, {})[key] = value
    return found


def _variable(section: str, key: str) -> str:
    return f"INBOND_{section}_{key}".upper()


def describe(error: ValidationError, where: str, overridden: Container[str] = ()) -> ConfigError:
    """The first fault of a pydantic error as one line; it names the key, or the variable that `overridden` lists."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    expected = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "missing":
        return ConfigError(f"key {key} is missing", where=where, right="add it")
    if first["type"] == "extra_forbidden":
        return ConfigError(f"key {key} is unknown", where=where, right="mend its name, or leave it out")
    given = f", not {str(first['input'])[:_SHOWN]!r}" if not isinstance(first["input"], dict) else ""
    variable = _variable(*map(str, first["loc"])) if len(first["loc"]) == 2 else ""
    if variable in overridden:
        return ConfigError(f"variable is wrong (key {key})", where=variable, right=f"{expected}{given}")
    return ConfigError(f"key {key} is wrong", where=where, right=f"{expected}{given}")


def parse(text: str, *, where: str, environ: Mapping[str, str] | None = None) -> NodeConfig:
    """The configuration in `text`; raises ConfigError."""
    data = _toml(text, where)
    overrides = _overrides(environ or {})
    for section, keys in overrides.items():
        if isinstance(data.setdefault(section, {}), dict):  # else the check below says what is wrong
            data[section].update(keys)
    named = {_variable(section, key) for section, keys in overrides.items() for key in keys}
    return _checked(NodeConfig, data, where, named)


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML ({error})", where=where, right="mend the TOML, or restore the file") from None


def _checked(model: type[M], data: dict[str, Any], where: str, overridden: Container[str] = ()) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise describe(error, where, overridden) from None


def read_text(path: Path, right: str) -> str:
    """The text of a file that a user wrote; raises ConfigError that says `right` where it cannot be read."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path), right=right) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not text ({error.reason})", where=str(path), right=right) from None


def load(home: Path, environ: Mapping[str, str] | None = None) -> NodeConfig:
    """The configuration of the node in folder `home`, under `environ` (the process's own); raises ConfigError."""
    path = home / FILE
    if not path.exists():
        right = "make one with `inbond party|coordinator|user init --home DIR`"
        raise ConfigError("no node here", where=str(path), right=right)
    text = read_text(path, "a TOML file in UTF-8")
    return parse(text, where=str(path), environ=environ if environ is not None else os.environ)


def node_people(home: Path) -> PeopleSection:
    """Who acts at the node in `home`, by its file alone: variables are set by whoever acts. Raises ConfigError."""
    return load(home, {}).people


def authority_people(home: Path) -> PeopleSection:
    """Who acts at the authority in `home`; without a file nobody but its keeper. Raises ConfigError."""
    path = home / FILE
    text = read_text(path, "a TOML file in UTF-8") if path.exists() else ""
    return _checked(AuthorityConfig, _toml(text, str(path)), str(path)).people


def save(config: NodeConfig, home: Path) -> None:
    """Write the keys that differ from the defaults, and all of [node]; never overwrites a node."""
    path = home / FILE
    if path.exists():
        raise ConfigError("a node is already here", where=str(path), right="choose an empty folder")
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("x", encoding="utf-8") as file:
            file.write(_text(config))
    except OSError as error:
        right = "a folder you may write to"
        raise ConfigError(f"cannot be made ({error.strerror})", where=str(path), right=right) from None


def replace(config: NodeConfig, home: Path) -> None:
    """Change the configuration of the node in `home`: a crash leaves the old file or the new one."""
    scratch = home / f"{FILE}.part"
    try:
        scratch.write_text(_text(config), "utf-8")
        scratch.rename(home / FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        where, right = str(home / FILE), "a folder you may write to"
        raise ConfigError(f"cannot be changed ({error.strerror})", where=where, right=right) from None


def _text(config: NodeConfig) -> str:
    return tomli_w.dumps(config.model_dump(exclude_defaults=True))
