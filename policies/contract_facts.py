"""What a contract tells the law, put to the law's own vocabulary: facts and categories that it does not know.

Learns the contract and the catalogue of facts, no data. A contract with such a fault could take part in nothing, since
every transfer of its table would be refused: it is better told when it is written, or when its party starts.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.contract import PublishedContract
from policies.document import Path
from policies.errors import InvalidInput
from policies.law.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Fault:
    """A key of a contract (`path`) whose value the law cannot read, and what would be right."""

    path: Path
    what: str
    right: str

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path))


def unknown_to_law(contract: PublishedContract, catalogue: Catalogue) -> tuple[Fault, ...]:
    """Every fact, value, category and place of the contract that the law does not know, in order of the file."""
    return tuple(_faults(contract, catalogue))


def _faults(contract: PublishedContract, catalogue: Catalogue) -> Iterator[Fault]:
    yield from _unread(("jurisdiction",), "src", contract.jurisdiction, catalogue)
    for name, column in contract.columns.items():
        known = catalogue.common.categories
        if column.category is not None and column.category not in known:
            path = ("columns", name, "category")
            yield Fault(path, f"category `{column.category}` is not known", _meant(column.category, known))
    for at, country in enumerate(contract.recipients.countries):
        yield from _unread(("recipients", "countries", at), "dst", country, catalogue)
    terms = contract.law
    if terms is None:
        return
    for at, place in enumerate(terms.residence):
        yield from _unread(("law", "residence", at), "subject_residency", (place,), catalogue)
    yield from _stated(("law", "facts"), terms.facts, catalogue)
    for kind, tables in (("purposes", terms.purposes), ("recipients", terms.recipients)):
        for pattern, said in tables.items():
            yield from _stated(("law", kind, pattern), said, catalogue)


def _stated(path: Path, said: Mapping[str, Any], catalogue: Catalogue) -> Iterator[Fault]:
    for name, value in said.items():
        if name not in catalogue.rules:
            yield Fault((*path, name), f"fact `{name}` is not known", _meant(name, catalogue.rules))
        else:
            yield from _unread((*path, name), name, value, catalogue)


def _unread(path: Path, fact: str, value: Any, catalogue: Catalogue) -> Iterator[Fault]:
    try:
        catalogue.read(fact, value)
    except InvalidInput as error:
        shown = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        yield Fault(path, f"{str(shown)[:60]!r} is no value of it", error.right)


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else "see docs/contracts.md"
