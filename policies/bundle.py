"""Policy bundles: Cedar text, validated once, ready to be asked.

Fails closed: a text that cannot be read, a policy without @id, @reason and @remedy, a duplicate id, or a
policy that does not fit the schema makes the whole bundle invalid. Parsed handles are kept (parsing costs
milliseconds, deciding a tenth of one). Cedar language 4.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import cedarpy

from policies.errors import InvalidPolicy
from policies.request import ObligationKind

MAX_POLICY_CHARACTERS = 1024 * 1024
REQUIRED_ANNOTATIONS = ("id", "reason", "remedy")
KNOWN_ANNOTATIONS = frozenset({*REQUIRED_ANNOTATIONS, "article", "obligations"})


@dataclass(frozen=True)
class PolicyNote:
    """What a policy says about itself; `others` are annotations that only their reader knows."""

    reason: str
    remedy: str
    article: str = ""
    obligations: tuple[ObligationKind, ...] = ()
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A validated set of policies.

    `slices` holds, per action that some policy is scoped to, the policies that can apply to it; `unscoped`
    those that can apply to every other action.
    """

    notes: Mapping[str, PolicyNote]
    effects: Mapping[str, str]
    fingerprint: str
    unscoped: cedarpy.PolicySet = field(repr=False)
    slices: Mapping[str, cedarpy.PolicySet] = field(repr=False)
    schema: cedarpy.Schema = field(repr=False)


def load_bundle(texts: Mapping[str, str], schema_text: str) -> Bundle:
    """Parse and validate Cedar `texts` (by file name) against `schema_text`. Raises InvalidPolicy."""
    schema = _schema(schema_text)
    found: dict[str, dict[str, Any]] = {}
    for name, text in texts.items():
        for policy_id, policy in _read(name, text, schema).items():
            if policy_id in found:
                raise InvalidPolicy(f"policy id `{policy_id}` is used twice", where=name, right="rename one of them")
            found[policy_id] = policy
    if not found:
        raise InvalidPolicy("there is no policy", where="policies", right="load the baseline at least")
    return Bundle(
        notes={policy_id: _note(policy_id, policy) for policy_id, policy in found.items()},
        effects={policy_id: policy["effect"] for policy_id, policy in found.items()},
        fingerprint=_fingerprint(schema_text, found),
        unscoped=_handle({i: p for i, p in found.items() if _only_action(p) is None}),
        slices=_slices(found),
        schema=schema,
    )


def load_baseline(extra: Mapping[str, str] | None = None) -> Bundle:
    """Return the built-in baseline with `extra` policies on top. Raises InvalidPolicy."""
    more = dict(extra or {})
    if "baseline.cedar" in more:
        raise InvalidPolicy("cannot replace the baseline", where="baseline.cedar", right="give the file another name")
    return load_bundle({"baseline.cedar": baseline_text()} | more, schema_text())


def baseline_text() -> str:
    """Return the Cedar text of the built-in rules."""
    return _packaged("baseline.cedar")


def schema_text() -> str:
    """Return the Cedar schema that every policy of a node is validated against."""
    return _packaged("schema.cedarschema")


def _packaged(name: str) -> str:
    try:
        return resources.files("policies").joinpath(name).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidPolicy("cannot be read", where=name, right="reinstall the package") from error


def _schema(text: str) -> cedarpy.Schema:
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        raise InvalidPolicy(f"schema: {_one_line(error)}", where="schema", right="mend the schema") from error


def _read(name: str, text: str, schema: cedarpy.Schema) -> dict[str, dict[str, Any]]:
    """Return the policies of one text by their @id."""
    if len(text) > MAX_POLICY_CHARACTERS:
        raise InvalidPolicy("too long", where=name, right=f"at most {MAX_POLICY_CHARACTERS} characters")
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise InvalidPolicy(f"not readable as Cedar: {_one_line(error)}", where=name, right="mend it") from error
    if parsed.get("templates"):
        raise InvalidPolicy("templates are not read", where=name, right="write the policy out")
    named: dict[str, dict[str, Any]] = {}
    for policy in parsed["staticPolicies"].values():
        policy_id = _annotated_id(name, policy)
        if policy_id in named:
            raise InvalidPolicy(f"policy id `{policy_id}` is used twice", where=name, right="rename one of them")
        named[policy_id] = policy
    _validate(name, text, schema)
    return named


def _annotated_id(name: str, policy: Mapping[str, Any]) -> str:
    annotations = policy.get("annotations", {})
    missing = [wanted for wanted in REQUIRED_ANNOTATIONS if not annotations.get(wanted)]
    if missing:
        known = annotations.get("id") or "without an id"
        raise InvalidPolicy(
            f"policy `{known}` has no @{missing[0]}", where=name, right=f'add @{missing[0]}("...") above it'
        )
    return str(annotations["id"])


def _validate(name: str, text: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        faults = [_one_line(fault.error) for fault in result.errors] or ["does not fit the schema"]
        raise InvalidPolicy(faults[0], where=name, right="see schema.cedarschema for the names there are")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]


def _note(policy_id: str, policy: Mapping[str, Any]) -> PolicyNote:
    annotations = policy["annotations"]
    kinds = [kind.strip() for kind in (annotations.get("obligations") or "").split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in set(ObligationKind)]
    if unknown:
        known = ", ".join(ObligationKind)
        raise InvalidPolicy(f"unknown obligation `{unknown[0]}`", where=policy_id, right=f"use one of {known}")
    return PolicyNote(
        reason=annotations["reason"],
        remedy=annotations["remedy"],
        article=annotations.get("article") or "",
        obligations=tuple(ObligationKind(kind) for kind in kinds),
        others=tuple((name, text or "") for name, text in annotations.items() if name not in KNOWN_ANNOTATIONS),
    )


def _fingerprint(schema: str, policies: Mapping[str, Any]) -> str:
    """SHA-256 of sorted JSON; not RFC 8785, whose numbers are smaller than Cedar's 64-bit integers."""
    text = json.dumps({"schema": schema, "policies": policies}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _handle(policies: Mapping[str, Mapping[str, Any]]) -> cedarpy.PolicySet:
    """Return a parsed handle whose policy ids are the @id annotations, so diagnostics name them."""
    text = json.dumps({"templates": {}, "staticPolicies": policies, "templateLinks": []})
    try:
        return cedarpy.PolicySet.from_json_str(text)
    except ValueError as error:
        raise InvalidPolicy(_one_line(error), where="policies", right="mend the policy") from error


def _slices(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, cedarpy.PolicySet]:
    """Group policies by the action they are scoped to; a policy of several actions is in every slice.

    Deciding costs about a microsecond per policy, and `action == A` can never apply to another action.
    """
    actions = {only for policy in policies.values() if (only := _only_action(policy)) is not None}
    return {
        action: _handle({i: p for i, p in policies.items() if _only_action(p) in {None, action}}) for action in actions
    }


def _only_action(policy: Mapping[str, Any]) -> str | None:
    scope = policy["action"]
    entity = scope.get("entity", {})
    return str(entity["id"]) if scope["op"] == "==" and entity.get("type") == "Action" else None
