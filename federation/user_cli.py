"""`inbond user ...`: a researcher's own node, which holds the keys that sign orders and open results."""

from typing import Annotated

import typer

from inbond.config import AddressSection
from inbond.console import emit, facts
from inbond.member_cli import (
    DEFAULT_HOME,
    Home,
    Json,
    certificate_facts,
    join_consortium,
    load_role,
    make_node,
    read_invitation,
    show_joined,
)

app = typer.Typer(no_args_is_help=True, help="A researcher's node: signs jobs, opens results.")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The user's name, such as ana.")],
    consortium: Annotated[str, typer.Option(help="The consortium, such as acme.example.")],
    country: Annotated[str, typer.Option(help="Where results are read: ISO 3166-1 alpha-2, such as DE.")],
    home: Home = DEFAULT_HOME,
    *,
    coordinator: Annotated[str, typer.Option(help="host:port; else taken from the invitation.")] = "",
    json: Json = False,
) -> None:
    """Make a user's folder: keys and configuration."""
    make_node(
        "user",
        name,
        consortium,
        country,
        home,
        AddressSection(coordinator=coordinator, authority="", listen=""),
    )
    data = {"home": str(home), "next": f"inbond user join INVITATION --home {home}"}
    emit(data, json=json, human=lambda console: console.print(facts(data)))


@app.command()
def join(
    invitation: Annotated[str, typer.Argument(help="The invitation, or @FILE.")],
    home: Home = DEFAULT_HOME,
    *,
    json: Json = False,
) -> None:
    """Enrol with the consortium's authority; the keys stay here."""
    show_joined(join_consortium(home, "user", read_invitation(invitation)), json)


@app.command()
def status(home: Home = DEFAULT_HOME, *, json: Json = False) -> None:
    """Who this node is and until when its certificate holds."""
    config = load_role(home, "user")
    data = {
        "name": config.node.name,
        "country": config.node.country,
        "coordinator": config.address.coordinator,
    }
    data |= certificate_facts(home) if (home / "certs").exists() else {"id": "not joined yet"}
    emit(data, json=json, human=lambda console: console.print(facts(data)))
