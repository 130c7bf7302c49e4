"""Training in the clear with one of Flower's stock strategies, unchanged.

The coordinator reads every party's model: a contract must say `allow_plain`, and the plan names the leak.
"""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp, strategy

from federation.secure_rounds import RESULT, JobFrame
from inbond.errors import JobFailed
from inbond.records import vector_record

app = ServerApp()
STRATEGIES = (
    "FedAvg",
    "FedAdam",
    "FedAdagrad",
    "FedYogi",
    "FedAvgM",
    "FedMedian",
    "FedTrimmedAvg",
    "Krum",
    "MultiKrum",
)


def stock(name: str, parties: int) -> strategy.Strategy:
    """Flower's strategy called `name` over all parties; raises JobFailed for one that is not offered."""
    if name not in STRATEGIES:
        raise JobFailed(f"no strategy {name}", right=f"one of {', '.join(STRATEGIES)}")
    made: strategy.Strategy = getattr(strategy, name)(
        fraction_train=1.0,
        fraction_evaluate=1.0,
        min_train_nodes=parties,
        min_evaluate_nodes=parties,
        min_available_nodes=parties,
    )
    return made


def first_model(grid: Grid, frame: JobFrame) -> ArrayRecord:
    """The first model, from the first party by name (it is the same at all of them)."""
    ask = Message(
        RecordDict({"config": ConfigRecord({"server-round": 0})}),
        dst_node_id=frame.nodes[frame.leader],
        message_type="query.initial",
    )
    replies = list(grid.send_and_receive([ask], timeout=frame.timeout))
    if len(replies) != 1 or replies[0].has_error():
        raise JobFailed("no first model", where=frame.leader, right="a recipe with a model")
    return replies[0].content.array_records["arrays"]


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Flower's own loop."""
    frame = JobFrame.read(context)
    chosen = stock(str(context.run_config["strategy"]), len(frame.nodes))
    result = chosen.start(grid, first_model(grid, frame), frame.rounds, timeout=frame.timeout)
    if result.arrays is None:
        raise JobFailed("the strategy gave no model")
    if len(result.train_metrics_clientapp) < frame.rounds:  # a strategy goes on without the parties that failed
        raise JobFailed("not every round was trained", right="see the parties' logs")
    context.state[RESULT] = vector_record(result.arrays["model"].numpy())
    metrics = {str(number): dict(record) for number, record in result.evaluate_metrics_clientapp.items()}
    context.state["metrics"] = ConfigRecord({"text": str(metrics)})
