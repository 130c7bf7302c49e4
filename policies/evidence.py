"""Records of evidence: what a document proves about transfers from an exporter to its recipients, and for how long.

A record names parties, places and the document's digest, never people. `facts_of` says which facts of the law's
vocabulary the records establish; what they do not establish is left out, so that the law takes its unfavourable
default. A record outside its days is as good as none.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter, field_validator, model_validator

from policies.canonical import digest
from policies.contract import Country, Slug, is_date
from policies.document import Value, read_document, validate
from policies.errors import InvalidInput
from policies.mechanisms import Certificate, Mechanism

ID_LENGTH = 16  # hexadecimal digits: 64 bits tell an owner's records apart
LONGEST = 10  # years a record may claim to hold: a typing error in a year is not evidence for ever

Text = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Party = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,255}$", description="a party's name or id")]
DutyCode = Annotated[str, Field(pattern=r"^OBL_[A-Z0-9_]{2,60}$", description="an obligation of the law's tables")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the document, lower-case hex")]

_NUMBERED = ("cac_sa", "cn_sc_filed", "cn_cert", "gba_sc")  # filings and approvals with a number of the authority
_ANNEXED = ("scc_m1", "scc_m2", "scc_m3", "scc_m4")  # Decision (EU) 2021/914: void without annexes I to III


class _Evidence(Value):
    """What all records say: who issued the document, whom it covers, from which to which day (both included)."""

    issuer: Text
    valid_from: Annotated[str, Field(description="the first day, such as 2026-01-31")]
    valid_until: Annotated[str, Field(description="the last day")]
    document_sha256: Sha256

    @field_validator("valid_from", "valid_until")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        if not is_date(value):
            raise ValueError("not a date; write it as 2026-01-31")
        return value

    @model_validator(mode="after")
    def _days_are_in_order(self) -> "_Evidence":
        since, until = date.fromisoformat(self.valid_from), date.fromisoformat(self.valid_until)
        if until < since:
            raise ValueError("the record ends before it begins; mend `valid_until`")
        if until.year - since.year > LONGEST:
            raise ValueError(f"the record claims more than {LONGEST} years; mend `valid_until`")
        return self

    def holds(self, day: date) -> bool:
        """Whether `day` is one of the record's days."""
        return date.fromisoformat(self.valid_from) <= day <= date.fromisoformat(self.valid_until)


class _Covering(_Evidence):
    """A record on transfers from one exporter to named recipients."""

    exporter: Party
    recipients: tuple[Party, ...] = Field(min_length=1, max_length=64)

    def covers(self, exporter: str, recipient: str) -> bool:
        """Whether it is about transfers between these two."""
        return self.exporter == exporter and recipient in self.recipients


class Tool(_Covering):
    """A transfer tool: clauses, binding rules, a filing or an approval."""

    kind: Literal["tool"]
    mechanism: Mechanism
    number: Text | None = Field(default=None, description="the authority's number of the filing or approval")
    annexes: Text | None = Field(default=None, description="version of the annexes I to III of standard clauses")

    @model_validator(mode="after")
    def _is_complete(self) -> "Tool":
        if self.mechanism in _NUMBERED and self.number is None:
            raise ValueError(f"{self.mechanism} has no number; add `number`, as the authority gave it")
        if self.mechanism in _ANNEXED and self.annexes is None:
            raise ValueError(f"{self.mechanism} has no annexes; add `annexes`, the version of annexes I to III")
        return self


class Certification(_Evidence):
    """A recipient's certificate under a scheme."""

    kind: Literal["certification"]
    scheme: Certificate
    recipient: Party
    number: Text

    def covers(self, _exporter: str, recipient: str) -> bool:
        """Whether it is the recipient's."""
        return self.recipient == recipient


class TransferAssessment(_Covering):
    """A transfer impact (or risk) assessment of one destination."""

    kind: Literal["tia"]
    destination: Country
    outcome: Literal["ok", "problematic"]


