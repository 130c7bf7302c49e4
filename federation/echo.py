"""The exchange alone, for a plain job whose recipe is `echo`: seconds per round, and a check of every reply.

Its result is the seconds of each round, from the content being ready until the last reply is in the app's hands: over
the link and back, with every decision and every durable entry of evidence on the way.
"""

import time

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from federation.plain import first_model
from federation.secure_rounds import RESULT, JobFrame
from inbond.errors import JobFailed
from inbond.flower import record_of
from inbond.records import vector_record

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Send an array to all parties in every round, time it, and compare what comes back."""
    frame = JobFrame.read(context)
    size = first_model(grid, frame)["model"].numpy().size
    seconds = [_round(grid, frame, np.full(size, number, np.float32), number) for number in range(1, frame.rounds + 1)]
    context.state[RESULT] = vector_record(np.array(seconds, np.float32))


def _round(grid: Grid, frame: JobFrame, sent: NDArray[np.float32], number: int) -> float:
    """Seconds of one round; raises JobFailed unless every party sends back what it got."""
    content = RecordDict({"arrays": record_of("model", sent)})
    content["config"] = ConfigRecord({"server-round": number})
    start = time.perf_counter()
    messages = [Message(content, dst_node_id=node, message_type="train") for node in frame.nodes.values()]
    replies = list(grid.send_and_receive(messages, timeout=frame.timeout))
    seconds = time.perf_counter() - start
    if len(replies) != len(frame.nodes) or any(reply.has_error() for reply in replies):
        raise JobFailed("a party did not answer", where=f"round {number}", right="see `inbond job status`")
    for reply in replies:
        if not np.array_equal(reply.content.array_records["arrays"]["model"].numpy(), sent):
            raise JobFailed("a party sent back something else", where=f"round {number}")
    return seconds
