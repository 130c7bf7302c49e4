"""The decision point: default deny, and a refusal that explains itself.

A pure function of policies, request and entities. Fails closed in one place: whatever goes wrong in
evaluation (a policy that errs, a request outside the schema, an exception) is a denial with its cause.
Cedar skips a policy that errs, also a `forbid`; therefore any error in the diagnostics denies.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import cedarpy

from policies.bundle import Bundle
from policies.request import (
    AccessRequest,
    Decision,
    Effect,
    EntitySet,
    Fact,
    Obligation,
    ObligationKind,
    Reason,
)

CACHE_SIZE = 4096
PARSED_SIZE = 256
DEFAULT_DENY = "default-deny"
EVALUATION = "evaluation"

_PARAMETERS: dict[ObligationKind, tuple[str, ...]] = {
    ObligationKind.MINIMUM_GROUP: ("minimum_group",),
    ObligationKind.MINIMUM_PARTIES: ("minimum_parties",),
    ObligationKind.NOISE: ("mechanism", "epsilon_milli", "delta_1e9"),
    ObligationKind.ENCRYPT: ("protection",),
    ObligationKind.MASK: ("told",),
    ObligationKind.ROWS: ("told",),
}


class _Failed(Exception):
    """Carries a decision past the cache; it never leaves the engine."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


class Engine:
    """Answers requests under one bundle. A new bundle means a new engine, and so an empty cache.

    An engine that is given a `sibling` under the same schema uses the entities which that one has parsed.
    """

    def __init__(self, bundle: Bundle, sibling: "Engine | None" = None) -> None:
        self.bundle = bundle
        self._parsed: Callable[[EntitySet], cedarpy.Entities] = (
            sibling._parsed if sibling else lru_cache(maxsize=PARSED_SIZE)(self._parse)
        )
        self._kept = lru_cache(maxsize=CACHE_SIZE)(self._sound)

    def decide(self, requests: Sequence[AccessRequest], entities: EntitySet) -> Decision:
        """Decide all of `requests` together: one denial denies, obligations add up; nothing asked, denied."""
        return self._decide(tuple(requests), entities)

    def decide_cached(self, requests: tuple[AccessRequest, ...], entities: EntitySet) -> Decision:
        """Do as `decide` does, from memory where the same question was asked of the same policies before.

        A decision that failed is not remembered: what went wrong may be gone when the question is asked again.
        """
        try:
            return self._kept(requests, entities)
        except _Failed as failed:
            return failed.decision

    def prepare(self, entities: EntitySet) -> None:
        """Parse `entities` now, so that deciding finds them ready; raises ValueError when the schema refuses them."""
        self._parsed(entities)

    def _sound(self, requests: tuple[AccessRequest, ...], entities: EntitySet) -> Decision:
        decision = self._decide(requests, entities)
        if decision.errors:
            raise _Failed(decision)
        return decision

    def _decide(self, requests: tuple[AccessRequest, ...], entities: EntitySet) -> Decision:
        if not requests:
            return self._failed("nothing was asked")
        if len(requests) == 1:
            return self._authorize(requests[0], entities)
        return self._merge([self._authorize(request, entities) for request in requests])

    def _parse(self, entities: EntitySet) -> cedarpy.Entities:
        return cedarpy.Entities.from_json_str(entities.text, self.bundle.schema)

    def _authorize(self, request: AccessRequest, entities: EntitySet) -> Decision:
        policies = self.bundle.slices.get(request.action, self.bundle.unscoped)
        try:
            result = cedarpy.is_authorized(request.cedar(), policies, self._parsed(entities), self.bundle.schema)
            return self._explain(request, result)
        except Exception as error:  # noqa: BLE001  whatever the evaluator raises must deny, never pass
            return self._failed(f"{type(error).__name__}: {error}", request.about)

    def _explain(self, request: AccessRequest, result: cedarpy.AuthzResult) -> Decision:
        diagnostics = result.diagnostics
        if diagnostics.errors:
            return self._failed("; ".join(diagnostics.errors), request.about)
        determining = tuple(sorted(diagnostics.reasons))
        if not determining:
            return self._nothing_permits(request)
        effect = Effect.PERMIT if result.allowed else Effect.DENY
        return Decision(
            effect=effect,
            determining=determining,
            reasons=tuple(self._reason(policy_id, request) for policy_id in determining),
            obligations=self._obligations(determining, request) if effect is Effect.PERMIT else (),
            fingerprint=self.bundle.fingerprint,
        )

    def _reason(self, policy_id: str, request: AccessRequest) -> Reason:
        note = self.bundle.notes[policy_id]
        remedy = dict(request.remedies).get(policy_id, note.remedy)
        return Reason(policy_id, note.reason, note.article, remedy, request.about)

    def _obligations(self, determining: tuple[str, ...], request: AccessRequest) -> tuple[Obligation, ...]:
        kinds = {kind for policy_id in determining for kind in self.bundle.notes[policy_id].obligations}
        if not kinds:
            return ()
        facts = dict(request.context)
        return tuple(Obligation(kind, _parameters(kind, facts)) for kind in sorted(kinds))

    def _nothing_permits(self, request: AccessRequest) -> Decision:
        text = f"no policy permits `{request.action}` here"
        remedy = "ask for something the contract allows"
        reason = Reason(DEFAULT_DENY, text, remedy=remedy, about=request.about)
        return Decision(Effect.DENY, (), (reason,), fingerprint=self.bundle.fingerprint)

    def _failed(self, cause: str, about: str = "") -> Decision:
        remedy = "the officer of this node can mend the policies or the facts"
        reason = Reason(EVALUATION, "the policies could not be evaluated", remedy=remedy, about=about)
        return Decision(Effect.DENY, (), (reason,), errors=(cause,), fingerprint=self.bundle.fingerprint)

    def _merge(self, decisions: Sequence[Decision]) -> Decision:
        refusals = [decision for decision in decisions if not decision.permitted]
        counted = refusals or decisions
        obligations = () if refusals else (o for decision in decisions for o in decision.obligations)
        return Decision(
            effect=Effect.DENY if refusals else Effect.PERMIT,
            determining=tuple(sorted({policy for decision in counted for policy in decision.determining})),
            reasons=tuple(dict.fromkeys(reason for decision in counted for reason in decision.reasons)),
            obligations=tuple(dict.fromkeys(obligations)),
            errors=tuple(error for decision in counted for error in decision.errors),
            fingerprint=self.bundle.fingerprint,
        )


def _parameters(kind: ObligationKind, facts: dict[str, Fact]) -> tuple[tuple[str, str | int], ...]:
    named = [(name, facts.get(name)) for name in _PARAMETERS[kind]]
    return tuple((name, value) for name, value in named if isinstance(value, str | int))
