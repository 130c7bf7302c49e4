"""A party's evidence log as what a store tells its acts to: nothing is kept that the log did not take."""

from collections.abc import Mapping
from typing import Any

from compliance.audit.entry import EntryType
from compliance.law_store import Tell
from inbond.node import Node


def telling(node: Node) -> Tell:
    """Append (subject, data) to the log of `node`."""

    def tell(subject: str, data: Mapping[str, Any]) -> None:
        node.record(EntryType.NODE, subject=subject, data=data)

    return tell
