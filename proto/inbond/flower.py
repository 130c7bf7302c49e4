"""Every touch of a Flower name that is not public, in one place (written for flwr 1.41).

Flower reads the identity of the running task from the process, so one process runs one job's ServerApp;
building an instruction as if it had been received needs its metadata. Nothing here talks to anyone.
"""

import hashlib
import importlib
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from inbond.errors import InbondError

SERVER_NODE_ID = 1
"""Node id of the ServerApp in every job; party ids are 63-bit hashes and never collide with it."""

NUMPY_STYPE = "numpy.ndarray"
"""How Flower marks an array whose data is in NumPy's own file format."""


def set_identity(run_id: int, node_id: int = SERVER_NODE_ID, task_id: int = 1) -> None:
    """Say which run this process works for: Flower stamps it on every instruction made here."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = task_id


def empty_run(run_id: int) -> Run:
    """Return the description of a run, as a Grid must hold one."""
    return Run.create_empty(run_id)


def instruction(
    content: RecordDict,
    message_type: str,
    *,
    run_id: int,
    node_id: int,
    message_id: str,
    group_id: str,
    created_at: float,
    ttl: float,
) -> Message:
    """Build the instruction a ClientApp receives; `created_at` in Unix seconds, `ttl` in seconds.

    Raises ValueError when Flower does not accept `message_type`.
    """
    metadata = Metadata(
        run_id=run_id,
        message_id=message_id,
        src_node_id=SERVER_NODE_ID,
        dst_node_id=node_id,
        reply_to_message_id="",
        group_id=group_id,
        created_at=created_at,
        ttl=ttl,
        message_type=message_type,
    )
    return _message(content, metadata)


def _message(content: RecordDict, metadata: Metadata) -> Message:
    make: Any = Message  # the keyword `metadata` is left out of Flower's public overloads
    message: Message = make(content=content, metadata=metadata)
    return message


def set_message_id(message: Message, message_id: str) -> None:
    """Give an instruction its id, which Flower leaves to the transport."""
    message.metadata.__dict__["_message_id"] = message_id


class BufferArray(Array):
    """A Flower array over raw bytes that were received: C order, little endian, read-only, not copied.

    `numpy()` gives a writable copy, as Flower does; `view()` gives the buffer itself. Flower's own form
    (`data`) is made when somebody asks for it.
    """

    def __init__(self, dtype: str, shape: tuple[int, ...], buffer: memoryview) -> None:
        self.__dict__.update(dtype=dtype, shape=shape, stype=NUMPY_STYPE, _buffer=buffer, _data=None)

    @property
    def buffer(self) -> memoryview | None:
        """The raw bytes, or None once somebody has set `data`."""
        buffer: memoryview | None = self.__dict__["_buffer"]
        return buffer

    @property
    def data(self) -> bytes:
        """The array in NumPy's file format, as Flower keeps it."""
        if self.__dict__["_data"] is None:
            held = BytesIO()
            np.save(held, self.view(), allow_pickle=False)
            self.__dict__["_data"] = held.getvalue()
        data: bytes = self.__dict__["_data"]
        return data

    @data.setter
    def data(self, value: bytes) -> None:
        self.__dict__.update(_data=value, _buffer=None)

    def view(self) -> np.ndarray[Any, Any]:
        """Return the array without a copy (read-only)."""
        if self.buffer is None:
            return super().numpy()
        return np.frombuffer(self.buffer, np.dtype(self.dtype)).reshape(self.shape)

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return a writable copy of the array."""
        return self.view() if self.buffer is None else self.view().copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        return (self.dtype, self.shape, self.data) == (other.dtype, other.shape, other.data)

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        return Array, (self.dtype, tuple(self.shape), self.stype, self.data)

    __hash__ = None  # type: ignore[assignment]  # mutable, like every Flower array


def array_of(values: np.ndarray[Any, Any]) -> Array:
    """Return an array over the memory of `values` itself where that is in C order: do not change them afterwards."""
    if values.dtype.kind not in "biuf":
        return Array(values)
    held = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    raw = held.reshape(-1).view(np.uint8).data.toreadonly()
    return BufferArray(held.dtype.name, values.shape, raw)


def record_of(name: str, values: np.ndarray[Any, Any]) -> ArrayRecord:
    """A record of one array over the memory of `values`, as `array_of` has it; Flower's own constructor copies."""
    record = ArrayRecord()
    record[name] = array_of(values)
    return record


def node_id(party: str) -> int:
    """Return the stable node id of a party: 63 bits of SHA-256 of its name, 16 or above."""
    digest = hashlib.sha256(b"inbond/node/v1" + party.encode()).digest()
    return max(16, int.from_bytes(digest[:8], "big") >> 1)


_App = TypeVar("_App", ClientApp, ServerApp)


def load_app(entry: str, kind: type[_App]) -> _App:
    """Return the app at `entry`, which is "module:attribute". Raises InbondError when there is none."""
    module, _, attribute = entry.partition(":")
    try:
        app = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise InbondError("cannot be loaded", where=entry, right="name an installed module:attribute") from None
    if not isinstance(app, kind):
        raise InbondError(f"is no {kind.__name__}", where=entry, right=f"name a {kind.__name__}")
    return app


def round_of(message: Message) -> int:
    """Return the round of an instruction: its group id, or what a strategy put in "server-round", or 0."""
    if message.metadata.group_id.isascii() and message.metadata.group_id.isdigit():
        return int(message.metadata.group_id)
    for record in message.content.config_records.values():
        value = record.get("server-round")
        if isinstance(value, int) and value >= 0:
            return value
    return 0
