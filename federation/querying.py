"""An encrypted joint query as a Flower ServerApp: sums, none of which opens here.

Where two sides are joined, the parties first exchange sealed mail, turn after turn, until each of them holds its
additive share of the joined table; the rest is the same for all queries. First the group counts, under the parties'
own job key: the parties decide together which groups are large enough. Then the values of those groups, under the
researcher's key, or as sealed shares for the parties that read the answer. The runner learns the plan (the SQL is in
it), sizes and timing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from federation.exchange import Matching, addressed, exchange
from federation.secure_rounds import SUM, JobFrame, SecureRounds, finish
from inbond.records import FROM, blob_record
from policies.protocols import ANSWER_STEP
from protocols.params import PUBLIC_4096, SHARED_2048

if TYPE_CHECKING:
    from federation.grid import PartyGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Roster, the join where there is one, counts, release."""
    frame = JobFrame.read(context)
    rounds = SecureRounds(grid, frame)
    contents = rounds.start()
    if frame.joined:
        exchange(cast("PartyGrid", grid), rounds, Matching.read(context), contents)
        contents = {name: RecordDict() for name in frame.nodes}
    counts, _ = rounds.ask("query.count", contents, SHARED_2048)
    values = {name: RecordDict({SUM: blob_record(counts)}) for name in frame.nodes}
    if frame.placed:
        answers = rounds.replies(rounds.message(name, "query.release", content) for name, content in values.items())
        _hand_over(rounds, answers)
        finish(context, b"", answers)
        return
    released, answers = rounds.ask("query.release", values, PUBLIC_4096)
    finish(context, released, answers)


def _hand_over(rounds: SecureRounds, answers: Mapping[str, RecordDict]) -> None:
    """Carry every party's sealed share of the answer to its readers: those that have mail."""
    mail: dict[str, RecordDict] = {}
    for sender, answer in answers.items():
        for reader, box in addressed(answer, frozenset(answers)):
            mail.setdefault(reader, RecordDict())[FROM + sender] = box
    rounds.replies([rounds.message(name, ANSWER_STEP, content) for name, content in mail.items()], mail)
