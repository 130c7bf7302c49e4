"""Flower's Grid over the parties of one job: stock strategies run on it unchanged.

`RunnerGrid` lives in the runner's process and speaks to the coordinator over a socket pair; `InProcessGrid`
calls ClientApps where it stands, for tests and the quick start. Both name each exchange by step (Flower's
message type) and round, and neither holds a key: contents are whatever the app makes of them.
"""

import json
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from inbond import codec, flower
from inbond.errors import InbondError, Unreachable
from inbond.ipc import Channel, ChannelBroken
from inbond.messages import Buffer, PeerViolation

REFUSED = 1001
"""Code of the Flower error in the reply of a party whose policy said no."""

FAILED = 1002
"""Code of the Flower error in the reply of a party that could not do the step."""

OnRound = Callable[[str, int, int, int], None]
"""Called after each exchange with step, round, replies and messages sent."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One instruction on its way to one party; `attempt` counts repetitions of a step and round from 0."""

    id: str
    party: str
    step: str
    round: int
    attempt: int
    ttl: float


class PartyGrid(Grid):
    """What both grids share: the table of node ids, the messages sent and the replies that came.

    `parties` are the names of the job's parties. Raises InbondError for names that occur twice.
    """

    def __init__(self, parties: Sequence[str], run_id: int, on_round: OnRound | None = None) -> None:
        self._names = {flower.node_id(party): party for party in parties}
        if len(self._names) != len(parties):
            raise InbondError("two parties share a name or node id", where="job", right="name each party once")
        flower.set_identity(run_id)
        self._run = flower.empty_run(run_id)
        self._on_round = on_round or (lambda _step, _round, _answered, _sent: None)
        self._arrived = threading.Condition()
        self._sent: dict[str, Message] = {}
        self._replies: dict[str, Message] = {}
        self._attempts: Counter[tuple[str, str, int]] = Counter()
        self._count = 0
        self._broken: InbondError | None = None

    def set_run(self, run: Any) -> None:
        """Set the run; Flower's own launchers call this, ours give it to the constructor."""
        self._run = run

    @property
    def run(self) -> Any:
        """The run, as Flower describes it."""
        return self._run

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids of the job's parties."""
        return list(self._names)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make an instruction (Flower keeps this for older apps)."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send instructions and return their ids; one content for several parties is encoded once.

        Raises InbondError for a node that is no party of this job or a content that cannot travel.
        """
        batches: dict[int, tuple[RecordDict, list[Ask]]] = {}
        for message in messages:
            ask = self._register(message)
            batches.setdefault(id(message.content), (message.content, []))[1].append(ask)
        for content, asks in batches.values():
            self._send(asks, codec.encode(content))
        return [ask.id for _, asks in batches.values() for ask in asks]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are here, once each, without waiting."""
        with self._arrived:
            here = [key for key in message_ids if key in self._replies]
            return [self._taken(key) for key in here]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send instructions and return the replies that come within `timeout` seconds (None: wait for all).

        What is still unanswered then is given up. Raises Unreachable when the coordinator is gone.
        """
        listed = list(messages)
        keys = list(self.push_messages(listed))
        with self._arrived:
            self._arrived.wait_for(lambda: self._complete(keys), timeout)
            if self._broken is not None:
                raise self._broken
            late = [key for key in keys if key not in self._replies]
            replies = [self._taken(key) for key in keys if key in self._replies]
            for key in late:
                self._sent.pop(key, None)
        if late:
            self._drop(late)
        if listed:
            first = listed[0]
            self.told(first.metadata.message_type, flower.round_of(first), len(replies), len(keys))
        return replies

    def receive_some(self, message_ids: Iterable[str], timeout: float | None = None) -> Iterable[Message]:
        """Wait until a reply is here, and return those that are; none when `timeout` seconds passed.

        Raises Unreachable when the coordinator is gone.
        """
        keys = list(message_ids)
        with self._arrived:
            self._arrived.wait_for(lambda: self._broken or any(key in self._replies for key in keys), timeout)
            if self._broken is not None:
                raise self._broken
        return self.pull_messages(keys)

    def told(self, step: str, round_: int, answered: int, sent: int) -> None:
        """Tell whoever follows the job that a step is through for this round."""
        self._on_round(step, round_, answered, sent)

    def _register(self, message: Message) -> Ask:
        party = self._names.get(message.metadata.dst_node_id)
        if party is None:
            raise InbondError("is no party of this job", where=f"node {message.metadata.dst_node_id}")
        step, round_number = message.metadata.message_type, flower.round_of(message)
        with self._arrived:
            self._count += 1
            ask = Ask(
                str(self._count),
                party,
                step,
                round_number,
                self._attempts[party, step, round_number],
                message.metadata.ttl,
            )
            self._attempts[party, step, round_number] += 1
            flower.set_message_id(message, ask.id)
            self._sent[ask.id] = message
        return ask

    def _complete(self, keys: Sequence[str]) -> bool:
        return self._broken is not None or all(key in self._replies for key in keys)

    def _taken(self, key: str) -> Message:
        self._sent.pop(key, None)
        return self._replies.pop(key)

    def _deliver(self, key: str, content: RecordDict | Error) -> None:
        with self._arrived:
            asked = self._sent.get(key)
            if asked is None:
                return
            if isinstance(content, Error):
                self._replies[key] = Message(content, reply_to=asked)
            else:
                self._replies[key] = Message(content, reply_to=asked)
            self._arrived.notify_all()

    @abstractmethod
    def _send(self, asks: Sequence[Ask], body: Sequence[Buffer]) -> None:
        """Send one content to the parties of `asks`."""

    def _drop(self, keys: Sequence[str]) -> None:
        """Give up what was sent under `keys`; by default nobody needs to know."""


class RunnerGrid(PartyGrid):
    """The grid of a runner; `channel` leads to the coordinator. Its reader starts with it."""

    def __init__(self, channel: Channel, parties: Sequence[str], run_id: int, on_round: OnRound | None = None) -> None:
        super().__init__(parties, run_id, on_round)
        self._channel = channel
        threading.Thread(target=self._read, name="grid-reader", daemon=True).start()

    def _send(self, asks: Sequence[Ask], body: Sequence[Buffer]) -> None:
        head = {"do": "ask", "asks": [asdict(ask) for ask in asks]}
        self._channel.send(json.dumps(head).encode(), body)

    def _drop(self, keys: Sequence[str]) -> None:
        self._channel.send(json.dumps({"do": "drop", "ids": list(keys)}).encode())

    def _read(self) -> None:
        try:
            while True:
                packet = self._channel.receive()
                head = json.loads(packet.head)
                self._deliver(head["id"], _content(head["status"], head["reason"], packet.body))
        except ChannelBroken:
            with self._arrived:
                self._broken = Unreachable("is gone", where="coordinator", right="start the job again")
                self._arrived.notify_all()


def _content(status: str, reason: str, body: Sequence[Buffer]) -> RecordDict | Error:
    if status != "ok":
        return Error(REFUSED if status == "refused" else FAILED, reason)
    try:
        return codec.decode(body)
    except PeerViolation as breach:
        return Error(FAILED, str(breach))


class InProcessGrid(PartyGrid):
    """Calls each party's ClientApp in this process; contents pass through the codec as on the wire.

    `apps` maps party names to apps, `node_config` party names to what their Context holds about the node.
    """

    def __init__(
        self,
        apps: Mapping[str, ClientApp],
        *,
        run_id: int = 1,
        run_config: UserConfig | None = None,
        node_config: Mapping[str, UserConfig] | None = None,
        on_round: OnRound | None = None,
    ) -> None:
        super().__init__(list(apps), run_id, on_round)
        self._apps = dict(apps)
        self.contexts = {
            party: Context(
                run_id=run_id,
                node_id=flower.node_id(party),
                node_config=dict((node_config or {}).get(party, {})),
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for party in apps
        }

    def _send(self, asks: Sequence[Ask], body: Sequence[Buffer]) -> None:
        for ask in asks:
            message = flower.instruction(
                codec.decode(body),
                ask.step,
                run_id=self._run.run_id,
                node_id=flower.node_id(ask.party),
                message_id=ask.id,
                group_id=str(ask.round),
                created_at=time.time(),
                ttl=ask.ttl,
            )
            self._deliver(ask.id, self._call(ask.party, message))

    def _call(self, party: str, message: Message) -> RecordDict | Error:
        reply = self._apps[party](message, self.contexts[party])
        return reply.error if reply.has_error() else codec.decode(codec.encode(reply.content))
