"""The only file that knows both domain values and wire messages.

A content (Flower's RecordDict) becomes a list of buffers: a header (`records.proto`) with names, types and
shapes, then the raw bytes of each array. Nothing is pickled, nothing received is executed, and arrays are
not copied when they are decoded. What is received is hostile: every count, size and type is checked before
it is used.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from google.protobuf.message import Message

from inbond.errors import InbondError
from inbond.flower import NUMPY_STYPE, BufferArray
from inbond.framing import Incoming, Outgoing, parse_strictly
from inbond.messages import Buffer, PeerViolation, Reply, Request, Status
from inbond.v1 import link_pb2, records_pb2

ITEM_SIZES = {
    name: np.dtype(name).itemsize
    for name in (
        "bool",
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        *(f"float{bits}" for bits in (16, 32, 64)),
    )
}
"""The array types that may travel, with the bytes of one item."""

BLOB = 64 << 10
"""Octets of a configuration value above this many bytes travel as a buffer of their own."""

_MOST_ITEMS = 1 << 40  # also of an empty array: NumPy multiplies its other sides
_TEXT = 256
_REASON = 512


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """What a decoder accepts: counts, and sizes in bytes."""

    header: int = 4 << 20
    records: int = 64
    entries: int = 65_536
    items: int = 262_144
    dimensions: int = 8


def _violation(what: str) -> PeerViolation:
    return PeerViolation(what, where="content", right="the sender must follow records.proto and its limits")


def _unsendable(what: str, where: str) -> InbondError:
    return InbondError(what, where=where, right="send little-endian bool, int, uint or float arrays and flat values")


# --- encoding -------------------------------------------------------------------------------------


def encode(content: RecordDict) -> list[Buffer]:
    """Return `content` as a header and raw buffers; the buffers are views of its arrays wherever they can be.

    Raises InbondError, naming the record and the entry, for a value that cannot travel.
    """
    header = records_pb2.Records()
    buffers: list[Buffer] = []
    for name, record in content.items():
        target = header.records.add(name=name)
        if isinstance(record, ArrayRecord):
            target.arrays.SetInParent()
            buffers.extend(_encode_arrays(name, record, target.arrays))
        else:
            values = target.metrics if isinstance(record, MetricRecord) else target.config
            values.SetInParent()
            buffers.extend(_encode_values(name, record, values))
    return [header.SerializeToString(), *buffers]


def _encode_arrays(name: str, record: ArrayRecord, target: records_pb2.Arrays) -> Iterator[Buffer]:
    for key, array in record.items():
        dtype, shape, raw = _raw(array, f"{name}.{key}")
        target.arrays.add(name=key, dtype=dtype, shape=shape)
        yield raw


def _raw(array: Array, where: str) -> tuple[str, tuple[int, ...], memoryview]:
    """Return type, shape and raw bytes of `array`, without a copy where it is in C order already."""
    if isinstance(array, BufferArray) and array.buffer is not None:
        return array.dtype, tuple(array.shape), array.buffer
    if array.stype != NUMPY_STYPE:
        raise _unsendable(f"an array serialised as {array.stype!r}", where)
    dtype, shape, fortran, start = _numpy_header(array.data, where)
    if dtype.name not in ITEM_SIZES or not (dtype.isnative or dtype.itemsize == 1):
        raise _unsendable(f"an array of type {dtype.str}", where)
    if fortran and len(shape) > 1:
        raw = np.ascontiguousarray(array.numpy()).reshape(-1).view(np.uint8).data
    else:
        raw = memoryview(array.data)[start:]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise _unsendable("an array whose data has another size than its shape", where)
    return dtype.name, shape, raw


def _numpy_header(data: bytes, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Read NumPy's file header (numpy.lib.format 1.0 and 2.0); also return where the data starts."""
    form = np.lib.format
    head = BytesIO(memoryview(data)[:4096])
    try:
        read = form.read_array_header_1_0 if form.read_magic(head) == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = read(head)
    except ValueError:
        raise _unsendable("an array that is not in NumPy's file format", where) from None
    return dtype, tuple(shape), bool(fortran), head.tell()


