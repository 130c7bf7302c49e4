"""Data contracts as files: as a party's node, its doctor and its commands read them."""

from pathlib import Path

from inbond.config import read_text
from inbond.errors import ConfigError
from policies.contract import DataContract, PublishedContract
from policies.document import Document, read_document, validate
from policies.document import Path as Key

FOLDER = "contracts"
RIGHT = "a data contract in UTF-8"


def read_contract(path: Path) -> DataContract:
    """A party's own contract; raises ConfigError or InvalidInput, which name the file."""
    return validate(DataContract, _document(path))


def read_any_contract(path: Path) -> PublishedContract:
    """A party's own contract, or one as others publish it, which names no source. Raises as `read_contract` does."""
    document = _document(path)
    own = isinstance(document.value, dict) and "source" in document.value
    return validate(DataContract if own else PublishedContract, document)


def place(path: Path, key: Key) -> str:
    """`file:line` of a key in a contract that was read."""
    return _document(path).at(key)


def _document(path: Path) -> Document:
    return read_document(read_text(path, RIGHT), str(path))


def read_contracts(home: Path) -> dict[Path, DataContract]:
    """The contracts of the party in `home` by file, in order of their names.

    Raises ConfigError or InvalidInput for one that cannot be read, and ConfigError where two are for one dataset.
    """
    found: dict[Path, DataContract] = {}
    for path in sorted((home / FOLDER).glob("*.y*ml")):
        contract = read_contract(path)
        if any(contract.dataset == one.dataset for one in found.values()):
            right = "one contract per dataset"
            raise ConfigError(f"dataset {contract.dataset} has two contracts", where=str(path), right=right)
        found[path] = contract
    return found
