"""Decisions in plain sentences, for the person who asked and for the officer."""

from dataclasses import replace

from policies.request import Decision, Effect, Obligation, ObligationKind, Reason


def explain(decision: Decision) -> tuple[str, ...]:
    """Return one sentence per reason of a refusal, or per obligation of a permit (at least one sentence)."""
    if decision.permitted:
        duties = tuple(_duty(obligation) for obligation in decision.obligations)
        return duties or ("Permitted without conditions.",)
    sentences = tuple(sentence(reason) for reason in _together(decision.reasons))
    causes = tuple(f"Evaluation failed: {error}." for error in decision.errors)
    return (sentences + causes) or (f"Refused: {Effect.DENY} without a stated reason.",)


def _together(reasons: tuple[Reason, ...]) -> list[Reason]:
    """One reason per rule: what the same rule says of several columns, leaks or readers is said once."""
    found: dict[str, list[Reason]] = {}
    for reason in reasons:
        found.setdefault(reason.policy_id, []).append(reason)
    return [
        replace(
            same[0],
            about="; ".join(dict.fromkeys(one.about for one in same if one.about)),
            remedy="; and ".join(dict.fromkeys(one.remedy for one in same if one.remedy)),
        )
        for same in found.values()
    ]


def sentence(reason: Reason) -> str:
    """Return the reason of a refusal: what, which rule and article, and what would be lawful."""
    about = f" ({reason.about})" if reason.about else ""
    article = f", {reason.article}" if reason.article else ""
    remedy = f" What would be lawful: {reason.remedy}." if reason.remedy else ""
    return f"Refused{about}: {reason.text} [{reason.policy_id}{article}].{remedy}"


def _duty(obligation: Obligation) -> str:
    facts = dict(obligation.parameters)
    match obligation.kind:
        case ObligationKind.MINIMUM_GROUP:
            return f"Permitted if groups of fewer than {facts['minimum_group']} are not released."
        case ObligationKind.MINIMUM_PARTIES:
            return f"Permitted if at least {facts['minimum_parties']} parties are in every sum."
        case ObligationKind.NOISE:
            epsilon = int(facts["epsilon_milli"]) / 1000
            return f"Permitted if every release carries {facts['mechanism']} noise, epsilon at most {epsilon:g}."
        case ObligationKind.ENCRYPT:
            return "Permitted if contributions leave this party encrypted."
        case ObligationKind.MASK | ObligationKind.ROWS:
            return f"Permitted if {facts['told']}."
