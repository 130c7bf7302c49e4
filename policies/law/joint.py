"""The rules of all regimes that apply, as one set: Cedar is asked once about a transfer, not once by each regime.

A call of Cedar costs about as much as fifty rules. Each regime still has to permit: a denial of any denies, and a
permit that lacks a deciding rule of one of the regimes is none. Rules were validated regime by regime before; here what
a regime derives for itself (its tools, its adequacy) is read under its own name. Learns facts of transfers, no data.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cedarpy

from policies.bundle import Bundle
from policies.engine import CACHE_SIZE, DEFAULT_DENY, Engine
from policies.errors import InvalidPolicy
from policies.request import AccessRequest, Decision, Effect, EntitySet, Reason

ACTION, ENTITY = "judge", "Transfer"
OWN = frozenset({"adequacy", "measure", "reached", "tools"})
"""Facts that each regime derives from its own tables."""

Policies = Mapping[str, Mapping[str, Any]]


def own_name(regime: str, fact: str) -> str:
    """The attribute of a transfer that holds the fact for the regime."""
    return f"{regime}:{fact}" if fact in OWN else fact


def joint_schema(attributes: Mapping[str, str]) -> str:
    """The Cedar schema of a transfer with these attributes and types; it has those of the regimes that apply to it."""
    typed = ", ".join(f'"{name}"?: {attributes[name]}' for name in sorted(attributes))
    return (
        f"entity List;\nentity Place in [List];\nentity {ENTITY} {{ {typed} }};\n"
        f"action {ACTION} appliesTo {{ principal: [Place], resource: [{ENTITY}], context: {{}} }};\n"
    )


class Joint:
    """Decides a transfer under several regimes; `policies` are Cedar's JSON form by regime and @id."""

    def __init__(self, policies: Mapping[str, Policies], bundle: Bundle, schema: str) -> None:
        self.policies, self.schema = dict(policies), schema
        self._renamed = {regime: _renamed(regime, rules) for regime, rules in policies.items()}
        self._home = {policy: regime for regime, rules in policies.items() for policy in rules}
        self._nobody = Engine(replace(bundle, slices={}, schema=cedarpy.Schema.from_str(schema)))
        self.engine = lru_cache(maxsize=CACHE_SIZE)(self._built)

    def prepare(self, entities: EntitySet) -> None:
        """Parse `entities` now; raises ValueError when the schema refuses them."""
        self._nobody.prepare(entities)

    def decide(self, regimes: tuple[str, ...], requests: Sequence[AccessRequest], entities: EntitySet) -> Decision:
        """The answer of all `regimes` together; each of them must permit by a rule of its own."""
        found = self.engine(regimes).decide(requests, entities)
        if found.errors or (found.effect is Effect.DENY and found.determining):
            return found
        permitting = {self._home[policy] for policy in found.determining}
        silent = [regime for regime in regimes if regime not in permitting]
        return self._unpermitted(silent, requests, found) if silent else found

    def _unpermitted(self, silent: Sequence[str], requests: Sequence[AccessRequest], found: Decision) -> Decision:
        about = requests[0].about if requests else ""
        reasons = tuple(Reason(DEFAULT_DENY, f"no rule of `{name}` permits it", about=about) for name in silent)
        return Decision(Effect.DENY, (), reasons, fingerprint=found.fingerprint)

    def _built(self, regimes: tuple[str, ...]) -> Engine:
        """The engine for these regimes; it parses no entities of its own."""
        rules = {policy: text for regime in regimes for policy, text in self._renamed[regime].items()}
        handle = cedarpy.PolicySet.from_json_str(
            json.dumps({"templates": {}, "staticPolicies": rules, "templateLinks": []})
        )
        return Engine(replace(self._nobody.bundle, unscoped=handle), sibling=self._nobody)


def _renamed(regime: str, policies: Policies) -> dict[str, Any]:
    """The regime's policies for any action, reading what it derives for itself under its own name."""
    for policy, rule in policies.items():
        if rule["resource"]["op"] != "All" or any(_is_unfit(node) for node in _nodes(rule["conditions"])):
            what = f"policy `{policy}` asks for more of `resource` or `action` than their facts"
            raise InvalidPolicy(what, where=regime, right="conditions on `principal` and `resource.fact` alone")
    return {
        policy: {**rule, "action": {"op": "All"}, "conditions": _with_own_names(regime, rule["conditions"])}
        for policy, rule in policies.items()
    }


def _is_unfit(node: Mapping[str, Any]) -> bool:
    """Whether the node would mean something else among the rules of other regimes."""
    return "has" in node or "is" in node or node.get("Var") in {"action", "context"}


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _nodes(child)


def _with_own_names(regime: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_with_own_names(regime, one) for one in value]
    if not isinstance(value, dict):
        return value
    access = value.get(".")
    if isinstance(access, dict) and access.get("left") == {"Var": "resource"}:
        return {".": {**access, "attr": own_name(regime, access["attr"])}}
    return {name: _with_own_names(regime, one) for name, one in value.items()}
