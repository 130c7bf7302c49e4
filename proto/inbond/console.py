"""How every command talks: one table or one JSON document on standard output, everything else on standard error.

Tables fit 80 columns; colours appear only on a terminal.
"""

import json as _json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from inbond.errors import ConfigError

WIDTH = 80


def out() -> Console:
    """The console for results: 80 columns unless a terminal says otherwise."""
    return _console(sys.stdout)


def err() -> Console:
    """The console for progress, notes and errors."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    """No markup is read in what is shown: much of it was written by others, and `[address]` is a word."""
    width = None if file.isatty() else WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def emit(value: object, *, json: bool, human: Callable[[Console], None]) -> None:
    """Print `value` as JSON, or let `human` print it for a person."""
    if json:
        sys.stdout.write(_json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()
    else:
        human(out())


def note(text: str) -> None:
    """A line for the person at the keyboard, on standard error."""
    err().print(text)


def line_in() -> str:
    """One line of standard input, for what must not be an argument; raises ConfigError for what is no text."""
    try:
        text = sys.stdin.readline().rstrip("\r\n")
        text.encode()
    except UnicodeError:
        raise ConfigError("is not text", where="standard input", right="lines in UTF-8") from None
    return text


def one_line(text: str) -> str:
    """`text` on one line, without control characters: parts of it may be a stranger's, and could drive a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _cell(value: object) -> str:
    return "\n".join(map(one_line, str(value).split("\n")))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Table:
    """A plain table of `rows`; every cell is shown as text."""
    grid = Table(title=title or None, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for name in columns:
        grid.add_column(name, overflow="fold")  # a long word goes on in the next line, and is not cut
    for row in rows:
        grid.add_row(*(_cell(cell) for cell in row))
    return grid


def facts(pairs: Mapping[str, object]) -> Table:
    """A two-column table of names and values."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        grid.add_row(name, _cell(value))
    return grid


class RateColumn(ProgressColumn):
    """Steps a second, or seconds a step where it is slower than one a second."""

    def render(self, task: Task) -> Text:
        """The rate of the last steps."""
        speed = task.finished_speed or task.speed
        if not speed or task.total is None:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def bars(*, quiet: bool = False, after: float = 0) -> Iterator[Progress]:
    """Progress bars with share, rate and remaining time, on standard error; silent off a terminal or when `quiet`.

    They appear once `after` seconds have passed: what takes no time needs none.
    """
    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    ]
    progress = Progress(*columns, console=err(), transient=False, disable=quiet or not sys.stderr.isatty())
    if not after:
        with progress:
            yield progress
        return
    late = threading.Timer(after, progress.start)
    late.daemon = True
    late.start()
    try:
        yield progress
    finally:
        late.cancel()
        late.join()
        if progress.live.is_started:
            progress.stop()


def size(count: float) -> str:
    """A number of bytes for people: `3.8 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
