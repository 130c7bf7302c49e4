"""`inbond job ...`, `inbond query`, `inbond catalog`: what a researcher does, in words and bars."""

import csv
import io
import json as _json
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.progress import Progress, TaskID
from safetensors.numpy import save

from federation.client import Answer, Explanation, Researcher, TrainedModel
from inbond.config import read_text
from inbond.console import bars, emit, facts, note, size, table
from inbond.errors import ConfigError, InbondError, Refused
from inbond.member_cli import DEFAULT_HOME, Home, Json
from inbond.v1 import control_pb2 as wire
from policies.job import JobSpec, load_job
from policies.plan import Plan, load_plan

app = typer.Typer(no_args_is_help=True, help="Jobs: submit, watch, cancel, results.")
queries = typer.Typer(help="Joint queries and the catalogue.")
STEPS = {
    "query.start": "roster",
    "query.census": "census",
    "query.count": "group counts",
    "query.release": "release",
    "query.initial": "first model",
    "evaluate": "evaluation",
    "query.finish": "result",
}
SHORT = 12
ENDINGS = {"query": (".csv", ".json", ".parquet"), "train": (".safetensors",)}
Job = Annotated[str, typer.Argument(help="The job's id, or its first characters.")]
JobFile = Annotated[Path, typer.Argument(help="A job file, YAML or JSON.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the result here; the ending says how.")]


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
    json: Json = False,
) -> None:
    """Sign a job file and send it."""
    spec = read_job(file)
    if out is not None and not watch:
        raise ConfigError("needs --watch", where="--out", right="--watch, or inbond job result JOB --out FILE later")
    _check_out(out, spec.kind)
    with Researcher.open(home) as researcher:
        job = researcher.submit(spec)
        if not watch:
            data = {"job": job, "next": f"inbond job watch {job[:SHORT]}"}
            emit(data, json=json, human=lambda console: console.print(facts(data)))
            return
        _follow(researcher, job, spec, quiet=json)
        _show_result(_fetch(researcher, job, quiet=json), out, json)


@app.command("watch")
def watch_job(job: Job, home: Home = DEFAULT_HOME, *, out: Out = None, json: Json = False) -> None:
    """Follow a job to its end and show its result."""
    _check_out(out)
    with Researcher.open(home) as researcher:
        found = find_job(researcher, job)
        _follow(researcher, found, None, quiet=json)
        _show_result(_fetch(researcher, found, quiet=json), out, json)


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
    """Your jobs, newest first."""
    with Researcher.open(home) as researcher:
        rows = [_view(view) for view in researcher.jobs()]
    cells = ((row["job"][:SHORT], row["name"], row["kind"], row["state"], row["reason"][:30]) for row in rows)
    columns = ("job", "name", "kind", "state", "reason")
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
def result(job: Job, home: Home = DEFAULT_HOME, *, out: Out = None, json: Json = False) -> None:
    """Fetch, open and check the result of a finished job."""
    _check_out(out)
    with Researcher.open(home) as researcher:
        _show_result(_fetch(researcher, find_job(researcher, job), quiet=json), out, json)


