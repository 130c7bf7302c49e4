"""An encrypted joint query as a Flower ServerApp: sums, none of which opens here.

Where two sides are joined, the parties first exchange sealed mail, round after round, until each of them holds its
additive share of the joined table; the rest is the same for all queries. First the group counts, under the parties'
own job key: the parties decide together which groups are large enough. Then the values of those groups, under the
researcher's key, or as sealed shares for the parties that read the answer. The runner learns the plan (the SQL is in
it), sizes and timing.
"""

from collections.abc import Mapping

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from federation.secure_rounds import SUM, JobFrame, SecureRounds, finish
from inbond.records import FROM, TO, blob_record
from policies.protocols import ANSWER_STEP, JOIN_ROUNDS
from protocols.params import PUBLIC_4096, SHARED_2048

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Roster, counts, release."""
    frame = JobFrame.read(context)
    rounds = SecureRounds(grid, frame)
    contents = rounds.start()
    if frame.joined:
        contents = _exchanged(rounds, contents)
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
    mail = {name: content for name, content in _delivered(answers).items() if content.array_records}
    rounds.replies([rounds.message(name, ANSWER_STEP, content) for name, content in mail.items()], mail)


def _exchanged(rounds: SecureRounds, contents: Mapping[str, RecordDict]) -> dict[str, RecordDict]:
    """Carry the mail of all rounds of a join; the first round brings the roster, the last one empty hands."""
    for round_ in range(1, JOIN_ROUNDS + 1):
        asked = [rounds.message(name, "query.join", content, round_) for name, content in contents.items()]
        contents = _delivered(rounds.replies(asked))
    return dict(contents)


def _delivered(answers: Mapping[str, RecordDict]) -> dict[str, RecordDict]:
    """Every party's sealed mail, put into what its addressees are sent next."""
    boxes: dict[str, RecordDict] = {name: RecordDict() for name in answers}
    for sender, answer in answers.items():
        for record, box in answer.array_records.items():
            reader = record.removeprefix(TO)
            if record.startswith(TO) and reader in boxes:
                boxes[reader][FROM + sender] = box
    return boxes
