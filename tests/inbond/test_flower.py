"""The one file that touches Flower's insides does what the rest relies on."""

import copy

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from inbond import flower
from inbond.errors import InbondError


def _instruction(content: RecordDict, group: str = "") -> Message:
    return flower.instruction(
        content, "train", run_id=7, node_id=99, message_id="m", group_id=group, created_at=1.0, ttl=1e12
    )


def test_an_instruction_made_here_carries_the_identity() -> None:
    flower.set_identity(42)
    message = Message(RecordDict(), 99, "train")
    assert (message.metadata.run_id, message.metadata.src_node_id) == (42, flower.SERVER_NODE_ID)
    flower.set_message_id(message, "abc")
    assert message.metadata.message_id == "abc"


def test_a_received_instruction_can_be_replied_to() -> None:
    reply = Message(RecordDict(), reply_to=_instruction(RecordDict()))
    assert reply.metadata.reply_to_message_id == "m"
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (99, flower.SERVER_NODE_ID)


@pytest.mark.parametrize(("group", "config", "wanted"), [("3", {}, 3), ("", {"server-round": 5}, 5), ("x", {}, 0)])
def test_the_round_is_found(group: str, config: dict[str, int], wanted: int) -> None:
    content = RecordDict({"config": ConfigRecord(config)})  # type: ignore[arg-type]  # int is one of Flower's kinds
    assert flower.round_of(_instruction(content, group)) == wanted


def test_node_ids_are_stable_63_bit_numbers() -> None:
    assert flower.node_id("warehouse") == flower.node_id("warehouse") != flower.node_id("payments")
    assert flower.SERVER_NODE_ID < flower.node_id("warehouse") < 2**63


def test_a_received_array_behaves_like_flowers_own() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    mine, theirs = flower.BufferArray("float32", (2, 3), memoryview(values.tobytes())), Array(values)
    assert mine == theirs
    assert theirs == mine
    assert mine.data == theirs.data
    assert copy.deepcopy(mine) == theirs
    assert ArrayRecord({"x": mine})["x"].object_id == theirs.object_id
    mine.data = Array(np.zeros(6, np.float32).reshape(2, 3)).data
    assert not mine.numpy().any()


def test_apps_are_found_by_entry_and_kind() -> None:
    assert isinstance(flower.load_app("tests.federation.toy:client", ClientApp), ClientApp)
    with pytest.raises(InbondError, match="is no ServerApp"):
        flower.load_app("tests.federation.toy:client", ServerApp)
    for entry in ("os", "no.such.module:app", ":", "tests.federation.toy:nothing"):
        with pytest.raises(InbondError, match="cannot be loaded"):
            flower.load_app(entry, ClientApp)
