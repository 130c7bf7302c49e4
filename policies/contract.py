"""Data contracts: what an organisation lets others compute from one table, and under which conditions.

A contract names columns, classes and rules, never values of rows; it is published to the consortium.
Exact sums are kept in integers: `money` is a decimal with two places, computed in cents.
Purposes are terms of the W3C Data Privacy Vocabulary (DPV 2, section Purposes), written `dpv:Term`.
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, field_validator, model_validator

from policies.agreement_need import AgreementNeed
from policies.approval_rule import ApprovalRule
from policies.audit_terms import AuditTerms
from policies.canonical import digest
from policies.document import Name, Value, read_document, validate
from policies.law_terms import LawTerms
from policies.patterns import Pattern, matches
from policies.views import FORMS_OF_TYPE, Mask, RowRule, Views

MAX_COLUMNS = 512
MAX_DOMAIN = 4096
DEFAULT_MINIMUM_GROUP = 10  # a policy choice after statistical offices' threshold rule (3, 5 or 10), not law
DEFAULT_MINIMUM_PARTIES = 3  # below three, a sum shows each party the other one's value
CENTS = 100

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]
Purpose = Annotated[str, Field(pattern=r"^dpv:[A-Z][A-Za-z]{1,62}$", description="a W3C DPV purpose")]
Category = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Cell = StrictBool | StrictInt | StrictStr


class ColumnType(StrEnum):
    """How the values of a column are computed with."""

    INT = "int"
    FLOAT = "float"
    MONEY = "money"
    TEXT = "text"
    DATE = "date"
    DATETIME = "datetime"
    BOOL = "bool"

    @property
    def numeric(self) -> bool:
        """Whether the values can be compared with a number."""
        return self in {ColumnType.INT, ColumnType.FLOAT, ColumnType.MONEY}


class DataClass(StrEnum):
    """How close a column is to a person, from open to special category (GDPR Art. 4(1), 4(5), 9)."""

    PUBLIC = "public"
    OPERATIONAL = "operational"
    COMMERCIAL = "commercial"
    PSEUDONYMOUS = "pseudonymous"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"


ABOUT_PEOPLE = frozenset({DataClass.PSEUDONYMOUS, DataClass.PERSONAL, DataClass.SENSITIVE})


class Use(StrEnum):
    """What a job may do with a column."""

    AGGREGATE = "aggregate"
    GROUP = "group"
    FILTER = "filter"
    JOIN = "join"
    FEATURE = "feature"
    LABEL = "label"


class JoinLeak(StrEnum):
    """What a counterpart may come to know about a join key (names as in `policies.plan.LeakKind`)."""

    SET_SIZE_BUCKET = "set size bucket"
    GROUP_COUNTS = "group counts"
    INTERSECTION_SIZE = "intersection size"
    INTERSECTION_MEMBERS = "intersection members"


Normalisation = Literal["text", "email", "phone", "order-id", "card-token", "integer"]


class JoinKey(Value):
    """How a column may be joined on with another owner's table.

    `as` is the normalisation both owners must declare; `counterparts` maps patterns of party names to what such a
    party may come to know: being a key and showing the intersection are granted apart. A party that no pattern
    matches may not join. No subject has more than `rows_per_key` rows with one key.
    """

    normalisation: Normalisation = Field(alias="as")
    counterparts: dict[Pattern, tuple[JoinLeak, ...]] = Field(min_length=1, max_length=64)
    rows_per_key: int = Field(default=1, ge=1, le=2**16)

    def grants(self, party: str) -> frozenset[JoinLeak] | None:
        """What `party` may come to know, by all patterns that match its name; None when it may not join at all."""
        found = [leaks for pattern, leaks in self.counterparts.items() if fnmatchcase(party, pattern)]
        return frozenset(leak for leaks in found for leak in leaks) if found else None


_FILE_KEYS, _SERVER_KEYS = {"path"}, {"url", "table", "schema", "tls", "ca", "password_env", "passfile"}
_KEYS_OF_KIND = {"parquet": _FILE_KEYS, "csv": _FILE_KEYS, "duckdb": {"path", "table"}, "postgres": _SERVER_KEYS}
_NEEDED = {"parquet": ("path",), "csv": ("path",), "duckdb": ("path", "table"), "postgres": ("url", "table")}
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]|%2F.*")
_URL = re.compile(
    r"postgresql://[A-Za-z0-9._~-]+@([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]|%2F[A-Za-z0-9._%-]+)(:[0-9]{1,5})?/[A-Za-z0-9._~-]+"
)


class Source(Value):
    """Where the table is: a file on the party's own machine, or a PostgreSQL table.

    `url` is postgresql://user@host:port/database, without a password, which `password_env` (a variable's name) or
    `passfile` (a libpq password file) gives. `tls` is verify-full unless the owner says otherwise; `ca` is the file of
    the server's authority, else the system's authorities are trusted.
    """

    kind: Literal["parquet", "csv", "duckdb", "postgres"]
    path: str | None = Field(default=None, min_length=1, max_length=4096)
    url: str | None = Field(default=None, max_length=1024)
    table: Name | None = None
    schema_name: Name = Field(default="public", alias="schema")
    tls: Literal["verify-full", "verify-ca", "disable"] = "verify-full"
    ca: str | None = Field(default=None, min_length=1, max_length=4096)
    password_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")] | None = None
    passfile: str | None = Field(default=None, min_length=1, max_length=4096)

    @field_validator("url")
    @classmethod
    def _an_address_without_secrets(cls, value: str | None) -> str | None:
        found = _URL.fullmatch(value) if value is not None else None
        port = int((found[2] or ":5432")[1:]) if found else 0
        if value is not None and not 0 < port < 2**16:  # not repeated: it may hold a password
            raise ValueError("the address is not of the form postgresql://user@host:port/database; mend `url`")
        return value

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> "Source":
        said = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        names = {"schema" if name == "schema_name" else name for name in said}
        known = _KEYS_OF_KIND[self.kind]
        for name in sorted(names - known - {"kind"}):
            raise ValueError(f"`{name}` does not go with kind {self.kind}, whose keys are {', '.join(sorted(known))}")
        missing = next((name for name in _NEEDED[self.kind] if getattr(self, name) is None), None)
        if missing is not None:
            raise ValueError(f"`{missing}` goes with kind {self.kind}; add it")
        if self.password_env is not None and self.passfile is not None:
            raise ValueError("`password_env` and `passfile` exclude each other; keep one")
        if self.tls == "verify-ca" and self.ca is None:
            raise ValueError("`tls: verify-ca` needs `ca`; name the file of the server's authority")
        if self.tls == "disable" and self.url is not None and not _LOOPBACK.fullmatch(_host(self.url)):
            raise ValueError("`tls: disable` is for loopback and sockets only; leave it out")
        return self


def _host(url: str) -> str:
    found = _URL.fullmatch(url)
    return found[1] if found else ""


class Column(Value):
    """One column: its type, class, permitted uses, and what GROUP BY (domain), noise (bounds) and joins (key) need.

    `category` says what it holds, as a field of the law's catalogue (docs/law.md).
    """

    type: ColumnType
    data_class: DataClass = Field(alias="class")
    uses: frozenset[Use] = frozenset()
    domain: tuple[Cell, ...] | None = Field(default=None, min_length=1, max_length=MAX_DOMAIN)
    bounds: tuple[float, float] | None = None
    key: JoinKey | None = None
    category: Category | None = None

    @model_validator(mode="after")
    def _values_fit_the_type(self) -> "Column":
        _check_domain(self.type, self.domain or ())
        if Use.GROUP in self.uses and self.domain is None:
            raise ValueError("use `group` needs the allowed values; add `domain: [...]` or drop the use")
        if self.bounds is not None:
            _check_bounds(self.type, self.bounds)
        if (Use.JOIN in self.uses) != (self.key is not None):
            raise ValueError("use `join` and `key` go together; write key: {as: order-id, counterparts: {'p*': []}}")
        if self.key is not None and self.type not in {ColumnType.TEXT, ColumnType.INT}:
            raise ValueError(f"a column of type {self.type} cannot be a join key; use text or int")
        return self

    def integer_bounds(self) -> tuple[int, int] | None:
        """Return the bounds in the unit of exact sums: cents for money, ones for int."""
        if self.bounds is None:
            return None
        scale = CENTS if self.type is ColumnType.MONEY else 1
        low, high = (round(Decimal(str(bound)) * scale) for bound in self.bounds)
        return low, high


def _check_domain(kind: ColumnType, domain: tuple[Cell, ...]) -> None:
    python = {ColumnType.INT: int, ColumnType.TEXT: str, ColumnType.DATE: str, ColumnType.BOOL: bool}
    if domain and kind not in python:
        raise ValueError(f"a domain cannot be listed for type {kind}; use text, int, date or bool")
    for value in domain:
        if type(value) is not python[kind] or (kind is ColumnType.DATE and not is_date(str(value))):
            raise ValueError(f"domain value {value!r} is not of type {kind}; dates are written 2026-01-31")
    if len(set(domain)) != len(domain):
        raise ValueError("domain names a value twice; list each value once")


def _check_bounds(kind: ColumnType, bounds: tuple[float, float]) -> None:
    if not kind.numeric:
        raise ValueError(f"bounds make no sense for type {kind}; they belong to int, float and money")
    if not bounds[0] < bounds[1] or not all(math.isfinite(bound) for bound in bounds):
        raise ValueError("bounds are not in order; write [lowest, highest]")


def is_date(text: str) -> bool:
    """Return whether `text` is a calendar date written YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class Recipients(Value):
    """Who may read a result, as country codes and as patterns of identities.

    A pattern with `://` is matched against the whole SPIFFE ID segment by segment; any other pattern against
    its last segment (the name). `*` stands for anything within one segment.
    """

    countries: tuple[Country, ...] = Field(min_length=1, max_length=256)
    ids: tuple[Pattern, ...] = Field(default=("*",), max_length=256)

    def names(self, identity: str) -> bool:
        """Return whether `identity` (a SPIFFE ID or a bare name) is covered by one of the patterns."""
        return any(matches(pattern, identity) for pattern in self.ids)


