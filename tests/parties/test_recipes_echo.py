"""The recipe `echo` reads nothing and returns what it gets; its job tells the seconds of each round."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp

from federation.echo import app
from federation.grid import InProcessGrid
from federation.secure_rounds import JOB, RESULT
from inbond import flower
from inbond.errors import JobFailed
from inbond.records import settings, vector
from parties.apps.view import job_view
from parties.recipes.base import RecipeError
from parties.recipes.echo import recipe
from policies.errors import InvalidInput

PARTIES = ("w1", "w2", "w3")
VALUES = 7
ROUNDS = 4
Answer = Callable[[Message], Message]


def same(message: Message) -> Message:
    """What an honest party answers."""
    return Message(RecordDict({"arrays": message.content.array_records["arrays"]}), reply_to=message)


def client(answer: Answer) -> ClientApp:
    """A party whose first model has VALUES zeros and whose rounds are `answer`."""
    made = ClientApp()

    @made.query("initial")
    def initial(message: Message, context: Context) -> Message:
        zeros = flower.array_of(np.zeros(VALUES, np.float32))
        return Message(RecordDict({"arrays": ArrayRecord({"model": zeros})}), reply_to=message)

    @made.train()
    def train(message: Message, context: Context) -> Message:
        return answer(message)

    return made


def run(answer: Answer) -> Context:
    """Run the ServerApp over parties of which the last one gives `answer`; its context afterwards."""
    apps = {name: client(same) for name in PARTIES[:-1]} | {PARTIES[-1]: client(answer)}
    config: UserConfig = {
        "rounds": ROUNDS,
        "timeout": 30.0,
        "strategy": "FedAvg",
        "owner_opens": False,
        "joined": False,
        "placed": False,
    }
    state = RecordDict({JOB: settings(parties=list(PARTIES), verdicts=[""] * len(PARTIES))})
    context = Context(run_id=1, node_id=flower.SERVER_NODE_ID, node_config={}, state=state, run_config=config)
    app(InProcessGrid(apps), context)
    return context


# the recipe


def test_it_reads_no_column_and_its_worker_finds_an_empty_view() -> None:
    assert recipe.columns == ()
    nothing = Context(run_id=1, node_id=16, node_config={}, state=RecordDict(), run_config={})
    assert job_view(nothing).num_columns == 0


def test_it_returns_the_model_it_got() -> None:
    task = recipe.bind(pa.table({}), recipe.parse({"values": VALUES}), 1)
    sent = np.arange(VALUES, dtype=np.float32)
    assert np.array_equal(task.train(sent, 1), sent)
    assert np.array_equal(task.initial(), np.zeros(VALUES))


def test_encrypted_it_counts_the_parties() -> None:
    parameters = recipe.parse({"values": VALUES})
    tasks = [recipe.bind(pa.table({}), parameters, 1) for _ in PARTIES]
    census = np.sum([task.census() for task in tasks], axis=0)
    for task in tasks:
        task.begin(census)
    total = np.sum([task.evaluate(task.initial()) for task in tasks], axis=0)
    assert recipe.statistics(parameters) == (len(census), len(total))
    assert recipe.model_size(parameters) == VALUES
    assert recipe.metrics(total) == {"parties": 3.0}
    assert recipe.baseline_metrics(tasks[0].baselines()) == {}


def test_a_census_that_is_no_sum_is_refused() -> None:
    with pytest.raises(RecipeError, match="is not a sum of statistics"):
        recipe.bind(pa.table({}), recipe.parse({}), 1).begin(np.zeros(2, np.int64))


@pytest.mark.parametrize("values", [0, 25_000_001, "many"])
def test_a_size_out_of_bounds_is_refused(values: object) -> None:
    with pytest.raises(InvalidInput, match="values"):
        recipe.parse({"values": values})


# the rounds


def test_the_result_is_the_seconds_of_each_round() -> None:
    seconds = vector(RecordDict({RESULT: run(same).state.array_records[RESULT]}), RESULT)
    assert seconds.shape == (ROUNDS,)
    assert seconds.dtype == np.float32
    assert (seconds > 0).all()


def test_a_party_that_sends_back_something_else_ends_the_job() -> None:
    def changed(message: Message) -> Message:
        array = flower.array_of(message.content.array_records["arrays"]["model"].numpy() + 1)
        return Message(RecordDict({"arrays": ArrayRecord({"model": array})}), reply_to=message)

    with pytest.raises(JobFailed, match="sent back something else"):
        run(changed)


def test_a_party_that_fails_ends_the_job() -> None:
    with pytest.raises(JobFailed, match="did not answer"):
        run(lambda message: Message(Error(1, "away"), reply_to=message))
