"""One call over the rules of all regimes answers as asking the regimes one by one does; each has to permit."""

from datetime import date
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from policies.errors import InvalidPolicy
from policies.law.joint import Joint, joint_schema, own_name
from policies.law.law import Law, Question, load_law
from policies.law.regime import packaged
from policies.law.scenario import Scenario, read_cases
from policies.request import Effect

LAW = load_law()
CASES = [scenario for _, scenario in read_cases(packaged())]
PLACES = ["BR", "CN", "DE", "FR", "GB", "HK", "JP", "SG", "US"]
WORDS = {name: rule.values for name, rule in LAW.catalogue.rules.items() if rule.type == "word"}
FLAGS = [name for name, rule in LAW.catalogue.rules.items() if rule.type == "flag"]


def _question(law: Law, facts: dict[str, Any]) -> Question:
    return law.questions([law.catalogue.sheet(facts)])[0]


def _alone(law: Law, question: Question) -> tuple[bool, tuple[str, ...]]:
    """What the regimes say one by one: whether all permit, and the deciding policies."""
    found = [law.joint.decide((name,), question.requests, question.entities) for name in question.regimes]
    told = [one for one in found if not one.permitted] or found
    permitted = all(one.permitted for one in found)
    return permitted, tuple(sorted({policy for one in told for policy in one.determining}))


@pytest.mark.parametrize("scenario", CASES, ids=lambda one: one.id)
def test_a_case_is_decided_as_by_each_regime_alone(scenario: Scenario) -> None:
    question = _question(LAW, {**scenario.facts, "subject_residency": ["DE", "GB", "CN", "US", "BR", "JP", "SG"]})
    decision = LAW.decide(question)
    assert (decision.permitted, decision.policies) == _alone(LAW, question)


@given(
    places=some.tuples(some.sampled_from(PLACES), some.sampled_from(PLACES)),
    people=some.lists(some.sampled_from(PLACES), max_size=4),
    words=some.fixed_dictionaries({}, optional={name: some.sampled_from(values) for name, values in WORDS.items()}),
    flags=some.fixed_dictionaries({}, optional={name: some.booleans() for name in FLAGS}),
    persons=some.sampled_from([0, 1, 9_999, 10_000, 99_999, 100_000, 1_000_000]),
)
@settings(max_examples=150, deadline=None)
def test_any_transfer_is_decided_as_by_each_regime_alone(
    places: tuple[str, str], people: list[str], words: dict[str, str], flags: dict[str, bool], persons: int
) -> None:
    facts = {
        "as_of": date(2026, 11, 15), "exporter_kind": "merchant", "recipient_kind": "merchant", "purpose": "delivery",
        "categories": ["order_history"], "n_subjects": 100, **words, **flags, "src": places[0], "dst": places[1],
        "subject_residency": people, "cn_ytd_nonsens": persons, "us_bulk": {"covered_ids": persons},
    }  # fmt: skip
    question = _question(LAW, facts)
    decision = LAW.decide(question)
    if not question.causes:
        assert (decision.permitted, decision.policies) == _alone(LAW, question)


@pytest.mark.parametrize("pair", list(combinations(["gdpr", "pci", "us_bulk"], 2)), ids="+".join)
def test_a_regime_without_a_permit_of_its_own_denies_whatever_the_other_permits(pair: tuple[str, str]) -> None:
    permitting, silent = pair
    rules = {**LAW.joint.policies, silent: {}}
    joint = Joint(rules, LAW.bundle, LAW.joint.schema)
    facts = {
        **CASES[0].facts, "src": "DE", "dst": "DE", "subject_residency": ["US"], "pan_form": "token",
        "us_txn": "none", "lawful_basis": "contract",
    }  # fmt: skip
    question = _question(LAW, facts)
    assert LAW.joint.decide(pair, question.requests, question.entities).permitted
    decision = joint.decide((permitting, silent), question.requests, question.entities)
    assert decision.effect is Effect.DENY
    assert [reason.text for reason in decision.reasons] == [f"no rule of `{silent}` permits it"]


@pytest.mark.parametrize(
    "condition",
    [
        {"has": {"left": {"Var": "resource"}, "attr": "tools"}},
        {"==": {"left": {"Var": "action"}, "right": {"Var": "action"}}},
    ],
    ids=["has", "action"],
)
def test_a_rule_that_would_mean_something_else_among_others_is_refused(condition: dict[str, Any]) -> None:
    rule = {**LAW.regimes["lgpd"].policies["B0"], "conditions": [{"kind": "when", "body": condition}]}
    with pytest.raises(InvalidPolicy, match="asks for more"):
        Joint({"lgpd": {"B0": rule}}, LAW.bundle, LAW.joint.schema)


def test_what_a_regime_derives_has_a_name_of_its_own() -> None:
    assert own_name("gdpr", "tools") == "gdpr:tools"
    assert own_name("gdpr", "tia") == "tia"
    assert '"gdpr:tools"?: Set<String>' in joint_schema({"gdpr:tools": "Set<String>"})
