"""What a researcher says about a query, as the fields of its job. Read here, on the own machine: nobody learns of it.

The command line and the notebook both come through here, so that they refuse the same things in the same words.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from inbond.errors import ConfigError

Matching = Literal["auto", "hidden", "fast"]
Parameter = bool | int | float | str
PROTECTION = "encrypted"
# JSON's own numbers, flags and texts (RFC 8259 sections 3, 6 and 7); everything else is text as it stands
_JSON_VALUE = re.compile(r'-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|".*"', re.DOTALL)


class Question(TypedDict, total=False):
    """What may be said about a query besides its SQL.

    `purpose` is a W3C DPV purpose, and needed. `parameters` are what `$name` in the SQL stands for. `epsilon` asks for
    Laplace noise, with `delta` for Gaussian. `parties` are names, else all that publish the datasets. `matching` says
    which joins of two owners' rows may be planned. `recipients` are {id, country}, else this researcher alone.
    """

    purpose: str
    parameters: Mapping[str, Parameter]
    epsilon: float | None
    delta: float
    matching: Matching
    parties: Literal["all"] | Sequence[str]
    minimum_parties: int
    protection: str
    recipients: Sequence[Mapping[str, str]]


def job_fields(asked: Question) -> dict[str, Any]:
    """`asked` as a job file has it, which is checked as a whole later.

    Raises ConfigError for a delta by itself, and for a protection that no query has.
    """
    if asked.get("protection", PROTECTION) != PROTECTION:
        raise ConfigError("a query is never answered in the clear", where="protection", right=PROTECTION)
    fields: dict[str, Any] = {name: value for name, value in asked.items() if name not in {"epsilon", "delta"}}
    epsilon, delta = asked.get("epsilon"), asked.get("delta", 0.0)
    if epsilon is not None:
        mechanism = "gaussian" if delta else "laplace"
        fields["privacy"] = {"mechanism": mechanism, "epsilon": epsilon, "delta": delta}
    elif delta:
        raise ConfigError("needs an epsilon too", where="delta", right="the privacy loss, such as epsilon 1.0")
    return fields


def read_parameters(given: Sequence[str]) -> dict[str, Parameter]:
    """`name=value` texts as parameters: numbers, true and false as in JSON; other text as it is, or in double quotes.

    Raises ConfigError for what has no name or value, or is given twice.
    """
    found: dict[str, Parameter] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not (name and equals):
            raise ConfigError(f"`{one}` is no name and value", where="--param", right="name=value, such as low=2000")
        if name in found:
            raise ConfigError(f"`{name}` is given twice", where="--param", right="one value for each name")
        found[name] = _read(name, text)
    return found


def _read(name: str, text: str) -> Parameter:
    if not _JSON_VALUE.fullmatch(text):
        return text
    try:
        value: Parameter = json.loads(text)
    except ValueError:
        right = f"{name}=text, or text in double quotes with JSON's escapes"
        raise ConfigError(f"`{name}` has a quote in its text", where="--param", right=right) from None
    return value
