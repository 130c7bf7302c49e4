"""The law as policy: golden cases decide as expected, removing a ground never permits more, and doubt denies."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.errors import InvalidPolicy
from policies.law.decision import Outcome
from policies.law.law import Law, law_or_closed, load_law
from policies.law.regime import packaged
from policies.law.scenario import Scenario, check_scenario, read_cases

CASES = [scenario for _, scenario in read_cases(packaged())]


@pytest.fixture(scope="module")
def law() -> Law:
    return load_law()


@pytest.fixture
def regimes(tmp_path: Path) -> Path:
    """A copy of the packaged regimes to spoil."""
    shutil.copytree(str(packaged()), tmp_path / "regimes", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "regimes"


def _case(name: str) -> Scenario:
    return next(one for one in CASES if one.id == name)


@pytest.mark.parametrize("scenario", CASES, ids=lambda one: one.id)
def test_a_golden_case_decides_as_expected(law: Law, scenario: Scenario) -> None:
    assert check_scenario(law, scenario, {}).differences == ()


def test_all_golden_cases_are_there() -> None:
    assert {one.id for one in CASES} > {f"R{number:02}" for number in range(1, 35)}
    assert len(CASES) == len({one.id for one in CASES})


@pytest.mark.parametrize("scenario", CASES, ids=lambda one: one.id)
@pytest.mark.parametrize(
    "less",
    [
        {"mechanism": "none"},
        {"further_mechanisms": []},
        {"tia": "none"},
        {"recipient_certs": []},
        {"notice_given": False},
    ],
)
def test_taking_a_ground_away_never_permits_more(law: Law, scenario: Scenario, less: dict[str, object]) -> None:
    before, after = law.judge(scenario.facts), law.judge({**scenario.facts, **less})
    assert before.outcome is not Outcome.DENY or after.outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"as_of": "1999-01-01"}, "no regime covers"),
        ({"as_of": "soon"}, "a date such as"),
        ({"nonsense": 1}, "fact `nonsense` is not known"),
        ({"purpose": "zzz"}, "`purpose` is 'zzz'"),
        ({"dst": "Atlantis"}, "`dst`"),
    ],
)
def test_an_unknown_fact_or_value_denies_with_the_cause(law: Law, changes: dict[str, object], cause: str) -> None:
    permitted = next(one for one in CASES if one.expected != "deny")
    decision = law.judge({**permitted.facts, **changes})
    assert decision.outcome is Outcome.DENY
    assert cause in " ".join(decision.causes)


def _remove(regimes: Path) -> None:
    (regimes / "gdpr" / "facts.yaml").unlink()


def _misspell(regimes: Path) -> None:
    rules = regimes / "pipl" / "rules.cedar"
    rules.write_text(rules.read_text("utf-8") + "\nforbid (principal,", "utf-8")


def _double(regimes: Path) -> None:
    rules = regimes / "lgpd" / "rules.cedar"
    rules.write_text(2 * rules.read_text("utf-8"), "utf-8")


def _forget(regimes: Path) -> None:
    shutil.rmtree(regimes / "us_bulk")


@pytest.mark.parametrize("spoil", [_remove, _misspell, _double, _forget])
def test_a_law_that_is_not_whole_denies_everything_with_the_cause(regimes: Path, spoil: Callable[[Path], None]) -> None:
    assert law_or_closed(regimes).judge(_case("R34").facts).outcome is not Outcome.DENY
    spoil(regimes)
    with pytest.raises(InvalidPolicy):
        load_law(regimes)
    decision = law_or_closed(regimes).judge(_case("R34").facts)
    assert decision.outcome is Outcome.DENY
    assert decision.causes
    assert all(decision.causes)


def test_the_same_question_is_answered_from_memory_and_another_law_has_another_digest(law: Law, regimes: Path) -> None:
    facts = _case("R34").facts
    (question,) = law.questions([law.catalogue.sheet(facts)])
    assert law.decide_cached(question) is law.decide_cached(question)
    assert law.decide_cached(question).outcome is law.judge(facts).outcome
    common = regimes / "common.yaml"
    assert load_law(regimes).digest == law.digest
    rules = regimes / "pdpa" / "rules.cedar"
    rules.write_text(rules.read_text("utf-8").replace('@reason("', '@reason("Now: ', 1), "utf-8")
    assert load_law(regimes).digest != law.digest
    common.unlink()
    with pytest.raises(InvalidPolicy, match=r"common\.yaml"):
        load_law(regimes)


# CAC Decree 16 (2024), articles 5(4), 7 and 8: persons of this year so far, the transfer's own among them
@pytest.mark.parametrize(
    ("case", "fact", "persons", "permitted"),
    [
        ("R17", "cn_ytd_nonsens", 99_999, True),
        ("R17", "cn_ytd_nonsens", 100_000, False),
        ("R19", "cn_ytd_nonsens", 100_000, True),
        ("R19", "cn_ytd_nonsens", 999_999, True),
        ("R19", "cn_ytd_nonsens", 1_000_000, False),
        ("R20", "cn_ytd_sens", 1, True),
        ("R20", "cn_ytd_sens", 9_999, True),
        ("R20", "cn_ytd_sens", 10_000, False),
    ],
)
def test_the_chinese_bands_turn_at_their_numbers(
    law: Law, case: str, fact: str, persons: int, *, permitted: bool
) -> None:
    facts = _case(case).facts
    decision = law.judge({**facts, fact: persons, "n_subjects": min(persons, int(facts["n_subjects"]))})
    assert decision.permitted is permitted, (decision.rules, decision.causes)


# residency.md: the adequacy of the United Kingdom ends with 27 December 2031
@pytest.mark.parametrize(("day", "same"), [("2031-12-27", True), ("2031-12-28", False)])
def test_an_adequacy_decision_ends_on_its_day(law: Law, day: str, *, same: bool) -> None:
    facts = {**_case("R34").facts, "src": "DE", "dst": "GB", "recipient_certs": [], "as_of": day}
    assert law.judge(facts).permitted is same
