"""What a lawful job leaves to be done: obligations that fall due after its release, and whether a record settles them.

Learns facts of transfers and records of evidence, no data. Nothing is typed twice: a duty is settled by the record that
proves it, and open again where that record is ended. Days are days of UTC; on the day when it is due it is not overdue.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple

from policies.canonical import digest
from policies.evidence import Evidence, Proof, Release, id_of, proving
from policies.law.derive import anniversary
from policies.law.judging import BEFORE, Judged
from policies.law.law import Law

State = Literal["open", "overdue", "settled"]


@dataclass(frozen=True)
class LaterDuty:
    """An obligation (`code`) that a transfer left behind, as the tables had it on the day `arose`.

    `due` is the last day of the first evidence, `every_years` how long after the last evidence it is due anew. `what`
    (of the law's kind `kind`) of `dataset` went from `exporter` to `recipient` in `country`. `standing`: it had its
    evidence before the release, and evidence from before it arose counts.
    """

    code: str
    evidence: str
    proved_by: tuple[str, ...]
    exporter: str
    recipient: str
    country: str
    dataset: str
    what: str
    kind: str
    arose: date
    due: date
    every_years: int | None = None
    standing: bool = False

    def name(self, job: str) -> str:
        """What tells it apart: one that is due anew is the same for all jobs with this recipient in this country."""
        mine: list[Any] = [self.code, self.exporter, self.recipient, self.country, self.every_years]
        return digest(mine if self.every_years is not None else [*mine, job, self.dataset, self.what])


class Owed(NamedTuple):
    """A duty that a job left behind; `job` is empty for one that is about to."""

    job: str
    duty: LaterDuty


class Standing(NamedTuple):
    """How a duty stands: by when its next evidence is due, and the record (its id) of the last."""

    state: State
    due: date
    record: str | None = None


def duties_of(law: Law, found: Iterable[Judged], exporter: str, day: date) -> tuple[LaterDuty, ...]:
    """The duties that permitted transfers of `exporter` leave behind on `day`, once each."""
    return tuple(
        dict.fromkeys(
            duty
            for one in found
            for told in one.decision.obligations
            for duty in _left(law, one, told.code, exporter, day)
        )
    )


def _left(law: Law, one: Judged, code: str, exporter: str, day: date) -> Iterator[LaterDuty]:
    rule, transfer = law.obligations[code], one.transfer
    if rule.within_days is not None:
        due = day + timedelta(days=rule.within_days)
    elif rule.every_years is not None:
        due = day if rule.when == BEFORE else anniversary(day, rule.every_years)
    else:
        return
    yield LaterDuty(
        code, rule.evidence, rule.proved_by, exporter, transfer.recipient, transfer.country, transfer.dataset,
        transfer.what, transfer.kind, day, due, rule.every_years, rule.when == BEFORE,
    )  # fmt: skip


class Docket:
    """Records of evidence, and how duties stand by them on a day."""

    def __init__(self, records: Sequence[Evidence], today: date) -> None:
        self._records, self._today = records, today
        self._known: dict[tuple[Any, ...], list[tuple[date, Evidence]]] = {}

    def standing(self, duty: LaterDuty) -> Standing:
        """How `duty` stands: the first record from the day it arose settles it, or the newest, where it is due anew.

        A record that begins before the duty arose tells nothing of what had not happened, and settles nothing.
        """
        begun = [pair for pair in self._proofs(duty) if duty.standing or pair[0] >= duty.arose]
        if not begun:
            return Standing("overdue" if self._today > duty.due else "open", duty.due)
        if duty.every_years is None:
            return Standing("settled", duty.due, id_of(begun[0][1]))
        last, record = begun[-1]
        due = anniversary(last, duty.every_years)
        return Standing("overdue" if self._today > due else "settled", due, id_of(record))

    def _proofs(self, duty: LaterDuty) -> list[tuple[date, Evidence]]:
        """The records that prove it, of whatever day up to today, by the day they begin."""
        proof, release = Proof(duty.code, duty.proved_by), Release(duty.dataset, duty.kind)
        key = (proof, duty.exporter, duty.recipient, duty.country, release)
        if key not in self._known:
            found = proving(proof, self._records, duty.exporter, duty.recipient, dst=duty.country, release=release)
            dated = ((date.fromisoformat(one.valid_from), one) for one in found)
            self._known[key] = sorted((pair for pair in dated if pair[0] <= self._today), key=lambda pair: pair[0])
        return self._known[key]


class Late(NamedTuple):
    """An overdue duty of the same obligation and recipient as one of a job's transfers, and since when it is."""

    owed: Owed
    due: date


def late_for(found: Iterable[Judged], owed: Iterable[Owed], docket: Docket) -> tuple[Late, ...]:
    """Those of `owed` that are overdue and hold a job with transfers `found`: same obligation, same recipient.

    What lacks evidence for the transfer itself is told as such (`Judged.missing`), not here.
    """
    asked = {
        (told.code, one.transfer.recipient)
        for one in found
        for told in one.decision.obligations
        if told.code not in one.missing
    }
    same = (one for one in owed if (one.duty.code, one.duty.recipient) in asked)
    standings = ((one, docket.standing(one.duty)) for one in same)
    return tuple(Late(one, stands.due) for one, stands in standings if stands.state == "overdue")


def late_lines(late: Iterable[Late]) -> tuple[str, ...]:
    """What is overdue and what record would settle it, a line for each obligation."""
    by_code: dict[str, list[Late]] = {}
    for one in late:
        by_code.setdefault(one.owed.duty.code, []).append(one)
    return tuple(_line(code, sorted(ones, key=lambda one: one.due)) for code, ones in by_code.items())


def _line(code: str, late: Sequence[Late]) -> str:
    duty = late[0].owed.duty
    jobs = list(dict.fromkeys(one.owed.job for one in late if one.owed.job))
    of = f" of job {jobs[0]}" if jobs else ""
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    names = ", ".join(sorted({one.owed.duty.recipient for one in late}))
    newest = max(one.owed.duty.arose for one in late)
    years = "a year" if duty.every_years == 1 else f"{duty.every_years} years"
    dated = f"dated {newest} or later" if duty.every_years is None else f"not older than {years}"
    return f"{code}, overdue since {late[0].due}{of}{more}, for transfers to {names}: {duty.evidence}, {dated}"
