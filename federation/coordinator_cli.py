"""`inbond coordinator ...`: make, join, run and look at the coordinator."""

from typing import Annotated, Any

import typer

from federation.coordinator import LIFE_SIGN, Coordinator
from federation.store import CoordinatorStore
from inbond.config import AddressSection
from inbond.console import emit, facts, table
from inbond.member_cli import (
    DEFAULT_HOME,
    Home,
    Json,
    certificate_facts,
    join_consortium,
    life_of,
    load_role,
    log_to_stderr,
    make_node,
    read_invitation,
    serve,
    show_joined,
)

app = typer.Typer(no_args_is_help=True, help="The coordinator: routes, schedules, sums ciphertexts; reads nothing.")


@app.command()
def init(
    consortium: Annotated[str, typer.Argument(help="The consortium, such as acme.example.")],
    country: Annotated[str, typer.Option(help="Where the coordinator is: ISO 3166-1 alpha-2, such as DE.")],
    home: Home = DEFAULT_HOME,
    *,
    listen: Annotated[str, typer.Option(help="Own host:port.")] = "0.0.0.0:8440",
    json: Json = False,
) -> None:
    """Make the coordinator's folder: keys and configuration."""
    addresses = AddressSection(listen=listen, authority="", coordinator="")
    make_node("coordinator", "coordinator", consortium, country, home, addresses)
    (home / "policies").mkdir(exist_ok=True)
    data = {"home": str(home), "next": f"inbond coordinator join INVITATION --home {home}"}
    emit(data, json=json, human=lambda console: console.print(facts(data)))


@app.command()
def join(
    invitation: Annotated[str, typer.Argument(help="The invitation, or @FILE.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Enrol with the consortium's authority; the keys stay here."""
    show_joined(join_consortium(home, "coordinator", read_invitation(invitation)), json)


@app.command()
def start(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Serve until interrupted; interrupted jobs are taken up again. Logs go to standard error."""
    load_role(home, "coordinator")
    log_to_stderr(json)
    coordinator = Coordinator(home)
    data = {"address": coordinator.start()}
    serve(coordinator, lambda: emit(data, json=json, human=lambda console: console.print(facts(data))))


@app.command()
def status(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Whether the coordinator runs, which parties it knows, and its newest jobs."""
    config = load_role(home, "coordinator")
    store = CoordinatorStore(home)
    jobs = [{"job": row.id, "name": row.name, "kind": row.kind, "state": row.state} for row in store.jobs(limit=20)]
    known = sorted(store.catalogues())
    store.close()
    data: dict[str, Any] = {"process": life_of(home, LIFE_SIGN), "listen": config.address.listen}
    data |= certificate_facts(home) if (home / "certs").exists() else {"id": "not joined yet"}
    data |= {"parties": known, "jobs": jobs}

    def human(console: Any) -> None:
        life = data["process"]
        running = f"{life['state']} (pid {life['pid']})" if life["running"] else "not running"
        console.print(facts({**data, "process": running, "parties": ", ".join(known) or "none", "jobs": len(jobs)}))
        console.print(
            table(
                ("job", "name", "kind", "state"),
                ((j["job"][:12], j["name"], j["kind"], j["state"]) for j in jobs),
            )
        )

    emit(data, json=json, human=human)
