"""Encrypted federated averaging at a party.

Who learns what: every trainer learns the joint census (example count and feature sums), the joint model and the
joint metrics of each round; none learns another's. The leader seals the metrics to the job's owner after each round
and the model at the end. The coordinator learns none of it.

State between rounds is the joint model, kept encrypted per round, so that a party killed in a round takes it up again.
"""

import hashlib
import json
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray
from safetensors.numpy import save

from inbond.model_card import watermark
from inbond.records import settings, vector, vectors
from parties.job_context import JobContext, Worker
from parties.recipes.base import Recipe
from parties.secure_job import SecureJob
from parties.sum_keys import SumKey
from protocols.errors import PeerViolation
from protocols.secure_sum import SumSpec

Model = NDArray[np.float32]


class TrainingJob(SecureJob):
    """The training steps: census, train (one per round), evaluate, finish."""

    def __init__(self, context: JobContext, recipe: Recipe[Any]) -> None:
        super().__init__(context)
        assert context.order.spec.recipe is not None and context.order.spec.rounds is not None  # noqa: S101, PT018 - the order's validator says so
        self._rounds = context.order.spec.rounds
        parameters = recipe.parse(context.order.spec.recipe.parameters)
        self._recipe = recipe
        self.shares_key = context.order.spec.key_mode == "shared"
        self.key: SumKey = self.shared_key if self.shares_key else self.owners_key
        self._size, self._clip = recipe.model_size(parameters), recipe.clip(parameters)
        self._census_size, self._metric_size = recipe.statistics(parameters)
        self._examples = 0
        self.steps |= {
            "query.census": self._census,
            "train": self._train,
            "evaluate": self._evaluate,
            "query.finish": self._finish,
        }

    # what is summed at each step; all parties must describe it alike

    def _spec(self, step: str, round_: int, *, reals: int, exact: int, context: bytes) -> SumSpec:
        return self.session.spec(
            step, round_, reals=reals, exact=exact, clip=self._clip, params=self.key.params.name, context=context
        )

    def _census_spec(self) -> SumSpec:
        return self._spec("census", 0, reals=0, exact=self._census_size, context=b"")

    def _round_spec(self, round_: int, model: Model) -> SumSpec:
        return self._spec("train", round_, reals=self._size, exact=self._metric_size, context=model.tobytes())

    def _final_spec(self, model: Model) -> SumSpec:
        return self._spec(
            "evaluate",
            0,
            reals=0,
            exact=(1 + len(self._recipe.baselines)) * self._metric_size,
            context=model.tobytes(),
        )

    # steps

    def _census(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        self.confirm(content)
        exact = vector(self.call("query.census", RecordDict()), "exact")
        return self.contribution(self.key, self._census_spec(), exact)

    def _train(self, round_: int, content: RecordDict) -> RecordDict:
        if not 1 <= round_ <= self._rounds:
            raise PeerViolation(f"round {round_} is not in the plan", where="train")
        model, metrics = self._advance(round_, content)
        message = vectors(model=model)
        message["facts"] = settings(round=round_)
        answer = self.call("train", message)
        update = (vector(answer, "model") - model) * np.float32(self._share())
        reply = self.contribution(self.key, self._round_spec(round_, model), vector(answer, "exact"), update)
        reply["progress"] = settings(box=self._progress(round_ - 2, metrics))
        return reply

    def _evaluate(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        model, metrics = self._advance(self._rounds + 1, content)
        own = vector(self.call("evaluate", vectors(model=model)), "exact")
        alone = vector(self.call("evaluate.baselines", RecordDict()), "exact")
        self.context.note(own_metrics=self._recipe.metrics(own), own_baselines=self._recipe.baseline_metrics(alone))
        reply = self.contribution(self.key, self._final_spec(model), np.concatenate([own, alone]))
        reply["progress"] = settings(box=self._progress(self._rounds - 1, metrics))
        return reply

    def _finish(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        model = self._kept(self._rounds)
        total = self.key.open(self._final_spec(model), content).exact
        joint = self._recipe.metrics(total[: self._metric_size])
        alone = self._recipe.baseline_metrics(total[self._metric_size :])
        digest = hashlib.sha256(model.tobytes()).hexdigest()
        self.context.note(joint_metrics=joint, model_sha256=digest)
        reply = RecordDict({"receipt": self.receipt(model=digest, metrics=_digest(joint))})
        box = self.seal("result", self._package(model, joint, alone)) if self.leads else b""
        reply["result"] = settings(box=box)
        return reply

    # state

    def _advance(self, round_: int, content: RecordDict) -> tuple[Model, dict[str, float]]:
        """The joint model before `round_`, from the sum that the step carries, and that sum's metrics."""
        if round_ == 1:
            total = self.key.open(self._census_spec(), content).exact
            self.context.vault.put("census", total.tobytes())
            self._begin(self.worker())
            return self._kept(0), {}
        before = self._kept(round_ - 2)
        result = self.key.open(self._round_spec(round_ - 1, before), content)
        model = before + result.reals
        self.context.vault.put(f"model-{round_ - 1}", model.tobytes())
        self.context.vault.drop(f"model-{round_ - 4}")
        return model, self._recipe.metrics(result.exact)

    def _kept(self, round_: int) -> Model:
        kept = self.context.vault.get(f"model-{round_}")
        if kept is None:
            raise PeerViolation("a round came before the one it builds on", where="train")
        return np.frombuffer(kept, np.float32)

    def worker(self) -> Worker:
        """The worker; a fresh one is first told the joint census, when that is known."""
        if self._worker is None:
            fresh = super().worker()
            if self.context.vault.get("census") is not None:
                self._begin(fresh)
        return super().worker()

    def _begin(self, worker: Worker) -> None:
        total = self._total()
        answer = worker.call("query.begin", vectors(exact=total), timeout=self.context.step_seconds)
        self._examples = int(str(answer.config_records["facts"]["examples"]))
        if self.context.vault.get("model-0") is None:
            self.context.vault.put("model-0", np.ascontiguousarray(vector(answer, "model"), np.float32).tobytes())

    def _total(self) -> NDArray[np.int64]:
        kept = self.context.vault.get("census")
        if kept is None:
            raise PeerViolation("a round came before the census", where="train")
        return np.frombuffer(kept, np.int64)

    def _share(self) -> float:
        """This party's share of all examples: the weight of its update (the census starts with the count)."""
        return self._examples / max(int(self._total()[0]), 1)

    # what the owner of the job gets, sealed

    def _progress(self, round_: int, metrics: dict[str, float]) -> bytes:
        """The joint metrics of the model after `round_` rounds, for the owner's eyes (a sum opens one step later)."""
        if not self.leads or not metrics:
            return b""
        return self.seal(f"progress {round_}", json.dumps({"round": round_, "metrics": metrics}).encode())

    def _package(self, model: Model, joint: dict[str, float], alone: dict[str, float]) -> bytes:
        """The model as safetensors, its card in the metadata."""
        spec, plan = self.context.order.spec, self.context.plan
        card: dict[str, Any] = {
            "job": self.context.job,
            "name": spec.name,
            "purpose": spec.purpose,
            "recipe": spec.recipe.model_dump(mode="json") if spec.recipe else None,
            "rounds": self._rounds,
            "plan": plan.digest(),
            "parties": [participant.model_dump(mode="json") for participant in plan.participants],
            "metrics": joint,
            "baselines": alone,
            "privacy": spec.privacy.model_dump(mode="json"),
            "encryption": self.key.params.name,
        }
        use = {"job": self.context.job, "plan": plan.digest(), "purpose": spec.purpose}
        card["use"] = {**use, "watermark": watermark(use, model.tobytes())}
        return save({"parameters": model}, metadata={"card": json.dumps(card)})


def _digest(metrics: dict[str, float]) -> str:
    return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()
