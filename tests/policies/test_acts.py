"""Who may give which command at a node: exactly the table of docs/roles.md, and what is not named is denied."""

import re
from pathlib import Path

import pytest

from policies.acts import ACTS, KEEPER, Actor, decide_act
from policies.bundle import load_baseline, load_bundle, schema_text
from policies.engine import DEFAULT_DENY, Engine
from policies.identity import OFFICES, SpiffeId
from tests.policies.samples import person

ENGINE = Engine(load_baseline())
NODE = SpiffeId("acme.example", "/party/m1")
WIDE = '@id("wide") @reason("r") @remedy("m") permit (principal, action, resource);'
ROLES = Path(__file__).parents[2] / "docs" / "roles.md"


def permitted(actor: Actor, command: str, engine: Engine = ENGINE, organisation: str = "shop") -> bool:
    return decide_act(engine, actor, command, node=NODE, organisation=organisation).permitted


def by_the_docs() -> dict[str, set[str]]:
    """Command to roles, as the table in the docs says it."""
    text = ROLES.read_text().split("## At a node's own command line")[1].split("\n### ")[0]
    found: dict[str, set[str]] = {}
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`inbond " in line]
    for _, commands, *cells in (line.removeprefix("| ").removesuffix(" |").split("|") for line in rows):
        roles = zip(("operator", "officer", "auditor"), cells, strict=True)
        may = {role for role, cell in roles if cell.strip() == "yes"}
        group: list[str] = []
        for told in re.findall(r"`([^`]+)`", commands):  # `inbond record add`, `expire`
            *head, last = told.split()
            group = head[1:] if head else group
            found[" ".join([*group, last])] = may
    return found


def test_the_docs_say_what_the_rules_decide_of_every_command() -> None:
    told = by_the_docs()
    assert told.keys() == ACTS.keys()
    for command, roles in told.items():
        may = {office for office in OFFICES if permitted(Actor.person(person("p", office)), command)}
        assert may == roles, command


@pytest.mark.parametrize("command", ACTS)
def test_the_keeper_may_do_everything_and_a_stranger_nothing(command: str) -> None:
    assert permitted(Actor.keeper(NODE), command, organisation="")
    for office in sorted(OFFICES):
        assert not permitted(Actor.person(person("p", office)), command, organisation="bank")
        assert not permitted(Actor.person(person("p", office)), command, organisation="")
    assert not permitted(Actor.person(person("p")), command), "without a role a member is a researcher"
    assert not permitted(Actor.person(person("p")), command, organisation=""), "no organisation equals none"


def test_a_person_is_never_the_keeper() -> None:
    assert KEEPER not in OFFICES


def test_without_a_policy_nothing_is_permitted() -> None:
    other = WIDE.replace("action,", 'action == Action::"run",')
    engine = Engine(load_bundle({"a": other}, schema_text()))
    decision = decide_act(engine, Actor.keeper(NODE), "record add", node=NODE, organisation="shop")
    assert not decision.permitted
    assert decision.reasons[0].policy_id == DEFAULT_DENY


def test_a_nodes_own_policies_narrow_and_do_not_widen() -> None:
    one = 'principal == Actor::"spiffe://acme.example/user/olga" && context.command == "record add"'
    narrow = (
        f'@id("n") @reason("r") @remedy("m") forbid (principal, action == Action::"act", resource) when {{ {one} }};'
    )
    engine = Engine(load_baseline({"own.cedar": WIDE + narrow}))
    olga, omar = (Actor.person(person(name, "officer")) for name in ("olga", "omar"))
    assert not permitted(olga, "record add", engine)
    assert permitted(olga, "record expire", engine)
    assert permitted(omar, "record add", engine)
    assert not permitted(omar, "contract sign", engine)
    assert not permitted(omar, "record add", engine, organisation="bank")


def test_a_policy_that_cannot_be_evaluated_denies() -> None:
    bad = '@id("b") @reason("r") @remedy("m") forbid (principal, action == Action::"act", resource) when { %s };'
    engine = Engine(load_baseline({"own.cedar": bad % "9223372036854775807 + 1 == 0"}))
    decision = decide_act(engine, Actor.keeper(NODE), "record add", node=NODE, organisation="shop")
    assert decision.errors
    assert not decision.permitted


def test_an_unknown_command_is_nobodys() -> None:
    with pytest.raises(KeyError):
        decide_act(ENGINE, Actor.keeper(NODE), "record burn", node=NODE, organisation="shop")
