"""`python -m examples.demo`: a whole consortium on this machine, in eight chapters; exit code 0 if all checks hold."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from examples.consortium import CommandFailed, Consortium, NodeFailed
from examples.datasets import make_synthetic, partition_real
from examples.demo.evidence import count_costs, show_places, verify_logs
from examples.demo.folder import run_folder
from examples.demo.founding import introduce
from examples.demo.querying import answer_queries, refuse
from examples.demo.show import Show
from examples.demo.stage import Stage
from examples.demo.training import train_demand, train_fraud
from examples.members import members
from inbond.errors import ConfigError, Errors

INPUT, FAILED, INTERRUPTED = 2, 1, 130
SEED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 if every check held, 1 if one did not, 2 for bad input, 130 when interrupted."""
    chosen = _parser().parse_args(arguments)
    if find_spec("torch") is None:
        print("demo: it trains models, and torch is missing; pip install 'inbond[train]'", file=sys.stderr)
        return INPUT
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    stage = Stage()
    try:
        with run_folder(chosen.folder.absolute(), keep=chosen.keep) as root:
            _play(stage, root, chosen)
    except KeyboardInterrupt:
        print("demo: interrupted; all processes were ended", file=sys.stderr)
        return INTERRUPTED
    except ConfigError as error:
        print(f"demo: {error}", file=sys.stderr)
        return INPUT
    except (*Errors, CommandFailed, NodeFailed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return FAILED
    return verdict(stage)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="A whole consortium on this machine.")
    parser.add_argument("--data", type=Path, help="folder of the public data sets; synthetic data without it")
    parser.add_argument("--keep", action="store_true", help="keep the run folder")
    parser.add_argument("--folder", type=Path, default=Path("demo-run"), help="run folder (default: ./demo-run)")
    return parser


def _play(stage: Stage, root: Path, chosen: argparse.Namespace) -> None:
    """All chapters, and the end of every process whatever happens."""
    tables = root / "tables"
    if chosen.data is None:
        make_synthetic(tables, SEED)
    else:
        partition_real(chosen.data, tables)
    with Consortium(root / "nodes", members(tables)) as consortium:
        introduce(stage, consortium, real=chosen.data is not None)
        with consortium.researcher() as researcher:
            show = Show(stage, consortium, researcher, tables, chosen.data is not None)
            train_demand(show)
            train_fraud(show)
            answer_queries(show)
            refuse(show)
        verify_logs(show)
        count_costs(show)
        show_places(show, keep=chosen.keep)


def _interrupt(_number: int, _frame: object) -> None:
    """The first Ctrl-C ends the demo; more of them do not disturb the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def verdict(stage: Stage) -> int:
    """Say whether every check held; the exit code."""
    stage.console.print()
    if stage.failed:
        stage.console.print(f"{len(stage.failed)} of the checks failed after {stage.seconds:.0f} s:", style="bold red")
        for what in stage.failed:
            stage.say(what)
        return FAILED
    stage.console.print(f"All checks held. {stage.seconds:.0f} s.", style="bold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
