"""`inbond catalog list|show`: what the consortium's contracts let a researcher ask, and whom it would tell what.

Contracts name columns and rules; how many rows a table has is shown only where its owner publishes it.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from federation.catalogue import Dataset, datasets, find_dataset
from federation.client import Researcher
from inbond.console import emit, table
from inbond.member_cli import DEFAULT_HOME, Home, Json
from policies.contract import Column, PublishedContract

app = typer.Typer(help="The consortium's datasets: who holds what, and what may be asked of it.")
SHOWN_VALUES = 40  # characters of a domain; an 80 column table has room for no more


@app.callback(invoke_without_command=True)
def catalog(context: typer.Context, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Datasets of the consortium: who holds what, in which country, for which purposes."""
    if context.invoked_subcommand is None:
        list_datasets(home, json=json)
        return
    said = {"home": home, "json": json}  # `catalog --json list` means the same as `catalog list --json`
    context.default_map = {"list": said, "show": said}


@app.command("list")
def list_datasets(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """All datasets, with their owners, join keys and purposes."""
    with Researcher.open(home) as researcher:
        entries = researcher.catalogue()
    rows = [
        {"party": entry.party, "country": entry.country, **contract.published()}
        for entry in entries.values()
        for contract in entry.contracts.values()
    ]
    cells = [_line(one) for one in datasets(entries).values()]
    columns = ("dataset", "owners", "join keys", "purposes")
    emit(rows, json=json, human=lambda console: console.print(table(columns, cells)))


@app.command("show")
def show_dataset(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, as `inbond catalog list` shows it.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """One dataset: columns, uses and values, who may join on what and learn what, and the terms of each owner."""
    with Researcher.open(home) as researcher:
        found = find_dataset(researcher.catalogue(), dataset)
    emit(found.payload(), json=json, human=lambda console: _print_dataset(console, found))


def _line(one: Dataset) -> tuple[str, str, str, str]:
    contracts = one.owners.values()
    owners = ", ".join(f"{party} ({contract.jurisdiction})" for party, contract in one.owners.items())
    keys = sorted({name for contract in contracts for name, column in contract.columns.items() if column.key})
    purposes = sorted({purpose for contract in contracts for purpose in contract.purposes})
    return one.name, owners, ", ".join(keys) or "-", ", ".join(_term(purpose) for purpose in purposes)


def _print_dataset(console: Any, one: Dataset) -> None:
    owners = (
        (party, one.countries[party], contract.jurisdiction, contract.schema_name, contract.controller)
        for party, contract in one.owners.items()
    )
    console.print(table(("owner", "in", "law", "schema", "controller"), owners, title=one.name))
    console.print()
    console.print(_with_owners(("column", "type", "class", "uses", "values"), _columns(one), one))
    keys = _keys(one)
    if keys:
        console.print()
        console.print(_with_owners(("join key", "as", "rows", "parties", "may learn"), keys, one))
    console.print()
    console.print(_with_owners(("term", "is"), _terms(one), one))


Row = tuple[tuple[str, ...], tuple[str, ...]]  # cells, and the owners for whom they hold


def _with_owners(names: Sequence[str], rows: Sequence[Row], one: Dataset) -> Any:
    """A table of `rows`; whose they are is said where not all owners agree."""
    if all(owners == tuple(one.owners) for _, owners in rows):
        return table(names, (cells for cells, _ in rows))
    return table((*names, "of"), ((*cells, ", ".join(owners)) for cells, owners in rows))


def _agreed(cells: Iterable[tuple[str, tuple[str, ...]]]) -> list[Row]:
    """(owner, cells) with equal cells put together, in the order in which they first came."""
    found: dict[tuple[str, ...], list[str]] = {}
    for owner, own in cells:
        found.setdefault(own, []).append(owner)
    return [(own, tuple(owners)) for own, owners in found.items()]


def _columns(one: Dataset) -> list[Row]:
    names = dict.fromkeys(name for contract in one.owners.values() for name in contract.columns)
    held = ((name, owner, contract.columns.get(name)) for name in names for owner, contract in one.owners.items())
    return _agreed(((owner, _column(name, column)) for name, owner, column in held if column is not None))


def _column(name: str, column: Column) -> tuple[str, ...]:
    uses = ", ".join(sorted(column.uses)) or "none"
    return name, column.type.value, column.data_class.value, uses, _values(column)


def _values(column: Column) -> str:
    """The domain, cut where it is long, and the bounds."""
    said = []
    if column.domain is not None:
        text = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in column.domain)
        said.append(text if len(text) <= SHOWN_VALUES else f"{text[:SHOWN_VALUES]}... ({len(column.domain)} values)")
    if column.bounds is not None:
        low, high = column.bounds
        said.append(f"{low:.15g} to {high:.15g}")
    return "; ".join(said) or "-"


def _keys(one: Dataset) -> list[Row]:
    """A line for every key column and pattern of party names: how keys are compared, what such parties may learn."""
    cells = (
        (owner, (name, key.normalisation, str(key.rows_per_key), pattern, ", ".join(leaks) or "nothing more"))
        for owner, contract in one.owners.items()
        for name, key in ((name, column.key) for name, column in contract.columns.items())
        if key is not None
        for pattern, leaks in key.counterparts.items()
    )
    return _agreed(cells)


def _terms(one: Dataset) -> list[Row]:
    told = {owner: _terms_of(contract) for owner, contract in one.owners.items()}
    names = dict.fromkeys(name for terms in told.values() for name in terms)
    return _agreed(((owner, (name, terms[name])) for name in names for owner, terms in told.items() if name in terms))


def _terms_of(contract: PublishedContract) -> dict[str, str]:
    """What holds for any question to one owner's table; rows only where they are published."""
    noise, budget = contract.noise, contract.budget
    terms = {
        "purposes": ", ".join(sorted(_term(purpose) for purpose in contract.purposes)),
        "readers in": ", ".join(sorted(contract.recipients.countries)),
        "readers": ", ".join(sorted(contract.recipients.ids)),
        "minimum group": f"{contract.minimum_group} rows",
        "minimum parties": str(contract.minimum_parties),
        "noise": "none" if noise.epsilon is None else f"required, epsilon at most {noise.epsilon:g}",
        "budget": "none" if budget is None else f"epsilon {budget.epsilon:g}, delta {budget.delta:g}, over all jobs",
        "rows per subject": f"at most {contract.max_rows_per_subject}",
        "training in the clear": "allowed" if contract.allow_plain else "never",
        "version": str(contract.version),
        "expires": contract.expires.isoformat(timespec="minutes"),
    }
    if contract.published_rows is not None:
        terms["rows"] = f"about {contract.published_rows:,}"
    if contract.agreement is not None:
        terms["agreement"] = f"must cover {', '.join(contract.agreement.recipients)}"
    return terms


def _term(purpose: str) -> str:
    return purpose.removeprefix("dpv:")
