"""The terms that an agreement would need to cover what a job makes known, written as they stand in a file of terms.

Words alone, for the person whose job was refused: nothing is decided here (`policies.agreement_rules` decides).
"""

from collections.abc import Iterable, Sequence
from datetime import date

from policies.agreement import Agreement
from policies.agreement_rules import Share

SHOWN = 8  # values of one term


def wanted(shares: Sequence[Share], today: date, terms: Agreement | None = None, *, used_up: bool = False) -> str:
    """What `terms` lack to cover all of `shares` on a day, or without `terms` everything that an agreement must say."""
    parties = {one.owner for one in shares} | {one.counterpart for one in shares}
    tables = {(one.owner, one.dataset) for one in shares}
    purposes, leaks = {one.purpose for one in shares}, {one.leak.value for one in shares}
    countries, readers = {one.country for one in shares}, {one.reader for one in shares}
    days = True
    if terms is not None:
        parties -= terms.parties
        tables -= {(owner, name) for owner, names in terms.datasets.items() for name in names}
        purposes -= terms.purposes
        leaks -= terms.leaks
        countries -= set(terms.recipients.countries)
        readers = {one for one in readers if not terms.recipients.names(one)}
        days = not terms.first_day <= today <= terms.last_day
    lines = (
        _listed("parties", parties),
        _listed("datasets", (f"{owner}/{name}" for owner, name in tables)),
        _listed("purposes", purposes),
        _listed("leaks", leaks),
        _listed("recipients: countries", countries),
        _listed("recipients: ids", readers),
        f"days that include {today}" if days else "",
        "more uses" if used_up else "",
    )
    return "; ".join(line for line in lines if line)


def _listed(term: str, values: Iterable[str]) -> str:
    found = sorted(values)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{term}: [{', '.join(found[:SHOWN])}]{more}" if found else ""
