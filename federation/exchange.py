"""The mail of a join, carried between its two sides: each party is asked for a turn once what that waits for is there.

No round ends for all: while one party answers a part, the next is on the way to it, and its counterpart makes the one
after that. The runner sees sealed mail, its size and its timing, and knows the turns (`protocols.join.turns`).
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
    _done: dict[str, int] = field(default_factory=dict)  # the last turn that a party answered
    _mail: dict[tuple[str, int], RecordDict] = field(default_factory=dict)  # by reader and the senders' turn
    _asked: dict[str, str] = field(default_factory=dict)  # message id -> party

    def run(self) -> None:
        """Go through all turns of all parties; raises JobFailed when a party refuses, fails or stays away."""
        self._done = dict.fromkeys(self.contents, 0)
        self._ask()
        while self._asked:
            replies = list(self.grid.receive_some(self._asked, self.rounds.frame.timeout))
            for name, content in self.rounds.complete(replies, self._whose(replies)).items():
                self._deliver(name, content)
            self._ask()

    def _whose(self, replies: Sequence[Message]) -> set[str]:
        """The parties that these replies are of, or where there is none, all that were asked."""
        ids = [reply.metadata.reply_to_message_id for reply in replies] or list(self._asked)
        return {self._asked.pop(one) for one in ids}

    def _deliver(self, sender: str, content: RecordDict) -> None:
        self._done[sender] += 1
        for reader, box in addressed(content, self._done.keys()):
            self._mail.setdefault((reader, self._done[sender]), RecordDict())[FROM + sender] = box
        self._tell(self._done[sender])

    def _tell(self, turn: int) -> None:
        """A turn that all parties which have it are through with is a step for whoever watches."""
        having = [name for side, waits in self._sides() for name in side if len(waits) >= turn]
        if all(self._done[name] >= turn for name in having):
            self.grid.told(JOIN_STEP, turn, len(having), len(having))

    def _ask(self) -> None:
        """Ask every party that is idle and has what its next turn waits for."""
        busy, messages = set(self._asked.values()), dict[str, Message]()
        for number, (side, waits) in enumerate(self._sides()):
            there = min(self._done[name] for name in self.matching.sides[1 - number])
            for name in side:
                turn = self._done[name] + 1
                if name not in busy and turn <= len(waits) and waits[turn - 1] <= there:
                    messages[name] = self._message(name, turn, waits[turn - 1])
        ids = self.grid.push_messages(messages.values())
        self._asked |= dict(zip(ids, messages, strict=True))

    def _message(self, name: str, turn: int, waits: int) -> Message:
        content = self.contents[name] if turn == 1 else self._mail.pop((name, waits), RecordDict())
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
