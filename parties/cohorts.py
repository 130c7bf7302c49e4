"""In which jobs a person's data were: from the log of what was read, and how the registry stood at each read.

The officer learns it of one person, at home. A person counts as read where the table holds the person now and the
registry did not keep the person out then: more than was read, never less, unless the table has changed since.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.audit.entry import EntryType
from compliance.audit.log import read_entries
from compliance.audit.store import AuditStore
from compliance.subjects import SubjectRegistry
from inbond.errors import ConfigError
from inbond.node import Node
from inbond.tokens import payload_of
from parties.catalogue import Catalogue
from parties.connectors.base import permitted_view
from parties.connectors.views import View
from parties.store import JobRow, PartyStore
from parties.withheld import READ, rows_about
from policies.contract import DataContract
from policies.document import Document, validate
from policies.job import JobOrder


@dataclass(frozen=True)
class Took:
    """A read of a table that holds the person: by which job, of whom, for what; `was_in` is whether the person was."""

    job: str
    kind: str
    owner: str
    dataset: str
    purpose: str
    at: str
    was_in: bool

    def payload(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {name: getattr(self, name) for name in ("job", "kind", "owner", "dataset", "purpose", "at", "was_in")}


def took_part(node: Node, registry: SubjectRegistry | None, person: str) -> list[Took]:
    """Every job that read a table which holds the person, in the order of reading; the last read of a job counts."""
    holding = {name for name, one in Catalogue(node.home).contracts.items() if _holds(one, person, node.home)}
    store = PartyStore(node.home)
    try:
        found: dict[tuple[str, str], Took] = {}
        for job, at, data in _reads(node.home):
            row = store.job(job)
            if row is None or data["dataset"] not in holding:
                continue
            order = _order(row)
            before = found.get((job, data["dataset"]))
            was_in = registry is None or not registry.keeps_out(person, data["purpose"], int(data["registry"]))
            found[job, data["dataset"]] = Took(
                job,
                order.spec.kind,
                order.iss,
                data["dataset"],
                data["purpose"],
                at,
                was_in or (before is not None and before.was_in),
            )
        return list(found.values())
    finally:
        store.close()


def again(node: Node, job: str, folder: Path) -> Path:
    """Write the job file of a job that ran here, to be run again; raises ConfigError where it cannot be written."""
    store = PartyStore(node.home)
    try:
        row = store.job(job)
    finally:
        store.close()
    if row is None:
        raise ConfigError("no such job", where=job, right="see `inbond party jobs`")
    path = folder / f"{job[:12]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_order(row).spec.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", where=str(path), right="a new folder") from None
    return path


def _reads(home: Path) -> list[tuple[str, str, dict[str, Any]]]:
    store = AuditStore.read_only(home / "audit.db")
    try:
        entries = (one for _, one in read_entries(store, 0, store.count(), entry_type=EntryType.STEP.value))
        return [
            (one.job, one.time.isoformat(timespec="seconds"), dict(one.data))
            for one in entries
            if one.job is not None and one.data.get("event") == READ
        ]
    finally:
        store.close()


def _order(row: JobRow) -> JobOrder:
    return validate(JobOrder, Document(payload_of(row.token), "order", {}))


def _holds(contract: DataContract, person: str, home: Path) -> bool:
    """Whether a table holds the person now; a table about people that cannot tell may hold anybody."""
    terms = contract.law
    if terms is None or not terms.personal:
        return False
    if terms.subject is None:
        return True
    theirs = rows_about(contract, [person], only=True)
    return bool(permitted_view(contract, [terms.subject], home, View((theirs,))).num_rows)