def _encode_values(name: str, record: MetricRecord | ConfigRecord, target: records_pb2.Values) -> Iterator[Buffer]:
    for key, value in record.items():
        entry = target.values.add(name=key)
        if isinstance(value, bytes) and len(value) > BLOB:
            entry.blob = len(value)
            yield value
        else:
            _encode_value(entry, value, f"{name}.{key}")


def _encode_value(entry: records_pb2.Value, value: object, where: str) -> None:
    kind = type(value[0]) if isinstance(value, list) and value else type(value)
    scalar, several = _FIELDS.get(kind, ("", ""))
    try:
        if isinstance(value, list):
            target = getattr(entry, several or "reals")
            target.SetInParent()
            target.items.extend(value)
        else:
            setattr(entry, scalar, value)
    except (ValueError, TypeError, AttributeError):
        raise _unsendable(f"a value of type {kind.__name__} that has no place on the wire", where) from None


_FIELDS: dict[type, tuple[str, str]] = {
    int: ("integer", "integers"),
    float: ("real", "reals"),
    bool: ("flag", "flags"),
    str: ("text", "texts"),
    bytes: ("octets", "octet_strings"),
}


# --- decoding -------------------------------------------------------------------------------------


def decode(body: Sequence[Buffer], limits: ContentLimits | None = None) -> RecordDict:
    """Return the content in `body`; arrays are views of its buffers. Raises `PeerViolation`."""
    limits = limits or ContentLimits()
    header = records_pb2.Records()
    if not body or len(body[0]) > limits.header:
        raise _violation("no header, or one above its limit")
    parse_strictly(body[0], header)
    _check_counts(header, limits)
    buffers = iter(body[1:])
    try:
        content = RecordDict({record.name: _decode_record(record, buffers, limits) for record in header.records})
    except (TypeError, ValueError):
        raise _violation("values of a kind that the record cannot hold") from None
    if next(buffers, None) is not None:
        raise _violation("more buffers than the header announces")
    return content


def _check_counts(header: records_pb2.Records, limits: ContentLimits) -> None:
    if len(header.records) > limits.records:
        raise _violation(f"{len(header.records)} records, above {limits.records}")
    _check_names(record.name for record in header.records)
    entries = 0
    for record in header.records:
        group: Sequence[records_pb2.Array] | Sequence[records_pb2.Value] = (
            record.arrays.arrays
            if record.WhichOneof("kind") == "arrays"
            else getattr(record, record.WhichOneof("kind") or "config").values
        )
        entries += len(group)
        _check_names(entry.name for entry in group)
    if entries > limits.entries:
        raise _violation(f"{entries} entries, above {limits.entries}")


def _check_names(names: Iterable[str]) -> None:
    listed = list(names)
    if len(set(listed)) != len(listed):
        raise _violation("a name used twice")
    if any(len(name) > _TEXT for name in listed):
        raise _violation(f"a name above {_TEXT} characters")


def _decode_record(
    record: records_pb2.Record, buffers: Iterator[Buffer], limits: ContentLimits
) -> ArrayRecord | MetricRecord | ConfigRecord:
    kind = record.WhichOneof("kind")
    if kind == "arrays":
        return _decode_arrays(record.arrays, buffers, limits)
    if kind == "metrics":
        return MetricRecord({entry.name: _decode_value(entry, buffers, limits) for entry in record.metrics.values})
    if kind == "config":
        return ConfigRecord({entry.name: _decode_value(entry, buffers, limits) for entry in record.config.values})
    raise _violation("a record of no kind")


def _decode_arrays(source: records_pb2.Arrays, buffers: Iterator[Buffer], limits: ContentLimits) -> ArrayRecord:
    record = ArrayRecord()
    for array in source.arrays:
        record[array.name] = _decode_array(array, buffers, limits)
    return record


def _decode_array(array: records_pb2.Array, buffers: Iterator[Buffer], limits: ContentLimits) -> BufferArray:
    itemsize = ITEM_SIZES.get(array.dtype)
    if itemsize is None:
        raise _violation("an array of a type that may not travel")
    if len(array.shape) > limits.dimensions:
        raise _violation(f"an array of {len(array.shape)} dimensions, above {limits.dimensions}")
    if math.prod(side for side in array.shape if side) > _MOST_ITEMS:
        raise _violation("an array with a side that no machine can hold")
    raw = _next(buffers, math.prod(array.shape) * itemsize)
    return BufferArray(array.dtype, tuple(array.shape), raw)