class ImpactAssessment(_Covering):
    """An impact assessment of the processing: PIPL Art. 55, or GDPR Art. 35 (which no fact of a transfer asks for)."""

    kind: Literal["pipia", "dpia"]
    number: Text | None = None


class DutyDone(_Covering):
    """Evidence that obligations (codes such as OBL_ROPA) are met for transfers between these parties."""

    kind: Literal["duty"]
    duties: tuple[DutyCode, ...] = Field(min_length=1, max_length=64)


class AttackTest(Value):
    """One disclosure or attack test and how it ended."""

    name: Text
    result: Literal["pass", "fail"]


class Anonymity(_Evidence):
    """What was measured of a kind of release of one dataset: smallest group, dominance, privacy loss, attack tests."""

    kind: Literal["anonymity"]
    exporter: Party
    dataset: Slug
    output_kind: Literal["aggregate", "model_update"]
    tests: tuple[AttackTest, ...] = Field(min_length=1, max_length=64)
    k: int = Field(ge=1, le=10**9)
    dominance: float = Field(ge=0, le=1, description="share of the two largest in a group")
    epsilon: float | None = Field(default=None, gt=0, le=10**6)
    delta: float = Field(default=0.0, ge=0, lt=1)

    def covers(self, exporter: str, _recipient: str) -> bool:
        """Whether it is about this exporter's data, whoever receives them."""
        return self.exporter == exporter


Evidence = Annotated[
    Tool | Certification | TransferAssessment | ImpactAssessment | DutyDone | Anonymity, Field(discriminator="kind")
]
KINDS: Mapping[str, type[Tool | Certification | TransferAssessment | ImpactAssessment | DutyDone | Anonymity]] = {
    "tool": Tool,
    "certification": Certification,
    "tia": TransferAssessment,
    "pipia": ImpactAssessment,
    "dpia": ImpactAssessment,
    "duty": DutyDone,
    "anonymity": Anonymity,
}
_ANY: TypeAdapter[Evidence] = TypeAdapter(Evidence)


class Release(NamedTuple):
    """The object that leaves: of which dataset, of which kind (`aggregate`, `model_update`, ...)."""

    dataset: str
    output_kind: str


def load_evidence(text: str, where: str) -> Evidence:
    """Read one record from YAML or JSON; `where` names it in errors. Raises InvalidInput."""
    document = read_document(text, where)
    kind = document.value.get("kind") if isinstance(document.value, dict) else None
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        what = "`kind` is missing" if kind is None else f"`kind` is {str(kind)[:60]!r}"
        raise InvalidInput(what, where=document.at(("kind",)), right=f"one of {', '.join(KINDS)}")
    return validate(model, document)


def stored_evidence(payload: Mapping[str, Any]) -> Evidence:
    """The record that `payload_of` wrote; raises pydantic.ValidationError."""
    return _ANY.validate_python(dict(payload))


def payload_of(evidence: Evidence) -> dict[str, Any]:
    """The record as plain JSON data."""
    return evidence.model_dump(mode="json")


def id_of(evidence: Evidence) -> str:
    """The record's name: the first digits of the digest of all that it says."""
    return digest(payload_of(evidence))[:ID_LENGTH]


def mechanisms_of(records: Iterable[Evidence], exporter: str, recipient: str, at: date) -> tuple[str, ...]:
    """The transfer tools that hold between the two on the day `at`, in order of name."""
    held = _holding(records, exporter, recipient, at)
    return tuple(sorted({one.mechanism for one in held if isinstance(one, Tool)}))


