"""Counters of people: durable before a release, each person once, new each year in Beijing, one judge at a time."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.breaches import BreachStore
from compliance.counters import CounterLedger, Facts, State
from compliance.counters_flow import EXEMPT, ORDINARY, SENSITIVE, Flow
from compliance.errors import InvalidLawEntry, LawStoreUnavailable, LogUnavailable
from policies.law.law import load_law

KEY = bytes(range(32))
LAW = load_law()
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW_YEAR = datetime(2026, 12, 31, 16, tzinfo=UTC)  # midnight in Beijing
SENDING = {
    "src": "CN", "dst": "SG", "exporter_kind": "merchant", "recipient_kind": "merchant", "lawful_basis": "consent",
    "separate_consent": True, "pipia_done": True, "purpose": "dpv:FraudPreventionAndDetection", "n_subjects": 10,
    "categories": ["order_history"], "as_of": "2026-11-15",
}  # fmt: skip


@dataclass
class World:
    """A ledger with a clock that the test moves and a log that the test reads."""

    path: Path
    now: datetime = START
    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def open(self, key: bytes = KEY) -> CounterLedger:
        make = CounterLedger.open_with if self.path.exists() else CounterLedger.begin
        return make(self.path, lambda subject, data: self.told.append((subject, data)), key, clock=lambda: self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "counters.db")


def flow(key: str, people: Iterable[str] | int, *headings: str, exporter: str = "m1") -> Flow:
    ids = people if isinstance(people, int) else [one.encode() for one in people]
    return Flow(key, "job-1", exporter, frozenset(headings or {ORDINARY}), ids)


def names(first: int, last: int) -> list[str]:
    return [f"p{number}" for number in range(first, last)]


def sent(ledger: CounterLedger, one: Flow) -> Facts:
    found = ledger.reserve(one)
    ledger.commit(one.key)
    return found.after


def counts(facts: Facts) -> tuple[int, int]:
    return facts["cn_ytd_nonsens"], facts["cn_ytd_sens"]


def rules(facts: Facts, **changes: Any) -> tuple[str, ...]:
    return LAW.judge({**SENDING, **facts, **changes}).rules


def test_the_same_person_counts_once_however_often_sent(world: World) -> None:
    with world.open() as ledger:
        assert counts(sent(ledger, flow("1", ["ana", "bo", "ana"]))) == (2, 0)
        assert counts(sent(ledger, flow("2", ["bo", "chen"]))) == (3, 0)
        assert counts(ledger.facts("m1")) == (3, 0)
        assert counts(ledger.facts("m2")) == (0, 0)


def test_exporters_are_counted_apart(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana"]))
        assert counts(sent(ledger, flow("2", ["ana", "bo"], exporter="m2"))) == (2, 0)
        assert [(one.exporter, one.people) for one in ledger.standing()] == [("m1", 1), ("m2", 2)]


def test_sensitive_data_of_a_person_count_as_such_and_no_counter_falls(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana", "bo"]))
        assert counts(sent(ledger, flow("2", ["ana"], SENSITIVE))) == (2, 1)
        assert counts(sent(ledger, flow("3", ["ana"], SENSITIVE))) == (2, 1)


def test_exempt_flows_stay_out_of_the_bands(world: World) -> None:
    with world.open() as ledger:
        assert counts(sent(ledger, flow("1", names(0, 50), EXEMPT))) == (0, 0)
        assert counts(sent(ledger, flow("2", names(0, 3)))) == (3, 0)
        assert {one.heading: one.people for one in ledger.standing()} == {ORDINARY: 3, EXEMPT: 50}


def test_people_whom_nobody_can_tell_apart_are_added_up_in_full(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", 60_000))
        assert counts(sent(ledger, flow("2", 60_000))) == (120_000, 0)
        ledger.reserve(flow("3", 5))
        assert counts(ledger.facts("m1")) == (120_005, 0)
        ledger.rollback("3")
        assert counts(ledger.facts("m1")) == (120_000, 0)


@pytest.mark.parametrize(
    ("ordinary", "sensitive", "deciding"),
    [
        (99_999, 0, "C11"), (100_000, 0, "C10"), (999_999, 0, "C10"), (1_000_000, 0, "C9"),
        (0, 1, "C10"), (0, 9_999, "C10"), (0, 10_000, "C9"),
    ],
)  # fmt: skip
def test_the_law_reads_the_bands_from_the_ledger(world: World, ordinary: int, sensitive: int, deciding: str) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ordinary))
        facts = sent(ledger, flow("2", sensitive, SENSITIVE))
        assert counts(facts) == (ordinary, sensitive)
        assert deciding in rules(facts, mechanism="none")


def test_named_people_reach_a_band_at_its_boundary(world: World) -> None:
    with world.open() as ledger:
        assert "C11" in rules(sent(ledger, flow("1", names(0, 99_999))))
        assert "C11" in rules(sent(ledger, flow("2", names(0, 99_999))))
        assert "C10" in rules(sent(ledger, flow("3", names(99_999, 100_000))))


def test_splitting_into_many_small_flows_reaches_the_band_all_the_same(world: World) -> None:
    with world.open() as ledger:
        for start in range(0, 10_000, 500):
            facts = sent(ledger, flow(f"part-{start}", names(start, start + 500), SENSITIVE))
        assert counts(facts) == (0, 10_000)
        assert "C9" in rules(facts, mechanism="cn_sc_filed", cn_sensitive_present=True)


def test_a_new_year_in_beijing_starts_at_nothing(world: World) -> None:
    with world.open() as ledger:
        world.now = NEW_YEAR - timedelta(seconds=1)
        assert counts(sent(ledger, flow("1", ["ana", "bo"]))) == (2, 0)
        world.now = NEW_YEAR
        assert counts(ledger.facts("m1")) == (0, 0)
        assert counts(sent(ledger, flow("2", ["ana"]))) == (1, 0)
        assert counts(ledger.facts("m1", NEW_YEAR - timedelta(days=1))) == (2, 0)


@pytest.mark.parametrize("people", [["ana"], 1])
def test_a_release_on_the_other_side_of_new_year_counts_on_both(world: World, people: list[str] | int) -> None:
    with world.open() as ledger:
        world.now = NEW_YEAR - timedelta(seconds=1)
        ledger.reserve(flow("1", people))
        world.now = NEW_YEAR
        ledger.commit("1")
        assert {one.period: one.people for one in ledger.standing()} == {2026: 1, 2027: 1}


def test_people_of_a_year_that_is_over_are_forgotten_and_its_total_stays(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana", "bo"]))
        world.now = START.replace(year=2028)
        sent(ledger, flow("2", ["ana"]))
        assert {one.period: one.people for one in ledger.standing()} == {2026: 2, 2028: 1}
    with closing(sqlite3.connect(world.path)) as base:
        assert base.execute("SELECT COUNT(*) FROM seen").fetchone() == (1,)


def test_bulk_counts_look_back_twelve_months_from_the_last_time_a_person_was_sent(world: World) -> None:
    financial = "us:financial"
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana", "bo"], financial))
        world.now = START + timedelta(days=100)
        assert sent(ledger, flow("2", ["bo"], financial, "us:covered_ids"))["us_bulk"] == {
            "financial": 2, "covered_ids": 1,
        }  # fmt: skip
        world.now = START + timedelta(days=364)
        assert ledger.facts("m1")["us_bulk"] == {"financial": 2, "covered_ids": 1}
        world.now = START + timedelta(days=365)
        assert ledger.facts("m1")["us_bulk"] == {"financial": 1, "covered_ids": 1}
        world.now = START + timedelta(days=500)
        assert ledger.facts("m1")["us_bulk"] == {}


@pytest.mark.parametrize(("people", "bulk"), [(10_000, False), (10_001, True)])
def test_the_bulk_rule_reads_more_than_from_the_ledger(world: World, people: int, bulk: bool) -> None:
    american = {"src": "US", "dst": "CN", "categories": ["txn_amount"], "us_txn": "data_brokerage"}
    with world.open() as ledger:
        assert ("S2" in rules(sent(ledger, flow("1", people, "us:financial")), **american)) is bulk


def test_a_reservation_counts_through_a_crash(world: World) -> None:
    world.open().close()
    script = f"""
