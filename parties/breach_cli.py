"""`inbond law breach ...`: who must be told of a breach by when, and what was done; the officer's own, at home."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.breach_terms import built_in_terms
from compliance.breaches import Breach, BreachStore, Said
from compliance.counters import FILE
from inbond.acting import decided
from inbond.console import emit, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json, load_role, time_of
from inbond.node import utc_now
from parties.record_cli import opened
from policies.law.law import load_law
from policies.law.regime import AREA
from policies.law.tables import members

app = typer.Typer(no_args_is_help=True, help="Breaches: who must be told by when, and what was done.")

Number = Annotated[int, typer.Argument(help="The breach's number.", min=1)]
DutyName = Annotated[str, typer.Argument(help="A duty as `show` names it, such as gdpr.authority.")]
Words = Annotated[str, typer.Option("--say", help="A reference or a reason, naming nobody.")]


@app.command("open")
@decided("law breach open")
def open_breach(
    what: Annotated[str, typer.Argument(help="What happened, in words that name nobody.")],
    home: Home = DEFAULT_HOME,
    *,
    aware: Annotated[str, typer.Option(help="When you became aware: now, or 2026-11-26T09:30+01:00.")] = "now",
    regime: Annotated[list[str] | None, typer.Option(help="A regime it falls under; else that of the country.")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="What is so of it; `flags` lists what may be said.")] = None,
    people: Annotated[int | None, typer.Option(min=0, help="How many people are concerned, about.")] = None,
    json: Json = False,
) -> None:
    """Start the clocks of a breach, and say who must be told by when."""
    country, since = load_role(home, "party").node.country, time_of(aware, "time")
    regimes = tuple(dict.fromkeys(regime)) if regime else _regimes_of(country, since.date())
    with _opened(home) as store:
        _show(store.open_breach(since, Said(regimes, frozenset(flag or ()), people, what)), json)


@app.command()
def flags(*, json: Json = False) -> None:
    """What may be said of a breach, and for which regimes there are clocks."""
    terms = built_in_terms()
    value = {"flags": terms.flags, "regimes": sorted(terms.regimes), "checked": str(terms.checked)}

    def human(console: Any) -> None:
        console.print(table(("flag", "means that"), terms.flags.items()))
        console.print(f"\nregimes: {', '.join(value['regimes'])}; checked {terms.checked}")

    emit(value, json=json, human=human)


@app.command("list")
def show_all(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every breach, and its most urgent clock."""
    load_role(home, "party")
    found: list[dict[str, Any]] = []
    if (home / FILE).exists():
        with BreachStore.read_only(home / FILE) as store:
            found = [_row(one) for one in store.all()]

    def human(console: Any) -> None:
        cells = ([row["breach"], row["state"], *_next(row), row["what"]] for row in found)
        console.print(table(("breach", "state", "next", "by", "what"), cells) if found else "no breaches")

    emit(found, json=json, human=human)


@app.command()
def show(number: Number, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """One breach with all its clocks."""
    load_role(home, "party")
    with BreachStore.read_only(home / FILE) as store:
        found = [one for one in store.all() if one.number == number]
    if not found:
        raise ConfigError("there is no such breach", where=f"breach {number}", right="see `inbond law breach list`")
    _show(found[0], json)


@app.command()
@decided("law breach done")
def done(
    number: Number,
    duty: DutyName,
    home: Home = DEFAULT_HOME,
    *,
    say: Words,
    at: Annotated[str, typer.Option(help="When: now, or 2026-11-26T09:30+01:00.")] = "now",
    json: Json = False,
) -> None:
    """Say that a duty was done, with its reference."""
    with _opened(home) as store:
        _show(store.act(number, duty, say, at=time_of(at, "time")), json)


@app.command("not-needed")
@decided("law breach not-needed")
def not_needed(number: Number, duty: DutyName, home: Home = DEFAULT_HOME, *, say: Words, json: Json = False) -> None:
    """Say that a duty does not apply, with the reason."""
    with _opened(home) as store:
        _show(store.act(number, duty, say, needed=False), json)


@app.command()
@decided("law breach close")
def close(number: Number, home: Home = DEFAULT_HOME, *, say: Words, json: Json = False) -> None:
    """Close a breach of which every duty is done or not needed, with a finding."""
    with _opened(home) as store:
        _show(store.close_breach(number, say), json)


def _regimes_of(country: str, day: date) -> tuple[str, ...]:
    """Regimes with clocks in whose area a node of this country is."""
    law = load_law()
    areas = {name: law.regimes[name].tables.lists[AREA] for name in built_in_terms().regimes}
    return tuple(name for name, rows in areas.items() if country in members(rows, day, law.common.lists))


@contextmanager
def _opened(home: Path) -> Iterator[BreachStore]:
    with opened(home) as tell, BreachStore.open(home / FILE, tell) as store:
        yield store


def _row(breach: Breach) -> dict[str, Any]:
    now = utc_now()
    clocks = [(clock, breach.state(clock, now)) for clock in breach.clocks()]
    return {
        "breach": breach.number,
        "state": "closed" if breach.closed is not None else "open",
        "aware": _shown(breach.aware),
        "regimes": list(breach.said.regimes),
        "flags": sorted(breach.said.flags),
        "people": breach.said.people,
        "what": breach.said.what,
        "clocks": [
            {"duty": clock.name, "tell": clock.tell, "due": _shown(clock.due), "state": state, "source": clock.source}
            for clock, state in clocks
        ],
        "acts": [
            {"duty": act.duty, "at": _shown(act.at), "needed": act.needed, "said": act.said} for act in breach.acts
        ],
    }


def _next(row: dict[str, Any]) -> tuple[str, str]:
    left = [clock for clock in row["clocks"] if clock["state"] not in {"done", "not needed"}]
    return (left[0]["duty"], f"{left[0]['due']} {left[0]['state']}") if left else ("-", "-")


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def _show(breach: Breach, json: bool) -> None:
    row = _row(breach)

    def human(console: Any) -> None:
        console.print(f"breach {row['breach']} ({row['state']}), aware {row['aware']}: {row['what']}")
        cells = ([clock[key] for key in ("duty", "tell", "due", "state", "source")] for clock in row["clocks"])
        console.print(table(("duty", "tell", "by", "state", "source"), cells))

    emit(row, json=json, human=human)
