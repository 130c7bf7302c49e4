"""`inbond subject ...`: what people said of the use of their data, and the jobs their data were in.

The officer sees the ids that the command is given, at home; the log and the file hold keyed hashes.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.subjects import EVERY, Act
from inbond.acting import decided
from inbond.config import read_text
from inbond.console import emit, table
from inbond.errors import ConfigError
from inbond.member_cli import DEFAULT_HOME, Home, Json
from parties.cohorts import Took, again, took_part
from parties.subject_home import Person, changing, id_of, looking
from parties.subject_request_cli import app as asking

app = typer.Typer(no_args_is_help=True, help="People: consent, withdrawal, objection, erasure; requests; their jobs.")
app.add_typer(asking)
People = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of people; none with --ids.")]
Ids = Annotated[Path | None, typer.Option(help="Instead: a file of ids, one a line; - reads them from standard input.")]
Purpose = Annotated[str, typer.Option(help="A purpose, such as dpv:Marketing; without it, every purpose.")]


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
    with looking(home) as (_, registry):
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
    whom = id_of(person)
    with looking(home) as (node, registry):
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
    whom = id_of(person)
    with looking(home) as (node, registry):
        jobs = [one for one in took_part(node, registry, whom) if one.kind == "train" and one.was_in]
        if jobs and registry is not None and not registry.withheld(jobs[0].purpose):
            right = "`inbond subject erase` or `withdraw` first"
            raise ConfigError("this person would be in it again", where="subject", right=right)
        rows = [{**one.payload(), "file": str(again(node, one.job, out))} for one in jobs]

    def human(console: Any) -> None:
        cells = ((row["job"], row["owner"], row["file"]) for row in rows)
        console.print(table(("training", "of", "job file"), cells) if rows else "this person was in no training")

    emit(rows, json=json, human=human)


def _say(act: Act, people: list[str] | None, ids: Path | None, purpose: str, home: Path, json: bool) -> None:
    named = _people(people, ids)
    with changing(home) as (_, registry):
        kept = registry.say(act, named, purpose)
    value = {"act": act.value, "purpose": purpose or "every", "people": len(set(named)), "kept": kept}
    told = f"{kept} of {value['people']} people: {act.value}, {value['purpose']} purpose"
    emit(value, json=json, human=lambda console: console.print(told))


def _people(named: list[str] | None, file: Path | None) -> list[str]:
    if file is None and named:
        return [id_of(one) for one in named]
    if file is None or named:
        raise ConfigError("no people, or two lists of them", where="subject", right="ids, or --ids FILE")
    text = sys.stdin.read() if str(file) == "-" else read_text(file, "one id a line, in UTF-8")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ConfigError("there is nobody in it", where=str(file), right="one id a line")
    return found


def _jobs(jobs: list[Took]) -> Any:
    cells = ((one.job[:12], one.kind, one.dataset, one.purpose, "yes" if one.was_in else "left out") for one in jobs)
    heads = ("job", "kind", "dataset", "purpose", "read")
    return table(heads, cells) if jobs else "no job has read a table that may hold this person"
