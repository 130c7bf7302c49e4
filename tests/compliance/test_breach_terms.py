"""Clocks of breaches are dated rows with sources; hours are exact, days end at the regime's own midnight."""

from datetime import UTC, datetime

import pytest

from compliance.breach_terms import Clock, built_in_terms, clocks_of, read_terms
from compliance.errors import InvalidLawEntry
from policies.errors import InvalidInput
from policies.law.law import load_law

TERMS = built_in_terms()
FRIDAY = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def clocks(regime: str, *flags: str, aware: datetime = FRIDAY, **done: datetime) -> dict[str, Clock]:
    acts = {f"{regime}.{name}": at for name, at in done.items()}
    return {clock.duty: clock for clock in clocks_of(TERMS, regime, aware, frozenset(flags), acts)}


def due(regime: str, *flags: str, aware: datetime = FRIDAY, **done: datetime) -> dict[str, str]:
    return {name: f"{clock.due:%m-%d %H:%M}" for name, clock in clocks(regime, *flags, aware=aware, **done).items()}


@pytest.mark.parametrize("regime", ["gdpr", "uk_gdpr"])
def test_the_european_authority_is_told_within_72_hours_weekend_or_not(regime: str) -> None:
    assert due(regime) == {"authority": "11-23 15:30"}
    assert due(regime, "high_risk") == {"authority": "11-23 15:30", "people": "11-23 15:30"}
    assert due(regime, "no_risk") == {}
    assert due(regime, "processor") == {"controller": "11-21 15:30"}


def test_china_asks_for_four_hours_or_one_where_an_incident_is_significant() -> None:
    assert due("pipl") == {"authority": "11-21 15:30", "people": "11-21 15:30"}
    assert due("pipl", "significant")["incident"] == "11-20 19:30"
    assert due("pipl", "significant", "cii")["infrastructure"] == "11-20 16:30"
    assert "incident" not in due("pipl", "significant", "cii")
    before = datetime(2025, 10, 31, 15, 59, tzinfo=UTC)  # the measures are in force from 1 November, in Beijing
    assert "incident" not in due("pipl", "significant", aware=before)
    assert "incident" in due("pipl", "significant", aware=before.replace(hour=16))


def test_brazil_counts_working_days_to_the_end_of_the_day_there() -> None:
    found = due("lgpd")
    assert found["authority"] == found["people"] == "11-26 02:59"  # Wednesday 25, 23:59 in Brasilia
    assert found["detail"] == "12-24 02:59"
    assert due("lgpd", authority=datetime(2026, 11, 23, 12, tzinfo=UTC))["detail"] == "12-22 02:59"


def test_a_day_begins_where_the_regime_is() -> None:
    late = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)  # still Friday in Brasilia
    assert due("lgpd", aware=late)["authority"] == "11-26 02:59"


def test_japan_hears_twice_and_later_where_the_purpose_was_improper() -> None:
    assert due("appi")["authority"] == "11-24 14:59"  # it is Saturday there
    assert due("appi")["final"] == "12-21 14:59"
    assert due("appi", "improper_purpose")["final_improper"][:5] == "01-20"


def test_singapore_counts_from_the_end_of_the_assessment() -> None:
    waiting = clocks("pdpa")
    assert waiting["authority"].waits
    assert f"{waiting['authority'].due:%m-%d}" == "12-23"
    done = clocks("pdpa", assessment=datetime(2026, 11, 22, 3, tzinfo=UTC))
    assert not done["authority"].waits
    assert f"{done['authority'].due:%m-%d %H:%M}" == "11-25 15:59"


def test_the_united_states_hear_within_14_days_of_a_broken_clause_only() -> None:
    assert due("us_bulk") == {}
    assert due("us_bulk", "onward_transfer") == {"doj": "12-05 04:59"}


def test_every_regime_with_clocks_is_one_of_the_law() -> None:
    assert set(TERMS.regimes) <= set(load_law().regimes)


def test_the_most_urgent_clock_is_first_and_each_has_its_source() -> None:
    for regime in TERMS.regimes:
        found = clocks_of(TERMS, regime, FRIDAY, frozenset(), {})
        assert [clock.due for clock in found] == sorted(clock.due for clock in found)
        assert all(clock.source and clock.name.startswith(f"{regime}.") for clock in found)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidLawEntry, match="one of gdpr"):
        clocks("atlantis")
    with pytest.raises(InvalidLawEntry, match="high_risk"):
        clocks("gdpr", "dragons")


ROW = "{id: a, tell: x, hours: 1, since: 2020-01-01, source: s}"


@pytest.mark.parametrize(
    ("duties", "what"),
    [
        ("{id: a, tell: x, since: 2020-01-01, source: s}", "one period"),
        ("{id: a, tell: x, hours: 1, days: 1, since: 2020-01-01, source: s}", "one period"),
        (f"{ROW}, {ROW}", "named twice"),
        ("{id: a, tell: x, hours: 1, after: b, since: 2020-01-01, source: s}", "comes after"),
        ("{id: a, tell: x, hours: 1, when: [b], since: 2020-01-01, source: s}", "nobody says what `b` means"),
    ],
)
def test_a_table_that_makes_no_sense_does_not_load(duties: str, what: str) -> None:
    text = f"checked: 2026-01-01\nflags: {{}}\nregimes: {{x: {{utc_offset: 0, duties: [{duties}]}}}}"
    with pytest.raises(InvalidInput, match=what):
        read_terms(text, "terms.yaml")
