"""The smallest lawful changes: each is lawful, none can do with less, and a permitted transfer needs none."""

import pytest

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


def test_a_permitted_transfer_needs_no_change(law: Law) -> None:
    permitted = next(one for one in CASES if one.expected == "permit")
    assert smallest_changes(law, permitted.facts) == ()
