"""`inbond job ...` and `inbond query`: what a researcher does, in words and bars. Results are opened here only."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from federation.asking import PROTECTION, Matching, Question, job_fields, read_parameters
from federation.catalog_cli import app as catalog
from federation.client import Delivered, Researcher, Result, TrainedModel, step_count
from federation.explaining import show_explanation
from inbond.answer_view import show_answer
from inbond.config import read_text
from inbond.console import bars, emit, facts, note, size, table
from inbond.errors import ConfigError, InbondError
from inbond.job_options import SHORT, Force, Job, Out
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.model_card import read_card
from inbond.result_files import check_out, write_model
from inbond.v1 import control_pb2 as wire
from policies.job import JobSpec, load_job
from policies.plan import load_plan
from policies.protocols import ANSWER_STEP

app = typer.Typer(no_args_is_help=True, help="Jobs: submit, watch, cancel, results.")
queries = typer.Typer(help="Joint queries and the catalogue.")
queries.add_typer(catalog, name="catalog")
STEPS = {
    "query.start": "roster",
    "query.join": "matching",
    "query.census": "census",
    "query.count": "group counts",
    "query.release": "release",
    ANSWER_STEP: "answer",
    "query.initial": "first model",
    "evaluate": "evaluation",
    "query.finish": "result",
}
JobFile = Annotated[Path, typer.Argument(help="A job file, YAML or JSON.")]
Parameters = Annotated[list[str] | None, typer.Option("--param", help="name=value for $name in the SQL; repeatable.")]


def read_job(path: Path) -> JobSpec:
    """The job in a file; raises ConfigError or InvalidInput."""
    return load_job(read_text(path, "a job file in UTF-8"), str(path))


def find_job(researcher: Researcher, prefix: str) -> str:
    """The id of the one job that starts with `prefix`; raises InbondError."""
    found = [view.job for view in researcher.jobs() if view.job.startswith(prefix)]
    if len(found) != 1:
        what = "no job of yours" if not found else f"{len(found)} jobs"
        raise InbondError(f"{what} starts with {prefix}", where="job", right="see `inbond job list`")
    return found[0]


# commands on jobs


@app.command()
def submit(
    file: JobFile,
    home: Home = DEFAULT_HOME,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job and show its result.")] = False,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign a job file and send it."""
    spec = read_job(file)
    if out is not None and not watch:
        raise ConfigError("needs --watch", where="--out", right="--watch, or inbond job result JOB --out FILE later")
    check_out(out, spec.kind, force=force)
    with Researcher.open(home) as researcher:
        job = researcher.submit(spec)
        if not watch:
            data = {"job": job, "next": f"inbond job watch {job[:SHORT]}"}
            emit(data, json=json, human=lambda console: console.print(facts(data)))
            return
        _follow(researcher, job, quiet=json)
        _show_result(_fetch(researcher, job, quiet=json), out, force=force, json=json)


@app.command("watch")
def watch_job(
    job: Job, home: Home = DEFAULT_HOME, *, out: Out = None, force: Force = False, json: Json = False
) -> None:
    """Follow a job to its end and show its result."""
    check_out(out, force=force)
    with Researcher.open(home) as researcher:
        found = find_job(researcher, job)
        _follow(researcher, found, quiet=json)
        _show_result(_fetch(researcher, found, quiet=json), out, force=force, json=json)


