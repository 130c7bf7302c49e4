"""`inbond subject ...`: what people said of the use of their data, their requests, and the jobs their data were in.

The officer sees the ids that the command is given, at home; the log and the file hold keyed hashes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.errors import LawStoreUnavailable
from compliance.subject_terms import subject_terms
from compliance.subjects import EVERY, FILE, Act, Kind, Request, SubjectRegistry
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, facts, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.node import Node, utc_now
from parties.cohorts import Took, again, took_part
from parties.withheld import opened_registry, seal_of

app = typer.Typer(no_args_is_help=True, help="People: consent, withdrawal, objection, erasure; requests; their jobs.")
People = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of people; none with --ids.")]
Ids = Annotated[Path | None, typer.Option(help="Instead: a file of ids, one a line; - reads them from standard input.")]
Purpose = Annotated[str, typer.Option(help="A purpose, such as dpv:Marketing; without it, every purpose.")]
Person = Annotated[str, typer.Argument(metavar="ID", help="The person's id, as in the tables; - reads it.")]


@app.command()
@decided("subject consent")
def consent(
    people: People = None, home: Home = DEFAULT_HOME, *, purpose: Purpose = EVERY, ids: Ids = None, json: Json = False
) -> None:
    """Keep that people consent; it ends an earlier withdrawal."""
    _say(Act.CONSENT, people, ids, purpose, home, json)


@app.command()
@decided("subject withdraw")
def withdraw(
    people: People = None, home: Home = DEFAULT_HOME, *, purpose: Purpose = EVERY, ids: Ids = None, json: Json = False
) -> None:
    """Keep that people withdraw their consent: no job for the purpose reads them from its next read on."""
    _say(Act.WITHDRAW, people, ids, purpose, home, json)


@app.command("object")
@decided("subject object")
def object_to(
    people: People = None, home: Home = DEFAULT_HOME, *, purpose: Purpose = EVERY, ids: Ids = None, json: Json = False
) -> None:
    """Keep that people object: no job for the purpose reads them from its next read on."""
    _say(Act.OBJECT, people, ids, purpose, home, json)


@app.command()
@decided("subject erase")
def erase(people: People = None, home: Home = DEFAULT_HOME, *, ids: Ids = None, json: Json = False) -> None:
    """Keep that people are erased: no job reads them any more, whatever is left of them in the tables."""
    _say(Act.ERASE, people, ids, EVERY, home, json)


@app.command()
@decided("subject lift")
def lift(
    people: People = None, home: Home = DEFAULT_HOME, *, purpose: Purpose = EVERY, ids: Ids = None, json: Json = False
) -> None:
    """End objections to a purpose; without one, end objections and erasures (a mistake, a person who came back)."""
    _say(Act.LIFT, people, ids, purpose, home, json)


@app.command()
@decided("subject counts")
def counts(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """How many statements there are, by what they say and of which purpose."""
    rows: list[dict[str, Any]] = []
    with _looking(home) as (_, registry):
        if registry is not None:
            rows = [
                {"act": act, "purpose": purpose or "every", "statements": number}
                for (act, purpose), number in registry.counts().items()
            ]

    def human(console: Any) -> None:
        heads = ("statement", "purpose", "how many")
        console.print(table(heads, (list(row.values()) for row in rows)) if rows else "nobody has said anything")

    emit(rows, json=json, human=human)


@app.command()
@decided("subject show")
def show(person: Person, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """What is kept of one person, and in which jobs the person's data were."""
    whom = _one(person)
    with _looking(home) as (node, registry):
        said = registry.of(whom) if registry is not None else []
        jobs = took_part(node, registry, whom)
    value = {
        "statements": [
            {"act": one.act.value, "purpose": one.purpose or "every", "at": one.at.isoformat()} for one in said
        ],
        "jobs": [one.payload() for one in jobs],
    }

    def human(console: Any) -> None:
        cells = ((one["act"], one["purpose"], one["at"]) for one in value["statements"])
        console.print(table(("statement", "purpose", "at"), cells) if said else "nothing was said")
        console.print()
        console.print(_jobs(jobs))

    emit(value, json=json, human=human)