@app.command()
def explain(file: JobFile, home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """What a job file would do, who would learn what, and every party's verdict. Runs nothing."""
    spec = read_job(file)
    with Researcher.open(home) as researcher:
        _show_explanation(researcher.explain(spec), json)


# queries


@queries.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="SELECT groups, COUNT(*), SUM(x), AVG(x) FROM dataset ... GROUP BY ...")],
    purpose: Annotated[str, typer.Option(help="Why: a W3C DPV purpose, such as dpv:FraudPreventionAndDetection.")],
    home: Home = DEFAULT_HOME,
    *,
    parties: Annotated[str, typer.Option(help="Names with commas; else all that publish the dataset.")] = "all",
    minimum_parties: Annotated[int, typer.Option(help="Smallest number of parties in a sum.", min=2)] = 2,
    epsilon: Annotated[float | None, typer.Option(help="Add noise with this privacy loss.", min=0.0)] = None,
    delta: Annotated[float, typer.Option(help="With delta the noise is Gaussian, else Laplace.", min=0.0)] = 0.0,
    only_explain: Annotated[bool, typer.Option("--explain", help="Show plan and verdicts; run nothing.")] = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Answer one joint query: exact or noised, opened only here."""
    fields: dict[str, Any] = {"purpose": purpose, "minimum_parties": minimum_parties}
    if parties != "all":
        fields["parties"] = [name.strip() for name in parties.split(",")]
    if epsilon is not None:
        mechanism = "gaussian" if delta else "laplace"
        fields["privacy"] = {"mechanism": mechanism, "epsilon": epsilon, "delta": delta}
    elif delta:
        raise ConfigError("needs --epsilon", where="--delta", right="--epsilon with the privacy loss, such as 1.0")
    _check_out(out, "query")
    with Researcher.open(home) as researcher:
        spec = researcher.query_spec(sql, **fields)
        if only_explain:
            _show_explanation(researcher.explain(spec), json)
            return
        job = researcher.submit(spec)
        _follow(researcher, job, spec, quiet=json)
        _show_result(_fetch(researcher, job, quiet=json), out, json)


@queries.command("catalog")
def catalog(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Datasets of the consortium: who holds what, in which country, for which purposes."""
    with Researcher.open(home) as researcher:
        entries = researcher.catalogue()
    rows = [
        {"party": entry.party, "country": entry.country, **contract.published()}
        for entry in entries.values()
        for contract in entry.contracts.values()
    ]
    cells = (
        (
            row["dataset"],
            row["party"],
            row["jurisdiction"],
            row["schema_name"],
            ", ".join(one.removeprefix("dpv:") for one in row["purposes"]),
        )
        for row in sorted(rows, key=lambda row: (row["dataset"], row["party"]))
    )
    columns = ("dataset", "party", "in", "schema", "purposes")
    emit(rows, json=json, human=lambda console: console.print(table(columns, cells)))


# showing


def _follow(researcher: Researcher, job: str, spec: JobSpec | None, *, quiet: bool) -> None:
    """Bars and lines until the job ends; Ctrl-C asks whether to leave it running by leaving it running."""
    if not quiet:
        note(f"job {job}")
    with bars(quiet=quiet) as progress:
        task = progress.add_task(spec.name if spec else "job", total=_total(spec), detail="")
        try:
            for event in researcher.watch(job):
                _advance(progress, task, event, quiet)
        except KeyboardInterrupt:
            note(f"left running; inbond job watch {job[:SHORT]} takes it up, inbond job cancel {job[:SHORT]} ends it")
            raise
    researcher.wait(job)


def _fetch(researcher: Researcher, job: str, *, quiet: bool) -> Answer | TrainedModel:
    """The result, with a bar while it is fetched."""
    with bars(quiet=quiet) as progress:
        task = progress.add_task("result", total=None, detail="")
        return researcher.result(
            job, lambda done, total: progress.update(task, completed=done, total=total, detail=size(done))
        )


def _total(spec: JobSpec | None) -> int | None:
    if spec is None:
        return None
    return (spec.rounds or 0) + 4 if spec.kind == "train" else 3


def _advance(progress: Progress, task: TaskID, event: dict[str, Any], quiet: bool) -> None:
    match event["event"]:
        case "step":
            moved = size(event["bytes_to_parties"] + event["bytes_from_parties"])
            name = STEPS.get(event["step"], f"round {event['round']}/{event['rounds']}")
            progress.update(task, advance=1, detail=f"{name}, {moved}")
        case "progress" if not quiet:
            values = ", ".join(f"{name} {value:.4f}" for name, value in list(event["metrics"].items())[:3])
            progress.console.print(f"after round {event['round']}: {values}")
        case "party away" | "party back" if not quiet:
            progress.console.print(f"{event['event']}: {event['party']}")
        case _:
            pass


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


