"""What is built is what is here: every package is listed, every data file has a rule, every entry point loads."""

import tomllib
from fnmatch import fnmatch
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TOOL = PROJECT["tool"]["setuptools"]
FOLDERS = {name: ROOT / folder for name, folder in TOOL["package-dir"].items()}
POINTS = [
    EntryPoint(name, value, group)
    for group, points in PROJECT["project"]["entry-points"].items()
    for name, value in points.items()
]


def _folders() -> dict[str, Path]:
    """Package name -> folder, for every folder below the package roots that holds files to ship."""
    found = {}
    for top, root in FOLDERS.items():
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
            if any(path.is_file() for path in folder.iterdir()):
                found[".".join((top, *folder.relative_to(root).parts))] = folder
    return found


def test_every_folder_with_files_is_a_listed_package_and_every_listed_package_exists() -> None:
    assert sorted(_folders()) == sorted(TOOL["packages"])


def test_every_package_with_modules_can_be_imported_from_a_wheel() -> None:
    for name, folder in _folders().items():
        if any(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), name


def test_every_data_file_has_a_rule_that_ships_it() -> None:
    rules = TOOL["package-data"]["*"]
    for folder in _folders().values():
        for path in folder.iterdir():
            if path.is_file() and path.suffix not in {".py", ".pyi", ".pyc", ".md"}:
                assert any(fnmatch(path.name, rule) for rule in rules), path


@pytest.mark.parametrize("needed", ["*.cedar", "*.cedarschema", "*.proto", "py.typed"])
def test_what_a_node_cannot_run_without_is_there_to_ship(needed: str) -> None:
    assert any(list(folder.glob(needed)) for folder in _folders().values())


@pytest.mark.parametrize("name", ["federation.migrations.versions", "parties.migrations.versions"])
def test_the_migrations_are_shipped(name: str) -> None:
    assert list(_folders()[name].glob("0001*.py"))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.group}:{point.name}")
def test_every_entry_point_loads(point: EntryPoint) -> None:
    assert point.load() is not None


def test_the_command_is_the_root_of_the_command_line() -> None:
    assert PROJECT["project"]["scripts"] == {"inbond": "inbond.cli:main"}
