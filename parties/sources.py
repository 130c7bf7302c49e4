"""Which table a contract is about, whatever the contract calls it; and the budgets that go with it.

Stays at home: an identity is a digest of a path or an address, which the party's own ledger and records are bound to,
so that a table that is registered again under another name goes on with the budget and the history it has.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from compliance.budget import BudgetLedger
from inbond.errors import ConfigError
from policies.contract import Budget, DataContract, Source


def identity(source: Source, folder: Path) -> str:
    """64 hexadecimal digits: the same for every contract over one table; `folder` is the node's."""
    return hashlib.sha256("\n".join(_place(source, folder)).encode()).hexdigest()


def _place(source: Source, folder: Path) -> tuple[str, ...]:
    """The file and the table in it, or server, database and table; who asks the server does not matter."""
    if source.path is not None:
        return "file", str((folder / source.path).resolve()), source.table or ""
    parts = urlsplit(source.url or "")
    host = parts.netloc.rpartition("@")[2].lower()
    host = host if host.rpartition(":")[2].isdigit() and not host.endswith("]") else f"{host}:5432"
    return "server", unquote(host), parts.path, source.schema_name, source.table or ""


def stamp(source: Source, folder: Path) -> str:
    """What changes whenever a file is written anew, also with the same rows; empty for a server's table."""
    if source.path is None:
        return ""
    found = (folder / source.path).resolve().stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def register_budgets(ledger: BudgetLedger, contracts: Iterable[DataContract], folder: Path) -> None:
    """Set every contract's limit; tables with one source or population spend from one account.

    Raises ConfigError for two contracts that give one population different budgets.
    """
    populations: dict[str, Budget] = {}
    for contract in contracts:
        budget = contract.budget
        if budget is None:
            continue
        if budget.population is not None and populations.setdefault(budget.population, budget) != budget:
            right = "one budget in all contracts that name it"
            raise ConfigError(f"population {budget.population} has two budgets", where=contract.dataset, right=right)
        ledger.register(
            contract.dataset,
            repr(budget.epsilon),
            repr(budget.delta),
            source=identity(contract.source, folder),
            population=budget.population,
        )
