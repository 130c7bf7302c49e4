"""A party's verdict on one job, and the check of every later message against it.

The verdict travels signed (its payload is JSON data) and all parties of the job read it. It binds job, plan,
contract, steps and expiry, and carries the party's public key for this job (X25519, RFC 7748).
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from policies.contract import Country, Slug
from policies.document import Value, read_document, validate
from policies.errors import InvalidInput, PolicyError
from policies.job import MAX_PARTIES, Hex32, Instant
from policies.plan import Step
from policies.request import Decision, Obligation, ObligationKind

VERDICT_TYPE = "inbond-verdict+jws"

Line = Annotated[str, Field(max_length=2000)]
Word = Annotated[str, Field(max_length=100)]


class RefusedError(PolicyError):
    """A policy decision does not permit this."""


class Duty(Value):
    """An obligation in the verdict."""

    kind: ObligationKind
    parameters: dict[str, str | int] = Field(default_factory=dict, max_length=16)

    @classmethod
    def of(cls, obligation: Obligation) -> "Duty":
        """Return `obligation` in its JSON form."""
        return cls(kind=obligation.kind, parameters=dict(obligation.parameters))


class JudgedTransfer(Value):
    """What the law says of one kind of transfer of a party's table: who decides, why, which duties, what is missing.

    Obligations are written with the time at which their evidence is due. `changes` are ways that would be lawful.
    """

    dataset: Slug
    what: Annotated[str, Field(max_length=64)]
    country: Country
    key_holder: Country | None = None
    recipients: tuple[Slug, ...] = Field(default=(), max_length=MAX_PARTIES + 64)
    object_class: Annotated[str, Field(max_length=16)]
    decision: Literal["permit", "permit_with_obligations", "deny"]
    regimes: tuple[Word, ...] = Field(default=(), max_length=64)
    rules: tuple[Word, ...] = Field(default=(), max_length=64)
    articles: tuple[Line, ...] = Field(default=(), max_length=256)
    obligations: tuple[Word, ...] = Field(default=(), max_length=64)
    missing: tuple[Word, ...] = Field(default=(), max_length=64)
    changes: tuple[Line, ...] = Field(default=(), max_length=16)
    causes: tuple[Line, ...] = Field(default=(), max_length=64)


class Verdict(Value):
    """What one party decided about one job.

    `needs` is the evidence without which the party does not take part; a refusal that has some is for want of it alone.
    """

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    plan: Hex32
    party: Slug
    contract: Hex32
    effect: Literal["permit", "deny"]
    policies: tuple[Annotated[str, Field(max_length=200)], ...] = Field(default=(), max_length=256)
    reasons: tuple[Line, ...] = Field(default=(), max_length=1024)
    obligations: tuple[Duty, ...] = Field(default=(), max_length=1024)
    fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    steps: tuple[Step, ...] = Field(default=(), max_length=64)
    transfers: tuple[JudgedTransfer, ...] = Field(default=(), max_length=1024)
    needs: tuple[Line, ...] = Field(default=(), max_length=256)
    expires: Instant
    epoch_key: Hex32

    @property
    def permitted(self) -> bool:
        """Whether the party takes part: a permit that names the policies which permit."""
        return self.effect == "permit" and bool(self.policies)

    def payload(self) -> dict[str, Any]:
        """Return the verdict as JSON data: what is signed."""
        return self.model_dump(mode="json")


def make_verdict(
    decision: Decision,
    *,
    job: str,
    plan: str,
    party: str,
    contract: str,
    steps: tuple[Step, ...],
    expires: int,
    epoch_key: str,
    reasons: tuple[str, ...] = (),
    transfers: tuple[JudgedTransfer, ...] = (),
    needs: tuple[str, ...] = (),
) -> Verdict:
    """Return the verdict for `decision`; a refusal carries no steps. `expires` in seconds since the epoch."""
    return Verdict(
        job=job,
        plan=plan,
        party=party,
        contract=contract,
        effect="permit" if decision.permitted else "deny",
        policies=decision.determining,
        reasons=tuple(reason[:2000] for reason in reasons),
        obligations=tuple(Duty.of(obligation) for obligation in decision.obligations),
        fingerprint=decision.fingerprint,
        steps=steps if decision.permitted else (),
        transfers=transfers,
        needs=tuple(line[:2000] for line in needs),
        expires=expires,
        epoch_key=epoch_key,
    )


def load_verdict(text: str, where: str = "verdict") -> Verdict:
    """Read the payload of a verdict (JSON text) whose signature was checked. Raises InvalidInput."""
    return validate(Verdict, read_document(text, where))


def check_message(verdict: Verdict, *, job: str, plan_digest: str, step: str, round_number: int, now: datetime) -> None:
    """Raise when a message lies outside of `verdict`; a step says which rounds it has.

    RefusedError when the verdict does not permit or has expired; InvalidInput when the message does not fit.
    """
    where = f"message of job {verdict.job}"
    if not verdict.permitted:
        raise RefusedError("this party refused the job", where=where, right="see the verdict's reasons")
    if now.timestamp() >= verdict.expires:
        raise RefusedError("the verdict has expired", where=where, right="submit the job again")
    if job != verdict.job:
        raise InvalidInput("the message is of another job", where=where, right="send it under its own job")
    if plan_digest != verdict.plan:
        raise InvalidInput("the message follows another plan", where=where, right="follow the decided plan")
    allowed = next((known for known in verdict.steps if known.name == step), None)
    if allowed is None:
        known = ", ".join(found.name for found in verdict.steps)
        raise InvalidInput(f"step `{step[:63]}` was not decided", where=where, right=f"the steps are {known}")
    if not allowed.allows(round_number):
        last = allowed.first + allowed.max_count - 1
        right = f"{allowed.first} to {last}"
        raise InvalidInput(f"round {round_number} of `{step}` was not decided", where=where, right=right)
