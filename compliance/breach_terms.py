"""By when somebody must be told of a breach: dated rows of `breach_terms.yaml` as instants.

Learns when a node became aware and what it says of the breach, nothing of the data. A period of days ends with the last
second of its last day in the regime's own time. Business days are Monday to Friday: a holiday, which is not known here,
would only move the end back, never forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache
from importlib import resources
from typing import Annotated

from pydantic import Field, model_validator

from compliance.errors import InvalidLawEntry
from policies.document import Value, read_document, validate
from policies.law.tables import Dated

_FILE = "breach_terms.yaml"
_SATURDAY = 5
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Duty(Dated):
    """Somebody to tell within `hours`, `days` or `business_days` of becoming aware, or of the end of the duty `after`.

    It is there where all flags of `when` and none of `unless` are said of the breach.
    """

    id: Id
    tell: Text
    hours: int | None = Field(default=None, ge=1, le=10_000)
    days: int | None = Field(default=None, ge=1, le=1000)
    business_days: int | None = Field(default=None, ge=1, le=1000)
    after: Id | None = None
    when: frozenset[Id] = frozenset()
    unless: frozenset[Id] = frozenset()

    @model_validator(mode="after")
    def _one_period(self) -> "Duty":
        if sum(period is not None for period in (self.hours, self.days, self.business_days)) != 1:
            raise ValueError("a duty has one period; give `hours`, `days` or `business_days`")
        return self

    def due(self, start: datetime, zone: timezone) -> datetime:
        """The last moment, in UTC, for a clock that starts at `start` (aware)."""
        if self.hours is not None:
            return (start + timedelta(hours=self.hours)).astimezone(UTC)
        day = start.astimezone(zone).date()
        last = day + timedelta(days=self.days) if self.days is not None else _working(day, self.business_days or 0)
        return datetime.combine(last, time(23, 59, 59), zone).astimezone(UTC)


class RegimeClocks(Value):
    """The duties of one regime; `utc_offset` in hours says when its days end."""

    utc_offset: int = Field(ge=-12, le=14)
    duties: tuple[Duty, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _duties_are_told_apart(self) -> "RegimeClocks":
        names = [duty.id for duty in self.duties]
        if len(set(names)) != len(names) or any(duty.after not in {None, *names} for duty in self.duties):
            raise ValueError("a duty is named twice, or comes after one that there is not; mend `id` or `after`")
        return self

    @property
    def zone(self) -> timezone:
        """The regime's own time."""
        return timezone(timedelta(hours=self.utc_offset))


class Terms(Value):
    """All clocks, what may be said of a breach, and when somebody last checked them."""

    checked: date
    flags: dict[Id, Text]
    regimes: dict[Id, RegimeClocks]

    @model_validator(mode="after")
    def _flags_are_known(self) -> "Terms":
        duties = [duty for clocks in self.regimes.values() for duty in clocks.duties]
        strange = sorted({flag for duty in duties for flag in duty.when | duty.unless} - set(self.flags))
        if strange:
            raise ValueError(f"nobody says what `{strange[0]}` means; add it to `flags`")
        return self


@dataclass(frozen=True)
class Clock:
    """One duty of a breach and its last moment (UTC); `waits` where the duty that starts it is not done yet."""

    regime: str
    duty: str
    tell: str
    due: datetime
    source: str
    waits: bool = False

    @property
    def name(self) -> str:
        """The duty's name among all of a breach."""
        return f"{self.regime}.{self.duty}"


@lru_cache(maxsize=1)
def built_in_terms() -> Terms:
    """The packaged clocks."""
    text = resources.files("compliance").joinpath(_FILE).read_text("utf-8")
    return read_terms(text, _FILE)


def read_terms(text: str, where: str) -> Terms:
    """Clocks from YAML; raises policies.errors.InvalidInput."""
    return validate(Terms, read_document(text, where))


def clocks_of(
    terms: Terms, regime: str, aware: datetime, flags: frozenset[str], done: Mapping[str, datetime]
) -> tuple[Clock, ...]:
    """The clocks of a breach under one regime, by the rows in force on the day of awareness, first the most urgent.

    `done` says when duties (by `regime.duty`) were done. Raises InvalidLawEntry for an unknown regime or flag.
    """
    if regime not in terms.regimes:
        raise _unknown(f"no clocks are known for {regime!r}", f"one of {', '.join(terms.regimes)}")
    strange = sorted(flags - set(terms.flags))
    if strange:
        raise _unknown(f"nothing is known of {strange[0]!r}", f"some of {', '.join(terms.flags)}")
    clocks = terms.regimes[regime]
    day = aware.astimezone(clocks.zone).date()
    held = {duty.id: duty for duty in clocks.duties if duty.holds(day) and _applies(duty, flags)}
    found = []
    for duty in held.values():
        start = _start(duty, held, aware, clocks.zone, {name: done.get(f"{regime}.{name}") for name in held})
        waits = duty.after in held and f"{regime}.{duty.after}" not in done
        found.append(Clock(regime, duty.id, duty.tell, duty.due(start, clocks.zone), duty.source, waits))
    return tuple(sorted(found, key=lambda clock: (clock.due, clock.name)))


def _applies(duty: Duty, flags: frozenset[str]) -> bool:
    return duty.when <= flags and not duty.unless & flags


def _start(
    duty: Duty, held: Mapping[str, Duty], aware: datetime, zone: timezone, done: Mapping[str, datetime | None]
) -> datetime:
    """When a clock starts: with awareness, or when the duty before it was done; until then, when that one ends."""
    before = held.get(duty.after) if duty.after is not None else None
    if before is None:
        return aware
    ended = done.get(before.id)
    return ended if ended is not None else before.due(_start(before, held, aware, zone, done), zone)


def _working(day: date, number: int) -> date:
    """The `number`-th working day after `day`."""
    while number:
        day += timedelta(days=1)
        number -= day.weekday() < _SATURDAY
    return day


def _unknown(what: str, right: str) -> InvalidLawEntry:
    return InvalidLawEntry(what, where="breach", right=right)
