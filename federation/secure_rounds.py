"""What a runner does with every secure step: ask the parties, add ciphertexts, hand the sum to the next step.

The runner holds no key. It learns the plan, sizes and timing; every array it touches is a ciphertext of masked slots.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid

from inbond import flower
from inbond.errors import JobFailed
from inbond.records import blob, octets, settings, texts
from protocols import bfv, params

CONTRIBUTION, SUM, OPENED, JOB, RESULT = "contribution", "sum", "opened", "job", "result"
OWNER = "~owner"  # no party can have this name: the job's owner, asked to open a sum where only its key can
OPEN_STEP = "query.open"
MAX_BLOB = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JobFrame:
    """What the coordinator tells a runner about its job, in the context's state."""

    nodes: Mapping[str, int]
    verdicts: tuple[str, ...]
    rounds: int
    timeout: float
    owner_opens: bool = False
    joined: bool = False
    placed: bool = False

    @classmethod
    def read(cls, context: Context) -> "JobFrame":
        """The frame in `context`; raises BadContent."""
        parties, verdicts = texts(context.state, JOB, "parties"), texts(context.state, JOB, "verdicts")
        config = context.run_config
        nodes = {name: flower.node_id(name) for name in sorted(parties)}
        rounds, timeout = int(config["rounds"]), float(config["timeout"])
        flags = (bool(config[name]) for name in ("owner_opens", "joined", "placed"))
        return cls(nodes, tuple(verdicts), rounds, timeout, *flags)

    @property
    def params(self) -> params.BfvParams:
        """The parameter set of the sums that the parties go on with."""
        return params.PUBLIC_4096 if self.owner_opens else params.SHARED_2048

    @property
    def leader(self) -> str:
        """The party that makes the job key and seals the result: the first by name."""
        return min(self.nodes)


class SecureRounds:
    """One job's asks: `start` the roster, then `ask` step after step; every reply is checked to be complete."""

    def __init__(self, grid: Grid, frame: JobFrame) -> None:
        self._grid, self.frame = grid, frame
        self._names = {node: name for name, node in frame.nodes.items()}

    def replies(self, messages: Iterable[Message], of: Collection[str] = ()) -> dict[str, RecordDict]:
        """Send and wait; party name -> content. Raises JobFailed when a party refuses, fails or stays away."""
        return self.complete(self._grid.send_and_receive(messages, timeout=self.frame.timeout), of)

    def complete(self, replies: Iterable[Message], of: Collection[str] = ()) -> dict[str, RecordDict]:
        """Party name -> content of one reply from every party, or every one in `of`; raises JobFailed."""
        answers: dict[str, RecordDict] = {}
        for reply in replies:
            name = self._names[reply.metadata.src_node_id]
            if reply.has_error():
                raise JobFailed(f"party {name}: {reply.error.reason}", where=reply.metadata.message_type)
            answers[name] = reply.content
        missing = sorted(set(of or self.frame.nodes) - set(answers))
        if missing:
            raise JobFailed(f"no reply from {', '.join(missing)} within {self.frame.timeout:.0f} s")
        return answers

    def message(self, party: str, step: str, content: RecordDict, round_: int = 0) -> Message:
        """An instruction for one party."""
        content["config"] = ConfigRecord({"server-round": round_})
        return Message(content, dst_node_id=self.frame.nodes[party], message_type=step)

    def to_all(self, step: str, content: RecordDict, round_: int = 0) -> list[Message]:
        """The same instruction for every party."""
        return [self.message(name, step, content, round_) for name in self.frame.nodes]

    def start(self) -> dict[str, RecordDict]:
        """Show every party all verdicts; party -> what to send it first: all roster echoes and its sealed job key."""
        show = RecordDict({"start": settings(verdicts=list(self.frame.verdicts))})
        answers = self.replies(self.to_all("query.start", show))
        echoes = [texts(answers[name], "roster", "echo")[0] for name in sorted(answers)]
        leader = answers[self.frame.leader]
        boxes = {name: octets(leader, "boxes", name) for name in texts(leader, "roster", "readers")}
        return {
            name: RecordDict({"roster": settings(echoes=echoes, box=boxes.get(name, b""))}) for name in self.frame.nodes
        }

    def ask(
        self, step: str, contents: Mapping[str, RecordDict], parameters: params.BfvParams
    ) -> tuple[bytes, dict[str, RecordDict]]:
        """Ask every party for its contribution to `step`; the encrypted sum, and the replies."""
        answers = self.replies(self.message(name, step, content) for name, content in contents.items())
        return self.add(answers, parameters), answers

    def carried(self, total: ArrayRecord, step: str, round_: int = 0) -> dict[str, RecordDict]:
        """Party -> what takes the sum of `step` to it: the ciphertext, or the slots that the owner opened for it."""
        if not self.frame.owner_opens:
            return {name: RecordDict({SUM: total}) for name in self.frame.nodes}
        content = RecordDict({SUM: total, "of": settings(step=step, round=round_)})
        content["config"] = settings(**{"server-round": round_})
        ask = Message(content, dst_node_id=flower.node_id(OWNER), message_type=f"{OPEN_STEP}_{step}")
        (reply,) = self._grid.send_and_receive([ask], timeout=self.frame.timeout)
        if reply.has_error():
            raise JobFailed(f"the owner did not open the sum of {step}: {reply.error.reason}")
        return {
            name: RecordDict({OPENED: settings(box=octets(reply.content, OPENED, name))}) for name in self.frame.nodes
        }

    @staticmethod
    def add(answers: Mapping[str, RecordDict], parameters: params.BfvParams) -> bytes:
        """The encrypted sum of every party's contribution."""
        return bfv.add(parameters, [blob(answers[name], CONTRIBUTION, MAX_BLOB) for name in sorted(answers)])


def finish(context: Context, body: bytes, answers: Mapping[str, RecordDict]) -> None:
    """Leave the result where the coordinator finds it: a body only the owner can open, and every party's receipt."""
    receipts = {name: octets(content, "receipt", "box") for name, content in answers.items()}
    context.state[RESULT] = ConfigRecord({"body": body, **{f"receipt {name}": box for name, box in receipts.items()}})
