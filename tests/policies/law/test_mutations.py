"""Every rule and every part of its conditions matters: without it, some case of the regime is decided otherwise."""

from collections.abc import Sequence

import pytest

from policies.law.law import Law, Question, load_law
from policies.law.regime import packaged
from policies.law.scenario import Scenario, differences, read_cases
from tests.policies.law.mutants import Mutant, mutants, spoiled

CASES = [scenario for _, scenario in read_cases(packaged())]

# What no case can show, because another rule, or the tables, say the same: part of a permit beside a denial that wins.
IMPLIED = {
    ("appi", "J2", "without tools contains basis"): "J5-basis denies without a basis",
    ("appi", "J3", "without tools contains basis"): "J5-basis denies without a basis",
    ("appi", "J4", "without tools contains basis"): "J5-basis denies without a basis",
    ("appi", "J6", "without tools contains basis"): "J5-basis denies without a basis",
    ("appi", "J4", "without tools contains certificate"): "J5 denies without a certificate or a system",
    ("gdpr", "G5", "without not principal in gdpr/area"): "no place of the area has an adequacy decision",
    ("gdpr", "G5-certified", "without not principal in gdpr/area"): "no place of the area has an adequacy decision",
    ("gdpr", "G6-litigated", "without tia == ok"): "G6x and G6x-unassessed deny raw rows without that finding",
    ("gdpr", "G7", "without tools contains derogation"): "G8 denies without a derogation",
    ("gdpr", "G7", "without not systematic"): "G7-systematic denies",
    ("lgpd", "B2", "without not principal in lgpd/area"): "no place of the area has an adequacy decision",
    ("lgpd", "B3", "without tools contains safeguard"): "B5 denies without a safeguard",
    ("pdpa", "A1", "without tools contains bound"): "A2 denies where nothing binds the recipient",
    ("pipl", "C1-assessed", "without tools contains assessment"): "C1 denies without an assessment",
    ("pipl", "C8-assessed", "without tools contains assessment"): "C8 denies without an assessment",
    ("pipl", "C9-assessed", "without tools contains assessment"): "C9 denies without an assessment",
    ("pipl", "C10-filed", "without not cn_ciio"): "C8 denies an operator that has only filed",
    ("pipl", "C10-certified", "without not cn_ciio"): "C8 denies an operator that is only certified",
    ("pipl", "C10-filed", "without not reached contains assessment"): "C9 denies above the band",
    ("pipl", "C10-certified", "without not reached contains assessment"): "C9 denies above the band",
    ("pipl", "C11", "not reached without the word assessment"): "who reaches the higher band reaches the lower",
    ("uk_gdpr", "U5", "without not principal in uk_gdpr/area"): "no place of the area has an adequacy decision",
    ("uk_gdpr", "U5-certified", "without not principal in uk_gdpr/area"): "no place of the area has such a decision",
    ("uk_gdpr", "U7", "without tools contains derogation"): "U8 denies without a derogation",
    ("uk_gdpr", "U7", "without not systematic"): "U7-systematic denies",
    ("us_bulk", "S2a", "without class == ANON"): "S2 denies what is not anonymous",
    ("us_bulk", "S4-clause", "without onward_clause"): "S4 denies without the clause",
}

Asked = Sequence[tuple[Scenario, Question]]


@pytest.fixture(scope="module")
def law() -> Law:
    return load_law()


@pytest.fixture(scope="module")
def asked(law: Law) -> Asked:
    """Every case with its question, built once: a mutant changes rules and never facts."""
    return [(case, law.questions([law.catalogue.sheet(case.facts)])[0]) for case in CASES]


def _failing(law: Law, mutant: Mutant, asked: Asked, regime: str) -> str | None:
    """The first case of the regime that fails under the mutant."""
    other = spoiled(law, regime, mutant.policies)
    cases = (pair for pair in asked if regime in pair[1].regimes)
    return next((case.id for case, question in cases if differences(case, other.decide(question))), None)


def test_no_case_fails_under_rules_that_are_whole(law: Law, asked: Asked) -> None:
    for name, regime in law.regimes.items():
        assert _failing(law, Mutant("", "", regime.policies), asked, name) is None


@pytest.mark.parametrize("regime", sorted(load_law().regimes))
def test_every_part_of_every_rule_makes_some_case_fail_when_it_is_taken_away(
    law: Law, asked: Asked, regime: str
) -> None:
    all_mutants = list(mutants(law.regimes[regime].policies))
    assert len(all_mutants) > len(law.regimes[regime].policies)
    survivors = {(regime, one.policy, one.what) for one in all_mutants if _failing(law, one, asked, regime) is None}
    assert survivors == {known for known in IMPLIED if known[0] == regime}


def test_every_rule_decides_a_case(law: Law, asked: Asked) -> None:
    decisive = {policy for _, question in asked for policy in law.decide(question).policies}
    assert decisive == {policy for regime in law.regimes.values() for policy in regime.policies}
