"""The baseline as cases an officer can read, and the engine's promise to fail closed."""

import copy
import json
import re
from importlib import resources
from typing import Any

import pytest

from policies.bundle import baseline_text, load_baseline, load_bundle, schema_text
from policies.engine import DEFAULT_DENY, EVALUATION, Engine
from policies.errors import InvalidPolicy
from policies.explain import explain
from policies.request import (
    AccessRequest,
    Decision,
    Effect,
    Entity,
    EntityRef,
    EntitySet,
    Fact,
    ObligationKind,
)

FILES = ("run", "use", "reveal", "receive", "call", "act")
ANY = '@id("a") @reason("r") @remedy("m") permit (principal, action, resource);'
HOME = EntityRef("Consortium", "acme.example")
ENGINE = Engine(load_baseline())


def fact(value: Any) -> Fact:
    return tuple(value) if isinstance(value, list) else value


def load_cases() -> list[Any]:
    found = []
    for name in FILES:
        base = json.loads(resources.files("policies").joinpath(f"cases/{name}.json").read_text())
        found += [pytest.param(base, case, id=f"{name}: {case['name']}") for case in base["cases"]]
    return found


def build(base: dict[str, Any], changes: dict[str, Any]) -> tuple[tuple[AccessRequest, ...], EntitySet]:
    """Return the request and the entities of one case."""
    parts = copy.deepcopy({name: base[name] for name in ("principal", "resource", "context")})
    parts["context"].setdefault("consortium", HOME.id)
    for path, value in changes.items():
        part, _, key = path.partition(".")
        target = parts[part] if part == "context" or key == "member" else parts[part]["attributes"]
        assert key in target, f"{path} is not in the base of the case"
        target[key] = value
    context, resource = parts["context"], parts["resource"]["attributes"]
    claimed = EntityRef("Consortium", context.pop("consortium"))
    if base["action"] == "run":
        context["consortium"] = claimed
    if parts["resource"]["type"] == "Dataset":
        resource["consortium"] = HOME
    who, what = EntityRef(parts["principal"]["type"], "who"), EntityRef(parts["resource"]["type"], "what")
    what = HOME if what.type == HOME.type else what
    entities = [Entity(HOME, (("parties", ("p1", "p2", "p3")),))]
    entities += [Entity(claimed, (("parties", ()),))] if claimed != HOME else []
    parents = (HOME,) if parts["principal"].get("member") else ()
    entities.append(Entity(who, facts(parts["principal"]["attributes"]), parents))
    entities += [Entity(what, facts(resource))] if what != HOME else []
    request = AccessRequest(who, base["action"], what, facts(context), "the case")
    return (request,), EntitySet(tuple(entities))


def facts(values: dict[str, Any]) -> tuple[tuple[str, Fact], ...]:
    return tuple((name, fact(value)) for name, value in values.items())


@pytest.mark.parametrize(("base", "case"), load_cases())
def test_the_baseline_decides_as_the_case_says(base: dict[str, Any], case: dict[str, Any]) -> None:
    decision = ENGINE.decide(*build(base, case.get("set", {})))
    assert decision.errors == ()
    assert (decision.effect.value, sorted(decision.determining)) == (case["effect"], sorted(case["rules"]))
    assert decision.permitted is (case["effect"] == "permit")


def without(policy_id: str) -> str:
    """Return the baseline without one policy."""
    text, count = re.subn(rf'@id\("{policy_id}"\).*?;\n', "", baseline_text(), flags=re.DOTALL)
    assert count == 1
    return text


@pytest.mark.parametrize("policy_id", [i for i, effect in ENGINE.bundle.effects.items() if effect == "forbid"])
def test_without_one_forbid_some_case_is_decided_otherwise(policy_id: str) -> None:
    engine = Engine(load_bundle({"mutated.cedar": without(policy_id)}, schema_text()))
    cases = [(p.values[0], p.values[1]) for p in load_cases()]
    changed = [c["name"] for b, c in cases if engine.decide(*build(b, c.get("set", {}))).effect != c["effect"]]
    assert changed, f"no case notices that {policy_id} is gone"


def ask(name: str, **changes: Any) -> tuple[tuple[AccessRequest, ...], EntitySet]:
    base = json.loads(resources.files("policies").joinpath(f"cases/{name}.json").read_text())
    return build(base, {path.replace("__", "."): value for path, value in changes.items()})


def test_a_permit_brings_its_obligations_with_their_figures() -> None:
    decision = ENGINE.decide(*ask("run", context__mechanism="laplace", context__epsilon_milli=500))
    duties = {duty.kind: dict(duty.parameters) for duty in decision.obligations}
    assert duties[ObligationKind.MINIMUM_GROUP] == {"minimum_group": 5}
    assert duties[ObligationKind.MINIMUM_PARTIES] == {"minimum_parties": 3}
    assert duties[ObligationKind.NOISE] == {"mechanism": "laplace", "epsilon_milli": 500, "delta_1e9": 0}
    assert "epsilon at most 0.5" in " ".join(explain(decision))


def test_a_refusal_says_which_rule_why_and_what_would_be_lawful() -> None:
    (told,) = explain(ENGINE.decide(*ask("run", context__purpose="dpv:Advertising")))
    for part in ("purpose", "GDPR Art. 5(1)(b)", "the case", "does not allow", "What would be lawful"):
        assert part in told


