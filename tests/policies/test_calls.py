"""Who may call what: the role is the certificate's, and what the policies do not name is denied."""

from typing import get_args

import pytest

from policies.bundle import load_baseline, load_bundle, schema_text
from policies.calls import Call, decide_call, role_of
from policies.engine import DEFAULT_DENY, Engine
from policies.identity import OFFICES
from tests.policies.samples import person

ENGINE = Engine(load_baseline())
ORDER = {"challenge", "explain", "submit"}
ALL = {"catalogue", "nodes", "proposed", "decide"}
MAY = {
    "researcher": (ALL | ORDER | {"list", "status", "cancel", "watch", "result", "open"}, ALL | ORDER),
    "operator": (ALL | {"list", "cancel"}, ALL | {"list", "cancel"}),
    "officer": (ALL, ALL),
    "auditor": (ALL | {"list", "status"}, ALL | {"list", "status"}),
}


@pytest.mark.parametrize("office", sorted(OFFICES))
@pytest.mark.parametrize("own", [True, False], ids=["own jobs", "everyone's"])
def test_each_role_may_do_exactly_this(office: str, own: bool) -> None:
    permitted = {call for call in get_args(Call) if decide_call(ENGINE, person("p", office), call, own=own).permitted}
    assert permitted == MAY[office][0 if own else 1]


def test_a_member_without_a_role_is_a_researcher() -> None:
    assert (role_of(person("rosa")), role_of(person("otto", "operator"))) == ("researcher", "operator")
    assert decide_call(ENGINE, person("rosa"), "submit", own=True).permitted


def test_without_a_policy_nothing_is_permitted() -> None:
    other = '@id("a") @reason("r") @remedy("m") permit (principal, action == Action::"run", resource);'
    decision = decide_call(Engine(load_bundle({"a": other}, schema_text())), person("rosa"), "nodes", own=True)
    assert not decision.permitted
    assert decision.reasons[0].policy_id == DEFAULT_DENY


def test_the_coordinators_own_policies_narrow_and_do_not_widen() -> None:
    wide = '@id("wide") @reason("r") @remedy("m") permit (principal, action, resource);'
    narrow = (
        '@id("narrow") @reason("r") @remedy("m") forbid (principal, action == Action::"call", resource) when '
        '{ context.what == "cancel" && !context.own };'
    )
    engine = Engine(load_baseline({"own.cedar": wide + narrow}))
    assert not decide_call(engine, person("olga", "officer"), "submit", own=True).permitted
    assert not decide_call(engine, person("otto", "operator"), "cancel", own=False).permitted
    assert decide_call(engine, person("rosa"), "cancel", own=True).permitted