import os, sys
from pathlib import Path
from compliance.breaches import BreachStore
from compliance.counters import CounterLedger
from compliance.counters_flow import Flow
ledger = CounterLedger.open_with(Path({str(world.path)!r}), lambda *_: None, bytes(range(32)))
ledger.reserve(Flow("1", "job-1", "m1", frozenset({{"us:health"}}), [b"ana"]))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    world.now = datetime.now(UTC)
    with world.open() as ledger:
        assert ledger.facts("m1")["us_bulk"] == {"health": 1}
        assert ledger.commit("1") is State.COMMITTED
        assert ledger.facts("m1")["us_bulk"] == {"health": 1}


def test_what_never_left_is_taken_back_and_others_keep_their_people(world: World) -> None:
    with world.open() as ledger:
        ledger.reserve(flow("1", ["ana", "bo"]))
        ledger.reserve(flow("2", ["bo", "chen"]))
        ledger.rollback("1")
        assert counts(ledger.facts("m1")) == (2, 0)
        ledger.commit("2")
        assert ledger.rollback("1") is State.ROLLED_BACK
        assert counts(ledger.facts("m1")) == (2, 0)


def test_the_same_release_is_counted_once_and_a_key_is_good_for_one(world: World) -> None:
    with world.open() as ledger:
        first = ledger.reserve(flow("1", ["ana"]))
        assert ledger.reserve(flow("1", ["ana"])).after == first.after
        for other in (flow("1", ["bo"]), flow("1", ["ana"], SENSITIVE), flow("1", ["ana"], exporter="m2")):
            with pytest.raises(InvalidLawEntry, match="one key for one release"):
                ledger.reserve(other)
        ledger.rollback("1")
        with pytest.raises(InvalidLawEntry, match="rolled back"):
            ledger.reserve(flow("1", ["ana"]))
        with pytest.raises(InvalidLawEntry, match="already"):
            ledger.commit("1")
        with pytest.raises(InvalidLawEntry, match="reserve it first"):
            ledger.commit("2")


