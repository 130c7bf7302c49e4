"""How decisions are printed: plain lines of at most 80 columns, a name in front and its text folded behind it.

Officers read them. What a scenario's author wrote is printable by then: reading it has refused the rest.
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import typer

from policies.law.levers import Change
from policies.law.scenario import Checked

WIDTH = 80
INDENT, NAME = 6, 13
TITLE = 60


def say(lines: Iterable[str]) -> None:
    """Print lines for a person."""
    for line in lines:
        typer.echo(line)


def say_json(value: object) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def checked_lines(one: Checked, changes: Sequence[Change]) -> Iterator[str]:
    """A scenario and its answer: a head line, then what stands behind it."""
    scenario, decision = one.scenario, one.decision
    yield from head(f"{scenario.id}  {decision.outcome}  {decision.object_class or '-'}  {verdict(one)}")
    yield from field("case", scenario.title)
    yield from field("decided by", ", ".join(decision.rules))
    yield from field("articles", "; ".join(decision.articles))
    for why in dict.fromkeys(reason.text for reason in decision.reasons):
        yield from field("because", why)
    for duty in decision.obligations:
        yield from field(duty.when, f"{duty.code}: {duty.evidence}")
    for cause in decision.causes:
        yield from field("cause", cause)
    for difference in one.differences:
        yield from field("EXPECTED", difference)
    for change in changes:
        yield from field("would do", change.sentence())


def verdict(one: Checked) -> str:
    """How the answer stands to what was expected, in a word or two."""
    if one.scenario.expected is None:
        return "nothing expected"
    return "DIFFERS" if one.differences else "as expected"


def head(text: str) -> list[str]:
    """A line at the margin, folded."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * INDENT, break_on_hyphens=False)


def field(name: str, text: str) -> list[str]:
    """A named text, indented and folded; nothing where the text is empty."""
    if not text:
        return []
    first = " " * INDENT + name.ljust(NAME)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], numbers: int) -> Iterator[str]:
    """A table of plain text; its last `numbers` columns are to the right."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    for row in cells:
        padded = [
            cell.rjust(width) if at >= len(heads) - numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(padded)[:WIDTH].rstrip()
