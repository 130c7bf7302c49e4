"""The shape of a regime's `facts.yaml` and of `common.yaml`: dated rows with sources, and what holds on a day.

Tables are law as data. A row holds from `since` to `until`, both days included; who reads a row learns its source.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from policies.document import Value
from policies.views import NOTHING, Cut

FactName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Word = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=300)]
PlaceCode = Annotated[str, Field(pattern=r"^([A-Z]{2}|EPO)$")]
Scalar = bool | int | float | str
FactType = Literal[
    "flag", "count", "share", "word", "words", "text", "place", "places", "date", "purpose", "categories", "counts",
    "loss", "dates",
]  # fmt: skip


class FactRule(Value):
    """One fact of a transfer: its type, permitted values, and its default; without a default it must be given.

    A `raised` flag is worse when true and may be raised by the field catalogue; `sensitive` ones double the minimum k.
    `claims` are the values that say how the world is: true or not, whatever anybody would like to write there.
    """

    type: FactType
    values: tuple[Word, ...] = ()
    default: Any = None
    claims: tuple[Scalar, ...] = ()
    raised: bool = False
    sensitive: bool = False

    @property
    def required(self) -> bool:
        """Whether a transfer that does not state this fact cannot be decided."""
        return "default" not in self.model_fields_set


class Dated(Value):
    """A row that holds from `since` to `until`, both included, as `source` says."""

    since: date
    until: date | None = None
    source: Text

    def holds(self, day: date) -> bool:
        """Whether the row is in force on `day`."""
        return self.since <= day and (self.until is None or day <= self.until)


class PlaceRow(Dated):
    """Places of a list: codes, or the members of other `lists`."""

    places: tuple[PlaceCode, ...] = ()
    lists: tuple[Word, ...] = ()


class AdequacyRow(PlaceRow):
    """Places that are adequate where `scope` (facts and the values they need) holds.

    `grade` is told to the rules; `keys` says whether a key kept there is out of reach of other places.
    """

    scope: dict[FactName, Scalar] = Field(default_factory=dict)
    grade: Literal["general", "certified"] = "general"
    keys: bool = True


class ToolRow(Dated):
    """What counts as a kind of tool or ground (`as`): the facts of `when` have one of the values given.

    `years` bounds its life where the transfer says since when it has it; `to` names lists the destination must be in.
    """

    kind: Word = Field(alias="as")
    when: dict[FactName, tuple[Scalar, ...]] = Field(min_length=1)
    to: tuple[Word, ...] = ()
    years: int | None = Field(default=None, ge=1, le=99)


class Threshold(Dated):
    """A number from which (`at_least`) or above which (`more_than`) a fact reaches the band `name`."""

    name: Word
    fact: FactName
    key: Word | None = None
    at_least: int | None = Field(default=None, ge=0)
    more_than: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_bound(self) -> "Threshold":
        if (self.at_least is None) == (self.more_than is None):
            raise ValueError("a threshold has one bound; give `at_least` or `more_than`")
        return self

    def reached(self, number: int) -> bool:
        """Whether `number` reaches the band."""
        return number >= self.at_least if self.at_least is not None else number > (self.more_than or 0)


class Applies(Value):
    """When the regime is asked: data leave a place of its `area`, concern people there, or a fact has such a value."""

    source: bool = False
    subjects: bool = False
    when: dict[FactName, tuple[Scalar, ...]] = Field(default_factory=dict)


class Lever(Value):
    """Something a refused party can bring about: the facts it sets and how a person would say it.

    `only_if` is what must really be so for it to be true; a lever that sets a claim about the world must say it.
    """

    say: Text
    only_if: Text | None = None
    set: dict[FactName, Any] = Field(min_length=1)


class Raising(Value):
    """The facts that a kind of column makes true, whatever is declared."""

    raises: dict[FactName, Scalar] = Field(default_factory=dict)


class MaskedRow(Raising, Cut):
    """What a field makes true instead where it is shown as this cut, or as less."""


class Category(Raising):
    """A field of the catalogue: also its kind in bulk counts, and the facts it makes true where it is `masked`."""

    counts_as: Word | None = None
    masked: tuple[MaskedRow, ...] = Field(default=(), max_length=16)

    @model_validator(mode="after")
    def _masked_facts_are_its_own(self) -> "Category":
        for row in self.masked:
            other = next((name for name in row.raises if name not in self.raises), None)
            if other is not None:
                raise ValueError(f"`masked` says `{other}`, which the field does not raise; add it to its `raises`")
        return self


class ColumnDrop(Value):
    """Columns of these fields may not be read at all."""

    categories: tuple[Word, ...] = Field(min_length=1, max_length=256)


class ColumnMask(ColumnDrop, Cut):
    """Columns of these fields are shown as this cut, or as less."""


class Binding(Value):
    """What an obligation does to a job by itself: it masks columns, or has them left out."""

    mask: ColumnMask | None = None
    drop: ColumnDrop | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Binding":
        if (self.mask is None) == (self.drop is None):
            raise ValueError("`binds` has one way; give `mask` or `drop`")
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """The fields whose columns are bound."""
        return tuple(name for one in (self.mask, self.drop) if one is not None for name in one.categories)

    @property
    def cut(self) -> Cut:
        """What may be seen of them."""
        return NOTHING if self.mask is None else Cut(form=self.mask.form, size=self.mask.size)


class Duty(Value):
    """What an obligation asks for, and when: before (pre), with (atomic) or after (post) the release, or again and
    again after it (yearly).

    `proved_by` are kinds of records that are such evidence; a record of kind `duty` that names it always is. One that
    `binds` columns asks for none: it is carried out with the release, by whoever reads the table. Evidence of a `post`
    obligation is due `within_days` of the release; where there is `every_years`, it is due anew that long after the
    last. `source` says who gave the period, and is there wherever a period is.
    """

    when: Literal["pre", "atomic", "post", "yearly"]
    evidence: Text
    proved_by: tuple[Word, ...] = ()
    binds: Binding | None = None
    within_days: int | None = Field(default=None, ge=0, le=366)
    every_years: int | None = Field(default=None, ge=1, le=10)
    source: Text | None = None

    @model_validator(mode="after")
    def _carried_out_or_proved(self) -> "Duty":
        if self.binds is not None and (self.when != "atomic" or self.proved_by):
            raise ValueError("what `binds` columns is carried out, not proved; write `when: atomic`, no `proved_by`")
        return self

    @model_validator(mode="after")
    def _periods_are_there(self) -> "Duty":
        if (self.within_days is not None) != (self.when == "post"):
            raise ValueError("what is due after the release, and nothing else, has days; mend `within_days`")
        if self.every_years is None and self.when == "yearly":
            raise ValueError("nobody says when it is due again; add `every_years`")
        if self.every_years is not None and self.when in {"atomic", "post"}:
            raise ValueError("what belongs to one release is not due again; drop `every_years`")
        if self.every_years is not None and "anonymity" in self.proved_by:
            raise ValueError("evidence on one kind of release is not due again; drop `every_years`")
        if (self.within_days is None and self.every_years is None) != (self.source is None):
            raise ValueError("a period has a source, and only a period; mend `source`")
        return self


class Constants(Value):
    """The project's own numbers: policy choices, recorded with each decision through the digest."""

    k_min: int = Field(ge=2)
    k_min_sens: int = Field(ge=2)
    top2_max: float = Field(gt=0, le=1)
    eps_agg_max: float = Field(gt=0)
    eps_model_max: float = Field(gt=0)
    delta_max: float = Field(gt=0, lt=1)
    min_clients: int = Field(ge=2)


