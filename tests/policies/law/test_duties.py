"""What falls due after a release: derived from the tables, settled by the records that prove it, late after its day."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from policies.evidence import Evidence, id_of, load_evidence
from policies.law.decision import LawDecision, LegalDuty, Outcome
from policies.law.duties import Docket, Late, LaterDuty, Owed, Standing, duties_of, late_for, late_lines
from policies.law.judging import Judged
from policies.law.law import load_law
from policies.law.tables import Duty
from policies.law.transfers import Transfer

DAY = date(2026, 11, 20)
LAW = load_law()
RECORD, MONITOR, TIA = "OBL_JP_RECORD", "OBL_JP_MONITOR", "OBL_TIA"


def judged(*codes: str, recipient: str = "p2", missing: tuple[str, ...] = ()) -> Judged:
    obligations = tuple(LegalDuty(code, LAW.common.obligations[code].when, "") for code in codes)
    decision = LawDecision(Outcome.PERMIT_WITH_OBLIGATIONS, policies=("J2",), obligations=obligations)
    return Judged(Transfer("orders", recipient, "SG", "exact aggregate", "aggregate"), {}, decision, missing)


def left(code: str, day: date = DAY, **changes: Any) -> LaterDuty:
    (found,) = duties_of(LAW, [judged(code)], "p1", day)
    return replace(found, **changes)


def record(code: str, since: date, kind: str = "duty", **changes: Any) -> Evidence:
    fields: dict[str, Any] = {
        "kind": kind, "issuer": "x", "valid_from": str(since), "valid_until": str(since + timedelta(days=900)),
        "document_sha256": "ab" * 32, "exporter": "p1", "recipients": ["p2"],
    }  # fmt: skip
    fields |= {"destination": "SG", "outcome": "ok"} if kind == "tia" else {"duties": [code]}
    return load_evidence(json.dumps(fields | changes), "record")


def stands(duty: LaterDuty, today: date, *records: Evidence) -> Standing:
    return Docket(records, today).standing(duty)


def late(found: Judged, owed: Sequence[Owed], *records: Evidence, today: date) -> tuple[Late, ...]:
    return late_for([found], owed, Docket(records, today))


def days(number: int) -> date:
    return DAY + timedelta(days=number)


def test_only_what_is_due_after_a_release_is_left_and_once_each() -> None:
    found = duties_of(LAW, [judged("OBL_ROPA", RECORD, MONITOR, "OBL_CN_COUNTER")] * 2, "p1", DAY)
    assert [(one.code, one.due, one.every_years) for one in found] == [
        (RECORD, days(3), None),
        (MONITOR, date(2027, 11, 20), 1),
    ]
    assert (found[0].exporter, found[0].recipient, found[0].what) == ("p1", "p2", "exact aggregate")


def test_a_record_of_the_day_or_later_settles_and_an_earlier_one_does_not() -> None:
    duty = left(RECORD)
    assert stands(duty, days(3)) == Standing("open", days(3))
    assert stands(duty, days(4)) == Standing("overdue", days(3))
    early, same, later = record(RECORD, days(-1)), record(RECORD, DAY), record(RECORD, days(2))
    assert stands(duty, days(4), early).state == "overdue", "it can tell nothing of what had not happened"
    assert stands(duty, days(4), early, later, same) == Standing("settled", days(3), id_of(same))
    assert stands(duty, days(1), later).state == "open", "a record that does not begin yet settles nothing"
    assert stands(duty, days(2000), same).state == "settled", "what was done stays done when the record's days are over"


@pytest.mark.parametrize("changes", [{"exporter": "p9"}, {"recipients": ["p3"]}, {"duties": ["OBL_ROPA"]}])
def test_a_record_of_others_or_of_something_else_settles_nothing(changes: dict[str, Any]) -> None:
    assert stands(left(RECORD), days(4), record(RECORD, DAY, **changes)).state == "overdue"


def test_a_check_is_due_a_year_after_the_last_one_and_again() -> None:
    duty = left(MONITOR)
    assert stands(duty, date(2027, 11, 20)).state == "open"
    assert stands(duty, date(2027, 11, 21)) == Standing("overdue", date(2027, 11, 20))
    first, second = record(MONITOR, date(2027, 3, 1)), record(MONITOR, date(2028, 2, 29))
    assert stands(duty, date(2028, 3, 1), first) == Standing("settled", date(2028, 3, 1), id_of(first))
    assert stands(duty, date(2028, 3, 2), first) == Standing("overdue", date(2028, 3, 1), id_of(first))
    assert stands(duty, date(2028, 3, 2), second, first) == Standing("settled", date(2029, 2, 28), id_of(second))
    assert stands(duty, date(2027, 11, 21), record(MONITOR, days(-1))).state == "overdue", "before there was anything"


def test_an_assessment_is_due_again_a_year_after_its_own_day_and_of_its_own_country_only() -> None:
    duty = left(TIA)
    held = record("", date(2026, 5, 1), "tia")
    assert stands(duty, days(0), held) == Standing("settled", date(2027, 5, 1), id_of(held))
    assert stands(duty, date(2027, 5, 2), held).state == "overdue"
    assert stands(duty, days(1), record("", DAY, "tia", destination="US")).state == "overdue"
    assert stands(duty, days(1), record(TIA, days(-9))).state == "settled", "a record of kind duty names it as well"


def test_what_recurs_is_one_duty_for_all_jobs_and_tables_and_the_rest_is_one_each() -> None:
    assert left(MONITOR).name("1") == left(MONITOR, days(9), dataset="sales").name("2")
    assert left(MONITOR).name("1") != left(MONITOR, recipient="p3").name("1")
    assert left(MONITOR).name("1") != left(MONITOR, country="US").name("1")
    assert left(RECORD).name("1") != left(RECORD).name("2")
    assert left(RECORD).name("1") != left(RECORD, what="group counts").name("1")
    assert left(RECORD).name("1") == left(RECORD, days(1)).name("1")


def test_a_job_is_held_by_what_is_overdue_of_the_same_obligation_and_recipient() -> None:
    owed = [Owed("1", left(RECORD))]
    assert late(judged(RECORD), owed, today=days(3)) == ()
    assert [one.owed.job for one in late(judged(RECORD), owed, today=days(4))] == ["1"]
    assert late(judged(RECORD), owed, record(RECORD, days(4)), today=days(4)) == ()
    assert late(judged(RECORD, recipient="p3"), owed, today=days(4)) == (), "another recipient"
    assert late(judged("OBL_JP_CONSENT_INFO"), owed, today=days(4)) == (), "on another ground"
    assert late(judged(RECORD, missing=(RECORD,)), owed, today=days(4)) == (), "told as missing already"


def test_a_line_says_which_duty_of_which_job_lacks_what() -> None:
    owed = [Owed("job-7", left(RECORD, days(1))), Owed("job-3", left(RECORD)), Owed("job-3", left(RECORD, what="x"))]
    (line,) = late_lines(late(judged(RECORD), owed, today=days(9)))
    assert line == (
        "OBL_JP_RECORD, overdue since 2026-11-23 of job job-3 and 1 more, for transfers to p2: record of the"
        " provision, dated 2026-11-21 or later"
    )
    assert late(judged(RECORD), owed, record(RECORD, days(1)), today=days(9)) == (), "and that is enough"
    old = record("", date(2024, 1, 1), "tia")
    (line,) = late_lines(late(judged(TIA), [Owed("", left(TIA))], old, today=DAY))
    assert line.startswith("OBL_TIA, overdue since 2025-01-01, for transfers to p2: transfer impact assessment")
    assert line.endswith("not older than a year")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"when": "post", "source": "x"}, "within_days"),
        ({"when": "yearly", "source": "x"}, "every_years"),
        ({"when": "pre", "within_days": 3, "source": "x"}, "within_days"),
        ({"when": "post", "within_days": 3, "every_years": 1, "source": "x"}, "every_years"),
        ({"when": "pre", "every_years": 1}, "source"),
        ({"when": "pre", "source": "x"}, "source"),
        ({"when": "pre", "every_years": 1, "source": "x", "proved_by": ["anonymity"]}, "every_years"),
    ],
)
def test_a_table_that_leaves_a_period_open_does_not_load(row: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Duty.model_validate({"evidence": "x", **row})


def test_every_later_obligation_of_the_tables_has_a_period_with_a_source() -> None:
    later = {code: duty for code, duty in LAW.common.obligations.items() if duty.when in {"post", "yearly"}}
    assert set(later) == {RECORD, MONITOR}
    assert all(duty.source for duty in later.values())
