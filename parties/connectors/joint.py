"""A party's fragment of a joint query as an engine runs it: group keys in the contract's types, then whole numbers."""

from parties.connectors.pushdown import Pushdown
from policies.contract import ColumnType, PublishedContract
from policies.sql import Fragment, JointQuery


def pushdown_of(piece: Fragment, query: JointQuery, contract: PublishedContract) -> Pushdown:
    """The fragment with its outputs: `key_0` ... (dates as text, as their domain is written), then `piece.columns`."""
    kinds = [contract.columns[name].type for name in query.groups]
    outputs = {f"key_{i}": ColumnType.TEXT if kind is ColumnType.DATE else kind for i, kind in enumerate(kinds)}
    return Pushdown(piece.sql, piece.parameters, outputs | dict.fromkeys(piece.columns, ColumnType.INT))
