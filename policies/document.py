"""Reading a YAML or JSON document that a stranger may have written.

Learns nothing and trusts nothing: sizes are limited before parsing, anchors and duplicate keys are refused,
and only the YAML 1.2 scalars are recognised (so `NO` is Norway and `2026-01-31` is text, not a date object).
Every fault becomes one InvalidInput that names file, line and key.
"""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from policies.errors import InvalidInput

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 24
MAX_SHOWN = 60

M = TypeVar("M", bound=BaseModel)
Path = tuple[int | str, ...]

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""A column or table, as engines of databases let one be named without quotes."""


class Value(BaseModel):
    """Base of the validated values of this package: immutable, unknown keys refused, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of the YAML 1.2 core schema (section 10.3.2) and nothing cleverer."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012  a class attribute of PyYAML


def _add_core_resolvers() -> None:
    add = _Loader.add_implicit_resolver
    add("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    add("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
    add("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
    number = r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$"
    add("tag:yaml.org,2002:float", re.compile(number), list("-+0123456789."))


_add_core_resolvers()


class Document:
    """A parsed document: `value` (plain Python data), `where` (its name) and the line of each key path."""

    def __init__(self, value: Any, where: str, lines: Mapping[Path, int]) -> None:
        self.value, self.where, self._lines = value, where, lines

    def at(self, path: Path) -> str:
        """Return `file:line` of the deepest key on `path` that is in the document."""
        for end in range(len(path), -1, -1):
            if line := self._lines.get(path[:end]):
                return f"{self.where}:{line}"
        return self.where


def read_document(text: str, where: str) -> Document:
    """Parse YAML or JSON `text`; `where` names it in errors. Raises InvalidInput."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(
            f"{len(text)} characters is too long", where=where, right=f"at most {MAX_CHARACTERS} characters"
        )
    return _read_json(text, where) if text.lstrip()[:1] == "{" else _read_yaml(text, where)


def _read_json(text: str, where: str) -> Document:
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, where), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not readable as JSON: {error}", where=where, right="mend the JSON") from error
    _refuse_depth(value, where)
    return Document(value, where, {})


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"key `{double}` is given twice", where=where, right="keep one of them")
    return table


def _refuse_depth(value: Any, where: str, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput("nested too deeply", where=where, right=f"at most {MAX_DEPTH} levels")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _refuse_depth(child, where, depth + 1)


def _read_yaml(text: str, where: str) -> Document:
    try:
        loader = _Loader(text)
        _refuse_anchors(text, where)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        _collect_lines(node, (), lines, where)
        value = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(_yaml_fault(error), where=where, right="mend the YAML") from error
    return Document(value, where, lines)


def _refuse_anchors(text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        opened = isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
        depth += opened - isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
        if depth > MAX_DEPTH:
            raise InvalidInput("nested too deeply", where=where, right=f"at most {MAX_DEPTH} levels")
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise InvalidInput("anchors and aliases are not read", where=f"{where}:{line}", right="write the value out")


def _yaml_fault(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    return f"not readable as YAML{f' at line {mark.line + 1}' if mark else ''}: {problem}"


def _collect_lines(node: yaml.Node | None, path: Path, lines: dict[Path, int], where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                raise InvalidInput("a key is not text", where=f"{where}:{line}", right="use plain names as keys")
            step = (*path, key.value)
            if step in lines:
                raise InvalidInput(
                    f"key `{key.value}` is given twice",
                    where=f"{where}:{key.start_mark.line + 1}",
                    right="keep one of them",
                )
            lines[step] = key.start_mark.line + 1
            _collect_lines(child, step, lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*path, index)] = child.start_mark.line + 1
            _collect_lines(child, (*path, index), lines, where)


def validate(model: type[M], document: Document) -> M:
    """Return `document` as a `model`; raises InvalidInput for the first fault (and says how many more)."""
    if not isinstance(document.value, dict):
        raise InvalidInput(
            "is not a table of keys and values",
            where=document.where,
            right=f"the keys are {', '.join(_keys(model))}",
        )
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise _first_fault(model, document, error) from None


def _first_fault(model: type[BaseModel], document: Document, error: ValidationError) -> InvalidInput:
    faults = error.errors(include_url=False)
    # a misspelt key is told before the key that is missing because of it
    fault = min(faults, key=lambda found: found["type"] != "extra_forbidden")
    path = fault["loc"]
    what, right = _say(model, fault)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return InvalidInput(what + more, where=document.at(path), right=right)


def _say(model: type[BaseModel], fault: ErrorDetails) -> tuple[str, str]:
    path, name = fault["loc"], ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "missing":
        return f"`{name}` is missing", f"add `{path[-1]}`"
    if fault["type"] == "extra_forbidden":
        known = _keys(_model_at(model, path[:-1]))
        return f"`{name}` is not known", _suggest(str(path[-1]), known)
    shown = _shorten(repr(fault["input"]))
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if fault["type"] == "value_error":
        what, _, right = message.partition("; ")
        return (f"`{name}`: {what}" if name else what), right or "see the documentation of this key"
    return f"`{name}` is {shown}", message


def _shorten(shown: str) -> str:
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "..."


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"the keys are {', '.join(known)}"


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Follow `path` (keys, indexes, mapping keys) through the annotations to the model at its end."""
    found: type[BaseModel] | None = model
    for step in path:
        if found is None:
            return None
        field = next((f for n, f in found.model_fields.items() if step in {n, f.alias}), None)
        if field is not None:
            found = _model_in(field.annotation)
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := _model_in(part))), None)
