"""A planned query: parties and researcher come to the same layout from order, plan and contracts."""

from typing import Any

import numpy as np
import pytest

from federation.planner import make_plan
from inbond.joint_query import planned_query, release_spec
from inbond.roster import Roster
from policies.errors import InvalidInput
from policies.job import JobSpec
from policies.plan import Plan
from tests.policies.samples import PARTIES, contract, order, query_spec, train_spec


def planned(spec: JobSpec, **changes: Any) -> Plan:
    return make_plan(order(spec), {name: {"orders": contract(**changes)} for name in PARTIES})


def test_the_query_is_compiled_over_the_owners_of_the_plan() -> None:
    spec = query_spec()
    query = planned_query(spec, planned(spec), {"orders": contract()})
    assert query.sides[0].owners == PARTIES
    assert query.query.canonical_sql == planned(spec).sql
    assert not query.noised


def test_a_plan_with_noise_clamps() -> None:
    spec = query_spec(privacy={"mechanism": "laplace", "epsilon": 1.0})
    assert planned_query(spec, planned(spec), {"orders": contract()}).noised


def test_parameters_are_those_of_the_order() -> None:
    spec = query_spec(sql="SELECT COUNT(*) FROM orders WHERE country = $land", parameters={"land": "DE"})
    query = planned_query(spec, planned(spec), {"orders": contract()})
    assert list(query.sides[0].fragment.parameters.values()) == ["DE"]
    other = query_spec(sql=spec.sql, parameters={"land": "FR"})
    assert planned_query(other, planned(other), {"orders": contract()}).agreed() != query.agreed()


def test_owners_whose_contracts_differ_only_in_words_agree() -> None:
    spec = query_spec()
    plan = planned(spec)
    mine, yours = contract(), contract(controller="Somebody else", minimum_group=50)
    agreed = {planned_query(spec, plan, {"orders": one}).agreed() for one in (mine, yours)}
    assert len(agreed) == 1


def test_a_training_has_no_query_and_a_missing_contract_is_told() -> None:
    spec = query_spec()
    with pytest.raises(InvalidInput, match="has no SQL"):
        planned_query(train_spec(), planned(spec), {"orders": contract()})
    with pytest.raises(InvalidInput, match="no dataset `orders`"):
        planned_query(spec, planned(spec), {})


def test_the_released_sum_is_bound_to_the_query_and_to_what_is_hidden() -> None:
    spec = query_spec()
    plan = planned(spec)
    query = planned_query(spec, plan, {"orders": contract()})
    keys = {name: bytes([index]) * 32 for index, name in enumerate(PARTIES, 1)}
    roster = Roster({name: f"spiffe://acme.example/party/{name}" for name in PARTIES}, keys, "ab" * 32)
    nothing, one = np.zeros(query.shape, np.bool_), np.zeros(query.shape, np.bool_)
    one[0, 0] = True
    digests = {release_spec(query, "job", plan, roster, hidden).digest() for hidden in (nothing, one)}
    assert len(digests) == 2
    assert release_spec(query, "job", plan, roster, nothing).exact == query.shape[0] * query.shape[1]