@app.command()
@decided("subject retrain")
def retrain(
    person: Person,
    out: Annotated[Path, typer.Option(help="The folder for the job files.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Write a job file for every training that a person's data were in, for its owner to run it again without."""
    whom = _one(person)
    with _looking(home) as (node, registry):
        jobs = [one for one in took_part(node, registry, whom) if one.kind == "train" and one.was_in]
        if jobs and registry is not None and not registry.withheld(jobs[0].purpose):
            right = "`inbond subject erase` or `withdraw` first"
            raise ConfigError("this person would be in it again", where="subject", right=right)
        rows = [{**one.payload(), "file": str(again(node, one.job, out))} for one in jobs]

    def human(console: Any) -> None:
        cells = ((row["job"], row["owner"], row["file"]) for row in rows)
        console.print(table(("training", "of", "job file"), cells) if rows else "this person was in no training")

    emit(rows, json=json, human=human)


@app.command()
@decided("subject request")
def request(
    person: Person,
    kind: Annotated[Kind, typer.Option(help="What the person asks for.")],
    regime: Annotated[str, typer.Option(help="The law that it is made under, such as gdpr.")],
    home: Home = DEFAULT_HOME,
    *,
    received: Annotated[str, typer.Option(help="When it came: now, or 2026-11-26T09:30+01:00.")] = "now",
    json: Json = False,
) -> None:
    """Keep a person's request, and say by when it is to be answered."""
    with _changing(home) as registry:
        found = registry.receive(_one(person), kind, regime, _time(received))
    _show_request(found, json)


@app.command()
@decided("subject requests")
def requests(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Every request, the most urgent first."""
    rows: list[dict[str, Any]] = []
    with _looking(home) as (_, registry):
        if registry is not None:
            rows = [_request(one) for one in registry.requests()]

    def human(console: Any) -> None:
        cells = ((row["request"], row["kind"], row["regime"], row["due"], row["state"]) for row in rows)
        console.print(table(("request", "asks for", "under", "by", "state"), cells) if rows else "no requests")

    emit(rows, json=json, human=human)


@app.command()
@decided("subject answer")
def answer(
    number: Annotated[int, typer.Argument(help="The request's number.")],
    outcome: Annotated[str, typer.Argument(help="granted or refused.")],
    home: Home = DEFAULT_HOME,
    *,
    say: Annotated[str, typer.Option(help="What was done, or why not, in words that name nobody.")],
    json: Json = False,
) -> None:
    """Say that a request was answered. An erasure or objection that is granted needs its own statement as well."""
    with _changing(home) as registry:
        found = registry.answer(number, outcome, say)
    _show_request(found, json)


@app.command()
def terms(*, json: Json = False) -> None:
    """How long each law gives for an answer."""
    rows = [
        {"regime": name, "days": term.days, "months": term.months, "source": term.source}
        for name, term in sorted(subject_terms().regimes.items())
    ]

    def human(console: Any) -> None:
        cells = ((row["regime"], f"{row['days']} days" if row["days"] else "1 month", row["source"]) for row in rows)
        console.print(table(("regime", "answer within", "source"), cells))

    emit(rows, json=json, human=human)


def _say(act: Act, people: list[str] | None, ids: Path | None, purpose: str, home: Path, json: bool) -> None:
    named = _people(people, ids)
    with _changing(home) as registry:
        kept = registry.say(act, named, purpose)
    value = {"act": act.value, "purpose": purpose or "every", "people": len(set(named)), "kept": kept}
    told = f"{kept} of {value['people']} people: {act.value}, {value['purpose']} purpose"
    emit(value, json=json, human=lambda console: console.print(told))


def _people(named: list[str] | None, file: Path | None) -> list[str]:
    if file is None and named:
        return [_one(one) for one in named]
    if file is None or named:
        raise ConfigError("no people, or two lists of them", where="subject", right="ids, or --ids FILE")
    text = sys.stdin.read() if str(file) == "-" else read_text(file, "one id a line, in UTF-8")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ConfigError("there is nobody in it", where=str(file), right="one id a line")
    return found


def _one(person: str) -> str:
    return sys.stdin.readline().strip() if person == "-" else person


def _time(text: str) -> datetime:
    if text == "now":
        return utc_now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigError(f"{text[:40]!r} is no time", where="--received", right="now, or 2026-11-26T09:30+01:00")
    return found


def _jobs(jobs: list[Took]) -> Any:
    cells = ((one.job[:12], one.kind, one.dataset, one.purpose, "yes" if one.was_in else "left out") for one in jobs)
    heads = ("job", "kind", "dataset", "purpose", "read")
    return table(heads, cells) if jobs else "no job has read a table that may hold this person"


def _request(one: Request) -> dict[str, Any]:
    late = one.outcome is None and utc_now() > one.due
    return {
        "request": one.number,
        "kind": one.kind.value,
        "regime": one.regime,
        "received": one.received.isoformat(timespec="minutes"),
        "due": one.due.isoformat(timespec="minutes"),
        "state": one.outcome or ("overdue" if late else "open"),
        "note": one.note,
    }


def _show_request(one: Request, json: bool) -> None:
    value = _request(one)
    emit(value, json=json, human=lambda console: console.print(facts({**value, "note": value["note"] or "-"})))


@contextmanager
def _changing(home: Path) -> Iterator[SubjectRegistry]:
    node = Node.open(home)
    try:
        with opened_registry(node) as registry:
            yield registry
    finally:
        node.close()


@contextmanager
def _looking(home: Path) -> Iterator[tuple[Node, SubjectRegistry | None]]:
    """The node and its registry, or None where nobody has said anything yet."""
    node = Node.open(home, audit=False)
    if not (home / FILE).exists():
        yield node, None
        return
    try:
        registry = SubjectRegistry.look(home / FILE, seal_of(node))
    except LawStoreUnavailable as error:
        raise ConfigError(error.what, where=error.where, right=error.right) from None
    with registry:
        yield node, registry
