"""Finding recipes: only what this node's administrator installed, by entry point group `inbond.recipes`.

Who learns what: nobody anything; a job names a recipe and a version, it never brings code.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from parties.recipes.base import Recipe, RecipeError

GROUP = "inbond.recipes"


def find_recipe(name: str, version: str) -> Recipe[Any]:
    """Return the installed recipe pinned by `name` and `version`. Raises RecipeError."""
    return choose(entry_points(group=GROUP), name, version)


def choose(installed: Iterable[EntryPoint], name: str, version: str) -> Recipe[Any]:
    """Return the recipe among `installed` entry points; only the named one is loaded. Raises RecipeError."""
    points = list(installed)
    found = [_load(point) for point in points if point.name == name]
    for recipe in found:
        if recipe.version == version:
            return _runnable(recipe)
    names = ", ".join(sorted({point.name for point in points})) or "nothing"
    there = ", ".join(f"{recipe.name} {recipe.version}" for recipe in found) or names
    raise RecipeError(f"recipe {name!r} {version!r} is not installed", where="recipe", right=f"installed: {there}")


def _runnable(recipe: Recipe[Any]) -> Recipe[Any]:
    for module in recipe.requires:
        if find_spec(module) is None:
            raise RecipeError(
                f"recipe {recipe.name!r} needs {module}, which this node does not have",
                where="recipe",
                right='a node that trains: pip install "inbond[train]"',
            )
    return recipe


def _load(point: EntryPoint) -> Recipe[Any]:
    try:
        recipe = point.load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"recipe {point.name!r} cannot be loaded: {error}",
            where=point.value,
            right="install what it needs",
        ) from error
    if not isinstance(recipe, Recipe) or recipe.name != point.name:
        raise RecipeError(
            f"entry point {point.name!r} does not name such a recipe",
            where=point.value,
            right=f"an instance of Recipe whose name is {point.name!r}",
        )
    return recipe
