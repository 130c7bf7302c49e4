"""Under which headings a transfer counts follows from the law's facts; a person is a keyed hash."""

from datetime import UTC, datetime
from typing import Any

import pytest

from compliance.counters_flow import EXEMPT, HEADINGS, ORDINARY, SENSITIVE, Flow, headings_of, key_check, period_of
from compliance.errors import InvalidLawEntry
from policies.law.derive import ANON, NONPERSONAL, PERSONAL
from policies.law.law import load_law

KEY = bytes(range(32))
LAW = load_law()
CHINESE = {
    "src": "CN", "dst": "SG", "as_of": "2026-11-15", "exporter_kind": "merchant", "recipient_kind": "merchant",
    "categories": ["order_history"], "purpose": "dpv:FraudPreventionAndDetection", "n_subjects": 10,
}  # fmt: skip
AMERICAN = CHINESE | {"src": "US", "dst": "CN", "categories": ["txn_amount", "email"]}
ALL_US = {one for one in HEADINGS if one.startswith("us:")}


def headings(facts: dict[str, Any], object_class: str = PERSONAL, **options: Any) -> set[str]:
    return set(headings_of(dict(LAW.catalogue.sheet(facts).values), object_class, **options))


def flow(**changes: Any) -> Flow:
    fields: dict[str, Any] = {"key": "job-1/release", "job": "job-1", "exporter": "m1"}
    return Flow(**(fields | {"headings": frozenset({ORDINARY}), "people": [b"a"]} | changes))


@pytest.mark.parametrize(
    ("changes", "object_class", "expected"),
    [
        ({}, PERSONAL, {ORDINARY}),
        ({"categories": ["bank_account", "order_history"]}, PERSONAL, {SENSITIVE}),
        ({"cn_sensitive_present": True}, PERSONAL, {SENSITIVE}),
        ({"output_kind": "ciphertext"}, PERSONAL, {ORDINARY}),
        ({"dst": "HK"}, PERSONAL, {ORDINARY}),
        ({"dst": "CN"}, PERSONAL, set()),
        ({"src": "SG", "dst": "DE", "subject_residency": ["CN"]}, PERSONAL, {ORDINARY}),
        ({}, ANON, set()),
        ({"personal": False, "categories": ["stock_level"]}, NONPERSONAL, set()),
    ],
)
def test_china_counts_personal_data_that_leave_the_mainland(
    changes: dict[str, Any], object_class: str, expected: set[str]
) -> None:
    assert headings(CHINESE | changes, object_class) == expected


def test_an_exemption_that_the_law_found_is_counted_apart_and_a_label_is_none() -> None:
    labelled = CHINESE | {"cn_exemption": "contract_necessity"}
    assert headings(labelled) == {ORDINARY}
    assert headings(labelled, exempt=True) == {EXEMPT}


def test_the_united_states_count_every_kind_in_any_format() -> None:
    assert headings(AMERICAN, kinds={"financial", "covered_ids"}) == {"us:financial", "us:covered_ids"}
    assert headings(AMERICAN, ANON, kinds={"financial"}) == {"us:financial"}
    assert headings(AMERICAN) == ALL_US  # a column of unknown kind may be any
    assert headings(AMERICAN | {"dst": "US"}) == set()


def test_the_kinds_are_those_that_the_law_knows() -> None:
    known = LAW.regimes["us_bulk"].tables.facts["us_bulk"].values
    assert set(known) == {heading.removeprefix("us:") for heading in ALL_US}


def test_one_flow_may_count_in_both_places() -> None:
    assert headings(CHINESE | {"subject_residency": ["US"]}, kinds={"health"}) == {ORDINARY, "us:health"}


def test_a_person_is_the_same_however_often_and_in_whatever_order() -> None:
    once = flow(people=[b"a", b"b"])
    assert once.persons(KEY) == flow(people=[b"b", b"a", b"b"]).persons(KEY)
    assert {len(person) for person in once.persons(KEY)} == {16}


def test_without_the_key_or_at_another_exporter_a_person_is_another() -> None:
    found = {flow().persons(KEY)[0], flow().persons(bytes(32))[0], flow(exporter="m2").persons(KEY)[0]}
    assert len(found) == 3
    assert key_check(KEY) != key_check(bytes(32))


def test_exporter_and_person_cannot_run_into_each_other() -> None:
    assert flow(exporter="m1", people=[b"1a"]).persons(KEY) != flow(exporter="m11", people=[b"a"]).persons(KEY)


def test_the_year_of_a_count_begins_at_midnight_in_beijing() -> None:
    assert period_of(ORDINARY, datetime(2026, 12, 31, 15, 59, 59, tzinfo=UTC)) == 2026
    assert period_of(ORDINARY, datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC)) == 2027
    assert period_of("us:health", datetime(2026, 12, 31, 16, 0, 0, tzinfo=UTC)) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""}, {"exporter": "a b"}, {"job": "x" * 300}, {"headings": frozenset()}, {"people": -1},
        {"headings": frozenset({"cn:nothing"})}, {"people": 10**12 + 1}, {"people": True},
    ],
)  # fmt: skip
def test_a_malformed_flow_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidLawEntry, match="counters: "):
        flow(**changes).checked()


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidLawEntry, match="32 bytes"):
        key_check(b"short")
