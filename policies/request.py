"""Questions to the policies and their answers, as values.

A request names who (principal) does what (action) to what (resource) with which facts (context); all of it is
hashable, so that an answer can be kept. A decision explains itself: which policies, why, and the remedy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any


class Effect(StrEnum):
    """The outcome of a decision."""

    PERMIT = "permit"
    DENY = "deny"


class ObligationKind(StrEnum):
    """What must be done when a permit is used."""

    MINIMUM_GROUP = "minimum_group"
    MINIMUM_PARTIES = "minimum_parties"
    NOISE = "noise"
    ENCRYPT = "encrypt"
    MASK = "mask"
    ROWS = "rows"


@dataclass(frozen=True, slots=True)
class EntityRef:
    """A Cedar entity by type and id."""

    type: str
    id: str

    def json(self) -> dict[str, str]:
        """Return the structured form that needs no quoting, whatever the id holds."""
        return {"type": self.type, "id": self.id}


Fact = str | int | bool | tuple[str, ...] | EntityRef
Facts = tuple[tuple[str, Fact], ...]


def fact_json(value: Fact) -> Any:
    """Return `value` in Cedar's JSON form: sets as lists, entities as references."""
    if isinstance(value, EntityRef):
        return {"__entity": value.json()}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class AccessRequest:
    """One question. `about` says for people which column, reader or leak it concerns.

    `remedies` are (policy id, smallest change that would pass) where one can be named that is more than the policy's
    own remedy.
    """

    principal: EntityRef
    action: str
    resource: EntityRef
    context: Facts
    about: str = ""
    remedies: tuple[tuple[str, str], ...] = ()

    @cached_property
    def context_json(self) -> str:
        """The context as Cedar JSON text."""
        return json.dumps({name: fact_json(value) for name, value in self.context})

    def cedar(self) -> dict[str, Any]:
        """Return the request in the form the Cedar engine takes."""
        return {
            "principal": self.principal.json(),
            "action": {"type": "Action", "id": self.action},
            "resource": self.resource.json(),
            "context": self.context_json,
        }


@dataclass(frozen=True)
class Entity:
    """A Cedar entity with its attributes and parents."""

    ref: EntityRef
    attributes: Facts = ()
    parents: tuple[EntityRef, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the entity in Cedar's JSON form."""
        return {
            "uid": self.ref.json(),
            "attrs": {name: fact_json(value) for name, value in self.attributes},
            "parents": [parent.json() for parent in self.parents],
        }


class EntitySet:
    """Entities as one JSON text; equal and hashed by digest, so that a decision over them can be kept."""

    def __init__(self, entities: tuple[Entity, ...]) -> None:
        self.text = json.dumps([entity.json() for entity in entities], sort_keys=True)
        self.digest = sha256(self.text.encode()).hexdigest()
        self._hash = hash(self.digest)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntitySet) and self.digest == other.digest


@dataclass(frozen=True)
class Reason:
    """Why: the policy, its sentence, the article it serves, and what would be lawful."""

    policy_id: str
    text: str
    article: str = ""
    remedy: str = ""
    about: str = ""


@dataclass(frozen=True)
class Obligation:
    """A duty that comes with a permit; `parameters` are (name, value) pairs."""

    kind: ObligationKind
    parameters: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True)
class Decision:
    """The answer. `fingerprint` names the policies that gave it."""

    effect: Effect
    determining: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    errors: tuple[str, ...] = ()
    fingerprint: str = field(default="")

    @classmethod
    def all_of(cls, decisions: Sequence["Decision"]) -> "Decision":
        """Return the decision on several tables of one job: the first refusal, or the permits with all their duties.

        Raises ValueError for no decisions at all.
        """
        if not decisions:
            raise ValueError("nothing was decided")
        refused = next((decision for decision in decisions if not decision.permitted), None)
        if refused is not None or len(decisions) == 1:
            return refused or decisions[0]
        return replace(
            decisions[0],
            determining=tuple(sorted({policy for one in decisions for policy in one.determining})),
            reasons=tuple(dict.fromkeys(reason for one in decisions for reason in one.reasons)),
            obligations=tuple(dict.fromkeys(duty for one in decisions for duty in one.obligations)),
        )

    def logged(self) -> dict[str, Any]:
        """What an evidence log keeps of it."""
        return {
            "effect": self.effect.value,
            "policies": list(self.determining),
            "errors": list(self.errors),
            "fingerprint": self.fingerprint,
        }

    @property
    def permitted(self) -> bool:
        """Whether to go on: a permit, for a reason, without a policy that failed to evaluate."""
        return self.effect is Effect.PERMIT and bool(self.determining) and not self.errors
