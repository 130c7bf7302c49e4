"""What a job may see of this party's tables: masks and row rules of the contract, the masks that the law binds the job
to, and whose rows may not be read.

What people said is honoured at the next read, in training and queries.

Nobody learns anything here but fewer rows. Each read of a table about people is in the party's log, with the state of
the registry that it honoured, so that it can be told later in which jobs a person's data were. Fails closed: where
somebody may not be read and cannot be told apart, or the registry cannot be read, nothing is.
"""

import secrets
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from compliance.audit.entry import EntryType
from compliance.errors import LawStoreUnavailable
from compliance.subject_requests import SubjectRequests
from compliance.subjects import FILE, KEY_BYTES, Seal, SubjectRegistry
from inbond.node import Node
from parties.begun import is_begun, mark_begun
from parties.connectors.base import DataError, Relation, permitted_view, relation
from parties.connectors.rows import Rows
from parties.connectors.views import View
from parties.telling import telling
from policies.contract import ColumnType, DataContract
from policies.views import Asker, Cut, Views, stacked

SUBJECT_KEY, BEGUN = "subjects", "subjects.begun"
READ = "rows read"
Cuts = Mapping[str, Cut]
"""How columns of a table are shown, by name."""
UNBOUND: Cuts = MappingProxyType({})


def seal_of(node: Node) -> Seal:
    """The node's keys for its registry; made once."""
    with _MAKING:
        if SUBJECT_KEY not in node.keystore.names():
            node.keystore.put(SUBJECT_KEY, secrets.token_bytes(KEY_BYTES))
    keys = node.keystore
    return Seal(
        keys.get(SUBJECT_KEY),
        lambda text: keys.encrypt(text, SUBJECT_KEY),
        lambda sealed: bytes(keys.decrypt(sealed, SUBJECT_KEY)),
    )


_MAKING = threading.Lock()


def opened_registry(node: Node) -> SubjectRequests:
    """The node's registry, begun where it has none; from then on it may not be missing. Raises LawStoreUnavailable."""
    registry = SubjectRequests.open_with(node.home / FILE, telling(node), seal_of(node))
    mark_begun(node, BEGUN)
    return registry


def keep_registry_current(node: Node) -> None:
    """Bring the registry of an earlier version to this one's form, for jobs read it and change nothing in it.

    Raises LawStoreUnavailable.
    """
    if (node.home / FILE).exists():
        opened_registry(node).close()


class Withholding:
    """What the party's registry lets a job read; safe for any number of threads."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def revision(self) -> int:
        """What changes when somebody says something; raises LawStoreUnavailable."""
        if not self._is_there():
            return 0
        with SubjectRegistry.look(self._node.home / FILE, seal_of(self._node)) as registry:
            return registry.revision()

    def _is_there(self) -> bool:
        """Whether anybody has said anything; raises LawStoreUnavailable where it was lost what they said."""
        path = self._node.home / FILE
        right = "restore the file from its backup: what people said must not be forgotten"
        lost = LawStoreUnavailable("the registry of people is gone", where=str(path), right=right)
        return is_begun(self._node, BEGUN, path, lost)

    def relation(self, contract: DataContract, columns: Sequence[str], asker: Asker, bound: Cuts = UNBOUND) -> Relation:
        """These columns of the rows that `asker` may see, as they may be seen; raises DataError."""
        return relation(contract, columns, self.view_of(contract, asker, bound))

    def table(self, contract: DataContract, columns: Sequence[str], asker: Asker, bound: Cuts = UNBOUND) -> pa.Table:
        """The rows of `columns` that `asker` may see, as they may be seen; raises DataError."""
        return permitted_view(contract, columns, self._node.home, self.view_of(contract, asker, bound))

    def view_of(self, contract: DataContract, asker: Asker, bound: Cuts = UNBOUND) -> View:
        """What `asker` may see of a table: by the contract's `views`, by the law's masks on the job (`bound`), and by
        what people said. Raises as `rows`.
        """
        said, views = self.rows(contract, asker.purpose), contract.views or Views()
        rules = (
            Rows(rule.column, contract.columns[rule.column].type, rule.values, rule.only is not None)
            for rule in views.rows_for(asker)
        )
        masks = stacked(views.masks_for(asker), bound)
        return View((*rules, *((said,) if said is not None else ())), masks)

    def rows(self, contract: DataContract, purpose: str) -> Rows | None:
        """Which rows may be read for `purpose`; None for all of them. Raises DataError and LawStoreUnavailable."""
        terms = contract.law
        if terms is None or not terms.personal:
            return None
        asks = terms.only_consenting
        if not self._is_there():
            return rows_about(contract, [], only=True) if asks else None
        with SubjectRegistry.look(self._node.home / FILE, seal_of(self._node)) as registry:
            named = registry.consenting(purpose) if asks else registry.withheld(purpose)
        return rows_about(contract, named, only=asks) if asks or named else None

    def note(self, contract: DataContract, purpose: str, job: str) -> None:
        """Write down, before it happens, that a job reads a table about people. Raises LogUnavailable."""
        if contract.law is None or not contract.law.personal:
            return
        rows = self.rows(contract, purpose)
        data = {
            "event": READ,
            "dataset": contract.dataset,
            "purpose": purpose,
            "registry": self.revision(),
            "people": "those who consent" if rows is not None and rows.only else "all but the withheld",
            "withheld": 0 if rows is None or rows.only else len(rows.values),
        }
        self._node.record(EntryType.STEP, job=job, data=data)


def rows_about(contract: DataContract, named: Sequence[str], *, only: bool) -> Rows:
    """The rows of the people `named`, or with `only` false all others; an id that no row can have is left out.

    The one place where ids, which are text, become values of the contract's `law: subject`. Raises DataError and
    InbondError where the table cannot tell people apart.
    """
    column = contract.law.subject if contract.law is not None else None
    if column is None:
        right = "name the column that tells them apart as `law: subject` of the contract"
        raise DataError("people who said no cannot be told apart", where=contract.dataset, right=right)
    kind = contract.columns[column].type
    values = [int(one) for one in named if _whole(one)] if kind is ColumnType.INT else list(named)
    return Rows(column, kind, tuple(sorted(values, key=str)), only).checked()


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and -(2**63) <= int(text) < 2**63
