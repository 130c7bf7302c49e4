"""A party's duties after its jobs: kept when a job is admitted, settled by its records; a late one holds the next job.

The officer sees them at home. The readers of a later job's verdict learn of an overdue one its obligation, its day, its
job and its recipients, who are readers of that job too; nobody is told a record. A ledger that was lost or cannot be
read permits nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from compliance.audit.entry import fitting
from compliance.duties import FILE, DutyLedger
from compliance.errors import LawStoreUnavailable
from compliance.law_store import Tell
from compliance.records import RecordStore
from inbond.node import Node, utc_now
from parties.begun import is_begun, mark_begun
from parties.telling import telling
from policies.evidence import Evidence
from policies.law.duties import Docket, Late, LaterDuty, Owed, Standing, late_for
from policies.law.judging import Judged

BEGUN = "duties.begun"


def keep_duties(node: Node, job: str, duties: Sequence[LaterDuty]) -> None:
    """Keep what an admitted job leaves behind, durably; again is no change. Raises LawStoreUnavailable."""
    if not duties:
        return
    _is_there(node)
    with DutyLedger.open(node.home / FILE, telling(node)) as ledger:
        mark_begun(node, BEGUN)
        ledger.keep(job, duties)


def all_duties(node: Node) -> list[Owed]:
    """Every duty of this party, oldest first; raises LawStoreUnavailable."""
    if not _is_there(node):
        return []
    with DutyLedger.read_only(node.home / FILE) as ledger:
        return ledger.all()


def late_duties(
    node: Node, found: Sequence[Judged], leaving: Sequence[LaterDuty], records: Sequence[Evidence], day: date
) -> tuple[Late, ...]:
    """What is overdue towards the recipients of a job's transfers, which holds the job; `leaving` are its own duties,
    of which some may rest on evidence that is too old. Raises LawStoreUnavailable.
    """
    owed: list[Owed] = []
    if _is_there(node):
        with DutyLedger.read_only(node.home / FILE) as ledger:
            owed = ledger.between(node.name, {one.transfer.recipient for one in found})
    known = {one.duty.name(one.job) for one in owed}
    owed += [Owed("", duty) for duty in leaving if duty.name("") not in known]
    return late_for(found, owed, Docket(records, day))


def marked(found: Sequence[Judged], late: Sequence[Late]) -> tuple[Judged, ...]:
    """The transfers, with what is overdue among what is missing."""
    lacks = {(one.owed.duty.code, one.owed.duty.recipient) for one in late}
    return tuple(
        replace(one, missing=(*one.missing, *(code for code, name in sorted(lacks) if _is_of(one, code, name))))
        for one in found
    )


def _is_of(one: Judged, code: str, recipient: str) -> bool:
    return one.transfer.recipient == recipient and code in {told.code for told in one.decision.obligations}


@contextmanager
def noting_duties(home: Path, tell: Tell, records: RecordStore) -> Iterator[None]:
    """Tell the evidence log which duties the change of records in the body settled, and which are open again."""
    before = _standings(home, records)
    yield
    after = _standings(home, records)
    same = [(owed, before[name][1], now) for name, (owed, now) in after.items() if name in before]
    settled = [(owed, now) for owed, was, now in same if now != was and now.state == "settled"]
    opened = [(owed, was) for owed, was, now in same if was.state == "settled" != now.state]
    for event, changed in (("duties settled", settled), ("duties not settled any more", opened)):
        if changed:
            tell("duties", {"event": event, "duties": fitting([_told(*one) for one in changed])})


def _told(owed: Owed, by: Standing) -> dict[str, Any]:
    """What the log keeps of a duty and the record that settles it, or did."""
    return {"obligation": owed.duty.code, "job": owed.job, "recipient": owed.duty.recipient, "record": by.record}


def _standings(home: Path, records: RecordStore) -> dict[str, tuple[Owed, Standing]]:
    """Every duty by its name, and how it stands today."""
    if not (home / FILE).exists():
        return {}
    with DutyLedger.read_only(home / FILE) as ledger:
        owed = ledger.all()
    docket = Docket(records.standing(), utc_now().date())
    return {one.duty.name(one.job): (one, docket.standing(one.duty)) for one in owed}


def _is_there(node: Node) -> bool:
    path = node.home / FILE
    right = "restore the file from its backup: what is owed must not be forgotten"
    lost = LawStoreUnavailable("the ledger of duties is gone", where=str(path), right=right)
    return is_begun(node, BEGUN, path, lost)
