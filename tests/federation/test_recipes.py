"""What a job pins must be installed, in that very version, with parameters that the recipe knows."""

import pytest

from federation.recipes import recipe_info
from policies.errors import InvalidInput
from tests.policies.samples import query_spec, train_spec

GOOD = {"name": "fraud-score", "version": 1}


def test_a_query_has_no_recipe() -> None:
    assert recipe_info(query_spec()) is None


def test_an_installed_recipe_tells_its_size_and_columns() -> None:
    found = recipe_info(train_spec(recipe=GOOD))
    assert found is not None
    assert found.parameter_count > 0
    assert "fraud" in {name for name, _ in found.columns}


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"name": "os.system", "version": 1}, "is not installed; one of"),
        ({**GOOD, "version": 99}, "version 99 is not installed"),
        ({**GOOD, "parameters": {"no_such": 1}}, "no_such"),
        ({**GOOD, "parameters": {"local_epochs": "many"}}, "local_epochs"),
        ({**GOOD, "parameters": {"local_epochs": -1}}, "local_epochs"),
    ],
)
def test_a_recipe_that_is_not_there_or_not_so_is_refused_with_what_is(recipe: dict[str, object], told: str) -> None:
    with pytest.raises(Exception, match=told) as caught:
        recipe_info(train_spec(recipe=recipe))
    assert isinstance(caught.value, InvalidInput) or type(caught.value).__module__.startswith("inbond")
