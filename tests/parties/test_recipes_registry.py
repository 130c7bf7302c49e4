"""A job gets the very recipe version that it pins, or an error that lists what is installed."""

from importlib.metadata import EntryPoint

import pytest

from parties.recipes.base import RecipeError
from parties.recipes.demand import recipe as demand
from parties.recipes.registry import GROUP, choose

INSTALLED = [
    EntryPoint("demand-forecast", "parties.recipes.demand:recipe", GROUP),
    EntryPoint("fraud-score", "parties.recipes.fraud:recipe", GROUP),
]


def test_a_pinned_recipe_is_found() -> None:
    assert choose(INSTALLED, "demand-forecast", "1") is demand


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("fraud-score", "2", "installed: fraud-score 1"),
        ("fraud", "1", "installed: demand-forecast, fraud-score"),
        ("os:system", "1", "recipe 'os:system' '1' is not installed"),
    ],
)
def test_another_name_or_version_lists_what_is_there(name: str, version: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        choose(INSTALLED, name, version)


def test_a_node_without_recipes_says_so() -> None:
    with pytest.raises(RecipeError, match="installed: nothing"):
        choose([], "fraud-score", "1")


@pytest.mark.parametrize("value", ["parties.recipes.nowhere:recipe", "parties.recipes.fraud:nothing"])
def test_a_recipe_that_cannot_be_loaded_is_named(value: str) -> None:
    with pytest.raises(RecipeError, match="cannot be loaded"):
        choose([EntryPoint("broken", value, GROUP)], "broken", "1")


def test_an_entry_point_under_another_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="does not name such a recipe"):
        choose([EntryPoint("mine", "parties.recipes.fraud:recipe", GROUP)], "mine", "1")
