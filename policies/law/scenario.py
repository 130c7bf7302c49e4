"""What-if scenarios: facts of a transfer and the answer that somebody expects, compared with the engine's.

The schema is that of the project's golden cases. Facts that are left out take the unfavourable default.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from policies.document import Value, read_document, validate
from policies.errors import InvalidInput, InvalidPolicy
from policies.law.decision import LawDecision
from policies.law.law import ClosedLaw, Law
from policies.law.regime import CASES, regime_folders
from policies.law.tables import FactName

MAX_SCENARIOS = 10_000


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character; write one line of text")
    return text


# Printable: scenarios come from others and are shown on a terminal.
Line = Annotated[str, Field(max_length=2000), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]


class Scenario(Value):
    """One transfer and what is expected of it; without `expected` nothing is compared.

    `rules` are the labels of the rules that must decide, `policies` the Cedar ids behind them; both exactly.
    """

    id: Name
    title: Line = ""
    facts: dict[FactName, Any] = Field(max_length=256)
    expected: Literal["permit", "permit_with_obligations", "deny"] | None = None
    obligations_min: tuple[Line, ...] = ()
    class_expected: Literal["", "NONPERSONAL", "ANON", "PERSONAL"] = ""
    rules: tuple[Line, ...] | None = None
    policies: tuple[Line, ...] | None = None
    articles: tuple[Line, ...] = ()
    why: Line = ""
    confidence: Line = ""
    disputed: bool = False
    dispute_note: Line = ""


class Scenarios(Value):
    """A file of scenarios; facts under `base` hold for each unless it says otherwise."""

    base: dict[FactName, Any] = Field(default_factory=dict, max_length=256)
    scenarios: tuple[Scenario, ...] = Field(max_length=MAX_SCENARIOS)


@dataclass(frozen=True)
class Checked:
    """A scenario, the engine's answer, and every difference from what was expected, in words."""

    scenario: Scenario
    decision: LawDecision
    differences: tuple[str, ...]


def read_scenarios(text: str, where: str) -> tuple[Scenario, ...]:
    """Read scenarios: a JSON list, or a table with `base` and `scenarios`. Raises InvalidInput."""
    listed = text.lstrip()[:1] == "["
    document = read_document(f'{{"scenarios": {text}}}' if listed else text, where)
    if listed and isinstance(document.value, dict) and set(document.value) != {"scenarios"}:
        raise InvalidInput("not readable as JSON: more than one list", where=where, right="one list of scenarios")
    found = validate(Scenarios, document)
    if not found.scenarios:
        raise InvalidInput("there is no scenario in it", where=where, right="a list of scenarios, one at least")
    ids = [one.id for one in found.scenarios]
    double = next((one for at, one in enumerate(ids) if one in ids[:at]), None)
    if double is not None:
        raise InvalidInput(f"scenario `{double}` is there twice", where=where, right="rename one of them")
    return tuple(one.model_copy(update={"facts": found.base | one.facts}) for one in found.scenarios)


def read_cases(folder: Traversable) -> Iterator[tuple[str, Scenario]]:
    """The (regime, scenario) pairs of all `cases/` under a folder of regimes. Raises InvalidInput, InvalidPolicy."""
    for regime in regime_folders(folder):
        cases = regime.joinpath(CASES)
        files = sorted(cases.iterdir(), key=lambda one: one.name) if cases.is_dir() else []
        for file in (one for one in files if one.name.endswith(".json")):
            where = f"{regime.name}/{CASES}/{file.name}"
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidPolicy("cannot be read", where=where, right="put the file back") from error
            yield from ((regime.name, scenario) for scenario in read_scenarios(text, where))


def check_scenarios(
    law: Law | ClosedLaw, scenarios: Sequence[Scenario], changes: Mapping[str, Any] | None = None
) -> tuple[Checked, ...]:
    """Decide every scenario, with `changes` (such as another day) to its facts, and compare."""
    return tuple(check_scenario(law, one, changes or {}) for one in scenarios)


def check_scenario(law: Law | ClosedLaw, scenario: Scenario, changes: Mapping[str, Any]) -> Checked:
    """Decide one scenario and compare the answer with what it expects."""
    decision = law.judge({**scenario.facts, **changes})
    return Checked(scenario, decision, differences(scenario, decision))


def differences(scenario: Scenario, decision: LawDecision) -> tuple[str, ...]:
    """What the answer has otherwise than expected, one sentence each."""
    if scenario.expected is None:
        return ()
    missing = sorted(set(scenario.obligations_min) - {duty.code for duty in decision.obligations})
    rules = set(scenario.rules) if scenario.rules is not None else set(decision.rules)
    policies = set(scenario.policies) if scenario.policies is not None else set(decision.policies)
    compared = (
        (scenario.expected == decision.outcome, f"decides {decision.outcome}, expected {scenario.expected}"),
        (rules == set(decision.rules), f"by {_listed(decision.rules)}, expected {_listed(sorted(rules))}"),
        (
            policies == set(decision.policies),
            f"by policies {_listed(decision.policies)}, expected {_listed(sorted(policies))}",
        ),
        (
            scenario.class_expected in {"", decision.object_class},
            f"class {decision.object_class or 'unknown'}, expected {scenario.class_expected}",
        ),
        (not missing, f"without {_listed(missing)}"),
    )
    return tuple(text for same, text in compared if not same)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or "no rule"
