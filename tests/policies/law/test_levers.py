"""The smallest lawful changes: each is lawful, none can do with less, and a permitted transfer needs none."""

import shutil
from pathlib import Path

import pytest

from policies.errors import InvalidPolicy
from policies.law.law import Law, load_law
from policies.law.levers import smallest_changes
from policies.law.regime import packaged
from policies.law.scenario import Scenario, read_cases

CASES = [scenario for _, scenario in read_cases(packaged())]
REFUSED = [one for one in CASES if one.expected == "deny"]


@pytest.fixture(scope="module")
def law() -> Law:
    return load_law()


@pytest.mark.parametrize("scenario", REFUSED, ids=lambda one: one.id)
def test_a_refused_transfer_is_told_changes_that_make_it_lawful(law: Law, scenario: Scenario) -> None:
    changes = smallest_changes(law, scenario.facts)
    assert changes
    for change in changes:
        assert law.judge({**scenario.facts, **dict(change.facts)}).permitted
        assert all(say in change.sentence() for say in change.says)


@pytest.mark.parametrize("scenario", REFUSED, ids=lambda one: one.id)
def test_no_part_of_a_change_can_be_spared(law: Law, scenario: Scenario) -> None:
    for change in smallest_changes(law, scenario.facts):
        for spared, _ in change.facts:
            rest = {name: value for name, value in change.facts if name != spared}
            assert not law.judge({**scenario.facts, **rest}).permitted, (change.sentence(), spared)


def test_a_tool_that_is_missing_comes_beside_the_one_that_is_there(law: Law) -> None:
    facts = next(one.facts for one in CASES if one.id == "Gc42")
    found = {change.says: dict(change.facts) for change in smallest_changes(law, facts)}
    assert found[("an International Data Transfer Agreement",)] == {"further_mechanisms": ("idta",)}
    none = {**facts, "mechanism": "none"}
    both = {frozenset(change.says): dict(change.facts) for change in smallest_changes(law, none, limit=99)}
    tools = {"standard contractual clauses of module 1", "an International Data Transfer Agreement"}
    assert both[frozenset(tools)] in (
        {"mechanism": "scc_m1", "further_mechanisms": ("idta",)},
        {"mechanism": "idta", "further_mechanisms": ("scc_m1",)},
    )


def test_a_permitted_transfer_needs_no_change(law: Law) -> None:
    permitted = next(one for one in CASES if one.expected == "permit")
    assert smallest_changes(law, permitted.facts) == ()


# what a suggestion must not tempt anybody to write down


@pytest.mark.parametrize("scenario", REFUSED, ids=lambda one: one.id)
def test_no_suggestion_is_a_derogation_and_every_claim_about_the_world_is_marked(law: Law, scenario: Scenario) -> None:
    for change in smallest_changes(law, scenario.facts):
        facts = dict(change.facts)
        assert "systematic" not in facts
        assert not str(facts.get("mechanism", "")).startswith("art49_")
        assert change.only_if or not law.catalogue.claims(facts), change.sentence()


def test_a_finding_that_is_stated_stands(law: Law) -> None:
    found = next(one for one in CASES if one.id == "R05")  # its assessment found problematic law
    assert found.facts["tia"] == "problematic"
    assert all(dict(change.facts).get("tia") != "ok" for change in smallest_changes(law, found.facts))
    failed = {**found.facts, "anon_test": "fail"}
    assert all("anon_test" not in dict(change.facts) for change in smallest_changes(law, failed))


def test_what_needs_nothing_to_be_so_comes_before_what_does(law: Law) -> None:
    found = next(one for one in CASES if one.id == "R03")
    sizes = [(len(change.says), len(change.only_if)) for change in smallest_changes(law, found.facts)]
    assert sizes == sorted(sizes)


def _lever(regimes: Path, line: str) -> None:
    facts = regimes / "gdpr" / "facts.yaml"
    facts.write_text(facts.read_text("utf-8").replace("levers:\n", f"levers:\n  - {line}\n", 1), "utf-8")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{say: a one-off transfer, set: {systematic: false}}", "claims `systematic`"),
        ("{say: an Article 49 derogation, set: {mechanism: art49_consent}}", "claims `mechanism`"),
        ("{say: magic, set: {wand: true}}", "unknown fact `wand`"),
    ],
)
def test_a_lever_that_claims_without_saying_so_is_not_loaded(tmp_path: Path, line: str, cause: str) -> None:
    shutil.copytree(str(packaged()), tmp_path / "regimes", ignore=shutil.ignore_patterns("__pycache__"))
    _lever(tmp_path / "regimes", line)
    with pytest.raises(InvalidPolicy, match=cause):
        load_law(tmp_path / "regimes")
