"""What the demo shows: headings, lines, tables, bars on a terminal, and checks that decide its exit code."""

import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from inbond.console import WIDTH, table


class Work:
    """One piece of work in progress: a bar on a terminal, lines elsewhere."""

    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total, detail="")

    def step(self, detail: str = "") -> None:
        """One step further, and what it was."""
        self._progress.update(self._task, advance=1, detail=detail)

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._progress.console.print(f"   {text}")


class Stage:
    """The demo's output, at most 80 columns wide; `failed` holds the checks that did not hold."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.console = Console(file=file or sys.stdout, highlight=False, markup=False, emoji=False)
        self.console.width = min(WIDTH, self.console.width)
        self.failed: list[str] = []
        self._chapters = 0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the curtain rose."""
        return time.monotonic() - self._started

    def chapter(self, what: str, why: str) -> None:
        """A heading: what happens now and why it matters."""
        self._chapters += 1
        self.console.print()
        self.console.print(f"{self._chapters}. {what}", style="bold")
        self.say(why)

    def say(self, text: str) -> None:
        """A sentence or a few, folded."""
        indent = "   "
        folded = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        self.console.print("\n".join(folded))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table."""
        self.console.print()
        self.console.print(table(columns, rows))
        self.console.print()

    def check(self, what: str, *, holds: bool) -> None:
        """Something that the demo claims; the exit code tells whether every claim held."""
        if not holds:
            self.failed.append(what)
        style = "green" if holds else "bold red"
        text = f"{'checked' if holds else 'FAILED'}: {what}"
        self.console.print(
            "\n".join(textwrap.wrap(text, WIDTH, initial_indent="   ", subsequent_indent="     ")), style=style
        )

    @contextmanager
    def work(self, what: str, total: int | None = None) -> Iterator[Work]:
        """A bar for work of `total` steps (None: unknown), or one line with its seconds off a terminal."""
        started = time.monotonic()
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            yield Work(progress, what, total)
        self.say(f"{what}: {time.monotonic() - started:.1f} s")
