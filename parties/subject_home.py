"""What the commands about people share: whose id it is, and the registry of the node, for changing and for looking."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from compliance.errors import LawStoreUnavailable
from compliance.subject_requests import SubjectRequests
from compliance.subjects import FILE
from inbond.console import line_in
from inbond.errors import ConfigError
from inbond.node import Node
from parties.withheld import opened_registry, seal_of

Person = Annotated[str, typer.Argument(metavar="ID", help="The person's id, as in the tables; - reads it.")]


def id_of(person: str) -> str:
    """The id itself: what was given, or for `-` a line of standard input."""
    return line_in().strip() if person == "-" else person


@contextmanager
def changing(home: Path) -> Iterator[tuple[Node, SubjectRequests]]:
    """The party's node with its evidence log, and its registry, begun where it has none."""
    node = Node.open(home)
    try:
        with opened_registry(node) as registry:
            yield node, registry
    finally:
        node.close()


@contextmanager
def looking(home: Path) -> Iterator[tuple[Node, SubjectRequests | None]]:
    """The node and its registry, or None where nobody has said anything yet."""
    node = Node.open(home, audit=False)
    if not (home / FILE).exists():
        yield node, None
        return
    try:
        registry = SubjectRequests.look(home / FILE, seal_of(node))
    except LawStoreUnavailable as error:
        raise ConfigError(error.what, where=error.where, right=error.right) from None
    with registry:
        yield node, registry
