"""Jobs: what a researcher asks for, and the order that is signed.

A JobSpec is data, never code: it names an installed recipe or carries SQL. A JobOrder adds who asks, whom,
when, and the keys under which the result may be opened. Everybody who takes part reads both; neither holds
a secret (keys in it are public). Claim names and meaning follow RFC 7519 section 4.1.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from policies.canonical import canonical, digest
from policies.contract import Country, Purpose, Slug
from policies.document import Name, Value, read_document, validate
from policies.errors import InvalidInput

MAX_JOB_CHARACTERS = 64 * 1024
MAX_SQL_CHARACTERS = 8 * 1024
MAX_PARAMETER_BYTES = 16 * 1024
MAX_PARTIES = 1000
MAX_ROUNDS = 10_000
MAX_DEADLINE_S = 7 * 24 * 3600
MAX_LIFETIME_S = 31 * 24 * 3600

ORDER_TYPE = "inbond-job+jws"

Identity = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9:/._@-]+$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="32 bytes in hexadecimal")]
Instant = Annotated[int, Field(ge=0, le=2**40, description="seconds since 1970-01-01T00:00:00Z")]


Literalised = Annotated[
    StrictBool | StrictInt | StrictFloat | StrictStr, Field(description="what `$name` in the SQL stands for")
]


class RecipeRef(Value):
    """An installed training recipe with its parameters (JSON data)."""

    name: Slug
    version: int = Field(ge=1, le=10**6)
    parameters: dict[Name, JsonValue] = Field(default_factory=dict, max_length=256)

    @model_validator(mode="after")
    def _small(self) -> "RecipeRef":
        if len(canonical(self.parameters)) > MAX_PARAMETER_BYTES:
            raise ValueError(f"parameters are too large; at most {MAX_PARAMETER_BYTES} bytes of JSON")
        return self


class Privacy(Value):
    """The noise a job asks for. epsilon and delta are those of the whole job."""

    mechanism: Literal["none", "laplace", "gaussian"] = "none"
    epsilon: float | None = Field(default=None, gt=0, le=100)
    delta: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _figures_fit(self) -> "Privacy":
        if (self.mechanism == "none") != (self.epsilon is None):
            raise ValueError("mechanism and epsilon go together; write {mechanism: laplace, epsilon: 1.0}")
        # Dwork and Roth 2014: Laplace is (epsilon, 0) (theorem 3.6), Gaussian needs delta > 0 (theorem 3.22)
        if (self.mechanism == "gaussian") != (self.delta > 0):
            raise ValueError("delta belongs to gaussian; give gaussian a delta such as 1e-6, the others none")
        return self


class Recipient(Value):
    """Someone who may read the result, and where that is."""

    id: Identity
    country: Country


class JobSpec(Value):
    """A job as its author writes it.

    `matching` says which joins of two owners' rows may be planned: `hidden` ones only, where nobody learns who matched,
    `fast` ones only, or the cheapest that all owners permit.
    """

    kind: Literal["train", "query"]
    name: Slug
    purpose: Purpose
    dataset: Slug
    parties: Literal["all"] | tuple[Slug, ...] = "all"
    recipe: RecipeRef | None = None
    rounds: int | None = Field(default=None, ge=1, le=MAX_ROUNDS)
    strategy: str | None = Field(default=None, pattern=r"^[A-Z][A-Za-z0-9]{1,31}$")
    sql: str | None = Field(default=None, min_length=1, max_length=MAX_SQL_CHARACTERS)
    parameters: dict[Name, Literalised] = Field(default_factory=dict, max_length=64)
    matching: Literal["auto", "hidden", "fast"] = "auto"
    protection: Literal["encrypted", "plain"] = "encrypted"
    key_mode: Literal["shared", "holder"]
    minimum_parties: int = Field(default=2, ge=2, le=MAX_PARTIES)
    privacy: Privacy = Privacy()
    recipients: tuple[Recipient, ...] = Field(min_length=1, max_length=32)
    deadline_s: int = Field(default=3600, ge=1, le=MAX_DEADLINE_S)

    @model_validator(mode="before")
    @classmethod
    def _key_mode_of_the_kind(cls, data: Any) -> Any:
        if isinstance(data, dict) and "key_mode" not in data:
            return data | {"key_mode": "holder" if data.get("kind") == "query" else "shared"}
        return data

    @model_validator(mode="after")
    def _parts_of_the_kind(self) -> "JobSpec":
        if self.kind == "train":
            _wanted(self, present=("recipe", "rounds"), absent=("sql",))
            if self.parameters or self.matching != "auto":
                raise ValueError("a train job has no SQL; leave `parameters` and `matching` out")
        else:
            _wanted(self, present=("sql",), absent=("recipe", "rounds"))
            if any(isinstance(value, str) and len(value) > MAX_PARAMETER_BYTES for value in self.parameters.values()):
                raise ValueError(f"a parameter is too long; at most {MAX_PARAMETER_BYTES} characters")
            if self.key_mode != "holder":
                raise ValueError("a query's answer is under the researcher's key; leave `key_mode` out")
        if self.strategy is not None and (self.kind, self.protection) != ("train", "plain"):
            raise ValueError("a strategy needs visible updates; leave `strategy` out, or train with plain")
        if self.parties != "all":
            _check_parties(self.parties)
        return self

    def digest(self) -> str:
        """Return the SHA-256 of the canonical spec."""
        return digest(self.model_dump(mode="json"))


def _wanted(spec: JobSpec, present: tuple[str, ...], absent: tuple[str, ...]) -> None:
    for name in present:
        if getattr(spec, name) is None:
            raise ValueError(f"a {spec.kind} job needs `{name}`; add it")
    for name in absent:
        if getattr(spec, name) is not None:
            raise ValueError(f"a {spec.kind} job has no `{name}`; leave it out")


def _check_parties(parties: tuple[str, ...]) -> None:
    if not 1 <= len(parties) <= MAX_PARTIES:
        raise ValueError(f"{len(parties)} parties are named; name 1 to {MAX_PARTIES}, or write `all`")
    if len(set(parties)) != len(parties):
        raise ValueError("a party is named twice; name each once")


class JobOrder(Value):
    """The signed thing: a spec, who asks (iss), whom (aud), its validity, and the result's public keys."""

    spec: JobSpec
    consortium: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,252}$")]
    iss: Identity
    aud: tuple[Identity, ...] = Field(min_length=1, max_length=MAX_PARTIES + 1)
    iat: Instant
    nbf: Instant
    exp: Instant
    jti: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,128}$")]
    result_key: Hex32
    sum_key_digest: Hex32 | None = None

    @model_validator(mode="after")
    def _times_and_keys_fit(self) -> "JobOrder":
        if not max(self.iat, self.nbf) < self.exp <= self.iat + MAX_LIFETIME_S:
            raise ValueError(f"exp does not fit; after iat and nbf, at most {MAX_LIFETIME_S} s after iat")
        held = self.spec.key_mode == "holder" and self.spec.protection == "encrypted"
        if held != (self.sum_key_digest is not None):
            raise ValueError("sum_key_digest does not fit; it is for an encrypted job with key_mode holder")
        return self

    def payload(self) -> dict[str, Any]:
        """Return the order as JSON data: what is signed."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical payload: what a plan and every verdict are bound to."""
        return digest(self.payload())

    def addresses(self, identity: str) -> bool:
        """Return whether `identity` (a SPIFFE ID) is in the audience; `consortium` addresses every member."""
        return identity in self.aud or "consortium" in self.aud


def load_job(text: str, where: str) -> JobSpec:
    """Read a job file (YAML or JSON) of at most 64 Ki characters. Raises InvalidInput."""
    if len(text) > MAX_JOB_CHARACTERS:
        raise InvalidInput(
            f"{len(text)} characters is too long",
            where=where,
            right=f"at most {MAX_JOB_CHARACTERS}",
        )
    return validate(JobSpec, read_document(text, where))


def load_order(text: str, where: str) -> JobOrder:
    """Read the payload of an order (JSON text) whose signature was checked. Raises InvalidInput."""
    return validate(JobOrder, read_document(text, where))
