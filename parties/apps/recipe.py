"""The worker's half of training, as a Flower ClientApp: one recipe bound to this party's permitted view.

It learns its own rows, the joint census and the joint model of each round. What it returns goes to this party's own
agent, which clips, masks and encrypts it: nothing here can reach another party.
"""

from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from inbond.flower import record_of
from inbond.records import vector, vectors, view
from parties.apps.view import job_settings, job_view
from parties.recipes.base import LocalTask, Recipe
from parties.recipes.registry import find_recipe

app = ClientApp()


class _Bound:
    """The recipe on the view, built at the first message; one process serves one job."""

    recipe: Recipe[Any] | None = None
    task: LocalTask | None = None


def _bound(context: Context) -> tuple[Recipe[Any], LocalTask]:
    if _Bound.recipe is None or _Bound.task is None:
        settings = job_settings(context)
        recipe = find_recipe(settings["recipe"], settings["version"])
        parameters = recipe.parse(settings["parameters"])
        _Bound.recipe, _Bound.task = recipe, recipe.bind(job_view(context), parameters, int(settings["seed"]))
    return _Bound.recipe, _Bound.task


def _task(context: Context) -> LocalTask:
    return _bound(context)[1]


@app.query("census")
def census(message: Message, context: Context) -> Message:
    """Exact additive statistics before the first round."""
    return Message(vectors(exact=_task(context).census()), reply_to=message)


@app.query("begin")
def begin(message: Message, context: Context) -> Message:
    """Take the joint census; reply with the common first model and this party's example count."""
    task = _task(context)
    task.begin(vector(message.content, "exact"))
    content = vectors(model=task.initial())
    content["facts"] = ConfigRecord({"examples": task.examples})
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round: the local model, and the statistics of the joint model on this party's test rows."""
    task, model = _task(context), vector(message.content, "model")
    trained = task.train(model, int(str(message.content.config_records["facts"]["round"])))
    return Message(vectors(model=trained, exact=task.evaluate(model)), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """The joint model's statistics on this party's test rows."""
    return Message(vectors(exact=_task(context).evaluate(vector(message.content, "model"))), reply_to=message)


@app.evaluate("baselines")
def baselines(message: Message, context: Context) -> Message:
    """The same statistics for the naive forecast and for a model trained on this party's rows alone."""
    return Message(vectors(exact=_task(context).baselines()), reply_to=message)


# A plain job speaks Flower's own content: what its stock strategies send and expect.


@app.query("initial")
def initial(message: Message, context: Context) -> Message:
    """The first model of a plain job."""
    task = _begun(context)
    return Message(RecordDict({"arrays": record_of("model", task.initial())}), reply_to=message)


@app.train("plain")
def train_plain(message: Message, context: Context) -> Message:
    """One round of a plain job: the local model and the example count, in the clear."""
    task = _begun(context)
    content = message.content
    round_ = int(str(content.config_records["config"]["server-round"]))
    trained = task.train(_model(content), round_)
    reply = RecordDict({"arrays": record_of("model", trained)})
    reply["metrics"] = MetricRecord({"num-examples": task.examples})
    return Message(reply, reply_to=message)


@app.evaluate("plain")
def evaluate_plain(message: Message, context: Context) -> Message:
    """This party's metrics of a plain job's model."""
    task = _begun(context)
    statistics = task.evaluate(_model(message.content))
    metrics = MetricRecord({**_bound(context)[0].metrics(statistics), "num-examples": task.examples})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _model(content: RecordDict) -> NDArray[np.float32]:
    """The model that a stock strategy sends; some, FedAdam for one, leave it in float64."""
    return np.ascontiguousarray(view(content.array_records["arrays"]["model"]), np.float32)


class _Own:
    begun = False


def _begun(context: Context) -> LocalTask:
    """The task, standardised with this party's own census, since a plain job has no joint one."""
    task = _task(context)
    if not _Own.begun:
        task.begin(task.census())
        _Own.begun = True
    return task
