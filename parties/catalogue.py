"""The party's data contracts: read from its folder, checked against the tables, published to the consortium signed."""

from pathlib import Path

from inbond.config import read_text
from inbond.errors import ConfigError
from parties.connectors.base import check_source
from policies.contract import DataContract, load_contract

CATALOGUE_TYPE = "inbond-catalogue+jws"


class Catalogue:
    """The contracts in `folder/contracts`, by dataset name."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.contracts = self._load()

    def _load(self) -> dict[str, DataContract]:
        found: dict[str, DataContract] = {}
        for path in sorted((self._home / "contracts").glob("*.y*ml")):
            contract = load_contract(read_text(path, "a data contract in UTF-8"), str(path))
            if contract.dataset in found:
                right = "one contract per dataset"
                raise ConfigError(f"dataset {contract.dataset} has two contracts", where=str(path), right=right)
            found[contract.dataset] = contract
        return found

    def check(self) -> None:
        """Raise DataError for the first contract whose table is not there or lacks a column."""
        for contract in self.contracts.values():
            check_source(contract, self._home)

    def published(self) -> dict[str, object]:
        """What the consortium sees of the contracts: everything but where the table is."""
        return {name: contract.published() for name, contract in self.contracts.items()}