def test_an_erring_policy_denies_although_cedar_would_skip_it() -> None:
    extra = '@id("x") @reason("r") @remedy("m") forbid (principal, action == Action::"run", resource) when \
      { context.parties * 9223372036854775807 > 0 };'
    decision = Engine(load_baseline({"x.cedar": extra})).decide(*ask("run"))
    assert not decision.permitted
    assert decision.errors
    assert decision.reasons[0].policy_id == EVALUATION


@pytest.mark.parametrize(
    "changes",
    [
        {"context__parties": "three"},
        {"context__bound": 1},
        {"context__participants": "p1"},
        {"resource__expired": "no"},
    ],
)
def test_facts_outside_the_schema_deny(changes: dict[str, Any]) -> None:
    decision = ENGINE.decide(*ask("run", **changes))
    assert not decision.permitted
    assert decision.errors


def test_an_action_no_policy_is_scoped_to_is_still_forbidden_by_the_general_ones() -> None:
    text = (
        ANY
        + ANY.replace('"a"', '"b"').replace("permit", "forbid")
        + ANY.replace('"a"', '"c"').replace("action", 'action == Action::"use"')
    )
    decision = Engine(load_bundle({"x": text}, schema_text())).decide(*ask("run"))
    assert (decision.effect, decision.determining) == (Effect.DENY, ("b",))


def test_missing_facts_unknown_actions_and_empty_questions_deny() -> None:
    (request,), entities = ask("run")
    short = AccessRequest(request.principal, "run", request.resource, request.context[:-1])
    export = AccessRequest(request.principal, "export", request.resource, request.context)
    for asked in ((short,), (export,), ()):
        assert not ENGINE.decide(asked, entities).permitted
    assert not ENGINE.decide((request,), EntitySet(())).permitted


def test_what_no_policy_permits_is_denied_by_default() -> None:
    only_use = load_bundle(
        {"a": '@id("a") @reason("r") @remedy("m") permit (principal, action == Action::"use", resource);'},
        schema_text(),
    )
    decision = Engine(only_use).decide(*ask("run"))
    assert (decision.effect, decision.reasons[0].policy_id) == (Effect.DENY, DEFAULT_DENY)


def test_a_party_can_narrow_and_not_widen_the_baseline() -> None:
    wide = '@id("wide") @reason("r") @remedy("m") permit (principal, action, resource);'
    engine = Engine(load_baseline({"own.cedar": wide}))
    assert not engine.decide(*ask("run", context__protection="plain")).permitted
    assert not engine.decide(*ask("reveal", context__what="everything")).permitted


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({}, "there is no policy"),
        ({"a": "permit ("}, "not readable as Cedar"),
        ({"a": "permit (principal, action, resource);"}, "has no @id"),
        ({"a": '@id("a") @remedy("m") permit (principal, action, resource);'}, "`a` has no @reason"),
        ({"a": '@id("a") @reason("r") permit (principal, action, resource);'}, "`a` has no @remedy"),
        (
            dict.fromkeys("ab", ANY),
            "b: policy id `a` is used twice",
        ),
        (
            {"a": ANY[:-1] + " when { context.nope };"},
            "nope",
        ),
        (
            {"a": ANY.replace("principal,", "principal == ?principal,")},
            "templates",
        ),
        (
            {"a": '@obligations("pay") ' + ANY},
            "unknown obligation `pay`",
        ),
        ({"a": "x" * 2_000_000}, "too long"),
    ],
)
def test_a_bundle_that_cannot_be_trusted_is_refused(texts: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        load_bundle(texts, schema_text())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreadable_schema_and_a_replaced_baseline_are_refused() -> None:
    with pytest.raises(InvalidPolicy, match="schema"):
        load_bundle({"a": baseline_text()}, "entity ;")
    with pytest.raises(InvalidPolicy, match="cannot replace"):
        load_baseline({"baseline.cedar": ""})


def test_the_fingerprint_follows_the_rules_and_not_their_layout() -> None:
    spaced = baseline_text().replace("unless {", "unless  {  ")
    assert load_bundle({"b": spaced}, schema_text()).fingerprint == ENGINE.bundle.fingerprint
    assert load_bundle({"b": without("role")}, schema_text()).fingerprint != ENGINE.bundle.fingerprint


def test_a_kept_answer_is_the_answer_to_the_same_question_only() -> None:
    requests, entities = ask("run")
    first = ENGINE.decide_cached(requests, entities)
    assert ENGINE.decide_cached(*ask("run")) is first
    assert not ENGINE.decide_cached(*ask("run", context__protection="plain")).permitted
    assert not ENGINE.decide_cached(*ask("run", resource__expired=True)).permitted
    assert first.permitted


def test_one_denial_among_many_permits_denies_and_drops_the_obligations() -> None:
    (run,), entities = ask("run")
    stranger = AccessRequest(run.principal, "export", run.resource, ())
    decision = ENGINE.decide((run, stranger), entities)
    assert not decision.permitted
    assert decision.obligations == ()


def test_a_permit_without_a_policy_or_with_an_error_is_no_permit() -> None:
    assert not Decision(Effect.PERMIT, ()).permitted
    assert not Decision(Effect.PERMIT, ("a",), errors=("b",)).permitted
    assert Decision(Effect.PERMIT, ("a",)).permitted
