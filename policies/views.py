"""What an owner lets a job see of a column or of the rows, by who asks and for which purpose: masks and row rules.

They are published with the contract; every verdict names those that apply, and the owner's connector carries them out
in the statement that reads the table. Learns nothing of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr, model_validator

from policies.document import Value

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
Pattern = Annotated[str, Field(min_length=1, max_length=128)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=64)]
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


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


class Mask(_For):
    """A column is shown as `form`: nothing (NULL), or cut to a part of it.

    Times are cut to their day, month or year, text to its first `size` characters, numbers towards zero to a multiple
    of `size` in the column's own unit.
    """

    column: ColumnName
    form: Form
    size: int | None = Field(default=None, ge=1, le=10**9)

    @model_validator(mode="after")
    def _sized_where_it_must(self) -> "Mask":
        if (self.form in SIZED) != (self.size is not None):
            raise ValueError(f"`size` and form {self.form} do not fit; prefix and round have one, the others none")
        return self

    @property
    def told(self) -> str:
        """The mask in words."""
        match self.form:
            case "nothing":
                return f"`{self.column}` is shown as nothing"
            case "prefix":
                return f"`{self.column}` is cut to its first {self.size} characters"
            case "round":
                return f"`{self.column}` is cut to multiples of {self.size}"
        return f"`{self.column}` is cut to its {self.form}"


class RowRule(_For):
    """Rows are read where `column` has one of the values of `only`, or none of those of `without`."""

    column: ColumnName
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
