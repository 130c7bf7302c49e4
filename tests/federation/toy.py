"""A toy model trained by stock Flower strategies, for the tests of grids, runner, worker and link.

The model is one vector; each party pulls it half way to its own target, which it derives from its node id.
FedAvg therefore ends near the mean of the targets.
"""

import random
import time
from collections.abc import Callable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, Krum, Strategy

PARTIES = ("merchant", "payments", "warehouse")
SIZE = 8

client = ClientApp()
server = ServerApp()
echo_server = ServerApp()


def target(node_id: int) -> float:
    """Where a party wants the model to be, between 0 and 1."""
    return (node_id % 1000) / 1000


@client.train()
def train(message: Message, context: Context) -> Message:
    """Move half way to the target."""
    record = message.content.array_records["arrays"]
    moved = {name: (array.numpy() + target(context.node_id)) / 2 for name, array in record.items()}
    reply = RecordDict(
        {
            "arrays": ArrayRecord(list(moved.values())),
            "metrics": MetricRecord({"num-examples": 10, "loss": float(np.mean(moved["0"]))}),
        }
    )
    return Message(reply, reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Report the distance from the target."""
    model = message.content.array_records["arrays"]["0"].numpy()
    away = float(np.abs(model - target(context.node_id)).mean())
    return Message(RecordDict({"m": MetricRecord({"num-examples": 10, "away": away})}), reply_to=message)


@client.query()
def echo(message: Message, context: Context) -> Message:
    """Reply with what came."""
    return Message(message.content, reply_to=message)


@client.query("boom")
def boom(message: Message, context: Context) -> Message:
    """Fail with a text that must never leave the node."""
    raise ValueError("row 17 of the payments table is 4711")


@client.query("sleep")
def sleep(message: Message, context: Context) -> Message:
    """Take longer than anybody waits."""
    time.sleep(60)
    return Message(message.content, reply_to=message)


@client.query("view")
def view(message: Message, context: Context) -> Message:
    """Say what is in the view and in the environment of the worker."""
    import os

    import pyarrow as pa

    with pa.memory_map(str(context.node_config["view"])) as source:
        rows = pa.ipc.open_file(source).read_all().num_rows
    seen = ConfigRecord({"rows": rows, "variables": sorted(os.environ), "home": os.environ["HOME"]})
    return Message(RecordDict({"seen": seen}), reply_to=message)


@client.query("count")
def count(message: Message, context: Context) -> Message:
    """Count calls in the state, which lives as long as the job."""
    before = context.state.metric_records.get("calls", MetricRecord({"n": 0}))["n"]
    calls = MetricRecord({"n": int(str(before)) + 1})
    context.state["calls"] = calls
    return Message(RecordDict({"calls": calls}), reply_to=message)


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "fedavg": lambda: FedAvg(min_available_nodes=3, min_train_nodes=3, min_evaluate_nodes=3),
    "fedadam": lambda: FedAdam(min_available_nodes=3, min_train_nodes=3, min_evaluate_nodes=3),
    "krum": lambda: Krum(num_malicious_nodes=0, min_available_nodes=3, min_train_nodes=3, min_evaluate_nodes=3),
}


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy that the run's configuration names."""
    random.seed(7)  # Flower samples the order of nodes, and Krum breaks ties by it
    strategy = STRATEGIES[str(context.run_config["strategy"])]()
    initial = ArrayRecord([np.zeros(SIZE)])
    result = strategy.start(grid, initial, num_rounds=int(context.run_config["rounds"]))
    context.state["model"] = result.arrays
    context.state["away"] = MetricRecord(
        {str(number): metrics["away"] for number, metrics in result.evaluate_metrics_clientapp.items()}
    )


@echo_server.main()
def echo_main(grid: Grid, context: Context) -> None:
    """Measure rounds of echo; one content goes to all."""
    seconds = []
    rng = np.random.default_rng(1)
    array = rng.integers(0, 255, int(context.run_config["bytes"]), np.uint8)
    for number in range(int(context.run_config["rounds"])):
        content = RecordDict({"a": ArrayRecord([array]), "c": ConfigRecord({"server-round": number})})
        started = time.perf_counter()
        messages = [Message(content, node, "query") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages, timeout=60))
        seconds.append(time.perf_counter() - started)
        for reply in replies:
            assert reply.content.array_records["a"]["0"].shape == array.shape
    context.state["seconds"] = MetricRecord({"rounds": seconds})
