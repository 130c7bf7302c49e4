"""An explanation on the screen: the plan, what it costs, who would learn what, and every party's verdict.

It repeats the plan's own words and the parties' signed verdicts; nothing of the data is in it.
"""

from collections.abc import Mapping
from typing import Any

import typer

from federation.client import Explanation
from inbond.console import emit, facts, size, table
from inbond.errors import Refused
from policies.plan import Leak, Plan


def show_explanation(found: Explanation, json: bool) -> None:
    """Print it; exit as refused where the job would not run."""
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
    print_plan(console, found.plan)
    verdicts = [("coordinator", found.coordinator), *found.verdicts.items()]
    cells = ((name, one["effect"], " ".join(one["reasons"])) for name, one in verdicts)
    console.print(table(("verdict of", "effect", "why"), cells))
    transfers = [(party, one) for party, verdict in found.verdicts.items() for one in verdict.get("transfers", ())]
    if transfers:
        console.print()
        heads = ("transfer of", "what", "to", "is", "law", "duties")
        console.print(table(heads, (_transfer(party, one) for party, one in transfers)))


def _transfer(party: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    """What the law says of one kind of transfer of a party, in a row; missing evidence is marked."""
    key = f", key in {one['key_holder']}" if one["key_holder"] else ""
    rules = ", ".join(one["rules"]) or "; ".join(one["causes"])
    missing = set(one["missing"])
    duties = (f"{code} missing" if code.split()[0] in missing else code for code in one["obligations"])
    return (
        f"{one['dataset']} of {party}",
        one["what"] + key,
        f"{', '.join(one['recipients'])} in {one['country']}",
        one["object_class"] or "-",
        f"{'refused' if one['decision'] == 'deny' else 'permitted'}: {rules}",
        ", ".join(duties) or "-",
    )


def print_plan(console: Any, plan: Plan) -> None:
    """What the plan would do, what it costs, and who would learn what."""
    console.print(facts(_facts(plan)))
    console.print()
    cost = ((one.id, one.kind, size(one.up_bytes), f"{one.seconds:.1f} s", one.epsilon) for one in plan.operators)
    console.print(table(("operator", "kind", "up per party", "time", "epsilon"), cost))
    console.print()
    console.print(_leaks(plan))
    console.print()
    if plan.pushed:
        conditions = ((one.dataset, one.condition) for one in plan.pushed)
        console.print(table(("owners of", "are shown and evaluate on their own rows"), conditions))
        console.print()


def _facts(plan: Plan) -> dict[str, object]:
    noise = plan.noise
    told: dict[str, object] = {
        "plan": plan.digest()[:16],
        "kind": plan.kind,
        "purpose": plan.purpose,
        "dataset": ", ".join(plan.datasets()),
        "parties": ", ".join(f"{one.name} ({one.country})" for one in plan.participants),
        "protection": f"{plan.protection.protocol}/{plan.protection.version}",
        "minimum group": plan.minimum_group,
        "minimum parties": plan.minimum_parties,
        "noise": noise.mechanism if noise.mechanism == "none" else f"{noise.mechanism}, epsilon {noise.epsilon}",
    }
    if plan.join is not None:
        told["join"] = f"{plan.join.engine}, keys as {', '.join(plan.join.keys)}"
    return told


def _leaks(plan: Plan) -> Any:
    """Who learns what; whose data it is about where that is not everybody's."""
    cells = [(_who(leak), leak.what.value, leak.about, ", ".join(leak.owners)) for leak in plan.leaks()]
    if any(leak.owners for leak in plan.leaks()):
        return table(("who", "learns", "about", "of"), cells)
    return table(("who", "learns", "about"), (cell[:3] for cell in cells))


def _who(leak: Leak) -> str:
    return ", ".join(leak.learners) or leak.who.value
