"""By when a person's request must be answered: dated rows of `subject_terms.yaml` as instants.

Learns when a request came and under which law, nothing of the person. A period ends with the last second of its last
day in the regime's own time.
"""

import calendar
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache
from importlib import resources

from pydantic import Field, model_validator

from compliance.errors import InvalidLawEntry
from policies.document import Value, read_document, validate
from policies.law.tables import Dated, FactName

_FILE = "subject_terms.yaml"


class Term(Dated):
    """How long one regime gives: `days` or `months`; `utc_offset` in hours says when its days end."""

    utc_offset: int = Field(ge=-12, le=14)
    days: int | None = Field(default=None, ge=1, le=1000)
    months: int | None = Field(default=None, ge=1, le=24)

    @model_validator(mode="after")
    def _one_period(self) -> "Term":
        if (self.days is None) == (self.months is None):
            raise ValueError("a term has one period; give `days` or `months`")
        return self

    def due(self, received: datetime) -> datetime:
        """The last moment, in UTC, to answer a request that was `received` (aware)."""
        zone = timezone(timedelta(hours=self.utc_offset))
        day = received.astimezone(zone).date()
        last = day + timedelta(days=self.days) if self.days is not None else _months_later(day, self.months or 0)
        return datetime.combine(last, time(23, 59, 59), zone).astimezone(UTC)


class SubjectTerms(Value):
    """The file."""

    checked: date
    regimes: Mapping[FactName, Term]

    def due(self, regime: str, received: datetime) -> datetime:
        """By when a request under `regime` is to be answered; raises InvalidLawEntry for a regime without a term."""
        term = self.regimes.get(regime)
        if term is None or not term.holds(received.date()):
            right = f"one of {', '.join(sorted(self.regimes))}"
            raise InvalidLawEntry(f"regime `{regime[:40]}` has no term for requests then", where="request", right=right)
        return term.due(received)


@lru_cache(maxsize=1)
def subject_terms() -> SubjectTerms:
    """The terms that come with inbond."""
    text = resources.files("compliance").joinpath(_FILE).read_text("utf-8")
    return validate(SubjectTerms, read_document(text, _FILE))


def _months_later(day: date, months: int) -> date:
    """The same day `months` later, or the last day of a shorter month (Regulation 1182/71 art. 3(2)(c))."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
