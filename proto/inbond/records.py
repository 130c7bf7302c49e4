"""How inbond's own steps lay out a Flower message: one array record per named vector or ciphertext blob."""

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from inbond.errors import InbondError
from inbond.flower import record_of
from inbond.messages import Buffer

Vector = NDArray[Any]
FIELD = "v"
TO, FROM = "to.", "from."  # a party's mail to and from another party of its job, by the other's name


class BadContent(InbondError):
    """A message's content lacks what its step needs."""

    exit_code = 4


def vector_record(array: Vector) -> ArrayRecord:
    """One array as a record, over the array's own memory: do not change it afterwards."""
    return record_of(FIELD, array)


def blob_record(blob: Buffer) -> ArrayRecord:
    """A ciphertext blob as a record of one uint8 array."""
    return vector_record(np.frombuffer(blob, np.uint8))


def vectors(**arrays: Vector) -> RecordDict:
    """Named vectors as one message content."""
    return RecordDict({name: vector_record(array) for name, array in arrays.items()})


def vector(content: RecordDict, name: str) -> Vector:
    """The vector called `name`, not copied where it was received; raises BadContent."""
    try:
        array = content.array_records[name][FIELD]
    except KeyError:
        raise BadContent(f"the message has no {name}") from None
    return view(array)


def view(array: Array) -> Vector:
    """What `array` holds, not copied (and then read-only) where it was received."""
    found: Vector = getattr(array, "view", array.numpy)()
    return found


def blob(content: RecordDict, name: str, limit: int) -> bytes:
    """The blob called `name` of at most `limit` bytes; raises BadContent."""
    return bytes(blob_view(content, name, limit))


def blob_view(content: RecordDict, name: str, limit: int) -> memoryview:
    """The same, not copied where it was received; raises BadContent."""
    found = vector(content, name)
    if found.dtype != np.uint8 or found.ndim != 1 or found.nbytes > limit:
        raise BadContent(f"{name} is not a blob of at most {limit} bytes")
    return np.ascontiguousarray(found).data


def texts(content: RecordDict, record: str, key: str) -> list[str]:
    """A list of texts from a config record; raises BadContent."""
    found = _setting(content, record, key)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadContent(f"{record}.{key} is not a list of texts")
    return [str(item) for item in found]


def octets(content: RecordDict, record: str, key: str) -> bytes:
    """Bytes from a config record; raises BadContent."""
    found = _setting(content, record, key)
    if not isinstance(found, bytes):
        raise BadContent(f"{record}.{key} is not bytes")
    return found


def _setting(content: RecordDict, record: str, key: str) -> object:
    try:
        return content.config_records[record][key]
    except KeyError:
        raise BadContent(f"the message has no {record}.{key}") from None


def settings(**values: Any) -> ConfigRecord:
    """A config record."""
    return ConfigRecord(values)
