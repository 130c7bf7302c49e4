"""Rules spoiled one part at a time: every policy dropped, every part of every condition taken away.

A mutant replaces the rules of one regime; the cases of that regime are then asked again. Works on Cedar's JSON form.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.law.joint import Joint, Policies
from policies.law.law import Law

_SETS = ("containsAny", "containsAll")


@dataclass(frozen=True)
class Mutant:
    """A regime's rules with one part changed; `what` says which, in words that stay the same from run to run."""

    policy: str
    what: str
    policies: Policies


def mutants(policies: Policies) -> Iterator[Mutant]:
    """Every policy dropped, its scope widened, and each operand of its conditions taken away."""
    for name, policy in policies.items():
        others = {key: value for key, value in policies.items() if key != name}
        yield Mutant(name, "dropped", others)
        if policy["principal"]["op"] != "All":
            widened = {**policy, "principal": {"op": "All"}}
            yield Mutant(name, "for every place", {**others, name: widened})
        for at, condition in enumerate(policy["conditions"]):
            for what, body in _weakened(condition["body"]):
                kept = [*policy["conditions"]]
                kept[at : at + 1] = [] if body is None else [{**condition, "body": body}]
                yield Mutant(name, what, {**others, name: {**policy, "conditions": kept}})


def _weakened(node: Any) -> Iterator[tuple[str, Any]]:
    """The condition without each of its smallest parts; None where nothing remains of it."""
    operator = next(iter(node))
    if operator in {"&&", "||"}:
        left, right = node[operator]["left"], node[operator]["right"]
        for what, body in _weakened(left):
            yield what, right if body is None else {operator: {"left": body, "right": right}}
        for what, body in _weakened(right):
            yield what, left if body is None else {operator: {"left": left, "right": body}}
    elif operator == "!" and next(iter(node["!"]["arg"])) in {"&&", "||"}:
        for what, body in _weakened(node["!"]["arg"]):
            yield f"not {what}", None if body is None else {"!": {"arg": body}}
    else:
        yield f"without {_words(node)}", None
        yield from _narrowed(node)


def _narrowed(node: Any) -> Iterator[tuple[str, Any]]:
    """`containsAny([...])` without each of its words."""
    operator = next(iter(node))
    if operator == "!":
        yield from ((f"not {what}", {"!": {"arg": body}}) for what, body in _narrowed(node["!"]["arg"]))
    elif operator in _SETS and len(members := node[operator]["right"]["Set"]) > 1:
        for at, member in enumerate(members):
            fewer = {"Set": members[:at] + members[at + 1 :]}
            what = f"{_words(node[operator]['left'])} without the word {_words(member)}"
            yield what, {operator: {**node[operator], "right": fewer}}


def _words(node: Any) -> str:
    """A condition as short text: operators, names and values in order."""
    operator, inside = next(iter(node.items()))
    match operator:
        case "Value" if isinstance(inside, dict):
            text = str(inside["__entity"]["id"])
        case ".":
            text = str(inside["attr"])
        case "Set":
            text = f"[{', '.join(map(_words, inside))}]"
        case "!":
            text = f"not {_words(inside['arg'])}"
        case "Value" | "Var":
            text = str(inside)
        case _:
            text = f"{_words(inside['left'])} {operator} {_words(inside['right'])}"
    return text


def spoiled(law: Law, regime: str, policies: Policies) -> Law:
    """A law that has other policies for one regime; its tables and the facts it builds stay the same."""
    other = copy.copy(law)
    other.joint = Joint({**law.joint.policies, regime: policies}, law.bundle, law.joint.schema)
    return other
