"""Requests have a day and an end, and nothing is granted that was not done; a copy is on record by its digest alone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.errors import InvalidLawEntry, LawStoreUnavailable
from compliance.subject_requests import Kind, SubjectRequests
from compliance.subject_terms import subject_terms
from compliance.subjects import FILE, Act, SubjectRegistry
from tests.compliance.subject_fixtures import ADS, FRAUD, SEAL, Told, opened

DAY = datetime(2026, 11, 1, tzinfo=UTC)
DIGEST = "5e" * 32


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def registry(tmp_path: Path, told: list[Any]) -> Iterator[SubjectRequests]:
    with opened(SubjectRequests, tmp_path, told) as one:
        yield one


def _asked(registry: SubjectRequests, kind: Kind, person: str = "ann") -> int:
    return registry.receive(person, kind, "gdpr", DAY).number


@pytest.mark.parametrize(
    ("regime", "received", "due"),
    [
        ("gdpr", "2026-01-31T12:00:00+00:00", "2026-02-28T22:59:59+00:00"),
        ("gdpr", "2026-01-31T23:30:00+00:00", "2026-03-01T22:59:59+00:00"),
        ("uk_gdpr", "2026-12-15T09:00:00+00:00", "2027-01-15T23:59:59+00:00"),
        ("lgpd", "2026-06-01T02:00:00+00:00", "2026-06-16T02:59:59+00:00"),
        ("ccpa", "2026-03-01T12:00:00+00:00", "2026-04-16T07:59:59+00:00"),
    ],
)
def test_a_request_is_due_at_the_end_of_the_last_day_there(regime: str, received: str, due: str) -> None:
    assert subject_terms().due(regime, datetime.fromisoformat(received)) == datetime.fromisoformat(due)


def test_requests_are_listed_by_urgency_and_answered_once(registry: SubjectRequests) -> None:
    late = registry.receive("ann", Kind.ACCESS, "ccpa", DAY)
    soon = registry.receive("bob", Kind.RECTIFICATION, "lgpd", DAY)
    assert [one.number for one in registry.requests()] == [soon.number, late.number]
    assert [one.number for one in registry.requests("ann")] == [late.number]
    assert registry.answer(soon.number, "granted", "corrected everywhere").outcome == "granted"
    assert [one.number for one in registry.requests()] == [late.number, soon.number]
    with pytest.raises(InvalidLawEntry, match="answered already"):
        registry.answer(soon.number, "refused", "no")
    with pytest.raises(InvalidLawEntry, match="no such request"):
        registry.answer(99, "granted", "done")
    with pytest.raises(InvalidLawEntry, match="no answer"):
        registry.answer(late.number, "perhaps", "later")
    with pytest.raises(InvalidLawEntry, match="regime `mars` has no term"):
        registry.receive("ann", Kind.ACCESS, "mars", DAY)


def test_the_days_left_are_whole_and_end_with_the_last_moment(registry: SubjectRequests) -> None:
    one = registry.receive("ann", Kind.ACCESS, "pdpa", DAY)
    day = timedelta(days=1)
    assert [one.days_left(one.due - left) for left in (2 * day, day, timedelta(), -timedelta(seconds=1), -day)] == [
        *(2, 1, 0, -1, -1)
    ]
    assert not one.overdue(one.due)
    assert one.overdue(one.due + timedelta(seconds=1))
    done = registry.answer(one.number, "refused", "nobody knows who asked")
    assert done.days_left(DAY) is None
    assert not done.overdue(one.due + day)


@pytest.mark.parametrize("kind", [Kind.ACCESS, Kind.PORTABILITY])
def test_access_is_granted_once_a_copy_is_on_record(registry: SubjectRequests, told: list[Any], kind: Kind) -> None:
    number, other = _asked(registry, kind), _asked(registry, kind)
    with registry.copied("ann", "0" * 64):
        pass
    with registry.copied("ann", "1" * 64, other):
        pass
    with pytest.raises(InvalidLawEntry, match=f"no copy was made for it; `inbond subject copy .* --request {number}`"):
        registry.answer(number, "granted", "copy sent")
    with registry.copied("ann", DIGEST, number):
        pass
    assert registry.answer(number, "granted", "copy sent").copy == DIGEST
    assert told[-2][1] == {"event": "copy made", "digest": DIGEST, "number": number}
    assert told[-1][1] == {"event": "request granted", "number": number, "given": f"copy {DIGEST}"}


def test_what_was_given_in_another_way_is_said_so(registry: SubjectRequests, told: list[Any]) -> None:
    access, erasure = _asked(registry, Kind.ACCESS), _asked(registry, Kind.ERASURE)
    for number, outcome in ((erasure, "granted"), (access, "refused")):
        with pytest.raises(InvalidLawEntry, match="no copy is given here"):
            registry.answer(number, outcome, "by letter", given_otherwise=True)
    assert registry.answer(access, "granted", "by letter", given_otherwise=True).outcome == "granted"
    assert told[-1][1] == {"event": "request granted", "number": access, "given": "otherwise"}


def test_erasure_is_granted_while_the_person_is_kept_out(registry: SubjectRequests) -> None:
    number = _asked(registry, Kind.ERASURE)
    registry.say(Act.ERASE, ["bob"])
    registry.say(Act.OBJECT, ["ann"])
    with pytest.raises(InvalidLawEntry, match="no erasure of this person is in force here; `inbond subject erase ID`"):
        registry.answer(number, "granted", "erased")
    registry.say(Act.ERASE, ["ann"])
    registry.say(Act.LIFT, ["ann"])
    with pytest.raises(InvalidLawEntry, match="no erasure"):
        registry.answer(number, "granted", "erased")
    registry.say(Act.ERASE, ["ann"])
    registry.say(Act.LIFT, ["ann"], ADS)
    assert registry.answer(number, "granted", "erased").outcome == "granted"


def test_objection_is_granted_while_one_is_in_force(registry: SubjectRequests) -> None:
    number = _asked(registry, Kind.OBJECTION)
    registry.say(Act.WITHDRAW, ["ann"], ADS)
    with pytest.raises(InvalidLawEntry, match="no objection of this person is in force here; `inbond subject object"):
        registry.answer(number, "granted", "heard")
    registry.say(Act.OBJECT, ["ann"], ADS)
    registry.say(Act.LIFT, ["ann"], FRAUD)
    assert registry.answer(number, "granted", "heard").outcome == "granted"
    lifted = _asked(registry, Kind.OBJECTION)
    registry.say(Act.LIFT, ["ann"], ADS)
    with pytest.raises(InvalidLawEntry, match="no objection"):
        registry.answer(lifted, "granted", "heard")
    assert registry.answer(lifted, "refused", "compelling grounds").outcome == "refused"


def test_a_copy_answers_an_open_request_of_its_own_person_for_a_copy(registry: SubjectRequests) -> None:
    access, erasure = _asked(registry, Kind.ACCESS), _asked(registry, Kind.ERASURE)
    answered = _asked(registry, Kind.ACCESS)
    registry.answer(answered, "refused", "asked twice")
    for number, person, why in (
        (access, "bob", "another person's"),
        (erasure, "ann", "asks for erasure, not for a copy"),
        (answered, "ann", "answered already"),
        (2**62, "ann", "no such request"),
    ):
        with pytest.raises(InvalidLawEntry, match=why):
            registry.asked(number, person)
        with pytest.raises(InvalidLawEntry, match=why), registry.copied(person, DIGEST, number):
            raise AssertionError("it is not put in its place")
    assert registry.asked(access, "ann").kind is Kind.ACCESS


def test_a_copy_that_is_not_put_in_its_place_is_not_on_record(registry: SubjectRequests) -> None:
    number = _asked(registry, Kind.ACCESS)
    with pytest.raises(KeyError), registry.copied("ann", DIGEST, number):
        raise KeyError
    with pytest.raises(InvalidLawEntry, match="no copy was made"):
        registry.answer(number, "granted", "copy sent")


def test_a_copy_that_the_log_does_not_take_is_not_made(tmp_path: Path) -> None:
    def full(_subject: str, data: Any) -> None:
        if data["event"] == "copy made":
            raise LawStoreUnavailable("the disk is full")

    with SubjectRequests.open_with(tmp_path / FILE, full, SEAL) as registry:
        number = _asked(registry, Kind.ACCESS)
        with pytest.raises(LawStoreUnavailable), registry.copied("ann", DIGEST, number):
            raise AssertionError("it is not put in its place")
        assert registry.requests()[0].copy is None


def test_neither_file_nor_log_names_who_asked(registry: SubjectRequests, told: list[Any], tmp_path: Path) -> None:
    number = _asked(registry, Kind.ACCESS, "ann.smith@example.org")
    with registry.copied("ann.smith@example.org", DIGEST, number):
        pass
    registry.close()
    assert b"ann" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert "ann" not in str(told)


def test_a_file_of_before_keeps_what_was_said_and_takes_copies(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with SubjectRequests.open_with(path, lambda *_: None, SEAL) as registry:
        registry.say(Act.ERASE, ["ann"])
        number = _asked(registry, Kind.ACCESS)
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("DROP TABLE copies")
        base.execute("UPDATE alembic_version SET version_num = 'subjects_0001'")
    with pytest.raises(LawStoreUnavailable, match="subjects_0002: start the node once"):
        SubjectRegistry.look(path, SEAL)
    with SubjectRequests.open_with(path, lambda *_: None, SEAL) as registry:
        assert registry.withheld(ADS) == ["ann"]
        with registry.copied("ann", DIGEST, number):
            pass
        assert registry.requests()[0].copy == DIGEST
    with closing(sqlite3.connect(path)) as base, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        base.execute("DELETE FROM copies")
