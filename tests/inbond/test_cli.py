"""The root: every command is found, has help that fits a terminal and --json, and errors have their exit codes."""

from collections.abc import Iterator

import click
import pytest

from compliance.errors import BudgetExceeded, LogTampered, LogUnavailable
from inbond.cli import command, exit_code
from inbond.console import one_line
from inbond.errors import ConfigError, JobFailed, Refused, Unreachable
from inbond.messages import PeerViolation as WireViolation
from policies.errors import InvalidInput
from policies.verdict import RefusedError
from protocols.errors import PeerViolation


def _commands(found: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, found
    for name, inner in getattr(found, "commands", {}).items():
        yield from _commands(inner, (*path, name))


TREE = list(_commands(command()))
LEAVES = [(path, leaf) for path, leaf in TREE if not getattr(leaf, "commands", {})]


def test_the_groups_of_the_design_are_there() -> None:
    paths = {" ".join(path) for path, _ in TREE}
    for wanted in ("party init", "party join", "party start", "party status", "party datasets", "coordinator init"):
        assert wanted in paths
    for wanted in ("job submit", "job status", "job watch", "job cancel", "job result", "job list", "job explain"):
        assert wanted in paths
    assert {"query", "doctor", "audit list", "audit show", "audit verify", "audit export", "ca init"} <= paths


@pytest.mark.parametrize("path", [path for path, _ in TREE], ids=" ".join)
def test_every_help_fits_eighty_columns_and_says_something(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    with pytest.raises(SystemExit) as ended:
        command()([*path, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert max(map(len, said.splitlines())) <= 80
    assert "Usage:" in said


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_speaks_json_and_explains_every_option(path: tuple[str, ...], leaf: click.Command) -> None:
    options = {name for parameter in leaf.params for name in parameter.opts}
    assert "--json" in options, path
    assert leaf.help
    for parameter in leaf.params:
        assert getattr(parameter, "help", ""), (path, parameter.name)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (InvalidInput("x"), 2),
        (LogUnavailable("x"), 2),
        (Refused("x"), 3),
        (RefusedError("x"), 3),
        (BudgetExceeded("x"), 3),
        (Unreachable("x"), 4),
        (PeerViolation("x"), 4),
        (WireViolation("x"), 4),
        (LogTampered("x"), 5),
        (JobFailed("x"), 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_the_exit_code_of_its_family(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_line_stays_one_line_whatever_a_stranger_wrote() -> None:
    assert one_line("a\nb\x1b[31mc\u2028d") == "a b [31mc d"
