"""The mail of a join, carried between its two sides: each party is asked for a turn once what that waits for is there.

No round ends for all: while one party answers a part, the next is on the way to it (a party is asked for AHEAD turns at
a time), and its counterpart makes the one after that. The runner sees sealed mail, its size and its timing, and knows
the turns (`protocols.join.turns`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Context, Message, RecordDict

from federation.grid import PartyGrid
from federation.secure_rounds import JOB, SecureRounds
from inbond.records import FROM, TO, texts
from policies.plan import JoinPlan, Plan
from protocols.join.turns import Engine, turns

JOIN_STEP = "query.join"
AHEAD = 2


@dataclass(frozen=True, slots=True)
class Matching:
    """Who joins whom: the parties of the attribute side and of the value side, and what the turns of each wait for."""

    sides: tuple[tuple[str, ...], tuple[str, ...]]
    waits: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def read(cls, context: Context) -> "Matching":
        """What the coordinator told the runner; raises BadContent."""
        engine: Engine = "ot" if context.run_config["engine"] == "ot" else "ec-hidden"
        sides = tuple(texts(context.state, JOB, "attributes")), tuple(texts(context.state, JOB, "values"))
        return cls(sides, turns(engine, int(context.run_config["parts"])))


def matching_config(join: JoinPlan | None) -> dict[str, str | int]:
    """What a runner's configuration says of how to join."""
    return {} if join is None else {"engine": join.engine, "parts": join.parts}


def matching_sides(plan: Plan) -> dict[str, list[str]]:
    """What a runner's state says of who joins whom."""
    if plan.join is None:
        return {}
    own = plan.join.attributes
    return {"attributes": list(plan.side(own)), "values": list(plan.side(1 - own))}


@dataclass(slots=True)
class Exchange:
    """One exchange; `contents` is what every party is brought in its first turn."""

    grid: PartyGrid
    rounds: SecureRounds
    matching: Matching
    contents: dict[str, RecordDict]
    _last: dict[str, int] = field(default_factory=dict)  # the last turn that a party was asked for
    _done: set[tuple[str, int]] = field(default_factory=set)  # turns that were answered, in any order
    _mail: dict[tuple[str, int], RecordDict] = field(default_factory=dict)  # by reader and the senders' turn
    _asked: dict[str, tuple[str, int]] = field(default_factory=dict)  # message id -> party and turn

    def run(self) -> None:
        """Go through all turns of all parties; raises JobFailed when a party refuses, fails or stays away."""
        self._last = dict.fromkeys(self.contents, 0)
        while self._ask() or self._asked:
            replies = list(self.grid.receive_some(self._asked, self.rounds.frame.timeout))
            if not replies:
                self.rounds.complete([], {name for name, _ in self._asked.values()})
            for reply in replies:
                name, turn = self._asked.pop(reply.metadata.reply_to_message_id)
                self._deliver(name, turn, self.rounds.complete([reply], [name])[name])

    def _deliver(self, sender: str, turn: int, content: RecordDict) -> None:
        for reader, box in addressed(content, self._last.keys()):
            self._mail.setdefault((reader, turn), RecordDict())[FROM + sender] = box
        self._done.add((sender, turn))
        self._tell(turn)

    def _tell(self, turn: int) -> None:
        """A turn that all parties which have it are through with is a step for whoever watches."""
        having = [name for side, waits in self._sides() for name in side if len(waits) >= turn]
        if all((name, turn) in self._done for name in having):
            self.grid.told(JOIN_STEP, turn, len(having), len(having))

    def _ask(self) -> bool:
        """Ask parties for their next turns, as far as what these wait for is there; say whether any was asked."""
        messages = {turn: self._message(*turn) for turn in iter(self._next, None)}
        ids = self.grid.push_messages(messages.values())
        self._asked |= dict(zip(ids, messages, strict=True))
        return bool(messages)

    def _next(self) -> tuple[str, int] | None:
        """A party that may be asked now, and for which turn."""
        for number, (side, waits) in enumerate(self._sides()):
            for name in side:
                turn = self._last[name] + 1
                under_way = sum((name, one) not in self._done for one in range(1, turn))
                if turn <= len(waits) and under_way < AHEAD and self._there(number, waits[turn - 1]):
                    self._last[name] = turn
                    return name, turn
        return None

    def _there(self, side: int, waits: int) -> bool:
        """Whether all counterparts of a side sent what a turn waits for."""
        return not waits or all((name, waits) in self._done for name in self.matching.sides[1 - side])

    def _message(self, name: str, turn: int) -> Message:
        waits = self.matching.waits[0 if name in self.matching.sides[0] else 1][turn - 1]
        mail = self._mail.pop((name, waits), RecordDict())
        content = self.contents[name] if turn == 1 else RecordDict(dict(sorted(mail.items())))
        return self.rounds.message(name, JOIN_STEP, content, turn)

    def _sides(self) -> list[tuple[Sequence[str], Sequence[int]]]:
        return list(zip(self.matching.sides, self.matching.waits, strict=True))


def addressed(content: RecordDict, readers: Collection[str]) -> Iterator[tuple[str, ArrayRecord]]:
    """The sealed mail in a party's answer, with the reader of each, as far as these are among `readers`."""
    for record, box in content.array_records.items():
        reader = record.removeprefix(TO)
        if record.startswith(TO) and reader in readers:
            yield reader, box


def exchange(grid: PartyGrid, rounds: SecureRounds, matching: Matching, contents: Mapping[str, RecordDict]) -> None:
    """Let the parties of `matching` join; `contents` brings each the roster."""
    Exchange(grid, rounds, matching, dict(contents)).run()
