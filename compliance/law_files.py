"""Files of the law for the command line: scenarios that somebody wrote, and folders of regimes.

Whoever runs the command learns what is in its own files. A file is read up to its limit and no further, whatever its
size says.
"""

from importlib.resources.abc import Traversable
from pathlib import Path

from policies.document import MAX_CHARACTERS
from policies.errors import InvalidInput, InvalidPolicy
from policies.law.law import Law, load_law
from policies.law.regime import COMMON, packaged, regime_folders
from policies.law.scenario import Scenario, read_cases, read_scenarios

BUILT_IN = "built-in"
"""In place of a folder: the regimes that come with inbond, alone."""
MAX_BYTES = 4 * MAX_CHARACTERS  # a character has at most four bytes in UTF-8 (RFC 3629)


def read_scenario_file(path: Path) -> tuple[Scenario, ...]:
    """Read the scenarios of a file. Raises InvalidInput, or OSError when it cannot be opened."""
    with path.open("rb") as file:
        blob = file.read(MAX_BYTES + 1)
    if len(blob) > MAX_BYTES:
        raise InvalidInput("too large", where=str(path), right=f"at most {MAX_BYTES} bytes")
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("not UTF-8 text", where=str(path), right="a JSON file of scenarios") from error
    if not text.strip():
        raise InvalidInput("the file is empty", where=str(path), right="a list of scenarios, one at least")
    return read_scenarios(text, str(path))


def folders(chosen: str) -> tuple[Traversable, ...]:
    """The folders of a set of regimes: `chosen` alone where it is a whole set, else on top of the built-in regimes.

    A whole set has its own `common.yaml`. Raises InvalidPolicy when there is no regime in `chosen`.
    """
    if chosen == BUILT_IN:
        return (packaged(),)
    folder = Path(chosen)
    if not folder.is_dir():
        raise InvalidPolicy("there is no such folder", where=chosen, right=f"a folder of regimes, or `{BUILT_IN}`")
    if not any(True for _ in regime_folders(folder)):
        right = "a folder with a folder for each regime (facts.yaml, rules.cedar, cases)"
        raise InvalidPolicy("there is no regime in it", where=chosen, right=right)
    return (folder,) if (folder / COMMON).is_file() else (packaged(), folder)


def law_of(chosen: str) -> Law:
    """The law of a set of regimes. Raises InvalidPolicy."""
    return load_law(*folders(chosen))


def cases_of(chosen: str) -> tuple[tuple[str, Scenario], ...]:
    """The (regime, case) pairs of a set of regimes. Raises InvalidInput, InvalidPolicy."""
    return tuple(pair for folder in folders(chosen) for pair in read_cases(folder))
