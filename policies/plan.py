"""A plan: what will run, who takes part, who learns what, and what it costs, before anything runs.

Everybody who decides on a job reads its plan, and every verdict is bound to its digest. It holds no data
and no key. Leaks come from a closed vocabulary, so that a policy can permit or forbid them by name.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from policies.canonical import digest
from policies.contract import Country, Normalisation, Slug, Use
from policies.document import Name, Value, read_document, validate
from policies.job import MAX_PARTIES, Hex32, Identity

MAX_ITEMS = 8192
MAX_KEYS = 2**25  # of a side of a join
Text = Annotated[str, Field(max_length=200)]
Answered = Literal["researcher", "attributes", "values"]


class LeakKind(StrEnum):
    """What can become known to somebody: the closed vocabulary of promise 5."""

    NOTHING = "nothing"
    SIZES_AND_TIMING = "sizes and timing"
    SET_SIZE_BUCKET = "set size bucket"
    INTERSECTION_SIZE = "intersection size"
    INTERSECTION_MEMBERS = "intersection members"
    GROUP_COUNTS = "group counts"
    GROUP_KEYS = "group keys"
    MASKED_VALUE = "masked value"
    NOISED_AGGREGATE = "noised aggregate"
    EXACT_AGGREGATE = "exact aggregate"
    EXAMPLE_COUNT = "example count"
    JOINT_UPDATE = "joint update"
    JOINT_MODEL = "joint model"
    JOINT_METRICS = "joint metrics"
    PARTY_CONTRIBUTION = "party contribution"


UNREADABLE = frozenset({LeakKind.NOTHING, LeakKind.SIZES_AND_TIMING, LeakKind.MASKED_VALUE})
"""Leaks by which nothing of the data becomes readable, and so without readers."""


class Role(StrEnum):
    """Who may learn something in a job."""

    COORDINATOR = "coordinator"
    PARTY = "party"
    LEADER = "leader"
    RESEARCHER = "researcher"


class Leak(Value):
    """`who` learns `what`, about which data (`about`, in words).

    Where not every party learns it, or not about every party's data, `learners` and `owners` name the parties.
    """

    who: Role
    what: LeakKind
    about: Text = ""
    learners: tuple[Slug, ...] = Field(default=(), max_length=MAX_PARTIES)
    owners: tuple[Slug, ...] = Field(default=(), max_length=MAX_PARTIES)


class Operator(Value):
    """One piece of work. `epsilon` is its privacy loss, `up_bytes` per party and job, `seconds` per job."""

    id: Slug
    kind: Slug
    participants: tuple[Slug, ...] = Field(max_length=MAX_PARTIES)
    protocol: Text
    leaks: tuple[Leak, ...] = Field(min_length=1, max_length=64)
    epsilon: float = Field(default=0.0, ge=0)
    up_bytes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)


class Table(Value):
    """A table of the job at one owner, and the digest of the contract the plan was made with."""

    dataset: Slug
    contract: Hex32


class Participant(Value):
    """A party of the job: its country, its tables, and on which side of a join it stands (0 without a join)."""

    name: Slug
    country: Country
    tables: tuple[Table, ...] = Field(min_length=1, max_length=8)
    side: int = Field(default=0, ge=0, le=1)

    def binding(self) -> str:
        """Return what the party's verdict is bound to: its contract's digest, or the digest of all of them."""
        if len(self.tables) == 1:
            return self.tables[0].contract
        return digest([table.model_dump(mode="json") for table in self.tables])

    def contract(self, dataset: str) -> str | None:
        """The digest of the contract for `dataset`, or None when the party does not bring that table."""
        return next((table.contract for table in self.tables if table.dataset == dataset), None)


class Step(Value):
    """A kind of message a party answers in `max_count` rounds counted from `first` (0 for one-off steps)."""

    name: Slug
    max_count: int = Field(ge=1, le=10**6)
    first: int = Field(default=0, ge=0, le=1)

    def allows(self, round_number: int) -> bool:
        """Return whether `round_number` is one of this step's rounds."""
        return self.first <= round_number < self.first + self.max_count


class Protection(Value):
    """The protocol that protects what leaves a party, with its parameters."""

    mode: Literal["encrypted", "plain"]
    protocol: Slug
    version: int = Field(ge=1)
    parameters: dict[Name, JsonValue] = Field(default_factory=dict, max_length=64)


class PlanNoise(Value):
    """The noise that every release of the job carries."""

    mechanism: Literal["none", "laplace", "gaussian"] = "none"
    epsilon: float = Field(default=0.0, ge=0)
    delta: float = Field(default=0.0, ge=0, lt=1)


class Reader(Value):
    """Someone for whom `object`, derived from the data, becomes readable, and the country it is read in."""

    id: Identity
    country: Country
    object: LeakKind

    @property
    def name(self) -> str:
        """The last part of the id: a member's name."""
        return self.id.rsplit("/", 1)[-1]