def facts_of(
    records: Iterable[Evidence],
    exporter: str,
    recipient: str,
    at: date,
    *,
    dst: str | None = None,
    release: Release | None = None,
    mechanism: str | None = None,
) -> dict[str, Any]:
    """The facts of a transfer that `records` establish on the day `at`; everything else is left out.

    A transfer assessment counts for its destination (`dst`) only, evidence of anonymity for its dataset and kind of
    object (`release`) only. A transfer rests on every tool that holds, for each regime looks for its own; where
    `mechanism` names one, on that alone. Where several records speak of one fact, the worst of them counts.
    """
    held = _holding(records, exporter, recipient, at)
    tools = [one for one in held if isinstance(one, Tool)]
    certificates = [one for one in held if isinstance(one, Certification)]
    chosen = sorted({one.mechanism for one in tools if mechanism in {None, one.mechanism}})
    dated: list[tuple[str, _Evidence]] = [(one.mechanism, one) for one in tools if one.mechanism in chosen]
    dated += [(one.scheme, one) for one in certificates]
    assessments = [one for one in held if isinstance(one, TransferAssessment) and one.destination == dst]
    found: dict[str, Any] = {}
    if chosen:
        found["mechanism"], *further = chosen
        found |= {"further_mechanisms": further} if further else {}
    if certificates:
        found["recipient_certs"] = sorted({one.scheme for one in certificates})
    if dated:
        found |= _days(dated)
    if assessments:
        found["tia"] = "ok" if all(one.outcome == "ok" for one in assessments) else "problematic"
    if any(isinstance(one, ImpactAssessment) and one.kind == "pipia" for one in held):
        found["pipia_done"] = True
    return found | _anonymity([one for one in held if isinstance(one, Anonymity)], release)


class Proof(NamedTuple):
    """An obligation, and the kinds of records that prove it beside one of kind `duty` that names it."""

    code: str
    kinds: tuple[str, ...]


def unproved(
    duties: Iterable[Proof],
    records: Iterable[Evidence],
    exporter: str,
    recipient: str,
    at: date,
    *,
    dst: str | None = None,
    release: Release | None = None,
) -> tuple[str, ...]:
    """The codes of those `duties` that no record proves for this transfer on the day `at`; arguments as `facts_of`."""
    held = _holding(records, exporter, recipient, at)
    return tuple(duty.code for duty in duties if not proving(duty, held, exporter, recipient, dst=dst, release=release))


def proving(
    duty: Proof,
    records: Iterable[Evidence],
    exporter: str,
    recipient: str,
    *,
    dst: str | None = None,
    release: Release | None = None,
) -> tuple[Evidence, ...]:
    """Those of `records` that prove `duty` for this transfer, whatever their days; arguments as `facts_of`."""
    return tuple(
        one
        for one in records
        if one.covers(exporter, recipient)
        and _is_about(one, dst, release)
        and (one.kind in duty.kinds or (isinstance(one, DutyDone) and duty.code in one.duties))
    )


def _is_about(record: Evidence, dst: str | None, release: Release | None) -> bool:
    if isinstance(record, TransferAssessment):
        return record.destination == dst
    return not isinstance(record, Anonymity) or (record.dataset, record.output_kind) == release


def _holding(records: Iterable[Evidence], exporter: str, recipient: str, at: date) -> list[Evidence]:
    return [one for one in records if one.covers(exporter, recipient) and one.holds(at)]


def _days(dated: Iterable[tuple[str, _Evidence]]) -> dict[str, dict[str, str]]:
    """Since and until when each tool holds, by the record of it that holds longest."""
    by_length = sorted(dated, key=lambda pair: (pair[1].valid_until, pair[1].valid_from))
    longest = dict(by_length)
    return {
        "tool_since": {name: record.valid_from for name, record in longest.items()},
        "tool_until": {name: record.valid_until for name, record in longest.items()},
    }


def _anonymity(records: Iterable[Anonymity], release: Release | None) -> dict[str, Any]:
    """What the records say of this kind of release: one failed test fails, the worst figure counts."""
    about = [one for one in records if (one.dataset, one.output_kind) == release]
    if not about:
        return {}
    passed = all(test.result == "pass" for one in about for test in one.tests)
    found: dict[str, Any] = {
        "anon_test": "pass" if passed else "fail",
        "min_cell_k": min(one.k for one in about),
        "top2_share": max(one.dominance for one in about),
    }
    losses = [(one.epsilon, one.delta) for one in about if one.epsilon is not None]
    if losses and len(losses) == len(about):
        epsilons, deltas = zip(*losses, strict=True)
        found["dp"] = {"epsilon": max(epsilons), "delta": max(deltas)}
    return found
