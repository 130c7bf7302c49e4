"""The vocabulary of facts: a stranger's mapping becomes a complete, checked sheet, or an error that says why not.

Unknown names and values are refused, never guessed. What is missing takes the unfavourable default of the tables, and
the field catalogue makes true what the columns are, whatever label the sender put on them.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from policies.contract import is_date
from policies.errors import InvalidInput, InvalidPolicy
from policies.law.places import CODES
from policies.law.tables import Category, CommonTables, FactRule, RegimeTables

MAX_COUNT = 10**12
MAX_ITEMS = 256
_DPV = re.compile(r"dpv:[A-Z][A-Za-z]{1,62}")

Pairs = tuple[tuple[str, Any], ...]
SheetValue = bool | int | float | str | date | None | tuple[str, ...] | Pairs


@dataclass(frozen=True, eq=False)
class Sheet:
    """All facts of one transfer, complete and checked; equal and hashed by value, so that an answer can be kept."""

    items: tuple[tuple[str, SheetValue], ...]
    values: Mapping[str, Any] = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", dict(self.items))
        object.__setattr__(self, "_hash", hash(self.items))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Sheet) and self.items == other.items)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def number(self, name: str, key: str | None = None) -> int:
        """A count (or a flag as 0 or 1), or the count of one kind in a table of counts."""
        value = self.values[name]
        return int(dict(value).get(key, 0) if key is not None else value)

    def has(self, name: str, wanted: Iterable[Any]) -> bool:
        """Whether the fact is one of `wanted`, or, where it is a set, holds one of them."""
        value = self.values[name]
        return any(one in value for one in wanted) if isinstance(value, tuple) else value in wanted


class Catalogue:
    """The facts there are, from `common.yaml` and from every regime."""

    def __init__(self, common: CommonTables, regimes: Iterable[RegimeTables]) -> None:
        self.common = common
        self.rules: dict[str, FactRule] = dict(common.facts)
        for tables in regimes:
            for name, rule in tables.facts.items():
                if name in self.rules:
                    raise InvalidPolicy(f"fact `{name}` is declared twice", where=tables.regime, right="rename it")
                self.rules[name] = rule
        self.sensitive = tuple(name for name, rule in self.rules.items() if rule.sensitive)
        self._purposes = frozenset(common.purposes)
        self._readers: dict[str, Callable[[str, FactRule, Any], SheetValue]] = {
            "purpose": self._purpose,
            "categories": self._categories,
        }
        self._defaults = {name: self.read(name, rule.default) for name, rule in self.rules.items() if not rule.required}
        self._required = tuple(name for name, rule in self.rules.items() if rule.required)
        self._names = tuple(sorted(self.rules))

    def sheet(self, given: Mapping[str, Any]) -> Sheet:
        """Return the complete facts of a transfer. Raises InvalidInput for an unknown name, value or missing fact."""
        unknown = next((name for name in given if name not in self.rules), None)
        if unknown is not None:
            raise InvalidInput(f"fact `{str(unknown)[:60]}` is not known", where="facts", right="see docs/law.md")
        missing = [name for name in self._required if name not in given]
        if missing:
            raise InvalidInput(f"fact `{missing[0]}` is missing", where="facts", right=f"add `{missing[0]}`")
        values = self._defaults | {name: self.read(name, value) for name, value in given.items()}
        self._raise(values)
        return Sheet(tuple((name, values[name]) for name in self._names))

    def read(self, name: str, value: Any) -> SheetValue:
        """Return `value` as fact `name` holds it. Raises InvalidInput when it is none of the fact's values."""
        rule = self.rules[name]
        if value is None and not rule.required and rule.default is None:
            return None
        return self._readers.get(rule.type, _READERS.get(rule.type, _refuse))(name, rule, value)

    def category(self, name: str) -> Category:
        """The catalogue's entry of a field. Raises InvalidInput for one it does not have."""
        found = self.common.categories.get(name)
        if found is None:
            raise _wrong("categories", name, "a field of the catalogue")
        return found

    def claims(self, facts: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of those `facts` whose value says how the world is: true or not, whoever would like it."""
        return tuple(name for name, value in facts.items() if value in self.rules[name].claims)

    def stated(self, sheet: Sheet, name: str) -> bool:
        """Whether the transfer says something of the fact: it has left its unfavourable default."""
        return name not in self._defaults or bool(sheet[name] != self._defaults[name])

    def _raise(self, values: dict[str, SheetValue]) -> None:
        """Let the columns speak: a flag becomes true, another fact leaves its default."""
        categories = values["categories"]
        for category in categories if isinstance(categories, tuple) else ():
            for name, raised in self.category(str(category)).raises.items():
                if name in values and (self.rules[name].raised or values[name] == self._defaults.get(name)):
                    values[name] = raised

    def _purpose(self, name: str, _rule: FactRule, value: Any) -> SheetValue:
        if isinstance(value, str) and (value in self._purposes or _DPV.fullmatch(value)):
            return value
        raise _wrong(name, value, "a purpose of the catalogue or a dpv: term")

    def _categories(self, name: str, _rule: FactRule, value: Any) -> SheetValue:
        return tuple(sorted({one for one in _texts(name, value) if self.category(one)}))


def _wrong(name: str, value: Any, right: str) -> InvalidInput:
    return InvalidInput(f"`{name}` is {str(value)[:60]!r}", where="facts", right=right)


def _refuse(name: str, rule: FactRule, value: Any) -> SheetValue:
    raise _wrong(name, value, f"a {rule.type}")


def _flag(name: str, _rule: FactRule, value: Any) -> SheetValue:
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _count(name: str, _rule: FactRule, value: Any) -> SheetValue:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise _wrong(name, value, f"a whole number from 0 to {MAX_COUNT}")
    return value


def _number(name: str, value: Any, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, "a number")
    if not (math.isfinite(value) and 0 <= value <= highest):
        raise _wrong(name, value, f"a number from 0 to {highest:g}")
    return float(value)


def _share(name: str, _rule: FactRule, value: Any) -> SheetValue:
    return _number(name, value, 1.0)


def _word(name: str, rule: FactRule, value: Any) -> SheetValue:
    if not isinstance(value, str) or value not in rule.values:
        raise _wrong(name, value, f"one of {', '.join(rule.values)}")
    return value


def _text(name: str, _rule: FactRule, value: Any) -> SheetValue:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise _wrong(name, value, "a line of at most 200 characters")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS or not all(isinstance(one, str) for one in value):
        raise _wrong(name, value, f"a list of at most {MAX_ITEMS} words")
    return tuple(value)


def _words(name: str, rule: FactRule, value: Any) -> SheetValue:
    return tuple(sorted({str(_word(name, rule, one)) for one in _texts(name, value)}))


def _place(name: str, _rule: FactRule, value: Any) -> SheetValue:
    if not isinstance(value, str) or value not in CODES:
        raise _wrong(name, value, "a code of ISO 3166-1 alpha-2")
    return value


def _places(name: str, rule: FactRule, value: Any) -> SheetValue:
    return tuple(sorted({str(_place(name, rule, one)) for one in _texts(name, value)}))


def _date(name: str, _rule: FactRule, value: Any) -> SheetValue:
    if type(value) is date:
        return value
    if not isinstance(value, str) or not is_date(value):
        raise _wrong(name, value, "a date such as 2026-11-15")
    return date.fromisoformat(value)


def _pairs(name: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or len(value) > MAX_ITEMS or not all(isinstance(key, str) for key in value):
        raise _wrong(name, value, "a table of names and values")
    return sorted(value.items())


def _counts(name: str, rule: FactRule, value: Any) -> SheetValue:
    found = _pairs(name, value)
    return tuple((str(_word(name, rule, key)), int(str(_count(name, rule, number)))) for key, number in found)


def _loss(name: str, _rule: FactRule, value: Any) -> SheetValue:
    found = _pairs(name, value)
    if [key for key, _ in found] != ["delta", "epsilon"]:
        raise _wrong(name, value, "a table of epsilon and delta")
    return tuple((key, _number(f"{name}.{key}", number, 1.0 if key == "delta" else 1e6)) for key, number in found)


def _dates(name: str, rule: FactRule, value: Any) -> SheetValue:
    return tuple((key, _date(name, rule, day)) for key, day in _pairs(name, value))


_READERS: dict[str, Callable[[str, FactRule, Any], SheetValue]] = {
    "flag": _flag, "count": _count, "share": _share, "word": _word, "words": _words, "text": _text, "place": _place,
    "places": _places, "date": _date, "counts": _counts, "loss": _loss, "dates": _dates,
}  # fmt: skip
