"""Encrypted federated averaging as a Flower ServerApp: the runner only ever adds ciphertexts.

Flower's round loop is used as it is; the "model" that travels through it is the encrypted sum of the last round,
which the parties open and step with. The runner learns the plan, sizes and timing, nothing of the model.
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from federation.secure_rounds import SUM, JobFrame, SecureRounds, finish
from inbond.records import blob_record, octets
from protocols.params import SHARED_2048

app = ServerApp()


class SecureFedAvg(Strategy):
    """FedAvg over sums that nobody here can open: weighting, averaging and stepping happen at the parties.

    McMahan et al. 2017 gives the average; each party scales its update by its share of the joint example count,
    which the parties know from the census, so the plain sum of contributions is the weighted mean.
    """

    def __init__(self, rounds: SecureRounds) -> None:
        self._rounds = rounds

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The last encrypted sum to every party."""
        del config, grid
        return self._rounds.to_all("train", RecordDict({SUM: arrays}), server_round)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the contributions of all parties; an incomplete round ends the job."""
        del server_round
        return blob_record(self._rounds.add(self._rounds.complete(replies), SHARED_2048)), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: metrics travel inside the encrypted sums."""
        del server_round, arrays, config, grid
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing to aggregate."""
        del server_round, replies
        return None

    def summary(self) -> None:
        """Nothing to say: the plan says it."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Roster, census, rounds, final metrics, result."""
    frame = JobFrame.read(context)
    rounds = SecureRounds(grid, frame)
    census, _ = rounds.ask("query.census", rounds.start(), SHARED_2048)
    result = SecureFedAvg(rounds).start(grid, blob_record(census), frame.rounds, timeout=frame.timeout)
    last = {name: RecordDict({SUM: result.arrays}) for name in frame.nodes}
    final, _ = rounds.ask("evaluate", last, SHARED_2048)
    answers = rounds.replies(rounds.to_all("query.finish", RecordDict({SUM: blob_record(final)})))
    finish(context, octets(answers[frame.leader], "result", "box"), answers)
