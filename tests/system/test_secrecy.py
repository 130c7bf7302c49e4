"""What the coordinator carries and keeps says nothing: no update, row, metric or result, in any encoding.

The same searches find everything in a plain job, so a search that finds nothing means something.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from examples.consortium import COORDINATOR
from federation.client import TrainedModel
from inbond.answers import Answer
from inbond.errors import InbondError
from inbond.node import Node
from parties.job_context import JobVault
from parties.store import PartyStore
from protocols import bfv
from protocols.params import PUBLIC_4096, SHARED_2048
from tests.system.capture import (
    HEADER,
    Capture,
    deviation,
    deviations_of_bits,
    found_number,
    found_vector,
    read_capture,
)
from tests.system.world import FIRMS, PURPOSE, SQL, Followed, World, training

UNLIKELY = 6.0  # standard deviations: chance of a false alarm about 1e-9 a figure


@dataclass
class Secrets:
    """What only parties and owner know of a job: read from their own homes."""

    job: str
    models: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    key: bytes = b""
    metrics: list[float] = field(default_factory=list)
    result: Any = None


def coordinators_files(world: World) -> list[Path]:
    """All that the coordinator keeps."""
    return [path for path in world.home(COORDINATOR).rglob("*") if path.is_file() and path.parent.name != "keys"]


def read_vault(world: World, party: str, known: Secrets) -> None:
    """Note the job key and the models that a party keeps sealed while the job runs."""
    node = Node.open(world.home(party), audit=False)
    folder = world.home(party) / "jobs" / known.job
    vault = JobVault(folder, node.keystore, known.job)
    for path in sorted(folder.glob("*.sealed")):
        try:
            content = vault.get(path.stem)
        except (InbondError, OSError):
            continue  # replaced while we looked
        if content is not None and path.stem.startswith("model-"):
            known.models[path.stem] = np.frombuffer(content, np.float32)
        elif content is not None and path.stem == "key":
            known.key = content


@pytest.fixture(scope="module")
def trained(world: World) -> Iterator[Secrets]:
    """An encrypted training, run to its end, with its secrets."""
    world.wait_links()
    with world.researcher() as rosa:
        followed = Followed(rosa, training())
        known = Secrets(followed.job)
        for number in range(1, 5):
            followed.step("train", number)
            read_vault(world, "p1", known)
        followed.state("finished")
        known.metrics = [value for event in followed.named("progress") for value in event["metrics"].values()]
        known.result = rosa.result(followed.job)
        yield known


@pytest.fixture(scope="module")
def plain(world: World) -> Iterator[Secrets]:
    """The same training in the clear, where the contracts allow it."""
    world.wait_links()
    with world.researcher() as rosa:
        followed = Followed(rosa, training(dataset="open-payments", protection="plain", rounds=2, strategy="FedAvg"))
        followed.state("finished")
        yield Secrets(followed.job, result=rosa.result(followed.job))


@pytest.fixture(scope="module")
def asked(world: World) -> Iterator[Secrets]:
    """An exact encrypted query."""
    world.wait_links()
    with world.researcher() as rosa:
        answer = rosa.query(SQL, purpose=PURPOSE, parties=list(FIRMS), minimum_parties=3)
        yield Secrets(answer.job, result=answer)


def captured(world: World, known: Secrets) -> tuple[Capture, bytes]:
    capture = read_capture(world.tap, known.job)
    return capture, capture.haystack(coordinators_files(world))


def group_sums(table: Any) -> dict[str, int]:
    """Country -> sum of the amounts, in cents."""
    sums = table.group_by("customer_country").aggregate([("amount_cents", "sum")]).to_pydict()
    return dict(zip(sums["customer_country"], map(int, sums["amount_cents_sum"]), strict=True))


def test_no_update_model_or_metric_of_an_encrypted_training_reaches_the_coordinator(
    world: World, trained: Secrets
) -> None:
    _, haystack = captured(world, trained)
    models = [trained.models[name] for name in sorted(trained.models)]
    assert len(models) >= 3, "the test must know the models between the rounds"
    assert isinstance(trained.result, TrainedModel)
    assert len(trained.metrics) >= 6, "the owner must have seen the metrics of several rounds"
    for model in [*models, *(after - before for before, after in itertools.pairwise(models))]:
        assert found_vector(haystack, model) == []
    assert found_vector(haystack, trained.result.parameters) == []
    own = [figures for party in FIRMS for figures in own_figures(world, party, trained.job)]
    assert len(own) >= 3, "each party must have figures of its own that nobody else may see"
    for value in [*trained.metrics, *trained.result.card["metrics"].values(), *own]:
        if isinstance(value, float) and value != round(value, 4):  # a short number would stand there by chance
            assert found_number(haystack, value) == []


def own_figures(world: World, party: str, job: str) -> list[float]:
    """The metrics of the joint model on one party's own data, which that party notes for its owner."""
    store = PartyStore(world.home(party))
    row = store.job(job)
    store.close()
    assert row is not None
    return [value for value in json.loads(row.summary)["own_metrics"].values() if isinstance(value, float)]


