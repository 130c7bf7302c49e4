"""A plain job at a party: Flower's own messages pass to the worker and back, where contract and policy allow it."""

from parties.job_context import JobContext
from parties.job_steps import JobSteps


class PlainJob(JobSteps):
    """The plain steps: the first model, one train and one evaluate per round."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        self.steps |= {
            "query.initial": lambda _round, content: self.call("query.initial", content),
            "train": lambda _round, content: self.call("train.plain", content),
            "evaluate": lambda _round, content: self.call("evaluate.plain", content),
        }
