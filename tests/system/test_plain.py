"""Flower's stock strategies, unchanged, between real parties, where and only where every contract allows plain."""

import numpy as np
import pytest

from examples.consortium import COORDINATOR
from federation.client import Researcher, TrainedModel
from tests.system.world import FIRMS, Followed, World, training

STRATEGIES = ("FedAvg", "FedAdam", "Krum")


def test_stock_strategies_train_where_contracts_allow_plain(world: World, rosa: Researcher) -> None:
    jobs = {
        name: Followed(rosa, training(dataset="open-payments", protection="plain", rounds=2, strategy=name))
        for name in STRATEGIES
    }
    models = {}
    for name, followed in jobs.items():
        followed.state("finished", 150)
        found = rosa.result(followed.job)
        assert isinstance(found, TrainedModel)
        assert np.isfinite(found.parameters).all()
        models[name] = found.parameters
        for party in FIRMS:
            rounds = [
                one.data["round"] for one in world.entries(party, followed.job) if one.data.get("step") == "train"
            ]
            assert rounds == [1, 2]
    assert len({model.tobytes() for model in models.values()}) == len(STRATEGIES)
    assert len({model.shape for model in models.values()}) == 1
    world.verify()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_plain_is_refused_where_a_contract_does_not_allow_it(world: World, rosa: Researcher, strategy: str) -> None:
    followed = Followed(rosa, training(protection="plain", rounds=2, strategy=strategy))
    reason = followed.state("refused")["reason"]
    assert "coordinator: " in reason
    assert "the contract wants every contribution encrypted" in reason
    for party in FIRMS:
        assert world.entries(party, followed.job) == [], "the coordinator refused before it asked a party"
    refusals = [one for one in world.entries(COORDINATOR, followed.job) if one.type.value == "refusal"]
    assert refusals
