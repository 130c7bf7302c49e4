"""The process that plays this party's roles in a joined query, and the agent's handle on it.

Who learns what: the process sees this party's keys, groups and values of the query, and its counterparts' mails,
which it parses; no identity key, no policy, no network. The agent seals what it gives out, for one counterpart each. A
process that is taken over by a hostile mail could tell that counterpart what it holds, and nobody else anything.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inbond.child import Child, ChildLimits, spawn
from inbond.errors import JobFailed
from inbond.ipc import Channel, ChannelBroken
from inbond.messages import Buffer
from protocols.errors import MisuseError, PeerViolation
from protocols.join.terms import JoinTerms
from protocols.psi.items import Items, Keys

Table = NDArray[np.int64]
_VIOLATION, _MISUSE = "violation", "misuse"


class Part(NamedTuple):
    """What a role ended with: `shares` (moduli, attribute groups, outputs) uint64.

    Of the attribute side also which rows `matched` (rows,), where its engine tells, and the groups `left_out`.
    """

    shares: NDArray[np.uint64]
    matched: NDArray[np.bool_]
    left_out: tuple[int, ...]


def join_child(memory: int) -> Child:
    """A process that waits for its roles, within `memory` bytes of address space; raises InbondError."""
    return spawn("parties.join_process", limits=ChildLimits(address_space=memory), name="join")


class Committed(NamedTuple):
    """What a value side is bound to, `protocols.join.commitment`: `root` (32 bytes), `shape` (moduli, columns, blocks).

    `size` is how many bytes keys and columns have. `keys` are the secret ones where this party is the value side, and
    empty where it is the attribute side.
    """

    root: bytes
    shape: tuple[int, int, int]
    size: int
    keys: bytes


class Turned(NamedTuple):
    """What a turn gave: the `mail` to send, if any; of the value side's, the last `bound` bytes are keys or columns to
    which the commitment is. And the commitment, once all of them were sent or received.
    """

    mail: memoryview | None
    bound: int
    committed: Committed | None


class JoinProcess:
    """One of `join_child`'s with a role for each counterpart; a step of more than `timeout` seconds ends it.

    Every method raises PeerViolation for a counterpart's fault, and JobFailed for ours or for a child that is gone.
    """

    def __init__(self, timeout: float, child: Child) -> None:
        self._timeout, self._child = timeout, child
        self._asking = threading.Lock()

    def open(self, peer: str, terms: JoinTerms, keys: Keys, groups: Table | None, values: Table) -> None:
        """Begin the role towards `peer`: the attribute side's with `groups` (rows,), the value side's without."""
        fields = {name: getattr(terms, name) for name in JoinTerms.__dataclass_fields__}
        fields["session"] = terms.session.hex()
        head = {"do": "open", "peer": peer, "role": "value" if groups is None else "attribute", "terms": fields}
        own = np.zeros(0, np.int64) if groups is None else groups
        body = [*_buffers(keys.items), *map(_bytes, (keys.rows, own, values))]
        self._ask(head | {"columns": values.shape[1]}, body)

    def step(self, peer: str, turn: int, mail: Buffer | None) -> Turned:
        """Do `turn` towards `peer`, with its mail that this waits for."""
        head, (sent, keys) = self._ask({"do": "step", "peer": peer, "turn": turn}, [] if mail is None else [mail])
        told = head["committed"]
        committed = told and Committed(bytes.fromhex(told["root"]), tuple(told["shape"]), told["size"], bytes(keys))
        return Turned(sent if head["mail"] else None, head["bound"], committed)

    def end(self, peer: str) -> Part:
        """What the role towards `peer` ended with."""
        head, (shares, matched) = self._ask({"do": "end", "peer": peer})
        found = np.frombuffer(shares, np.uint64).reshape(head["shape"])
        return Part(found, np.frombuffer(matched, np.bool_), tuple(head["left_out"]))

    def kill(self) -> None:
        """End the process at once."""
        self._child.kill()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def _ask(self, head: Mapping[str, Any], body: Sequence[Buffer] = ()) -> tuple[dict[str, Any], Sequence[memoryview]]:
        with self._asking:
            try:
                self._child.channel.send(json.dumps(head).encode(), body)
                packet = self._child.channel.receive(self._timeout)
                answer: dict[str, Any] = json.loads(packet.head)
            except (ChannelBroken, ValueError):
                self.kill()
                raise JobFailed(
                    "the process of the join is gone or too slow", where="join", right="see its log"
                ) from None
        kind = answer.get("failed")
        if kind is None:
            return answer, packet.body
        if kind == _VIOLATION:
            raise PeerViolation(str(answer.get("what")), where=str(head.get("peer")))
        right = "see this party's contracts: rows_per_key, bounds and published_rows must hold for its rows"
        raise JobFailed(f"this party's rows cannot be joined: {answer.get('what')}", where="join", right=right)


class _Roles:
    """The child's roles, one for each counterpart."""

    def __init__(self) -> None:
        from protocols.join import roles  # noqa: PLC0415 - SEAL is for the child alone, which loads it while it waits

        self._sides, self._roles = roles, dict[str, Any]()
        self._failed = dict[str, Exception]()

    def answer(self, head: Mapping[str, Any], body: Sequence[memoryview]) -> tuple[dict[str, Any], list[Buffer]]:
        """What one request asks for; a failure is told with its words, which are for this party alone."""
        work: dict[str, Callable[..., tuple[dict[str, Any], list[Buffer]]]] = {
            "open": self._open,
            "step": self._step,
            "end": self._end,
        }
        try:
            if head["peer"] in self._failed:
                raise self._failed[head["peer"]]
            return work[head["do"]](head, body)
        except PeerViolation as error:
            return {"failed": _VIOLATION, "what": error.what}, []
        except MisuseError as error:
            return {"failed": _MISUSE, "what": f"{error.what}; {error.right}"}, []
        except (MemoryError, OSError, ArithmeticError, RuntimeError) as error:
            return {"failed": _MISUSE, "what": type(error).__name__}, []

    def prepare(self, peer: str) -> None:
        """Go on with the role towards `peer` while it is not asked; what fails is told when it is."""
        try:
            self._roles[peer].prepare()
        except Exception as error:  # noqa: BLE001 - whatever it is, `answer` sorts it out
            self._failed[peer] = error

    def _open(self, head: Mapping[str, Any], body: Sequence[memoryview]) -> tuple[dict[str, Any], list[Buffer]]:
        fields = dict(head["terms"])
        names = ("outputs", "left_limits", "right_limits", "largest")
        fields |= {name: tuple(fields[name]) for name in names} | {"session": bytes.fromhex(fields["session"])}
        terms = JoinTerms(**fields | {"outputs": tuple(map(tuple, fields["outputs"]))})
        rows, groups, values = (np.frombuffer(part, np.int64) for part in body[2:])
        keys, values = Keys(_items(*body[:2]), rows), values.reshape(len(rows), head["columns"])
        attribute = head["role"] == "attribute"
        self._roles[head["peer"]] = (
            self._sides.AttributeSide(terms, keys, groups, values)
            if attribute
            else self._sides.ValueSide(terms, keys, values)
        )
        return {}, []

    def _step(self, head: Mapping[str, Any], body: Sequence[memoryview]) -> tuple[dict[str, Any], list[Buffer]]:
        role = self._roles[head["peer"]]
        mail = role.step(head["turn"], body[0] if body else None)
        told, keys = None, b""
        if role.commitment is not None:
            shape = role.commitment.shape
            told = {"shape": (shape.moduli, shape.columns, shape.blocks), "size": shape.bytes}
            told["root"] = role.commitment.root.hex()
            keys = role.keys() if hasattr(role, "keys") else b""
        return {"mail": mail is not None, "bound": role.bound, "committed": told}, [b"" if mail is None else mail, keys]

    def _end(self, head: Mapping[str, Any], body: Sequence[memoryview]) -> tuple[dict[str, Any], list[Buffer]]:
        del body
        role = self._roles.pop(head["peer"])
        told = role.terms.engine == "ot" and hasattr(role, "matched")
        matched = role.matched if told else np.zeros(0, np.bool_)
        left_out = sorted(getattr(role, "left_out", ()))
        return {"shape": role.shares.shape, "left_out": left_out}, [role.shares.tobytes(), matched.tobytes()]


def _buffers(items: Items) -> tuple[Buffer, Buffer]:
    """Where each item begins and the last one ends, and the bytes of all."""
    _, ends, data = items.buffers()
    found = np.frombuffer(ends or bytes(8), np.int64)[items.offset : items.offset + len(items) + 1]
    return _bytes(found), memoryview(data or b"")


def _bytes(array: Table) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _items(ends: memoryview, data: memoryview) -> Items:
    """The items again, over the same memory."""
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), ends.nbytes // 8 - 1, buffers)


def main(channel: Channel) -> None:
    """Serve the agent until it closes the channel."""
    roles = _Roles()
    while True:
        try:
            packet = channel.receive()
        except ChannelBroken:
            return
        asked = json.loads(packet.head)
        head, body = roles.answer(asked, packet.body)
        channel.send(json.dumps(head).encode(), body)
        if asked["do"] in {"open", "step"} and "failed" not in head:
            roles.prepare(asked["peer"])
