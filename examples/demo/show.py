"""What every chapter of the demo works with, and how it runs one job and remembers its cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.consortium import Consortium
from examples.demo.stage import Stage, Work
from federation.client import Researcher, Result, TrainedModel, step_count
from inbond.answers import Answer
from inbond.console import size
from policies.job import JobSpec

STEPS = {
    "query.start": "roster",
    "query.census": "joint census",
    "evaluate": "evaluation",
    "query.join": "join",
    "query.count": "group counts",
    "query.release": "release",
    "query.finish": "result",
}
Heard = Callable[[dict[str, Any], Work], None]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one job cost: seconds from submission to the opened result, bytes on the links, epsilon per party."""

    name: str
    job: str
    seconds: float
    to_parties: int
    from_parties: int
    epsilon: float


@dataclass(slots=True)
class Show:
    """The consortium on stage. `tables` holds all parties' tables; `real` says that they are the public data."""

    stage: Stage
    consortium: Consortium
    researcher: Researcher
    tables: Path
    real: bool
    costs: list[Cost] = field(default_factory=list)

    def run(self, spec: JobSpec, heard: Heard = lambda _event, _work: None) -> Result:
        """Submit a job, follow it with a bar, open its result. `heard` is told every event.

        Raises Refused, JobFailed or PeerViolation.
        """
        started = time.monotonic()
        job = self.researcher.submit(spec)
        with self.stage.work(f"job {spec.name}", step_count(self.researcher.status(job))) as work:
            for event in self.researcher.watch(job):
                if event["event"] == "step":
                    moved = size(event["bytes_to_parties"] + event["bytes_from_parties"])
                    work.step(f"{STEPS.get(event['step'], 'round ' + str(event['round']))}, {moved}")
                heard(event, work)
            self.researcher.wait(job)
            result = self.researcher.result(job)
        self._remember(spec, job, time.monotonic() - started)
        return result

    def trained(self, spec: JobSpec, heard: Heard) -> TrainedModel:
        """Run a training job; the model."""
        model = self.run(spec, heard)
        assert isinstance(model, TrainedModel)
        return model

    def answered(self, spec: JobSpec) -> Answer:
        """Run a query; the answer."""
        answer = self.run(spec)
        assert isinstance(answer, Answer)
        return answer

    def _remember(self, spec: JobSpec, job: str, seconds: float) -> None:
        view = self.researcher.status(job)
        epsilon = spec.privacy.epsilon or 0.0
        self.costs.append(Cost(spec.name, job, seconds, view.bytes_to_parties, view.bytes_from_parties, epsilon))