def _check_out(out: Path | None, kind: str = "") -> None:
    """Raise ConfigError where the result of a job of that kind (any where empty) could not be written to `out`."""
    if out is None:
        return
    endings = [ending for one, known in ENDINGS.items() if kind in {one, ""} for ending in known]
    if out.suffix not in endings:
        right = f"a name that ends in {', '.join(endings)}"
        raise ConfigError(f"no way to write {out.suffix or 'a file without an ending'}", where=str(out), right=right)
    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", where=str(out.parent), right="a folder that exists")


def _show_result(found: Answer | TrainedModel, out: Path | None, json: bool) -> None:
    _check_out(out, "train" if isinstance(found, TrainedModel) else "query")
    if isinstance(found, TrainedModel):
        _show_model(found, out, json)
        return
    if out is not None:
        _write_rows(found, out)
    data = {"job": found.job, "columns": found.columns, "rows": found.rows, "suppressed": found.suppressed}

    def human(console: Any) -> None:
        console.print(table(found.columns, ([_cell(row[name]) for name in found.columns] for row in found.rows)))
        if found.suppressed:
            console.print(f"{found.suppressed} groups of fewer than {found.plan.minimum_group} rows are not shown")

    emit(data, json=json, human=human)


def _cell(value: Any) -> str:
    """One value of an answer for a person: a suppressed one is a dash, an average has four places."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _write_rows(found: Answer, out: Path) -> None:
    match out.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(found.rows), out)
        case ".json":
            out.write_text(_json.dumps(found.rows, default=str, indent=1) + "\n", "utf-8")
        case _:
            text = io.StringIO()
            writer = csv.DictWriter(text, found.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found.rows)
            out.write_text(text.getvalue(), "utf-8")


def _show_model(found: TrainedModel, out: Path | None, json: bool) -> None:
    if out is not None:
        out.write_bytes(found.safetensors or save({"parameters": found.parameters}))
    data = {"job": found.job, "parameters": int(found.parameters.size), "card": found.card}
    metrics = {**found.card.get("metrics", {}), **found.card.get("baselines", {})}
    shown = {
        "job": found.job,
        "parameters": data["parameters"],
        **{name: f"{value:.4f}" for name, value in metrics.items()},
    }
    emit(data, json=json, human=lambda console: console.print(facts(shown)))


def _show_explanation(found: Explanation, json: bool) -> None:
    data = {
        "permitted": found.permitted,
        "plan": found.plan.payload(),
        "digest": found.plan.digest(),
        "coordinator": found.coordinator,
        "verdicts": found.verdicts,
    }
    emit(data, json=json, human=lambda console: _print_explanation(console, found))
    if not found.permitted:
        raise typer.Exit(Refused.exit_code)


def _print_explanation(console: Any, found: Explanation) -> None:
    plan: Plan = found.plan
    console.print(
        facts(
            {
                "plan": plan.digest()[:16],
                "kind": plan.kind,
                "purpose": plan.purpose,
                "dataset": plan.dataset,
                "parties": ", ".join(f"{one.name} ({one.country})" for one in plan.participants),
                "protection": f"{plan.protection.protocol}/{plan.protection.version}",
                "minimum group": plan.minimum_group,
                "minimum parties": plan.minimum_parties,
                "noise": plan.noise.mechanism
                if plan.noise.mechanism == "none"
                else f"{plan.noise.mechanism}, epsilon {plan.noise.epsilon}",
            }
        )
    )
    console.print()
    cost = ((one.id, one.kind, size(one.up_bytes), f"{one.seconds:.1f} s", one.epsilon) for one in plan.operators)
    console.print(table(("operator", "kind", "up per party", "time", "epsilon"), cost))
    console.print()
    console.print(
        table(
            ("who", "learns", "about"),
            ((leak.who.value, leak.what.value, leak.about) for leak in plan.leaks()),
        )
    )
    console.print()
    verdicts = [("coordinator", found.coordinator), *found.verdicts.items()]
    console.print(
        table(
            ("verdict of", "effect", "why"),
            ((name, one["effect"], " ".join(one["reasons"])) for name, one in verdicts),
        )
    )