def _next(buffers: Iterator[Buffer], length: int) -> memoryview:
    raw = next(buffers, None)
    if raw is None:
        raise _violation("fewer buffers than the header announces")
    if len(raw) != length:
        raise _violation(f"a buffer of {len(raw)} bytes where the header announces {length}")
    return memoryview(raw).toreadonly()


def _decode_value(entry: records_pb2.Value, buffers: Iterator[Buffer], limits: ContentLimits) -> Any:
    kind = entry.WhichOneof("value")
    if kind is None:
        raise _violation("an entry without a value")
    if kind == "blob":
        return bytes(_next(buffers, entry.blob))
    value = getattr(entry, kind)
    if not isinstance(value, Message):
        return value
    items = list(cast("Any", value).items)
    if len(items) > limits.items:
        raise _violation(f"a list of {len(items)} values, above {limits.items}")
    return items


# --- requests and replies -------------------------------------------------------------------------


def outgoing(message: Request | Reply) -> Outgoing:
    """Return `message` as the framing sends it, named by the id of its request; raises InbondError."""
    try:
        return _outgoing_request(message) if isinstance(message, Request) else _outgoing_reply(message)
    except (PeerViolation, TypeError, ValueError):
        right = f"texts up to {_TEXT} characters, numbers from 0 to 2^32 - 1, an id of 32 hexadecimal digits"
        raise InbondError("a message that no receiver accepts", where="link", right=right) from None


def _outgoing_request(message: Request) -> Outgoing:
    head = link_pb2.Request(
        id=message.id,
        job=message.job,
        kind=message.kind,
        step=message.step,
        round=message.round,
        attempt=message.attempt,
        plan_digest=message.plan_digest,
        expires=message.expires,
    )
    _check_request(head)
    return Outgoing(message.id, link_pb2.Head(request=head), message.body)


def _outgoing_reply(message: Reply) -> Outgoing:
    head = link_pb2.Reply(to=message.to, status=message.status, reason=message.reason[:_REASON])
    _check_reply(head)
    return Outgoing(message.to, link_pb2.Head(reply=head), message.body)


def request(incoming: Incoming) -> Request:
    """Return the request that arrived. Raises `PeerViolation` when it is something else or malformed."""
    head = incoming.head.request
    if incoming.head.WhichOneof("message") != "request":
        raise _violation("a message that is no request")
    _check_request(head)
    return Request(
        id=head.id,
        job=head.job,
        kind=head.kind,
        step=head.step,
        round=head.round,
        attempt=head.attempt,
        plan_digest=head.plan_digest,
        expires=head.expires,
        body=incoming.body,
    )


def reply(incoming: Incoming) -> Reply:
    """Return the reply that arrived. Raises `PeerViolation` when it is something else or malformed."""
    head = incoming.head.reply
    if incoming.head.WhichOneof("message") != "reply":
        raise _violation("a message that is no reply")
    _check_reply(head)
    return Reply(head.to, cast("Status", head.status), head.reason, incoming.body)


def _check_request(head: link_pb2.Request) -> None:
    _check_id(head.id)
    if any(len(text) > _TEXT for text in (head.job, head.kind, head.step, head.plan_digest)):
        raise _violation(f"a field above {_TEXT} characters")
    if not math.isfinite(head.expires):
        raise _violation("a request that expires at no time")


def _check_reply(head: link_pb2.Reply) -> None:
    _check_id(head.to)
    if head.status not in ("ok", "refused", "failed"):
        raise _violation("a reply with an unknown status")
    if len(head.reason) > _REASON:
        raise _violation(f"a reason above {_REASON} characters")


def _check_id(text: str) -> None:
    if len(text) != 32 or any(letter not in "0123456789abcdef" for letter in text):
        raise _violation("an id that is not 32 hexadecimal digits")
