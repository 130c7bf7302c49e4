"""What an owner lets a job see of a column or of the rows, by who asks and for which purpose: masks and row rules.

They are published with the contract; every verdict names those that apply, and the owner's connector carries them out
in the statement that reads the table. A law may ask for masks too (`policies.law.binding`); of two on one column the
stricter holds. Learns nothing of the data.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from policies.document import Name, Value

Form = Literal["nothing", "day", "month", "year", "prefix", "round"]
FORMS_OF_TYPE: Mapping[str, tuple[Form, ...]] = {
    "int": ("nothing", "round"),
    "money": ("nothing", "round"),
    "float": ("nothing",),
    "text": ("nothing", "prefix"),
    "date": ("nothing", "month", "year"),
    "datetime": ("nothing", "day", "month", "year"),
    "bool": ("nothing",),
}
SIZED = frozenset({"prefix", "round"})
TIMES: tuple[Form, ...] = ("day", "month", "year")  # each shows less than the one before
MAX_SIZE = 10**9
Pattern = Annotated[str, Field(min_length=1, max_length=128)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the authority certified, and for what."""

    purpose: str
    role: str = ""
    organisation: str = ""


class _For(Value):
    """To whom a rule applies: patterns of purposes, roles and organisations; whoever one of each matches."""

    purposes: Patterns = ("*",)
    roles: Patterns = ("*",)
    organisations: Patterns = ("*",)

    def applies(self, asker: Asker) -> bool:
        """Whether the rule is about what `asker` asks."""
        said = ((self.purposes, asker.purpose), (self.roles, asker.role), (self.organisations, asker.organisation))
        return all(any(fnmatchcase(word, pattern) for pattern in patterns) for patterns, word in said)


class Cut(Value):
    """A value is shown as `form`: nothing (NULL), or cut to a part of it.

    Times are cut to their day, month or year, text to its first `size` characters, numbers towards zero to a multiple
    of `size` in the column's own unit.
    """

    form: Form
    size: int | None = Field(default=None, ge=1, le=MAX_SIZE)

    @model_validator(mode="after")
    def _sized_where_it_must(self) -> Self:
        if (self.form in SIZED) != (self.size is not None):
            raise ValueError(f"`size` and form {self.form} do not fit; prefix and round have one, the others none")
        return self

    def told_of(self, column: str) -> str:
        """In words, how `column` is shown."""
        match self.form:
            case "nothing":
                return f"`{column}` is shown as nothing"
            case "prefix":
                return f"`{column}` is cut to its first {self.size} characters"
            case "round":
                return f"`{column}` is cut to multiples of {self.size}"
        return f"`{column}` is cut to its {self.form}"

    def within(self, limit: "Cut") -> bool:
        """Whether this shows no more than `limit`."""
        both = stricter(self, limit)
        return (both.form, both.size) == (self.form, self.size)


NOTHING = Cut(form="nothing")


def stricter(one: Cut, other: Cut) -> Cut:
    """What shows no more than either of two cuts of one column, and no less than it must; `one` where it is enough."""
    if one.form == other.form == "prefix":
        return min(one, other, key=lambda cut: cut.size or 0)
    if one.form == other.form == "round":
        size = math.lcm(one.size or 1, other.size or 1)  # a multiple of 10 cut to 15 would still tell 10 from 20
        if size == one.size:
            return one
        return Cut(form="round", size=size) if size <= MAX_SIZE else NOTHING
    if one.form in TIMES and other.form in TIMES:
        return max(one, other, key=lambda cut: TIMES.index(cut.form))
    return one if one.form == "nothing" else other if other.form in {one.form, "nothing"} else NOTHING


def fitting(cut: Cut, kind: str) -> Cut:
    """The cut for a column of type `kind`: itself, or nothing where such a column has no such form."""
    return cut if cut.form in FORMS_OF_TYPE[kind] else NOTHING


def stacked(masks: Mapping[str, Cut], more: Mapping[str, Cut]) -> dict[str, Cut]:
    """The cuts of both by column, the stricter where both have one."""
    return {**masks, **{name: stricter(masks[name], cut) if name in masks else cut for name, cut in more.items()}}


class Mask(_For, Cut):
    """A cut of `column`, for whom the rule is about."""

    column: Name

    @property
    def told(self) -> str:
        """The mask in words."""
        return self.told_of(self.column)


class RowRule(_For):
    """Rows are read where `column` has one of the values of `only`, or none of those of `without`."""

    column: Name
    only: tuple[StrictInt | StrictStr, ...] | None = Field(default=None, min_length=1, max_length=4096)
    without: tuple[StrictInt | StrictStr, ...] | None = Field(default=None, min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _one_list(self) -> "RowRule":
        if (self.only is None) == (self.without is None):
            raise ValueError("a row rule has one list; give `only` or `without`")
        return self

    @property
    def values(self) -> tuple[int | str, ...]:
        """The values of the one list."""
        return (self.only or ()) + (self.without or ())

    @property
    def told(self) -> str:
        """The rule in words."""
        return f"rows are read by `{self.column}`, {'only' if self.only is not None else 'without'} some of its values"


class Views(Value):
    """All masks and row rules of a table. Of several masks that apply to one column the first counts."""

    masks: tuple[Mask, ...] = Field(default=(), max_length=256)
    rows: tuple[RowRule, ...] = Field(default=(), max_length=64)

    def masks_for(self, asker: Asker) -> dict[str, Mask]:
        """The mask of each column that `asker` sees masked."""
        found: dict[str, Mask] = {}
        for mask in self.masks:
            if mask.applies(asker):
                found.setdefault(mask.column, mask)
        return found

    def rows_for(self, asker: Asker) -> tuple[RowRule, ...]:
        """The row rules that `asker`'s reads are under; all of them hold together."""
        return tuple(rule for rule in self.rows if rule.applies(asker))