def test_no_row_reaches_the_coordinator(world: World, data: Path, trained: Secrets, asked: Secrets) -> None:
    for known in (trained, asked):
        _, haystack = captured(world, known)
        for party in FIRMS:
            table = pq.read_table(data / party / "payments.parquet")
            for column in ("tx_id", "t_seconds", "amount_cents", "customer_id"):
                values = table[column].to_numpy()
                assert found_vector(haystack, values) == [], f"{party}.{column}"
            for moment in table["t_seconds"].to_pylist()[:12]:
                assert found_number(haystack, int(moment)) == []


def test_no_group_value_of_a_query_reaches_the_coordinator(world: World, data: Path, asked: Secrets) -> None:
    _, haystack = captured(world, asked)
    answer = asked.result
    assert isinstance(answer, Answer)
    tables = [group_sums(pq.read_table(data / party / "payments.parquet")) for party in FIRMS]
    joint = {row["customer_country"]: int(row["cents"]) for row in answer.rows}
    assert joint == {country: sum(table.get(country, 0) for table in tables) for country in joint}, "exact, in cents"
    values = [value for table in (joint, *tables) for value in table.values() if value >= 10_000]
    assert len(values) > 15
    for value in values:
        assert found_number(haystack, value) == []


def test_the_same_search_finds_model_and_metrics_of_a_plain_job(world: World, plain: Secrets) -> None:
    capture, haystack = captured(world, plain)
    assert isinstance(plain.result, TrainedModel)
    assert "<f4" in found_vector(haystack, plain.result.parameters)
    for _party, body in capture.replies("train", 1).items():
        assert found_vector(haystack, np.frombuffer(body[1], np.float32)) == ["<f4"]


def test_ciphertext_words_on_the_wire_are_uniform(world: World, trained: Secrets, asked: Secrets) -> None:
    training_, query = read_capture(world.tap, trained.job), read_capture(world.tap, asked.job)
    for number in range(1, 5):
        contributions = training_.contributions("train", number)
        assert sorted(contributions) == list(FIRMS)
        for blob in contributions.values():
            words = np.frombuffer(blob, np.uint8)[HEADER:]
            assert len(words) > 6 * SHARED_2048.degree
            assert abs(deviation(words)) < UNLIKELY
    for blob in query.contributions("query.release").values():
        # the top octet of a word below a 40-bit prime is uniform to 2**-23
        assert PUBLIC_4096.word_bytes == 5
        assert abs(deviation(np.frombuffer(blob, np.uint8)[HEADER:])) < UNLIKELY


def test_to_the_holder_of_the_key_one_contribution_is_uniform_and_only_the_sum_is_not(
    world: World, trained: Secrets
) -> None:
    """The strongest reader there is: it has the coordinator's capture and the job key of a party."""
    assert trained.key, "the job key of p1's vault"
    decryptor = bfv.Decryptor(SHARED_2048, trained.key)
    contributions = read_capture(world.tap, trained.job).contributions("train", 2)
    for blob in contributions.values():
        slots = decryptor.decrypt(bfv.add(SHARED_2048, [blob]))
        for figure in deviations_of_bits(slots, SHARED_2048.plain_bits):
            assert abs(figure) < UNLIKELY
    two = decryptor.decrypt(bfv.add(SHARED_2048, [contributions["p1"], contributions["p2"]]))
    assert all(abs(figure) < UNLIKELY for figure in deviations_of_bits(two, SHARED_2048.plain_bits))
    joint = decryptor.decrypt(bfv.add(SHARED_2048, list(contributions.values())))
    assert (joint[:, 0] == len(FIRMS)).all(), "the canary of each row: masks cancel in the full sum only"
    assert max(deviations_of_bits(joint, SHARED_2048.plain_bits)) > 100
