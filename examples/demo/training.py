"""Chapters 2 and 3: two models trained encrypted, one of them through the sudden death of a party."""

import time
from dataclasses import dataclass, field
from typing import Any

from examples.demo.show import Heard, Show
from examples.demo.stage import Work
from examples.members import example_job
from federation.client import TrainedModel

VICTIM = "p2"
KILL_AFTER = 3  # rounds


@dataclass(frozen=True, slots=True)
class Measure:
    """How a model is judged: `goal` is what the public data must reach (README of the data, section 5)."""

    metric: str
    label: str
    higher: bool
    goal: float
    naive: str

    def better(self, ours: float, other: float) -> bool:
        """Whether `ours` beats `other`."""
        return ours > other if self.higher else ours < other


WAPE = Measure("wape", "WAPE", higher=False, goal=0.575, naive="naive forecast: median of the last 4 weeks")
AUPRC = Measure("auprc", "AUPRC", higher=True, goal=0.71, naive="rule of thumb: amount over the customer's usual")


def train_demand(show: Show) -> None:
    """Chapter 2: the weekly demand of three warehouses."""
    show.stage.chapter(
        "Three warehouses (DE, GB, CN) train one demand model, encrypted",
        "Sales never leave a warehouse; the coordinator adds ciphertexts that it cannot open. WAPE is the share of all "
        "units by which the forecast is wrong: lower is better.",
    )
    spec = example_job("demand")
    model = show.trained(spec, _each_round(WAPE, spec.rounds))
    _judge(show, WAPE, model)
    if show.real:
        show.stage.say(
            "Said soberly: these warehouses are one company's stock, split by a hash, so alone and together come "
            "close; a federation pays where parties differ or a newcomer has no history."
        )


def train_fraud(show: Show) -> None:
    """Chapter 3: a fraud score of three payment firms, one of which is killed on the way."""
    show.stage.chapter(
        f"Three payment firms train a fraud score, and {VICTIM} is killed in mid-round",
        "Machines die. A job waits for its party, takes up the round again, and applies no message twice. AUPRC is the "
        "average precision of the alarms: higher is better.",
    )
    spec = example_job("fraud")
    accident = Accident(show, VICTIM, spec.rounds or 0)
    model = show.trained(spec, _both(_each_round(AUPRC, spec.rounds), accident.heard))
    show.stage.check(accident.story(), holds=accident.survived)
    _judge(show, AUPRC, model)


@dataclass(slots=True)
class Accident:
    """Kill -9 of a party when the round after KILL_AFTER has begun, and its start as soon as it is missed."""

    show: Show
    party: str
    rounds: int
    round: int = 0
    killed: float = 0.0
    away: float = 0.0
    back: float = 0.0
    rounds_after: list[tuple[int, float]] = field(default_factory=list)

    def heard(self, event: dict[str, Any], work: Work) -> None:
        """Act on one event of the job."""
        match event:
            case {"event": "step", "step": "train", "round": done} if not self.killed and done >= KILL_AFTER:
                self.show.consortium.kill(self.party)
                self.round, self.killed = done + 1, time.monotonic()
                work.line(f"{self.party} killed with -9 in round {self.round}")
            case {"event": "party away", "party": self.party} if self.killed and not self.away:
                self.away = time.monotonic()
                work.line(f"party away: {self.party}, noticed; it is started again, the job waits")
                self.show.consortium.launch(self.party)
            case {"event": "party back", "party": self.party} if self.away and not self.back:
                self.back = time.monotonic()
                work.line(f"party back: {self.party}, {self.back - self.away:.1f} s later; the round goes on")
            case {"event": "step", "step": "train", "round": done} if self.killed and not self.away:
                self.round = done + 1  # its reply was on the way already
            case {"event": "step", "step": "train", "round": done} if self.killed:
                self.rounds_after.append((done, time.monotonic()))
            case _:
                pass

    @property
    def survived(self) -> bool:
        """Whether the party was missed and came back, the job waited, and no round was lost or done twice."""
        if not (0 < self.killed < self.away < self.back and self.rounds_after):
            return False
        waited = self.rounds_after[-1][1] > self.back
        return waited and [done for done, _ in self.rounds_after] == list(range(self.round, self.rounds + 1))

    def story(self) -> str:
        """What was seen, in a line."""
        last = self.rounds_after[-1][0] if self.rounds_after else "-"
        return (
            f"{self.party} died in round {self.round} and was back after {self.back - self.killed:.1f} s; "
            f"rounds {self.round} to {last} followed, each once, and the job finished"
        )


def _each_round(measure: Measure, rounds: int | None) -> Heard:
    """Print the joint metric after every round, as the researcher sees it: opened with a key only she has."""

    def heard(event: dict[str, Any], work: Work) -> None:
        value = event.get("metrics", {}).get(measure.metric)
        if event["event"] == "progress" and value is not None:
            when = f"after round {event['round']:2}/{rounds}" if event["round"] else "before training  "
            work.line(f"{when}: joint {measure.label} {value:.4f}")

    return heard


def _both(first: Heard, second: Heard) -> Heard:
    def heard(event: dict[str, Any], work: Work) -> None:
        first(event, work)
        second(event, work)

    return heard


def _judge(show: Show, measure: Measure, model: TrainedModel) -> None:
    """The final model against each party alone and against the rule of thumb, and whether it is good enough."""
    ours = model.card["metrics"][measure.metric]
    alone, naive = (model.card["baselines"][f"{name}_{measure.metric}"] for name in ("local", "naive"))
    rows = (
        ("one joint model, trained encrypted", f"{ours:.4f}"),
        ("each party alone, as many passes over its rows", f"{alone:.4f}"),
        (measure.naive, f"{naive:.4f}"),
    )
    show.stage.table(("on all test rows, summed encrypted", measure.label), rows)
    said = f"{measure.label} {ours:.4f}"
    show.stage.check(f"{said} beats the simple rule ({naive:.4f})", holds=measure.better(ours, naive))
    if show.real:
        sign = ">=" if measure.higher else "<="
        reached = ours == measure.goal or measure.better(ours, measure.goal)
        show.stage.check(f"{said} {sign} {measure.goal}, the goal for these data", holds=reached)
    else:
        show.stage.check(f"{said} beats each party alone ({alone:.4f})", holds=measure.better(ours, alone))