class RegimeTables(Value):
    """One regime's `facts.yaml`. Before `since` these tables do not describe the law, and nothing is permitted."""

    regime: FactName
    title: Text
    kind: Literal["jurisdiction", "sector"]
    since: date
    checked: date
    applies: Applies
    facts: dict[FactName, FactRule] = Field(default_factory=dict)
    lists: dict[Word, tuple[PlaceRow, ...]] = Field(default_factory=dict)
    adequacy: tuple[AdequacyRow, ...] = ()
    tools: tuple[ToolRow, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    obligations: dict[Word, Duty] = Field(default_factory=dict)
    levers: tuple[Lever, ...] = ()


class CommonTables(Value):
    """`common.yaml`: what all regimes share, and which of them must be there."""

    checked: date
    regimes: tuple[FactName, ...] = Field(min_length=1)
    constants: Constants
    facts: dict[FactName, FactRule]
    purposes: tuple[Word, ...]
    categories: dict[Word, Category]
    classes: dict[Word, Raising] = Field(default_factory=dict)
    lists: dict[Word, tuple[PlaceRow, ...]]
    obligations: dict[Word, Duty]
    levers: tuple[Lever, ...] = ()


def members(
    rows: tuple[PlaceRow, ...], day: date, others: dict[str, tuple[PlaceRow, ...]] | None = None
) -> frozenset[str]:
    """The places that `rows` name on `day`; `others` are the lists that rows may refer to by name (one level)."""
    found: set[str] = set()
    for row in rows:
        if row.holds(day):
            found.update(row.places)
            for name in row.lists:
                found |= members((others or {}).get(name, ()), day)
    return frozenset(found)
