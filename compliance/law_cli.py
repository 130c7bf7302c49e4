"""`inbond law ...`: what would the law say of a transfer, why, and what would be lawful instead.

The officer asks about facts that he states himself; no node, no data and no network are needed. Not legal advice.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.law_files import BUILT_IN, law_of, read_scenario_file
from compliance.law_print import checked_lines, say, say_json, table
from policies.contract import is_date
from policies.errors import InvalidInput
from policies.law.law import Law
from policies.law.levers import Change, smallest_changes
from policies.law.scenario import Checked, Scenario, check_scenario

DIFFERS = 5
"""Exit code, from the table in docs/architecture.md: what was stated does not hold."""
SHOWN = 12  # digits of a digest: enough to tell versions of tables apart

app = typer.Typer(help="What the law says of a transfer, and why.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Regimes = Annotated[str, typer.Option(help="A folder of regimes; alone where it has a common.yaml, else on top.")]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A JSON list of scenarios: id, facts, expected (docs/law.md).")],
    as_of: Annotated[str | None, typer.Option(metavar="DATE", help="The day to decide on, for all of them.")] = None,
    regimes: Regimes = BUILT_IN,
    changes: Annotated[bool, typer.Option(help="For a denial, search what would be lawful.")] = True,
    *,
    as_json: AsJson = False,
) -> None:
    """Decide scenarios and say why; exit 5 where a decision is not the expected one."""
    law, scenarios = law_of(regimes), read_scenario_file(file)
    found = [_checked(law, one, _day(as_of), str(file)) for one in scenarios]
    advice = [_advice(law, one) if changes else () for one in found]
    if as_json:
        say_json({"law": law.digest, "scenarios": [_payload(*pair) for pair in zip(found, advice, strict=True)]})
    else:
        for one, lawful in zip(found, advice, strict=True):
            say(checked_lines(one, lawful))
        say([_summary(found, law)])
    if any(one.differences for one in found):
        raise typer.Exit(DIFFERS)


@app.command("regimes")
def list_regimes(regimes: Regimes = BUILT_IN, *, as_json: AsJson = False) -> None:
    """List the regimes: since when their tables speak, when they were last checked, their version."""
    law = law_of(regimes)
    found = [_regime(law, name) for name in law.regimes]
    if as_json:
        say_json({"law": law.digest, "regimes": found})
        return
    heads = ("regime", "law", "since", "checked", "version", "rules", "sources")
    rows = [[str(one[head])[:SHOWN] if head == "version" else one[head] for head in heads] for one in found]
    say(table(heads, rows, numbers=2))


def _day(text: str | None) -> dict[str, Any]:
    """The change to every scenario's facts that `--as-of` asks for."""
    if text is None:
        return {}
    if not is_date(text):
        raise InvalidInput(f"{text[:40]!r} is no date", where="--as-of", right="a date such as 2026-11-15")
    return {"as_of": date.fromisoformat(text)}


def _checked(law: Law, scenario: Scenario, changes: dict[str, Any], where: str) -> Checked:
    """Decide one scenario; facts that nobody can read are the author's mistake here, not a denial."""
    try:
        law.catalogue.sheet({**scenario.facts, **changes})
    except InvalidInput as error:
        raise InvalidInput(error.what, where=f"{where}, scenario {scenario.id}", right=error.right) from error
    asked = scenario.model_copy(update={"facts": {**scenario.facts, **changes}})
    return check_scenario(law, asked, {})


def _advice(law: Law, one: Checked) -> tuple[Change, ...]:
    return () if one.decision.permitted else smallest_changes(law, one.scenario.facts)


def _payload(one: Checked, changes: tuple[Change, ...]) -> dict[str, Any]:
    scenario = one.scenario
    return {
        "id": scenario.id,
        "title": scenario.title,
        "expected": scenario.expected,
        "differences": list(one.differences),
        **one.decision.payload(),
        "lawful_changes": [change.payload() for change in changes],
    }


def _summary(found: list[Checked], law: Law) -> str:
    differing = sum(1 for one in found if one.differences)
    denied = sum(1 for one in found if not one.decision.permitted)
    return f"{len(found)} decided, {denied} denied, {differing} not as expected; law {law.digest[:SHOWN]}"


def _regime(law: Law, name: str) -> dict[str, Any]:
    regime = law.regimes[name]
    tables = regime.tables
    return {
        "regime": name,
        "law": tables.title,
        "since": str(tables.since),
        "checked": str(tables.checked),
        "version": regime.digest,
        "rules": len(regime.policies),
        "sources": len(regime.sources),
    }
