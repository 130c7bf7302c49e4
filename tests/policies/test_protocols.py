"""A plan that leaves out a leak of its own protocol is not followed."""

import pytest

from federation.planner import RecipeInfo, make_plan
from policies.errors import InvalidInput
from policies.plan import Plan
from policies.protocols import ANSWER_STEP, check_protocol, leaks_of
from tests.federation.test_join_planner import plan as join_plan
from tests.policies.samples import PARTIES, contract, order, query_spec, train_spec

RECIPE = RecipeInfo("fraud", 1, 1000)
PLANS = [
    make_plan(order(spec), {name: {"orders": contract()} for name in PARTIES}, RECIPE, coordinator_country="DE")
    for spec in (query_spec(), train_spec(), train_spec(key_mode="holder"))
]
PLANS.append(join_plan(recipients=[{"id": "spiffe://acme.example/party/p1", "country": "DE"}]))


@pytest.mark.parametrize("plan", PLANS, ids=["query", "shared", "holder", "placed"])
def test_each_leak_that_is_left_out_is_missed(plan: Plan) -> None:
    rounds = next((step.max_count for step in plan.steps if step.name == "train"), 1)
    check_protocol(plan, rounds)
    for who, what in leaks_of(plan):
        silent = tuple(
            operator.model_copy(
                update={"leaks": tuple(leak for leak in operator.leaks if (leak.who, leak.what) != (who, what))}
            )
            for operator in plan.operators
        )
        with pytest.raises(InvalidInput, match=f"{who} learns {what}"):
            check_protocol(plan.model_copy(update={"operators": silent}), rounds)


def test_a_plan_that_gives_the_answer_to_one_side_says_so_and_opens_it_there_and_nowhere_else() -> None:
    plan = PLANS[-1]
    assert plan.join is not None
    check_protocol(plan, 1)
    elsewhere = plan.join.model_copy(update={"answer": "researcher"})
    with pytest.raises(InvalidInput, match="the researcher learns"):
        check_protocol(plan.model_copy(update={"join": elsewhere}), 1)
    other = plan.join.model_copy(update={"answer": "attributes" if plan.join.answer == "values" else "values"})
    with pytest.raises(InvalidInput, match="does not say that the join shows exact aggregate"):
        check_protocol(plan.model_copy(update={"join": other}), 1)
    silent = plan.model_copy(update={"steps": tuple(step for step in plan.steps if step.name != ANSWER_STEP)})
    with pytest.raises(InvalidInput, match="steps are not the protocol's"):
        check_protocol(silent, 1)
