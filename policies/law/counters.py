"""Yearly and sliding counters as pure arithmetic: what a durable store must add up, and when it starts anew.

CAC Decree 16 counts people per exporter from 1 January, exempt flows apart; 28 CFR 202 looks back twelve months.
Learns counts, never who was counted: people are told apart by the caller, by keyed hash.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone

from policies.law.derive import anniversary

BEIJING = timezone(timedelta(hours=8), "Asia/Shanghai")  # no daylight saving since 1991


@dataclass(frozen=True)
class Tally:
    """Distinct people an exporter has sent abroad in one calendar year; `exempt` ones do not count for a band."""

    year: int
    ordinary: int = 0
    sensitive: int = 0
    exempt: int = 0


@dataclass(frozen=True)
class Flow:
    """People of one transfer who were not yet counted this year, and under which heading they count."""

    new_people: int
    sensitive: bool = False
    exempt: bool = False


def year_of(moment: datetime) -> int:
    """The year whose counter `moment` (aware) falls into: the calendar year in Beijing."""
    return moment.astimezone(BEIJING).year


def count(before: Tally, flow: Flow, moment: datetime) -> Tally:
    """The tally after `flow` at `moment` (aware); a new year starts at nothing."""
    year = year_of(moment)
    tally = before if before.year == year else Tally(year)
    if flow.exempt:
        return replace(tally, exempt=tally.exempt + flow.new_people)
    if flow.sensitive:
        return replace(tally, sensitive=tally.sensitive + flow.new_people)
    return replace(tally, ordinary=tally.ordinary + flow.new_people)


def last_twelve_months(entries: Iterable[tuple[date, int]], today: date) -> int:
    """The sum of the (day, people) entries in the twelve months before and including `today`."""
    start = anniversary(today, -1)
    return sum(people for day, people in entries if start < day <= today)