@app.command()
def status(job: Job, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """State, reason, verdicts and cost of a job."""
    with Researcher.open(home) as researcher:
        data = _view(researcher.status(find_job(researcher, job)))
    shown = {
        **data,
        "bytes_to_parties": size(data["bytes_to_parties"]),
        "bytes_from_parties": size(data["bytes_from_parties"]),
    }
    shown["parties"] = ", ".join(data["parties"])
    emit(data, json=json, human=lambda console: console.print(facts(shown)))


@app.command("list")
def list_jobs(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Your jobs, newest first; an operator's and an auditor's list has everyone's."""
    with Researcher.open(home) as researcher:
        rows = [_view(view) for view in researcher.jobs()]
    cells = (
        (row["job"][:SHORT], row["name"], _owner(row), row["kind"], row["state"], row["reason"][:30]) for row in rows
    )
    columns = ("job", "name", "of", "kind", "state", "reason")
    emit(rows, json=json, human=lambda console: console.print(table(columns, cells)))


@app.command()
def cancel(job: Job, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """End a job at once, at the coordinator and at every party."""
    with Researcher.open(home) as researcher:
        data = _view(researcher.cancel(find_job(researcher, job)))
    emit(
        data,
        json=json,
        human=lambda console: console.print(facts({"job": data["job"], "state": data["state"]})),
    )


@app.command()
def result(job: Job, home: Home = DEFAULT_HOME, *, out: Out = None, force: Force = False, json: Json = False) -> None:
    """Fetch, open and check the result of a finished job."""
    check_out(out, force=force)
    with Researcher.open(home) as researcher:
        _show_result(_fetch(researcher, find_job(researcher, job), quiet=json), out, force=force, json=json)


@app.command()
def model(
    file: Annotated[Path, typer.Argument(help="A model file, as `inbond job result --out` wrote it.")],
    *,
    json: Json = False,
) -> None:
    """What a model was made of and for; refuses one whose parameters do not fit its card."""
    card = read_card(file)
    shown = {
        **{name: card["use"][name] for name in ("purpose", "job", "plan")},
        "recipe": (card.get("recipe") or {}).get("name", "-"),
        "parties": ", ".join(f"{one['name']} ({one['country']})" for one in card.get("parties", ())),
        "watermark": card["use"]["watermark"],
    }
    emit(card, json=json, human=lambda console: console.print(facts(shown)))


@app.command()
def explain(file: JobFile, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """What a job file would do, who would learn what, and every party's verdict. Runs nothing."""
    spec = read_job(file)
    with Researcher.open(home) as researcher:
        show_explanation(researcher.explain(spec), json)


# queries


@queries.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="SELECT groups, COUNT(*), SUM(x), AVG(x) FROM dataset ... GROUP BY ...")],
    purpose: Annotated[str, typer.Option(help="Why: a W3C DPV purpose, such as dpv:FraudPreventionAndDetection.")],
    home: Home = DEFAULT_HOME,
    *,
    param: Parameters = None,
    parties: Annotated[str, typer.Option(help="Names with commas; else all that publish the datasets.")] = "all",
    minimum_parties: Annotated[int, typer.Option(help="Smallest number of parties in a sum.", min=2)] = 2,
    matching: Annotated[
        Matching, typer.Option(help="Joins: hidden (nobody learns who matched), fast or auto.")
    ] = "auto",
    protect: Annotated[str, typer.Option(help="How numbers travel: a query's always encrypted.")] = PROTECTION,
    answer_at: Annotated[
        str, typer.Option(help="Of a join: the parties of one side, with commas, that read the answer; else you.")
    ] = "",
    epsilon: Annotated[float | None, typer.Option(help="Add noise with this privacy loss.", min=0.0)] = None,
    delta: Annotated[float, typer.Option(help="With delta the noise is Gaussian, else Laplace.", min=0.0)] = 0.0,
    only_explain: Annotated[bool, typer.Option("--explain", help="Show plan and verdicts; run nothing.")] = False,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Answer one joint query: exact or noised, opened only here, or only by the parties of --answer-at."""
    asked = Question(purpose=purpose, parameters=read_parameters(param or ()), epsilon=epsilon, delta=delta)
    asked |= Question(minimum_parties=minimum_parties, matching=matching, protection=protect)
    if parties != "all":
        asked["parties"] = _names(parties)
    if out is not None and answer_at:
        right = f"inbond party answers show JOB --out FILE at {answer_at}"
        raise ConfigError("the answer does not come here", where="--out", right=right)
    check_out(out, "query", force=force)
    with Researcher.open(home) as researcher:
        if answer_at:
            asked["recipients"] = researcher.recipients(_names(answer_at))
        spec = researcher.query_spec(sql, **job_fields(asked))
        if only_explain:
            show_explanation(researcher.explain(spec), json)
            return
        job = researcher.submit(spec)
        researcher.ready()
        _follow(researcher, job, quiet=json)
        _show_result(_fetch(researcher, job, quiet=json), out, force=force, json=json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


# showing


def _follow(researcher: Researcher, job: str, *, quiet: bool) -> None:
    """Bars and lines until the job ends; Ctrl-C asks whether to leave it running by leaving it running."""
    if not quiet:
        note(f"job {job}")
    with bars(quiet=quiet) as progress:
        view = researcher.status(job)
        task = progress.add_task(view.name, total=step_count(view), detail="")
        try:
            for event in researcher.watch(job):
                _advance(progress, task, event, quiet)
        except KeyboardInterrupt:
            note(f"left running; inbond job watch {job[:SHORT]} takes it up, inbond job cancel {job[:SHORT]} ends it")
            raise
    researcher.wait(job)


def _fetch(researcher: Researcher, job: str, *, quiet: bool) -> Result:
    """The result, with a bar while it is fetched."""
    with bars(quiet=quiet) as progress:
        task = progress.add_task("result", total=None, detail="")
        return researcher.result(
            job, lambda done, total: progress.update(task, completed=done, total=total, detail=size(done))
        )


def _advance(progress: Progress, task: TaskID, event: dict[str, Any], quiet: bool) -> None:
    match event["event"]:
        case "step":
            moved = size(event["bytes_to_parties"] + event["bytes_from_parties"])
            name = STEPS.get(event["step"], f"round {event['round']}/{event['rounds']}")
            progress.update(task, advance=1, detail=f"{name}, {moved}")
        case "progress" if not quiet:
            values = ", ".join(f"{name} {value:.4f}" for name, value in list(event["metrics"].items())[:3])
            progress.console.print(f"after round {event['round']}: {values}")
        case "waits" | "approved" if not quiet:
            waits = f"waits for {event.get('for', 'people')}: {event.get('reason')}"
            told = waits if event["event"] == "waits" else f"approved by {event['by']}"
            progress.console.print(told)
        case "party away" | "party back" if not quiet:
            progress.console.print(f"{event['event']}: {event['party']}")
        case _:
            pass


def _owner(row: dict[str, Any]) -> str:
    return str(row["owner"]).rsplit("/", 1)[-1]


def _view(view: wire.JobView) -> dict[str, Any]:
    data = {
        name: getattr(view, name)
        for name in (
            "job",
            "name",
            "kind",
            "owner",
            "state",
            "reason",
            "created",
            "changed",
            "requests",
            "bytes_to_parties",
            "bytes_from_parties",
        )
    }
    data["parties"] = [one.name for one in load_plan(view.plan).participants] if view.plan else []
    return data


def _show_result(found: Result, out: Path | None, *, force: bool, json: bool) -> None:
    match found:
        case Delivered():
            if out is not None:
                right = f"inbond party answers show {found.job[:SHORT]} at {', '.join(found.parties)}"
                raise ConfigError("the answer is not here", where="--out", right=right)
            _show_delivered(found, json)
        case TrainedModel():
            if out is not None:
                write_model(found.file(), out, force=force)
            _show_model(found, json)
        case _:
            show_answer(found, out, force=force, json=json)


def _show_delivered(found: Delivered, json: bool) -> None:
    data = {"job": found.job, "answer_at": found.parties}
    parties = ", ".join(found.parties)
    text = f"the answer is at {parties}: inbond party answers show {found.job[:SHORT]}"
    emit(data, json=json, human=lambda console: console.print(text))


def _show_model(found: TrainedModel, json: bool) -> None:
    data = {"job": found.job, "parameters": int(found.parameters.size), "card": found.card}
    metrics = {**found.card.get("metrics", {}), **found.card.get("baselines", {})}
    shown = {
        "job": found.job,
        "parameters": data["parameters"],
        **{name: f"{value:.4f}" for name, value in metrics.items()},
    }
    emit(data, json=json, human=lambda console: console.print(facts(shown)))
