"""Encrypted federated averaging as a Flower ServerApp: the runner only ever adds ciphertexts.

Flower's round loop is used as it is; the "model" that travels through it is the encrypted sum of the last round,
which the parties open and step with. The runner learns the plan, sizes and timing, nothing of the model.
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from federation.secure_rounds import JobFrame, SecureRounds, finish
from inbond.records import blob_record, octets

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
        step = "census" if server_round == 1 else "train"
        contents = self._rounds.carried(arrays, step, server_round - 1)
        return [self._rounds.message(name, "train", content, server_round) for name, content in contents.items()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the contributions of all parties; an incomplete round ends the job."""
        del server_round
        return blob_record(self._rounds.add(self._rounds.complete(replies), self._rounds.frame.params)), None

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
    census, _ = rounds.ask("query.census", rounds.start(), frame.params)
    result = SecureFedAvg(rounds).start(grid, blob_record(census), frame.rounds, timeout=frame.timeout)
    final, _ = rounds.ask("evaluate", rounds.carried(result.arrays, "train", frame.rounds), frame.params)
    contents = rounds.carried(blob_record(final), "evaluate")
    answers = rounds.replies(rounds.message(name, "query.finish", content) for name, content in contents.items())
    finish(context, octets(answers[frame.leader], "result", "box"), answers)
