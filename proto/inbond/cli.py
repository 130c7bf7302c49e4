"""The command line's root: finds command groups by entry point; alone turns errors into one line and an exit code."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import get_type_hints

import click
import typer
from typer.core import TyperArgument
from typer.models import ArgumentInfo

from compliance.errors import BudgetExceeded, ComplianceError, LogTampered
from inbond.console import one_line
from inbond.errors import InbondError
from policies.errors import PolicyError
from policies.verdict import RefusedError
from protocols.errors import PeerViolation, ProtocolError

COMMANDS, ROOT = "inbond.commands", "root-"
EXIT_INPUT, EXIT_REFUSED, EXIT_PEER, EXIT_EVIDENCE, EXIT_INTERRUPTED = 2, 3, 4, 5, 130


def _version(show: bool) -> None:
    if show:
        typer.echo(f"inbond {version('inbond')}")
        raise typer.Exit


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the installed command groups that `arguments` may need, under their entry points' names.

    A group is a Typer application; an entry point whose name starts with `root-` adds its commands to the root.
    """
    root = typer.Typer(
        name="inbond",
        help="Federated training and joint queries; every row stays where its owner and the law say it stays.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @root.callback()
    def options(
        show: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    ) -> None:
        """Federated training and joint queries; every row stays where its owner and the law say it stays."""
        del show

    for point in _wanted(list(entry_points(group=COMMANDS)), arguments):
        root.add_typer(point.load(), name=None if point.name.startswith(ROOT) else point.name)
    return root


def _wanted(points: list[EntryPoint], arguments: Sequence[str]) -> list[EntryPoint]:
    """The groups to load: the one that is named, or all where none is (help, a root command, a typing error).

    Loading a group imports what it needs; a command should not wait for the others' imports.
    """
    named = [point for point in points if arguments and point.name == arguments[0]]
    return named or sorted(points, key=lambda point: point.name)


def command(arguments: Sequence[str] = ()) -> click.Command:
    """The whole command line as a command of Click, for `arguments`."""
    root = typer.main.get_command(build(arguments))
    _restore_help(root)
    return root


def _restore_help(found: click.Command) -> None:
    """Give arguments their help: Typer 0.20 sets it before Click 8.5 clears it."""
    for inner in getattr(found, "commands", {}).values():
        _restore_help(inner)
    hints = get_type_hints(found.callback, include_extras=True) if found.callback else {}
    for parameter in found.params:
        if isinstance(parameter, TyperArgument) and not parameter.help:
            notes = getattr(hints.get(parameter.name or ""), "__metadata__", ())
            parameter.help = next((note.help for note in notes if isinstance(note, ArgumentInfo)), None)


def exit_code(error: Exception) -> int:
    """What the shell learns of an error."""
    match error:
        case InbondError():
            return error.exit_code
        case LogTampered():
            return EXIT_EVIDENCE
        case BudgetExceeded() | RefusedError():
            return EXIT_REFUSED
        case PeerViolation():
            return EXIT_PEER
        case _:
            return EXIT_INPUT


def main() -> None:
    """Run the command line; every failure is one line on standard error."""
    root = command(sys.argv[1:])
    try:
        code = root.main(standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # Typer turns an interrupt into an exit without a word
            raise KeyboardInterrupt
    except click.exceptions.NoArgsIsHelpError:
        code = EXIT_INPUT  # the help has been printed
    except click.ClickException as error:
        print(f"inbond: {one_line(error.format_message())}; see --help", file=sys.stderr)
        code = EXIT_INPUT
    except (KeyboardInterrupt, click.Abort):
        print("inbond: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (InbondError, ComplianceError, PolicyError, ProtocolError) as error:
        print(f"inbond: {one_line(str(error))}", file=sys.stderr)
        code = exit_code(error)
    except OSError as error:
        print(f"inbond: {error.filename or 'the operating system'}: {error.strerror or error}", file=sys.stderr)
        code = EXIT_INPUT
    sys.exit(code if isinstance(code, int) else 0)
