"""What Cedar rules speak of: the facts they read and the words they compare them with.

Cedar's validator knows types and not values: a misspelt word in a `forbid` would silently never apply. This reader
walks the policies' JSON form, so that loading can refuse every name and word that no table knows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_COMPARED = ("==", "!=")
_MEMBERS = ("contains", "containsAny", "containsAll")


@dataclass(frozen=True)
class Spoken:
    """Facts that rules read, (fact, word) pairs they compare, lists of places they name, actions they are for.

    A rule that is not scoped to exactly one action is for the action called "".
    """

    actions: frozenset[str]
    facts: frozenset[str]
    words: frozenset[tuple[str, str]]
    lists: frozenset[str]


def spoken(policies: Mapping[str, Mapping[str, Any]]) -> Spoken:
    """Everything that `policies` (Cedar's JSON form by id) speak of."""
    nodes = [node for policy in policies.values() for node in _nodes(policy)]
    return Spoken(
        actions=frozenset(_action(policy) for policy in policies.values()),
        facts=frozenset(name for node in nodes if (name := _fact(node)) is not None),
        words=frozenset(pair for node in nodes for pair in _pairs(node)),
        lists=frozenset(str(node["id"]) for node in nodes if node.get("type") == "List" and "id" in node),
    )


def _action(policy: Mapping[str, Any]) -> str:
    scope = policy["action"]
    return str(scope["entity"]["id"]) if scope["op"] == "==" else ""


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _nodes(child)


def _fact(node: Any) -> str | None:
    """The fact's name when the node is `resource.name`."""
    access = node.get(".") if isinstance(node, dict) else None
    read = isinstance(access, dict) and access.get("left") == {"Var": "resource"}
    return str(access["attr"]) if read and isinstance(access, dict) else None


def _pairs(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for operator in (*_COMPARED, *_MEMBERS):
        sides = node.get(operator)
        if isinstance(sides, dict):
            left, right = sides.get("left"), sides.get("right")
            for fact, other in ((_fact(left), right), (_fact(right), left)):
                if fact is not None:
                    yield from ((fact, word) for word in _words(other))


def _words(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get("Value"), str):
        yield node["Value"]
    elif isinstance(node, dict) and "Set" in node:
        for member in node["Set"]:
            yield from _words(member)
