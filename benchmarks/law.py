"""The law of a job: building the facts of 30 transfers, deciding one among 200 entities, deciding it from memory.

Every regime is loaded and nothing is simplified: facts are read, derived and checked, decisions are explained. A
decision is one call of Cedar over the rules of all regimes that apply, so its floor is the bare cedarpy call with
everything parsed beforehand, in the same run. The transfers go between eight countries; each concerns people of its
source's country and of two more. One row puts all regimes to one transfer, which no ordinary job does.
"""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cedarpy

from benchmarks.row import Row
from policies.law.law import Law, Question, load_law

PLACES = ("DE", "FR", "GB", "CN", "US", "BR", "JP", "SG")
TOOLS = {"DE": "scc_m1", "FR": "scc_m1", "GB": "idta", "CN": "cn_sc_filed", "BR": "br_scc", "SG": "sg_contract"}
STEPS = 30
ENTITIES = 200  # about, of the job that is decided: its transfers, and the places between which they go
PARSED, DICT = "cedarpy pre-parsed", "a dict look-up of the same question"


def run(calls: int = 600, builds: int = 15) -> list[Row]:
    """Measure medians: microseconds of a decision, milliseconds of a plan's facts; takes some seconds."""
    law = load_law()
    job, everything = [_transfer(step) for step in range(ENTITIES - len(PLACES))], {**_transfer(0), **_everywhere()}
    questions, widest = _ask(law, job), _ask(law, [everything, *job[1:]])[0]
    count = len(questions)
    ours, bare = _paired(law, questions, calls)
    wide, wide_bare = _paired(law, [widest], calls // 6)
    for question in questions:
        law.decide_cached(question)
    kept = {question: law.decide_cached(question) for question in questions}
    cached = _times(lambda at: law.decide_cached(questions[at % count]), calls)
    looked_up = _times(lambda at: kept[questions[at % count]], calls)
    facts, floor = _facts(law, job[:STEPS], builds)
    note, wide_note = _note(questions[0], questions), _note(widest, [widest])
    plan = _ask(law, job[:STEPS])
    built = _note(plan[0], plan)
    return [
        _row("law_decision_p50_us", "us", _median(ours), PARSED, _median(bare), "<= 120", note),
        _row("law_all_p50_us", "us", _median(wide), PARSED, _median(wide_bare), "<= 120", wide_note),
        _row("law_cached_p50_us", "us", _median(cached), DICT, _median(looked_up), "<= 5", note),
        _row("facts_30_steps_ms", "ms", facts, "their JSON text alone", floor, "< 10", built),
    ]


def _transfer(step: int) -> dict[str, Any]:
    """One transfer of the plan: raw rows under a tool, so that no class or exemption cuts the question short."""
    source, place = PLACES[step % len(PLACES)], PLACES[(3 * step + 1) % len(PLACES)]
    return {
        "src": source, "dst": place, "as_of": "2026-11-15", "exporter_kind": "merchant", "recipient_kind": "merchant",
        "categories": ["order_history", "email"], "purpose": "fraud_detection", "n_subjects": 1000 + step,
        "subject_residency": [source, place, PLACES[(step + 2) % len(PLACES)]], "lawful_basis": "consent",
        "separate_consent": True, "pipia_done": True, "tia": "ok", "jp_basis": "consent_with_info",
        "mechanism": TOOLS.get(source, "none"),
    }  # fmt: skip


def _everywhere() -> dict[str, Any]:
    """Facts under which every regime applies: people everywhere, and a card number."""
    return {"subject_residency": list(PLACES), "pan_form": "token"}


def _build(law: Law, plan: Sequence[dict[str, Any]], _at: int) -> None:
    _ask(law, plan)


def _ask(law: Law, plan: Sequence[dict[str, Any]]) -> tuple[Question, ...]:
    return law.questions([law.catalogue.sheet(facts) for facts in plan])


def _paired(law: Law, questions: Sequence[Question], calls: int) -> tuple[list[float], list[float]]:
    """Time our decision and the bare calls alternately, so that a busy machine disturbs both alike."""
    bundles = [law.joint.engine(question.regimes).bundle for question in questions]
    schema = bundles[0].schema
    entities = cedarpy.Entities.from_json_str(questions[0].entities.text, schema)
    plain = [question.requests[0].cedar() for question in questions]

    def ours(at: int) -> None:
        law.decide(questions[at % len(questions)])

    def bare(at: int) -> None:
        at %= len(questions)
        cedarpy.is_authorized(plain[at], bundles[at].unscoped, entities, schema)

    pairs = [(_once(ours, at), _once(bare, at)) for at in range(calls)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _facts(law: Law, plan: Sequence[dict[str, Any]], builds: int) -> tuple[float, float]:
    """Milliseconds to build a plan's questions, and to write their entities as JSON. A plan is never built twice."""
    built = []
    for build in range(builds):
        fresh = [{**facts, "n_subjects": facts["n_subjects"] + STEPS * (build + 1)} for facts in plan]
        built.append(_once(partial(_build, law, fresh), 0))
    entities = json.loads(_ask(law, plan)[0].entities.text)
    return _median(built) / 1e3, _median(_times(lambda _at: json.dumps(entities, sort_keys=True), builds)) / 1e3


def _note(one: Question, questions: Sequence[Question]) -> str:
    asked = sorted(len(question.regimes) for question in questions)
    entities = len(json.loads(one.entities.text))
    return f"10 regimes loaded, {asked[0]} to {asked[-1]} asked per transfer, {entities} entities"


def _row(metric: str, unit: str, ours: float, peer: str, peer_value: float, goal: str, note: str) -> Row:
    return Row(metric, unit, ours, peer, peer_value, ours / peer_value, goal, note)


def _times(call: Callable[[int], Any], calls: int) -> list[float]:
    return [_once(call, at) for at in range(calls)]


def _once(call: Callable[[int], Any], at: int) -> float:
    start = time.perf_counter()
    call(at)
    return (time.perf_counter() - start) * 1e6


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]
