"""Files of a party that, once begun, may not be missing: one that was lost is not taken for one that never was.

The mark that a file was begun is in the node's key store, away from the file.
"""

from pathlib import Path

from compliance.errors import LawStoreUnavailable
from inbond.node import Node


def mark_begun(node: Node, mark: str) -> None:
    """From now on the file of `mark` may not be missing."""
    if mark not in node.keystore.names():
        node.keystore.put(mark, b"begun")


def is_begun(node: Node, mark: str, file: Path, lost: LawStoreUnavailable) -> bool:
    """Whether the file is there; raises `lost` where it was and is no more."""
    if file.exists():
        return True
    if mark in node.keystore.names():
        raise lost
    return False
