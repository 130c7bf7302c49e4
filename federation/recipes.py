"""What the planner needs to know of an installed recipe, found by entry point; the coordinator never runs one."""

from importlib.metadata import entry_points
from typing import Any

from federation.planner import RecipeInfo
from policies.errors import InvalidInput
from policies.job import JobSpec

GROUP = "inbond.recipes"


def recipe_info(spec: JobSpec) -> RecipeInfo | None:
    """The recipe that `spec` pins, its parameters checked; None for a query. Raises InvalidInput."""
    if spec.recipe is None:
        return None
    points = entry_points(group=GROUP)
    installed = ", ".join(sorted(points.names)) or "nothing"
    for point in points:
        if point.name == spec.recipe.name:
            return _described(point.load(), spec)
    raise InvalidInput(
        f"recipe `{spec.recipe.name}` is not installed", where="job: recipe", right=f"one of {installed}"
    )


def _described(recipe: Any, spec: JobSpec) -> RecipeInfo:
    """`recipe` is a parties.recipes.base.Recipe; the arrow forbids naming the type here."""
    assert spec.recipe is not None  # noqa: S101 - the caller looked
    version = int(recipe.version)
    if version != spec.recipe.version:
        right = f"version {version} is installed"
        raise InvalidInput(f"recipe version {spec.recipe.version} is not installed", where="job: recipe", right=right)
    parameters = recipe.parse(spec.recipe.parameters, "job: recipe.parameters")
    columns = tuple((need.name, need.use) for need in recipe.columns)
    return RecipeInfo(recipe.name, version, recipe.model_size(parameters), columns)
