"""The answer of the legal engine, which explains itself: outcome, rules, articles, obligations, class, causes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from policies.law.tables import Binding
from policies.request import Reason


class Outcome(StrEnum):
    """May it become readable there?"""

    PERMIT = "permit"
    PERMIT_WITH_OBLIGATIONS = "permit_with_obligations"
    DENY = "deny"


@dataclass(frozen=True)
class LegalDuty:
    """An obligation: its code, when its evidence is due (pre, atomic, post, yearly), and what that evidence is.

    One that `binds` columns is carried out by the job itself.
    """

    code: str
    when: str
    evidence: str
    binds: Binding | None = None

    def payload(self) -> dict[str, Any]:
        """The obligation as JSON data."""
        bound = {} if self.binds is None else {"binds": self.binds.model_dump(mode="json", exclude_none=True)}
        return {"code": self.code, "when": self.when, "evidence": self.evidence, **bound}


@dataclass(frozen=True)
class LawDecision:
    """One transfer's answer. `rules` are the labels of residency law, `policies` the Cedar ids behind them.

    `causes` say what went wrong when the denial is not a rule's; `digest` names rules and tables that were asked.
    """

    outcome: Outcome
    rules: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    articles: tuple[str, ...] = ()
    obligations: tuple[LegalDuty, ...] = ()
    object_class: str = ""
    regimes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    causes: tuple[str, ...] = ()
    digest: str = ""

    @property
    def permitted(self) -> bool:
        """Whether the transfer may happen, once its `pre` obligations are evidenced."""
        return self.outcome is not Outcome.DENY and bool(self.policies) and not self.causes

    def payload(self) -> dict[str, Any]:
        """The answer as JSON data."""
        return {
            "decision": self.outcome.value,
            "rules": list(self.rules),
            "policies": list(self.policies),
            "articles": list(self.articles),
            "obligations": [one.payload() for one in self.obligations],
            "class": self.object_class,
            "regimes": list(self.regimes),
            "reasons": [{"policy": one.policy_id, "why": one.text, "remedy": one.remedy} for one in self.reasons],
            "causes": list(self.causes),
            "digest": self.digest,
        }


def combine(decisions: tuple[LawDecision, ...]) -> LawDecision:
    """One answer for several transfers: any denial denies, and denials alone are told; else obligations add up."""
    if not decisions:
        return LawDecision(Outcome.DENY, causes=("nothing was asked",))
    refused = tuple(one for one in decisions if not one.permitted)
    told = refused or decisions
    duties = () if refused else tuple(dict.fromkeys(duty for one in decisions for duty in one.obligations))
    granted = Outcome.PERMIT_WITH_OBLIGATIONS if duties else Outcome.PERMIT
    return LawDecision(
        outcome=Outcome.DENY if refused else granted,
        rules=tuple(dict.fromkeys(rule for one in told for rule in one.rules)),
        policies=tuple(dict.fromkeys(policy for one in told for policy in one.policies)),
        articles=tuple(dict.fromkeys(article for one in told for article in one.articles)),
        obligations=duties,
        object_class=_worst(tuple(one.object_class for one in told)),
        regimes=tuple(sorted({regime for one in told for regime in one.regimes})),
        reasons=tuple(dict.fromkeys(reason for one in told for reason in one.reasons)),
        causes=tuple(dict.fromkeys(cause for one in told for cause in one.causes)),
        digest=told[0].digest,
    )


def _worst(classes: tuple[str, ...]) -> str:
    return next((one for one in ("PERSONAL", "ANON", "NONPERSONAL") if one in classes), "")
