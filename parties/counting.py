"""A party's counters of people sent abroad, under a key of its own that never leaves its key store."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from compliance.counters import FILE, CounterLedger
from compliance.counters_flow import KEY_BYTES
from compliance.errors import LawStoreUnavailable
from inbond.node import Node
from parties.telling import telling

COUNTER_KEY = "counters"


def begin_counters(node: Node) -> None:
    """Start the node's counters at nothing; raises InvalidLawEntry where there are some.

    The key is made once and stays: whoever was hashed under it is the same person in counters that are begun again.
    """
    if COUNTER_KEY not in node.keystore.names():
        node.keystore.put(COUNTER_KEY, secrets.token_bytes(KEY_BYTES))
    CounterLedger.begin(node.home / FILE, telling(node), node.keystore.get(COUNTER_KEY)).close()


@contextmanager
def opened_counters(node: Node) -> Iterator[CounterLedger]:
    """The node's counters; raises LawStoreUnavailable where there are none, or not this node's."""
    if COUNTER_KEY not in node.keystore.names():
        raise LawStoreUnavailable(
            "this node has begun no counters", where=str(node.home), right="run `inbond law begin-counters` once"
        )
    with CounterLedger.open_with(node.home / FILE, telling(node), node.keystore.get(COUNTER_KEY)) as ledger:
        yield ledger
