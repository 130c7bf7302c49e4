"""The local task: one seed gives one model everywhere, and nothing works before the joint census is known."""

from typing import Any

import numpy as np
import pytest
import torch

from parties.recipes.base import Parameters, RecipeError
from parties.recipes.mlp import MlpTask, forward
from parties.recipes.scores import score_statistics
from parties.recipes.shape import Rows, initial_model, model_length


def task(rows: int = 400, seed: int = 1, data_seed: int = 5, **parameters: Any) -> MlpTask:
    rng = np.random.default_rng(data_seed)
    features = rng.normal(3, 2, (rows, 4))
    labels = (features[:, 0] + features[:, 1] > 6).astype(np.float32)
    half = rows // 2
    test = Rows.cut(features[half:], labels[half:])
    return MlpTask(
        train=Rows.cut(features[:half], labels[:half]),
        test=test,
        loss="logistic",
        parameters=Parameters(batch=32, **parameters),
        seed=seed,
        measure=lambda outputs: score_statistics(outputs, test.targets),
        naive=score_statistics(np.zeros(len(test.targets), np.float32), test.targets),
    )


def test_the_flat_model_is_weights_then_biases_layer_by_layer() -> None:
    flat = torch.arange(model_length(2), dtype=torch.float32) / 1000
    row = torch.tensor([[1.0, -2.0]])
    first, second = flat[: 64 * 3], flat[64 * 3 : 64 * 3 + 32 * 65]
    hidden = torch.relu(row @ first[:128].view(64, 2).T + first[128:])
    hidden = torch.relu(hidden @ second[:2048].view(32, 64).T + second[2048:])
    expected = hidden @ flat[-33:-1] + flat[-1]
    torch.testing.assert_close(forward(flat, row), expected)


def test_the_sizes_of_the_two_recipes() -> None:
    assert (model_length(26), model_length(31)) == (3841, 4161)


def test_the_initial_model_depends_on_the_seed_and_not_on_the_party() -> None:
    ours, theirs = task(data_seed=5).initial(), task(rows=90, data_seed=6).initial()
    assert ours.dtype == np.float32
    assert ours.tobytes() == theirs.tobytes()
    assert ours.tobytes() != task(seed=2).initial().tobytes()


def test_training_is_deterministic_and_differs_by_round() -> None:
    first, second = task(), task()
    for one in (first, second):
        one.begin(first.census())
    model = first.initial()
    before = model.copy()
    assert first.train(model, 1).tobytes() == second.train(model, 1).tobytes()
    assert first.train(model, 1).tobytes() != first.train(model, 2).tobytes()
    assert model.tobytes() == before.tobytes()


def test_training_learns() -> None:
    one = task(local_epochs=5)
    one.begin(one.census())
    model = one.initial()
    losses = []
    for round_number in (1, 2, 3):
        losses.append(int(one.evaluate(model)[1]))
        model = one.train(model, round_number)
    assert losses[0] > losses[1] > losses[2] > int(one.evaluate(model)[1])


def test_the_joint_census_standardises_both_parties_alike() -> None:
    """A party whose features are shifted sees the shift, which standardising alone would hide."""
    one = task()
    alone = one.census()
    one.begin(alone)
    own = one.evaluate(one.initial())
    shifted = alone.copy()
    shifted[0] *= 2
    one.begin(shifted)
    assert one.evaluate(one.initial()).tolist() != own.tolist()


def test_baselines_are_the_rule_of_thumb_and_the_model_trained_alone() -> None:
    one = task(solo_epochs=20)
    blocks = np.split(one.baselines(), 2)
    assert blocks[0].shape == blocks[1].shape
    assert blocks[1][1] < blocks[0][1]  # the loss of the trained model is the smaller one
    assert one.baselines().tolist() == np.concatenate(blocks).tolist()


def test_the_order_of_the_steps_is_kept() -> None:
    with pytest.raises(RecipeError, match="joint census is not known yet"):
        task().train(initial_model(4, 1), 1)


def test_a_census_without_our_rows_is_refused() -> None:
    one = task()
    total = one.census()
    total[0] -= 1
    with pytest.raises(RecipeError, match="fewer rows than this party has"):
        one.begin(total)


@pytest.mark.parametrize(
    "bad", [np.zeros(3, np.float32), np.zeros(model_length(4)), np.full(model_length(4), np.nan, np.float32)]
)
def test_a_model_of_another_shape_type_or_with_nan_is_refused(bad: Any) -> None:
    one = task()
    one.begin(one.census())
    for step in (lambda: one.train(bad, 1), lambda: one.evaluate(bad)):
        with pytest.raises(RecipeError, match="is not a model"):
            step()


def test_a_party_without_training_rows_is_told() -> None:
    with pytest.raises(RecipeError, match="no training rows"):
        task(rows=1)


def test_a_model_that_overflows_is_refused_not_counted() -> None:
    one = task()
    one.begin(one.census())
    with pytest.raises(RecipeError, match="not finite"):
        one.evaluate(np.full(model_length(4), 1e30, np.float32))