class Forbidden(Exception):
    pass


def test_a_flow_that_the_law_forbids_is_not_counted(world: World) -> None:
    def below_hundred_thousand(facts: Facts) -> None:
        if "C10" in rules(facts):
            raise Forbidden

    with world.open() as ledger:
        ledger.reserve(flow("1", 60_000), below_hundred_thousand)
        with pytest.raises(Forbidden):
            ledger.reserve(flow("2", 60_000), below_hundred_thousand)
        assert counts(ledger.facts("m1")) == (60_000, 0)


def test_of_two_releases_at_once_the_second_is_judged_with_the_first(world: World) -> None:
    def at_most_ten(facts: Facts) -> None:
        if facts["cn_ytd_nonsens"] > 10:
            raise Forbidden

    def attempt(number: int) -> bool:
        with world.open() as ledger:
            try:
                ledger.reserve(flow(str(number), names(number * 3, number * 3 + 3)), at_most_ten)
            except Forbidden:
                return False
            return True

    world.open().close()
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 3
    with world.open() as ledger:
        assert counts(ledger.facts("m1")) == (9, 0)


def test_two_processes_at_once_lose_no_person_and_count_none_twice(world: World) -> None:
    world.open().close()
    script = f"""
import sys
from pathlib import Path
from compliance.breaches import BreachStore
from compliance.counters import CounterLedger
from compliance.counters_flow import Flow
start = int(sys.argv[1])
ledger = CounterLedger.open_with(Path({str(world.path)!r}), lambda *_: None, bytes(range(32)))
for number in range(start, start + 40):
    people = [f"p{{one}}".encode() for one in range(number, number + 10)]
    ledger.reserve(Flow(f"{{start}}-{{number}}", "job-1", "m1", frozenset({{"cn:ordinary"}}), people))
    ledger.commit(f"{{start}}-{{number}}")
"""
    both = [subprocess.Popen([sys.executable, "-c", script, start]) for start in ("0", "20")]
    assert [process.wait(60) for process in both] == [0, 0]
    world.now = datetime.now(UTC)
    with world.open() as ledger:
        assert counts(ledger.facts("m1")) == (69, 0)  # p0 to p68


def test_a_look_ahead_counts_nothing(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana"]))
        assert counts(ledger.preview(flow("2", ["ana", "bo"]))) == (2, 0)
        assert counts(ledger.preview(flow("1", ["ana"]))) == (1, 0)
        assert counts(ledger.facts("m1")) == (1, 0)
        assert len(world.told) == 3


def test_the_log_keeps_the_counters_before_and_after_and_nobody(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana", "bo"]))
    (_, begun), (subject, counted), (_, committed) = world.told
    assert begun == {"event": "counters begun"}
    assert subject == "counter:1"
    assert counted == {
        "event": "people counted",
        "job": "job-1",
        "before": {"cn_ytd_nonsens": 0, "cn_ytd_sens": 0, "us_bulk": {}},
        "after": {"cn_ytd_nonsens": 2, "cn_ytd_sens": 0, "us_bulk": {}},
    }
    assert committed["event"] == "count committed"
    assert "ana" not in json.dumps(world.told)
    assert b"ana" not in world.path.read_bytes()


def test_what_the_log_cannot_take_is_not_counted(world: World) -> None:
    def full(_subject: str, _data: Mapping[str, Any]) -> None:
        raise LogUnavailable("disk full")

    world.open().close()
    with CounterLedger.open_with(world.path, full, KEY) as ledger:
        with pytest.raises(LogUnavailable):
            ledger.reserve(flow("1", ["ana"]))
        assert counts(ledger.facts("m1")) == (0, 0)


def test_counters_that_are_missing_begun_anew_or_another_nodes_are_not_opened(world: World) -> None:
    with pytest.raises(LawStoreUnavailable, match="no counters"):
        CounterLedger.open_with(world.path, lambda *_: None, KEY)
    BreachStore.open(world.path, lambda *_: None).close()  # clocks are kept in the same file, and need no counters
    with pytest.raises(LawStoreUnavailable, match="no counters"):
        world.open()
    CounterLedger.begin(world.path, lambda *_: None, KEY).close()
    with pytest.raises(LawStoreUnavailable, match="not this node's"):
        world.open(bytes(32))
    with pytest.raises(InvalidLawEntry, match="counters already"):
        CounterLedger.begin(world.path, lambda *_: None, KEY)


def test_a_reader_counts_nothing(world: World) -> None:
    with world.open() as ledger:
        sent(ledger, flow("1", ["ana"]))
    with CounterLedger.read_only(world.path) as reader:
        assert [(one.period, one.people, one.reserved) for one in reader.standing()] == [(2026, 1, 0)]
        with pytest.raises(LawStoreUnavailable):
            reader.reserve(flow("2", 1))
