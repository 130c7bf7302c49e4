"""Plans, and the whole way from an order to the decision of a party."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from federation.planner import RecipeInfo, make_plan
from policies.bundle import load_baseline
from policies.canonical import canonical
from policies.contract import DataContract, Use
from policies.engine import Engine
from policies.errors import InvalidInput
from policies.facts import Requester, admission_facts
from policies.job import JobOrder, JobSpec
from policies.plan import LeakKind, Plan, PlanNoise, Role, load_plan
from policies.request import Decision
from tests.policies.samples import (
    NOW,
    PARTIES,
    REQUESTER,
    SQL,
    contract,
    membership,
    order,
    query_spec,
    train_spec,
)

ENGINE = Engine(load_baseline())
RECIPE = RecipeInfo("fraud", 1, 1_000_000, (("amount", Use.FEATURE), ("paid", Use.LABEL)), seconds_per_round=2.0)


def contracts(**changes: Any) -> dict[str, DataContract]:
    return {
        name: contract(jurisdiction=land, **changes) for name, land in zip(PARTIES, ("DE", "FR", "NO"), strict=True)
    }


def planned(signed: JobOrder, held: Mapping[str, DataContract], *recipe: RecipeInfo, **more: Any) -> Plan:
    """The plan over one table of each party."""
    return make_plan(signed, {name: {one.dataset: one} for name, one in held.items()}, *recipe, **more)


def decide(signed: JobOrder, plan: Plan, held: DataContract, party: str = "p1", **changes: Any) -> Decision:
    given: dict[str, Any] = {"party": party, "requester": REQUESTER, "membership": membership(), "now": NOW}
    facts = admission_facts(signed, plan, held, **(given | changes))
    return ENGINE.decide(facts.requests, facts.entities)


def refused_by(decision: Decision) -> set[str]:
    assert not decision.permitted
    assert decision.errors == ()
    return set(decision.determining)


def test_a_query_is_planned_with_its_leaks_and_permitted_by_every_party() -> None:
    signed, held = order(), contracts()
    plan = planned(signed, held)
    learned = {(leak.who, leak.what) for leak in plan.leaks()}
    assert learned == {
        (Role.COORDINATOR, LeakKind.SIZES_AND_TIMING),
        (Role.PARTY, LeakKind.GROUP_COUNTS),
        (Role.RESEARCHER, LeakKind.GROUP_COUNTS),
        (Role.RESEARCHER, LeakKind.EXACT_AGGREGATE),
    }
    assert {(reader.country, reader.object) for reader in plan.readers} >= {("NO", LeakKind.GROUP_COUNTS)}
    for party, one in held.items():
        assert decide(signed, plan, one, party).permitted


def test_in_training_every_trainer_is_a_reader_of_the_model() -> None:
    signed, held = order(train_spec()), contracts()
    plan = planned(signed, held, RECIPE)
    models = {(reader.id, reader.country) for reader in plan.readers if reader.object is LeakKind.JOINT_MODEL}
    assert {("spiffe://acme.example/party/p3", "NO"), (REQUESTER.id, "DE")} <= models
    assert decide(signed, plan, held["p1"]).permitted
    narrow = contracts(recipients={"countries": ["DE", "FR"]})
    assert refused_by(decide(signed, planned(signed, narrow, RECIPE), narrow["p1"])) == {"residency"}


def test_training_costs_what_the_packing_measures() -> None:
    plan = planned(order(train_spec()), contracts(), RECIPE)
    by_id = {operator.id: operator for operator in plan.operators}
    assert 3 * 3.0e6 < by_id["round"].up_bytes < 3 * 3.1e6  # about three bytes a parameter and round
    assert by_id["round"].seconds > 6
    assert [(s.name, s.first, s.max_count) for s in plan.steps if s.name == "train"] == [("train", 1, 3)]


def test_the_strictest_contract_sets_group_parties_and_noise() -> None:
    held = contracts(minimum_parties=2)
    assert planned(order(), held).minimum_parties == 2
    held["p2"] = contract(minimum_group=50, minimum_parties=3)
    required = {"mode": "required", "epsilon": 0.5}
    held["p3"] = contract(noise=required, budget={"epsilon": 5}, max_rows_per_subject=1)
    plan = planned(order(), held)
    assert (plan.minimum_group, plan.minimum_parties) == (50, 3)
    assert plan.noise == PlanNoise(mechanism="laplace", epsilon=0.5)
    assert LeakKind.EXACT_AGGREGATE not in {leak.what for leak in plan.leaks()}
    assert decide(order(), plan, held["p3"], "p3").permitted


def test_a_plan_survives_its_own_json() -> None:
    plan = planned(order(), contracts())
    again = load_plan(canonical(plan.payload()).decode())
    assert (again, again.digest()) == (plan, plan.digest())


def test_a_plain_job_names_the_coordinator_as_a_reader_and_needs_every_owners_word() -> None:
    signed = order(train_spec(protection="plain"))
    with pytest.raises(InvalidInput, match="its country is not known"):
        planned(signed, contracts(), RECIPE)
    plan = planned(signed, contracts(), RECIPE, coordinator_country="DE")
    assert {"protection", "output-kind", "coordinator-content"} <= refused_by(decide(signed, plan, contract()))
    open_ = contracts(allow_plain=True)
    assert decide(signed, planned(signed, open_, RECIPE, coordinator_country="DE"), open_["p1"]).permitted
    abroad = planned(signed, open_, RECIPE, coordinator_country="US")
    assert refused_by(decide(signed, abroad, open_["p1"])) == {"residency"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parties": ["p1", "p2", "p33"]}, "did you mean `p3`?"),
        ({"dataset": "stock"}, "no party offers dataset `stock`"),
        ({"recipients": [{"id": "spiffe://acme.example/user/max", "country": "DE"}]}, "holds the result key"),
        ({"sql": SQL.replace("amount", "amuont")}, "did you mean `amount`?"),
        ({"sql": SQL.replace("orders WHERE", "other WHERE")}, "no dataset `other`"),
        ({"sql": SQL.replace("country,", "customer,")}, "neither grouped by"),
    ],
)
def test_what_cannot_be_planned_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        planned(order(query_spec(**changes)), contracts())
    assert told in str(caught.value)


def test_parties_must_hold_the_same_kind_of_table() -> None:
    held = contracts()
    with pytest.raises(InvalidInput, match="different kinds of table"):
        planned(order(), held | {"p2": contract(schema_name="stock/1")})
    country = {"type": "text", "class": "public", "uses": ["group"], "domain": ["DE"]}
    columns = {
        "country": country,
        "amount": {"type": "money", "class": "public", "uses": ["aggregate", "filter"]},
    }
    with pytest.raises(InvalidInput, match="another domain at `p2`"):
        planned(order(), held | {"p2": contract(columns=columns)})


def test_bounds_may_differ_until_they_are_what_the_answer_is_cut_by() -> None:
    wider = {name: column.model_dump(by_alias=True) for name, column in contract().columns.items()}
    wider["amount"]["bounds"] = (0, 900)
    held = contracts() | {"p2": contract(jurisdiction="FR", columns=wider)}
    signed = order()
    assert decide(signed, planned(signed, held), held["p2"], "p2").permitted
    cut = order(query_spec(sql="SELECT MAX(amount) AS m FROM orders"))
    with pytest.raises(InvalidInput, match="column `amount` has another bounds at `p2`"):
        planned(cut, held)


def test_a_plan_shows_every_condition_and_every_table_and_is_refused_without_them() -> None:
    signed = order(query_spec(sql="SELECT COUNT(*) AS n FROM orders JOIN refunds USING (items) WHERE orders.paid"))
    tables = {name: {dataset: contract(dataset=dataset) for dataset in ("orders", "refunds")} for name in PARTIES}
    plan = make_plan(signed, tables)
    assert [(one.dataset, one.condition) for one in plan.pushed] == [("orders", '"orders"."paid"')]
    assert plan.datasets() == ("orders", "refunds")
    held, brought = tables["p1"]["refunds"], tables["p1"]
    assert decide(signed, plan, held, contracts=brought).permitted
    for forged in ({"pushed": ()}, {"columns": plan.columns[1:]}):
        assert "binding" in refused_by(decide(signed, plan.model_copy(update=forged), held, contracts=brought))


def test_a_training_whose_sums_only_the_owner_opens_says_so() -> None:
    plan = planned(order(train_spec(key_mode="holder")), contracts(), RECIPE, coordinator_country="DE")
    assert plan.protection.parameters["key_mode"] == "holder"
    assert (Role.RESEARCHER, LeakKind.JOINT_UPDATE) in {(leak.who, leak.what) for leak in plan.leaks()}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (query_spec(protection="plain"), "never answered in the clear"),
        (train_spec(privacy={"mechanism": "gaussian", "epsilon": 1, "delta": 1e-6}), "noise on training"),
    ],
)
def test_what_no_protocol_runs_is_not_planned(spec: JobSpec, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        planned(order(spec), contracts(), RECIPE, coordinator_country="DE")


def test_a_recipe_must_be_installed_and_find_its_columns() -> None:
    with pytest.raises(InvalidInput, match="`fraud/1` is not installed"):
        planned(order(train_spec()), contracts(), RecipeInfo("fraud", 2, 10))
    with pytest.raises(InvalidInput, match="uses column `age`"):
        planned(order(train_spec()), contracts(), RecipeInfo("fraud", 1, 10, (("age", Use.FEATURE),)))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"requester": Requester("spiffe://acme.example/user/rosa", ("officer",))}, "role"),
        ({"requester": Requester("spiffe://acme.example/user/max")}, "binding"),
        ({"membership": membership(users=frozenset())}, "membership"),
        ({"membership": membership(parties=frozenset({"p1", "p2"}))}, "membership"),
        ({"now": contract().expires + timedelta(days=1)}, "contract-expiry"),
        ({"now": NOW + timedelta(hours=2)}, "validity"),
        ({"now": NOW - timedelta(hours=2)}, "validity"),
        ({"party": "p9"}, "binding"),
    ],
)
def test_facts_come_from_who_when_and_where_not_from_the_plan(changes: dict[str, Any], rule: str) -> None:
    signed, held = order(), contracts()
    assert rule in refused_by(decide(signed, planned(signed, held), held["p1"], **changes))


@pytest.mark.parametrize(
    "forged",
    [
        {"job": "00" * 32},
        {"purpose": "dpv:Advertising"},
        {"columns": ()},
        {"dataset": "stock"},
    ],
)
def test_a_plan_that_does_not_say_what_was_ordered_is_not_bound(forged: dict[str, Any]) -> None:
    signed, held = order(), contracts()
    plan = planned(signed, held).model_copy(update=forged)
    assert "binding" in refused_by(decide(signed, plan, held["p1"]))


def test_a_plan_is_bound_to_the_contract_and_its_readers_to_the_order() -> None:
    signed, held = order(), contracts()
    plan = planned(signed, held)
    assert "binding" in refused_by(decide(signed, plan, contract(minimum_group=4)))
    for hidden in plan.readers:
        others = tuple(reader for reader in plan.readers if reader.id != hidden.id)
        unread = plan.model_copy(update={"readers": others})
        assert refused_by(decide(signed, unread, held["p1"])) == {"binding"}


def test_a_plan_carries_the_noise_that_was_ordered() -> None:
    signed = order(query_spec(privacy={"mechanism": "laplace", "epsilon": 1.0}))
    plan = planned(signed, contracts())
    assert decide(signed, plan, contract()).permitted
    for weaker in (PlanNoise(), PlanNoise(mechanism="laplace", epsilon=2.0)):
        forged = plan.model_copy(update={"noise": weaker})
        assert "binding" in refused_by(decide(signed, forged, contract()))


def test_a_column_whose_use_was_withdrawn_is_refused_by_the_policy_too() -> None:
    signed, held = order(), contracts()
    plan = planned(signed, held)
    columns = {name: column.model_dump(by_alias=True) for name, column in contract().columns.items()}
    columns["amount"]["uses"] = ["filter"]
    assert {"binding", "column-use"} == refused_by(decide(signed, plan, contract(columns=columns)))