class NoiseRule(Value):
    """Whether a release must carry noise, and the largest epsilon of one query."""

    mode: Literal["none", "required"] = "none"
    epsilon: float | None = Field(default=None, gt=0, le=100)

    @model_validator(mode="after")
    def _epsilon_when_required(self) -> "NoiseRule":
        if (self.mode == "required") != (self.epsilon is not None):
            raise ValueError("noise and epsilon go together; write {mode: required, epsilon: 1.0} or {mode: none}")
        return self


class Budget(Value):
    """The privacy loss the table may spend altogether (epsilon, delta), over all jobs.

    The tables of one controller that name one `population`, because they are about the same people, spend together.
    """

    epsilon: float = Field(gt=0, le=1000)
    delta: float = Field(default=0.0, ge=0, lt=1)
    population: Slug | None = None


class PublishedContract(Value):
    """One table's contract as others see it: versioned, bound into every decision by its digest.

    Noise protects a subject with up to `max_rows_per_subject` rows. `published_rows`, where the owner gives it, is
    about how many rows there are: it only lets the planner say what a join will cost.
    """

    dataset: Slug
    version: int = Field(ge=1, le=10**6)
    controller: str = Field(min_length=1, max_length=200)
    jurisdiction: Country
    schema_name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}/[0-9]{1,4}$")
    columns: dict[Name, Column] = Field(min_length=1, max_length=MAX_COLUMNS)
    purposes: frozenset[Purpose] = Field(min_length=1, max_length=64)
    recipients: Recipients
    minimum_group: int = Field(default=DEFAULT_MINIMUM_GROUP, ge=1, le=10**6)
    minimum_parties: int = Field(default=DEFAULT_MINIMUM_PARTIES, ge=2, le=1000)
    allow_plain: bool = False
    noise: NoiseRule = NoiseRule()
    budget: Budget | None = None
    max_rows_per_subject: int = Field(default=1, ge=1, le=10**6)
    published_rows: int | None = Field(default=None, ge=1, le=10**10)
    approval: ApprovalRule | None = None
    law: LawTerms | None = None
    views: Views | None = None
    agreement: AgreementNeed | None = None
    audit: AuditTerms | None = None
    expires: datetime

    @field_validator("noise", mode="before")
    @classmethod
    def _noise_in_one_word(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value

    @field_validator("expires", mode="before")
    @classmethod
    def _midnight_of_a_date(cls, value: Any) -> Any:
        return f"{value}T00:00:00Z" if isinstance(value, str) and is_date(value) else value

    @field_validator("expires")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("the time has no zone; write 2027-01-31 or 2027-01-31T12:00:00Z")
        return value.astimezone(UTC)

    @model_validator(mode="after")
    def _noise_needs_its_figures(self) -> "PublishedContract":
        given = self.budget is not None and "max_rows_per_subject" in self.model_fields_set
        if self.noise.mode == "required" and not given:
            raise ValueError("required noise cannot be accounted for; add `budget` and `max_rows_per_subject`")
        lowered = [name.lower() for name in self.columns]
        if len(set(lowered)) != len(lowered):
            raise ValueError("two columns differ only in case, which DuckDB cannot tell apart; rename one")
        return self

    @model_validator(mode="after")
    def _people_are_not_denied(self) -> "PublishedContract":
        close = [name for name, column in self.columns.items() if column.data_class in ABOUT_PEOPLE]
        if self.law is not None and not self.law.personal and close:
            raise ValueError(
                f"`{close[0]}` is about people and `law` says that nothing is; leave `personal: false` out"
            )
        if self.law is not None and self.law.subject is not None and self.law.subject not in self.columns:
            raise ValueError(
                f"`law: subject` names no column of this table (`{self.law.subject}`); name one that is there"
            )
        unsaid = next((name for name in close if self.columns[name].category is None), None)
        if self.law is not None and unsaid is not None:
            raise ValueError(f"nobody says what `{unsaid}` holds of people; add a `category`, such as order_ref")
        return self

    @model_validator(mode="after")
    def _views_fit_the_columns(self) -> "PublishedContract":
        for mask in self.views.masks if self.views is not None else ():
            _check_mask(self.columns, mask)
        for rule in self.views.rows if self.views is not None else ():
            _check_rule(self.columns, rule)
        return self

    def published(self) -> dict[str, Any]:
        """Return the contract as JSON data, keys as in the file, sets sorted; `source` stays at home."""
        added = ("approval", "law", "views", "agreement", "audit")  # a digest from before there were such keys holds
        unsaid = {name for name in added if getattr(self, name) is None}
        return _sorted_sets(self.model_dump(mode="json", by_alias=True, exclude={"source"} | unsaid))

    def digest(self) -> str:
        """Return the SHA-256 of the published contract: what a decision is bound to."""
        return digest(self.published())

    def expired(self, now: datetime) -> bool:
        """Return whether the contract no longer holds at `now` (aware)."""
        return now >= self.expires


def _check_mask(columns: dict[str, Column], mask: Mask) -> None:
    column = columns.get(mask.column)
    if column is None:
        raise ValueError(f"`views: masks` names no column (`{mask.column}`); name one of this table")
    if mask.form not in FORMS_OF_TYPE[column.type]:
        right = ", ".join(FORMS_OF_TYPE[column.type])
        raise ValueError(f"`{mask.column}` of type {column.type} has no form {mask.form}; give one of {right}")
    if {Use.GROUP, Use.JOIN} & column.uses:
        raise ValueError(f"`{mask.column}` is grouped or joined by and cannot be masked; drop the mask or those uses")


def _check_rule(columns: dict[str, Column], rule: RowRule) -> None:
    column = columns.get(rule.column)
    python = {ColumnType.INT: int, ColumnType.TEXT: str}.get(column.type) if column is not None else None
    if python is None:
        raise ValueError(f"`views: rows` needs a column of type int or text, which `{rule.column}` is not; name one")
    if not all(type(value) is python for value in rule.values):
        raise ValueError(f"a value of `views: rows` is not one of `{rule.column}`; write {python.__name__} values")


def _sorted_sets(data: dict[str, Any]) -> dict[str, Any]:
    columns = {name: _sorted_column(column) for name, column in data["columns"].items()}
    return data | {"columns": columns, "purposes": sorted(data["purposes"])}


def _sorted_column(column: dict[str, Any]) -> dict[str, Any]:
    unsaid = {"category"} if column["category"] is None else set()
    return {name: value for name, value in column.items() if name not in unsaid} | {"uses": sorted(column["uses"])}


class DataContract(PublishedContract):
    """A party's own contract: what is published, and where the table is."""

    source: Source


def load_contract(text: str, where: str) -> DataContract:
    """Read a party's own contract from YAML or JSON text; `where` is the file's name. Raises InvalidInput."""
    return validate(DataContract, read_document(text, where))


def read_published(text: str, where: str) -> PublishedContract:
    """Read another party's contract (JSON of `published()`), which names no source. Raises InvalidInput."""
    return validate(PublishedContract, read_document(text, where))
