"""An encrypted joint query as a Flower ServerApp: two sums, neither of which opens here.

First the group counts, under the parties' own job key: the parties decide together which groups are large enough.
Then the values of those groups, under the researcher's key. The runner learns the plan (the SQL is in it), sizes
and timing.
"""

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from federation.secure_rounds import SUM, JobFrame, SecureRounds, finish
from inbond.records import blob_record
from protocols.params import PUBLIC_4096, SHARED_2048

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Roster, counts, release."""
    frame = JobFrame.read(context)
    rounds = SecureRounds(grid, frame)
    counts, _ = rounds.ask("query.count", rounds.start(), SHARED_2048)
    values = {name: RecordDict({SUM: blob_record(counts)}) for name in frame.nodes}
    released, answers = rounds.ask("query.release", values, PUBLIC_4096)
    finish(context, released, answers)