class ColumnUse(Value):
    """A column of a dataset's common schema and what the job does with it."""

    dataset: Slug
    column: Name
    use: Use


class Pushed(Value):
    """A condition that the owners of a dataset evaluate on their own rows: shown to them as what it is."""

    dataset: Slug
    condition: Annotated[str, Field(max_length=8 * 1024)]


class JoinPlan(Value):
    """How the rows of two sides are matched: `engine`, and the side (0 or 1) that holds the attributes.

    The attribute side finds out which positions of the value side's secretly permuted rows match; what that tells it
    depends on the engine. `keys` are the normalisations of the key columns, in order. `largest` are the most keys that
    the attribute side and the value side may show: a set that was blown up to probe for members ends the join. `wide`
    sums may pass 2**39 in size, and are shared under two moduli. The mails of engine `ot` are cut into `parts`, so that
    both sides and the coordinator work at the same time. `answer` is who reads the released groups: the researcher
    alone, or all parties of one side and nobody else.
    """

    engine: Literal["ot", "ec-hidden"]
    attributes: int = Field(ge=0, le=1)
    keys: tuple[Normalisation, ...] = Field(min_length=1, max_length=8)
    largest: tuple[int, int] = (MAX_KEYS, MAX_KEYS)
    wide: bool = False
    parts: int = Field(default=1, ge=1, le=16)
    answer: Answered = "researcher"

    def readers(self, sides: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
        """Return the names of the parties that read the answer; none where the researcher does. `sides` are names."""
        if self.answer == "researcher":
            return ()
        return sides[self.attributes if self.answer == "attributes" else 1 - self.attributes]

    @model_validator(mode="after")
    def _only_ot_has_parts(self) -> Self:
        if self.engine != "ot" and self.parts != 1:
            raise ValueError("engine ec-hidden has one part; mend `parts`")
        return self

    @field_validator("largest")
    @classmethod
    def _sizes_can_be_joined(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(1 <= one <= MAX_KEYS for one in value):
            raise ValueError(f"a side has 1 to {MAX_KEYS} keys; mend `largest`")
        return value


class Plan(Value):
    """The whole plan of one job. `coordinator` is the country of the one who carries its ciphertexts."""

    job: Hex32
    kind: Literal["train", "query"]
    purpose: Text
    dataset: Slug
    sql: str | None = Field(default=None, max_length=16 * 1024)
    columns: tuple[ColumnUse, ...] = Field(max_length=MAX_ITEMS)
    participants: tuple[Participant, ...] = Field(min_length=1, max_length=MAX_PARTIES)
    operators: tuple[Operator, ...] = Field(min_length=1, max_length=64)
    steps: tuple[Step, ...] = Field(min_length=1, max_length=64)
    protection: Protection
    pushed: tuple[Pushed, ...] = Field(default=(), max_length=64)
    join: JoinPlan | None = None
    minimum_group: int = Field(ge=1)
    minimum_parties: int = Field(ge=2)
    noise: PlanNoise
    readers: tuple[Reader, ...] = Field(min_length=1, max_length=MAX_ITEMS)
    coordinator: Country | None = None

    def payload(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical payload: what verdicts and messages are bound to."""
        return digest(self.payload())

    def participant(self, party: str) -> Participant | None:
        """Return the participant called `party`, or None."""
        return next((found for found in self.participants if found.name == party), None)

    def datasets(self) -> tuple[str, ...]:
        """Return the names of all tables of the job, once each, in order of first appearance."""
        return tuple(dict.fromkeys(table.dataset for one in self.participants for table in one.tables))

    def side(self, number: int) -> tuple[str, ...]:
        """Return the names of the parties on one side of the join."""
        return tuple(one.name for one in self.participants if one.side == number)

    def answered(self) -> tuple[str, ...]:
        """Return the names of the parties that read the answer of a join; none where the researcher does."""
        return self.join.readers((self.side(0), self.side(1))) if self.join is not None else ()

    def concerns(self, party: str, reader: Reader) -> bool:
        """Return whether what `reader` learns may be about `party`'s data: not where all such leaks are of others."""
        same = [leak for leak in self.leaks() if leak.what is reader.object]
        return not same or any(
            not leak.owners or (party in leak.owners and (not leak.learners or reader.name in leak.learners))
            for leak in same
        )

    def leaks(self) -> tuple[Leak, ...]:
        """Return every leak of the plan once, in order of first appearance."""
        return tuple(dict.fromkeys(leak for operator in self.operators for leak in operator.leaks))


def load_plan(text: str, where: str = "plan") -> Plan:
    """Read a plan from JSON text. Raises InvalidInput."""
    return validate(Plan, read_document(text, where))
