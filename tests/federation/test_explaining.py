"""An explanation on the screen: plan, cost, who learns what of whom, what is shown to owners, and the verdicts."""

import json

import pytest
import typer

from federation.client import Explanation
from federation.explaining import show_explanation
from policies.plan import JoinPlan, Leak, LeakKind, Role
from tests.inbond.test_answers import PLAN

YES = {"permitted": True, "effect": "permit", "reasons": ["fine"], "policies": []}
NO = {"permitted": False, "effect": "deny", "reasons": ["no purpose", "no budget"], "policies": []}
LEAK = Leak(
    who=Role.PARTY, what=LeakKind.INTERSECTION_MEMBERS, about="who matched", learners=("m1",), owners=("p1", "p2")
)


def test_the_plan_its_cost_its_leaks_and_every_verdict_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_explanation(Explanation(PLAN, YES, {"p1": YES}), json=False)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for told in (PLAN.digest()[:16], "p1 (DE)", "exact aggregate", "group counts", "up per party", "fine"):
        assert told in said


def test_conditions_are_shown_as_the_owners_see_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_explanation(Explanation(PLAN, YES, {}), json=False)
    said = capsys.readouterr().out.splitlines()
    assert any(line.split()[:1] == ["orders"] and '"amount" > 5' in line for line in said), said


def test_who_learns_of_whom_is_named_where_it_is_not_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    operator = PLAN.operators[0].model_copy(update={"leaks": (*PLAN.operators[0].leaks, LEAK)})
    join = JoinPlan(engine="ot", attributes=0, keys=("order-id",))
    plan = PLAN.model_copy(update={"operators": (operator, *PLAN.operators[1:]), "join": join})
    show_explanation(Explanation(plan, YES, {}), json=False)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["m1", "intersection", "members", "who", "matched", "p1,", "p2"] in said
    assert ["join", "ot,", "keys", "as", "order-id"] in said


def test_a_refusal_ends_with_the_code_of_one_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        show_explanation(Explanation(PLAN, YES, {"p1": NO}), json=False)
    assert ended.value.exit_code == 3
    assert "no purpose no budget" in capsys.readouterr().out


def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    show_explanation(Explanation(PLAN, YES, {"p1": YES}), json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["permitted"]
    assert said["digest"] == PLAN.digest()
    assert said["verdicts"]["p1"]["reasons"] == ["fine"]
