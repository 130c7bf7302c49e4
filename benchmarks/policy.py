"""One policy decision, 60 policies and 200 entities: our engine beside plain cedarpy, in the same run.

Ours includes building the request's JSON, reading the diagnostics and the explained decision; the peer's
figure is the bare call with handles parsed beforehand, and once more with texts parsed at each call.
"""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import cedarpy

from benchmarks.row import Row
from policies.bundle import load_bundle
from policies.engine import Engine
from policies.request import AccessRequest, Entity, EntityRef, EntitySet

REGIONS = ("CN", "DE", "FR", "US", "GB", "JP")
PURPOSES = ("fraud", "demand", "settlement", "audit", "research")
ACTIONS = ("train", "query", "export")
SCHEMA = """
entity Consortium;
entity Party in [Consortium] { region: String };
entity Dataset { region: String, cls: String };
action train, query, export appliesTo {
  principal: [Party], resource: [Dataset],
  context: { purpose: String, dp: Bool, eps: Long, dest: String }
};
"""
POLICIES = 60
QUESTIONS = 1000


def run(calls: int = 2000, naive_calls: int = 100) -> list[Row]:
    """Measure median and 99th percentile of a decision in microseconds; takes about two seconds."""
    policies, entities, requests = _policies(), _entities(), _requests()
    engine, held = Engine(load_bundle({"bench.cedar": policies}, SCHEMA)), EntitySet(entities)
    questions = [(request,) for request in requests]
    parsed = (
        cedarpy.PolicySet.from_str(policies),
        cedarpy.Entities.from_json_str(held.text),
        cedarpy.Schema.from_str(SCHEMA),
    )
    plain = [_plain(request) for request in requests]
    ours, bare = _paired(
        lambda i: engine.decide((_fresh(requests[i]),), held),
        lambda i: cedarpy.is_authorized(plain[i], *parsed),
        calls,
    )
    naive = _times(lambda i: cedarpy.is_authorized(plain[i], policies, held.text, SCHEMA), naive_calls)
    for question in questions:
        engine.decide_cached(question, held)
    cached = _times(lambda i: engine.decide_cached(questions[i], held), calls)
    return [
        _row("decision_p50_us", _at(ours, 0.5), "cedarpy pre-parsed", _at(bare, 0.5), "<= 120"),
        _row("decision_p99_us", _at(ours, 0.99), "cedarpy pre-parsed", _at(bare, 0.99), "<= 300"),
        _row("decision_p50_us", _at(ours, 0.5), "cedarpy parsing each time", _at(naive, 0.5), "<= 1/40"),
        _row("decision_cached_p50_us", _at(cached, 0.5), "cedarpy pre-parsed", _at(bare, 0.5), "<= 5"),
    ]


def _row(metric: str, ours: float, peer: str, peer_value: float, goal: str) -> Row:
    note = f"{POLICIES} policies, 200 entities, {QUESTIONS} different requests"
    return Row(metric, "us", ours, peer, peer_value, ours / peer_value, goal, note)


def _fresh(request: AccessRequest) -> AccessRequest:
    """Return a copy without the JSON that an earlier decision has left in it."""
    return AccessRequest(request.principal, request.action, request.resource, request.context)


def _paired(ours: Callable[[int], Any], peer: Callable[[int], Any], calls: int) -> tuple[list[float], list[float]]:
    """Time both alternately, so that a busy machine disturbs both alike."""
    pairs = [(_once(ours, i % QUESTIONS), _once(peer, i % QUESTIONS)) for i in range(calls)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _times(call: Callable[[int], Any], calls: int) -> list[float]:
    return [_once(call, i % QUESTIONS) for i in range(calls)]


def _once(call: Callable[[int], Any], index: int) -> float:
    start = time.perf_counter()
    call(index)
    return (time.perf_counter() - start) * 1e6


def _at(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def _policies() -> str:
    texts = []
    for i, region, purpose in zip(range(POLICIES), itertools.cycle(REGIONS), itertools.cycle(PURPOSES), strict=False):
        head = f'@id("p{i}") @reason("rule {i}") @remedy("ask for less")'
        if i % 5 == 4:
            test = f'resource.region == "{region}" && context.dest != "{region}" && context.eps > {i}'
            texts.append(f'{head} forbid (principal, action == Action::"export", resource) when {{ {test} }};')
        else:
            who = f'principal in Consortium::"c{i % 4}", action in [Action::"train", Action::"query"], resource'
            test = f'resource.region == "{region}" && context.purpose == "{purpose}" && context.dp'
            texts.append(f'{head} permit ({who}) when {{ {test} }} unless {{ resource.cls == "special-{i}" }};')
    return "\n".join(texts)


def _entities() -> tuple[Entity, ...]:
    homes = [EntityRef("Consortium", f"c{i}") for i in range(4)]
    parties = [Entity(EntityRef("Party", f"p{i}"), (("region", REGIONS[i % 6]),), (homes[i % 4],)) for i in range(60)]
    tables = [
        Entity(EntityRef("Dataset", f"d{i}"), (("region", REGIONS[i % 6]), ("cls", f"special-{i % 7}")))
        for i in range(136)
    ]
    return (*(Entity(home) for home in homes), *parties, *tables)


def _requests() -> list[AccessRequest]:
    return [
        AccessRequest(
            EntityRef("Party", f"p{i % 60}"),
            ACTIONS[i % 3],
            EntityRef("Dataset", f"d{i % 136}"),
            (
                ("purpose", PURPOSES[i % 5]),
                ("dp", i % 2 == 0),
                ("eps", i % 90),
                ("dest", REGIONS[(i * 5) % 6]),
            ),
        )
        for i in range(QUESTIONS)
    ]


def _plain(request: AccessRequest) -> dict[str, Any]:
    return request.cedar() | {"context": json.loads(request.context_json)}
