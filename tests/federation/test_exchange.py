"""Mail of a join goes to its reader as soon as that waits for it, whoever else is late."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import pytest
from flwr.app import Context, Error, Message, RecordDict

from federation.exchange import AHEAD, JOIN_STEP, Matching, exchange, matching_config, matching_sides
from federation.grid import REFUSED, Ask, PartyGrid
from federation.secure_rounds import JOB, JobFrame, SecureRounds
from inbond import codec, flower
from inbond.errors import JobFailed, Unreachable
from inbond.messages import Buffer
from inbond.records import FROM, TO, blob, blob_record, settings
from policies.protocols import join_turns
from protocols.join.turns import Engine, turns
from tests.federation.test_join_planner import orders, payments, plan

SIDES = ("a1", "a2"), ("b1", "b2")
NAMES = (*SIDES[0], *SIDES[1])
WAITS = 5.0


class Desk(PartyGrid):
    """Parties that answer each turn with mail to every counterpart, unless they are late, refuse or write to others."""

    def __init__(self, waits: tuple[tuple[int, ...], ...], late: str = "", refuses: str = "", strays: str = "") -> None:
        self.steps: list[int] = []
        super().__init__(NAMES, 1, lambda step, turn, *_: self.steps.append(turn) if step == JOIN_STEP else None)
        self.waits, self.late, self.refuses, self.strays = waits, late, refuses, strays
        self.seen: dict[str, list[dict[str, bytes]]] = defaultdict(list)
        self.held: list[tuple[Ask, RecordDict]] = []
        self.progress: list[dict[str, int]] = []

    def _send(self, asks: Sequence[Ask], body: Sequence[Buffer]) -> None:
        (ask,) = asks
        assert len(self.seen[ask.party]) == ask.round - 1, "turns are asked for in order"
        assert sum(held.party == ask.party for held, _ in self.held) < AHEAD
        content = codec.decode(body)
        self.seen[ask.party].append({name: blob(content, name, 99) for name in content.array_records})
        if ask.party == self.refuses:
            self._deliver(ask.id, Error(REFUSED, "not today"))
        elif ask.party == self.late:
            self.held.append((ask, self._answer(ask)))
        else:
            self._deliver(ask.id, self._answer(ask))

    def _answer(self, ask: Ask) -> RecordDict:
        own = 0 if ask.party in SIDES[0] else 1
        readers = [*SIDES[1 - own], *([self.strays, "nobody"] if self.strays else [])]
        wanted = ask.round in self.waits[1 - own]
        mail = b"%s %d" % (ask.party.encode(), ask.round)
        return RecordDict({TO + reader: blob_record(mail) for reader in readers if wanted})

    def receive_some(self, message_ids: Iterable[str], timeout: float | None = None) -> Iterable[Message]:
        """The late party answers once everything waits for it, where it answers at all."""
        if not self._replies and timeout == WAITS:
            self.progress.append({name: len(seen) for name, seen in self.seen.items()})
            held, self.held = self.held, []
            for ask, answer in held:
                self._deliver(ask.id, answer)
        return super().receive_some(message_ids, timeout)


def run(desk: Desk, timeout: float = WAITS) -> None:
    frame = JobFrame({name: flower.node_id(name) for name in NAMES}, ("v",) * 4, 0, timeout, joined=True)
    contents = {name: RecordDict({"first": blob_record(b"roster")}) for name in NAMES}
    waits = desk.waits[0], desk.waits[1]
    exchange(desk, SecureRounds(desk, frame), Matching(SIDES, waits), contents)


@pytest.mark.parametrize(("engine", "parts"), [("ot", 1), ("ot", 3), ("ec-hidden", 1)])
def test_every_turn_brings_the_mail_it_waits_for_of_all_counterparts(engine: Engine, parts: int) -> None:
    desk = Desk(turns(engine, parts))
    run(desk)
    for number, side in enumerate(SIDES):
        for name in side:
            brought = [{"first": b"roster"}]
            for wanted in desk.waits[number][1:]:
                senders = SIDES[1 - number] if wanted else ()
                brought.append({FROM + sender: b"%s %d" % (sender.encode(), wanted) for sender in senders})
            assert desk.seen[name] == brought
    assert sorted(desk.steps) == list(range(1, 3 + 2 * parts)), "a step for each turn that the plan counts"


def test_a_turn_that_waits_for_nothing_is_asked_for_while_the_other_side_is_late() -> None:
    """The attribute side goes on through its parts; the one who is late holds up only what needs its mail."""
    desk = Desk(turns("ot", 3), late="b2")
    run(desk)
    assert desk.progress[0] == {"a1": 1, "a2": 1, "b1": 2, "b2": 2}
    assert desk.progress[1] == {"a1": 5, "a2": 5, "b1": 5, "b2": 4}, "three parts asked for, and b1 through with them"


def test_a_party_that_refuses_ends_the_join_at_once_with_its_words() -> None:
    with pytest.raises(JobFailed, match="party b1: not today"):
        run(Desk(turns("ot", 1), refuses="b1"))


def test_a_party_that_stays_away_is_named() -> None:
    with pytest.raises(JobFailed, match="no reply from b2 within 0 s"):
        run(Desk(turns("ot", 2), late="b2"), timeout=0.2)


def test_mail_to_somebody_else_goes_nowhere_but_to_who_refuses_it() -> None:
    """A party of the sender's own side gets it and calls it a violation; who is not in the job gets nothing."""
    desk = Desk(turns("ot", 1), strays="a2")
    run(desk)
    assert FROM + "a1" in desk.seen["a2"][1]
    assert "nobody" not in desk.seen


def test_a_coordinator_that_is_gone_ends_the_wait() -> None:
    desk = Desk(turns("ot", 1), late="a1")
    desk._broken = Unreachable("is gone", where="coordinator", right="start the job again")
    with pytest.raises(Unreachable, match="is gone"):
        run(desk)


@pytest.mark.parametrize("matching", ["fast", "hidden"])
def test_a_runner_is_told_who_joins_whom_and_how_by_the_plan(matching: str) -> None:
    made = plan(left=orders(published_rows=300_000), right=payments(published_rows=300_000), matching=matching)
    assert made.join is not None
    state = RecordDict({JOB: settings(**matching_sides(made))})
    told = Matching.read(Context(1, 1, {}, state, {**matching_config(made.join)}))
    assert told.sides == (("m1", "m2"), ("p1",)) if made.join.attributes == 0 else (("p1",), ("m1", "m2"))
    assert told.waits == turns(made.join.engine, made.join.parts)
    assert join_turns(made.join) == max(map(len, told.waits))
