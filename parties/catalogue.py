"""The party's data contracts: read from its folder, checked against the tables, published to the consortium signed."""

from pathlib import Path

from inbond.contract_files import place, read_contracts
from inbond.origin import check_origin, read_origin
from parties.connectors.base import check_source
from policies.contract import DataContract
from policies.contract_facts import unknown_to_law
from policies.errors import InvalidInput
from policies.law.law import ClosedLaw, Law

CATALOGUE_TYPE = "inbond-catalogue+jws"


class Catalogue:
    """The contracts in `folder/contracts`, by dataset name."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._files = read_contracts(home)
        self.contracts = {contract.dataset: contract for contract in self._files.values()}

    def check(self, law: Law | ClosedLaw) -> None:
        """Raise InvalidInput for the first contract that states what the law does not know, and DataError for the first
        whose table is not there or lacks a column.

        A law that could not be loaded knows nothing, and refuses every job with its own cause.
        """
        for path, contract in self._files.items():
            if isinstance(law, Law):
                _check_known(path, contract, law)
            check_source(contract, self._home)
            check_derived(contract, self._home)

    def published(self) -> dict[str, object]:
        """What the consortium sees of the contracts: everything but where the table is."""
        return {name: contract.published() for name, contract in self.contracts.items()}


def check_derived(contract: DataContract, home: Path) -> None:
    """Raise InvalidInput where the table is an answer, and the contract allows more than the answer was for."""
    source = contract.source
    origin = read_origin(home / str(source.path)) if source.kind == "parquet" else None
    if origin is not None:
        check_origin(contract, origin)


def _check_known(path: Path, contract: DataContract, law: Law) -> None:
    fault = next(iter(unknown_to_law(contract, law.catalogue)), None)
    if fault is not None:
        raise InvalidInput(f"`{fault.key}`: {fault.what}", where=place(path, fault.path), right=fault.right)
