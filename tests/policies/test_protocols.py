"""A plan that leaves out a leak of its own protocol is not followed."""

import pytest

from federation.planner import RecipeInfo, make_plan
from policies.errors import InvalidInput
from policies.plan import Plan
from policies.protocols import check_protocol, leaks_of
from tests.policies.samples import PARTIES, contract, order, query_spec, train_spec

RECIPE = RecipeInfo("fraud", 1, 1000)
PLANS = [
    make_plan(order(spec), {name: {"orders": contract()} for name in PARTIES}, RECIPE, coordinator_country="DE")
    for spec in (query_spec(), train_spec(), train_spec(key_mode="holder"))
]


@pytest.mark.parametrize("plan", PLANS, ids=["query", "shared", "holder"])
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
