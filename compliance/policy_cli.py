"""`inbond policy ...`: do the regimes decide their own cases as they should, and what would another set change?

The officer who changes a rule or a table runs both before the change goes in. Needs no node, no data, no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.law_cli import DIFFERS, SHOWN, AsJson, Regimes
from compliance.law_files import BUILT_IN, cases_of, law_of, read_scenario_file
from compliance.law_print import field, head, say, say_json, table
from compliance.past import FILE, PastTransfers
from policies.errors import InvalidPolicy
from policies.law.comparing import Turned, merged, turned
from policies.law.law import Law
from policies.law.scenario import Checked, Scenario, check_scenario

app = typer.Typer(help="Test and compare sets of rules.", no_args_is_help=True)
SetOf = Annotated[str, typer.Argument(help="A folder of regimes, or the word built-in.", show_default=False)]


@dataclass(frozen=True)
class _Tested:
    """One regime's cases and what came of them; `idle` are its policies that decided none of all cases."""

    regime: str
    checked: tuple[Checked, ...]
    idle: tuple[str, ...]

    @property
    def failed(self) -> tuple[Checked, ...]:
        return tuple(one for one in self.checked if one.differences)


@app.command("test")
def run_cases(regimes: Regimes = BUILT_IN, *, as_json: AsJson = False) -> None:
    """Decide the cases of every regime; exit 5 where one is not decided as its author expects."""
    law, cases = law_of(regimes), cases_of(regimes)
    checked = [(regime, check_scenario(law, case, {})) for regime, case in cases]
    if not checked:
        raise InvalidPolicy("there is no case", where=regimes, right="add cases/*.json to a regime")
    found = _by_regime(law, checked)
    if as_json:
        say_json({"law": law.digest, "regimes": [_payload(one) for one in found]})
    else:
        _print(found, law)
    if any(one.failed for one in found):
        raise typer.Exit(DIFFERS)


@app.command()
def diff(
    old: SetOf,
    new: SetOf,
    cases: Annotated[Path | None, typer.Option(help="A JSON list of scenarios; without it, both sets' cases.")] = None,
    home: Annotated[Path | None, typer.Option(help="A party's folder: compare its past decisions too.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say which cases, and which past decisions of a party, the new set of regimes decides otherwise than the old."""
    before, after = law_of(old), law_of(new)
    asked = read_scenario_file(cases) if cases else merged(cases_of(old), cases_of(new))
    past = _past(home) if home is not None else ()
    found, then = turned(before, after, asked), turned(before, after, past)
    if as_json:
        changed, past_changed = ([_turned(one) for one in some] for some in (found, then))
        value = {"old": before.digest, "new": after.digest, "cases": len(asked), "changed": changed}
        say_json({**value, "past": len(past), "past_changed": past_changed})
        return
    for one in (*found, *then):
        say(head(f"{one.scenario.id}  {one.scenario.title}"))
        say(line for text in one.lines for line in field("", text))
    say(head(f"{len(found)} of {len(asked)} cases change; {before.digest[:SHOWN]} to {after.digest[:SHOWN]}"))
    if home is not None:
        say(head(f"{len(then)} of {len(past)} past transfers would be decided otherwise"))


def _past(home: Path) -> tuple[Scenario, ...]:
    """The transfers of a party's admitted jobs; none where it admitted none yet."""
    if not home.is_dir():
        raise InvalidPolicy("there is no such folder", where=str(home), right="the folder of a party")
    if not (home / FILE).exists():
        return ()
    with PastTransfers.read_only(home / FILE) as store:
        return store.scenarios()


def _by_regime(law: Law, checked: Sequence[tuple[str, Checked]]) -> list[_Tested]:
    decisive = {policy for _, one in checked for policy in one.decision.policies}
    return [
        _Tested(
            regime,
            tuple(one for name, one in checked if name == regime),
            tuple(policy for policy in law.regimes[regime].policies if policy not in decisive),
        )
        for regime in law.regimes
    ]


def _print(found: Sequence[_Tested], law: Law) -> None:
    rows = [(one.regime, len(one.checked), len(one.failed), len(one.idle)) for one in found]
    say(table(("regime", "cases", "failed", "rules no case reaches"), rows, numbers=3))
    for one in found:
        for failed in one.failed:
            say(head(f"{one.regime} {failed.scenario.id}  {failed.scenario.title}"))
            say(line for text in failed.differences for line in field("", text))
        say(field("not reached", f"{one.regime}: {', '.join(one.idle)}" if one.idle else ""))
    total, failures = sum(len(one.checked) for one in found), sum(len(one.failed) for one in found)
    say(head(f"{total} cases, {failures} not as expected; law {law.digest[:SHOWN]}"))


def _payload(one: _Tested) -> dict[str, Any]:
    return {
        "regime": one.regime,
        "cases": len(one.checked),
        "failed": [{"id": case.scenario.id, "differences": list(case.differences)} for case in one.failed],
        "rules_not_reached": list(one.idle),
    }


def _turned(one: Turned) -> dict[str, Any]:
    return {
        "id": one.scenario.id,
        "title": one.scenario.title,
        "differences": list(one.lines),
        "old": one.before.payload(),
        "new": one.after.payload(),
    }
