"""Contents cross the wire unchanged, without a copy, and nothing malformed gets through."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inbond import codec
from inbond.errors import InbondError
from inbond.framing import Incoming
from inbond.messages import PeerViolation, Reply, Request, request_id
from inbond.records import blob_record
from inbond.v1 import link_pb2, records_pb2

int64 = st.integers(-(2**63), 2**63 - 1)
scalars = int64 | st.floats(allow_nan=False) | st.booleans() | st.text() | st.binary()
config = st.dictionaries(
    st.text(max_size=20),
    scalars | st.lists(int64) | st.lists(st.text()) | st.lists(st.binary()) | st.lists(st.booleans()),
    max_size=5,
)
arrays = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in codec.ITEM_SIZES]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def _content() -> RecordDict:
    return RecordDict(
        {
            "model": ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3)]),
            "metrics": MetricRecord({"loss": 0.5}),
        }
    )


def _with(*records: records_pb2.Record) -> bytes:
    return records_pb2.Records(records=records).SerializeToString()


def _array(dtype: str = "float32", shape: tuple[int, ...] = (2,), name: str = "a") -> records_pb2.Record:
    array = records_pb2.Array(name=name, dtype=dtype, shape=shape)
    return records_pb2.Record(name="r", arrays=records_pb2.Arrays(arrays=[array]))


@settings(max_examples=60, deadline=None)
@given(config, st.lists(arrays, max_size=3))
def test_any_content_survives_the_round_trip(values: dict[str, object], held: list[np.ndarray]) -> None:
    content = RecordDict({"c": ConfigRecord(values), "a": ArrayRecord(held)})  # type: ignore[arg-type]  # any of Flower's kinds
    back = codec.decode([bytes(part) for part in codec.encode(content)])
    assert back["c"] == content["c"]
    for mine, theirs in zip(held, back.array_records["a"].values(), strict=True):
        np.testing.assert_array_equal(theirs.numpy(), mine)
        assert theirs.numpy().dtype == mine.dtype


def test_decoding_does_not_copy_arrays_and_their_numpy_is_writable() -> None:
    body = codec.encode(RecordDict({"a": ArrayRecord([np.zeros(4, np.uint8)])}))
    raw = bytearray(body[1])
    array = codec.decode([body[0], raw]).array_records["a"]["0"]
    raw[0] = 7
    own = array.numpy()
    assert own[0] == 7
    own[1] = 9
    assert array.numpy()[1] == 0


def test_encoding_does_not_copy_arrays() -> None:
    array = Array(np.zeros(1000))
    part = codec.encode(RecordDict({"a": ArrayRecord({"x": array})}))[1]
    assert isinstance(part, memoryview)
    assert part.obj is array.data
    sealed = np.ones(1000, np.uint8)
    parts = codec.encode(RecordDict({"a": blob_record(sealed.data)}))
    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), sealed)


def test_a_decoded_array_works_where_flower_wants_its_own() -> None:
    content = codec.decode(codec.encode(_content()))
    array = content.array_records["model"]["0"]
    assert array == _content().array_records["model"]["0"]
    assert ArrayRecord(dict(content.array_records["model"]))["0"].numpy().shape == (2, 3)


def test_fortran_order_is_put_in_order() -> None:
    wanted = np.asfortranarray(np.arange(6).reshape(2, 3))
    back = codec.decode(codec.encode(RecordDict({"a": ArrayRecord([wanted])})))
    np.testing.assert_array_equal(back.array_records["a"]["0"].numpy(), wanted)


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.complex64), np.array(["a"]), np.zeros(2, ">f4"), np.zeros(2, "M8[s]")]
)
def test_array_types_off_the_list_are_refused_by_name(array: np.ndarray) -> None:
    with pytest.raises(InbondError, match=r"a\.0: an array of type"):
        codec.encode(RecordDict({"a": ArrayRecord([array])}))


def test_a_pickled_array_is_refused() -> None:
    array = Array(dtype="object", shape=(1,), stype="pickle", data=b"\x80\x04.")
    with pytest.raises(InbondError, match="serialised as 'pickle'"):
        codec.encode(RecordDict({"a": ArrayRecord({"x": array})}))


def test_an_integer_beyond_64_bits_is_refused() -> None:
    with pytest.raises(InbondError, match="no place on the wire"):
        codec.encode(RecordDict({"c": ConfigRecord({"n": 2**64})}))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "no header"),
        ([b"\xff\xff"], "no message"),
        ([_with(_array())], "fewer buffers"),
        ([_with(_array()), b"1234567"], "7 bytes where the header announces 8"),
        ([_with(_array()), b"12345678", b""], "more buffers"),
        ([_with(_array("object")), b"12345678"], "may not travel"),
        ([_with(_array("float32", (1,) * 9)), b"1234"], "9 dimensions"),
        ([_with(_array("float32", (0, 2**63))), b""], "no machine can hold"),
        ([_with(_array(), _array()), b"12345678", b"12345678"], "name used twice"),
        ([_with(_array(name="x" * 300)), b"12345678"], "above 256 characters"),
        ([_with(records_pb2.Record(name="r"))], "no kind"),
        ([_with(*(records_pb2.Record(name=str(n)) for n in range(65)))], "65 records"),
        ([_with() + b"\x7a\x01a"], "unknown or repeated"),
        (
            [
                _with(
                    records_pb2.Record(
                        name="m",
                        metrics=records_pb2.Values(values=[records_pb2.Value(name="t", text="no metric")]),
                    )
                )
            ],
            "cannot hold",
        ),
        (
            [
                _with(
                    records_pb2.Record(
                        name="c",
                        config=records_pb2.Values(values=[records_pb2.Value(name="t", blob=1 << 62)]),
                    )
                ),
                b"short",
            ],
            "5 bytes where",
        ),
    ],
)
def test_malformed_contents_are_refused(body: list[bytes], why: str) -> None:
    with pytest.raises(PeerViolation, match=why):
        codec.decode(body)


def test_limits_hold() -> None:
    body = codec.encode(_content())
    with pytest.raises(PeerViolation, match="header"):
        codec.decode(body, codec.ContentLimits(header=4))
    with pytest.raises(PeerViolation, match="2 entries"):
        codec.decode(body, codec.ContentLimits(entries=1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_gives_a_content_or_one_typed_error(at: int, octet: int) -> None:
    head, *rest = codec.encode(_content())
    changed = bytearray(head)
    changed[at % len(changed)] = octet
    with contextlib.suppress(PeerViolation):
        codec.decode([bytes(changed), *rest])


def _through(message: Request | Reply) -> Incoming:
    frame = link_pb2.Frame.FromString(next(codec.outgoing(message).frames(1)))
    return Incoming(frame.head, [memoryview(frame.head.body)])


def test_requests_and_replies_survive() -> None:
    request = Request(request_id("j", 0, "round", 3, "a"), "j", "step", "round", 3, 1, "d" * 64, 12.5, [b"xy"])
    back = codec.request(_through(request))
    assert (back.id, back.round, back.attempt, back.expires) == (request.id, 3, 1, 12.5)
    assert bytes(back.body[0]) == b"xy"
    reply = Reply(request.id, "refused", "no basis", [b"z"])
    assert codec.reply(_through(reply)).status == "refused"


def test_a_reply_is_no_request_and_an_id_must_be_one() -> None:
    reply = Reply("0" * 32, "ok")
    with pytest.raises(PeerViolation, match="no request"):
        codec.request(_through(reply))
    for head, why in (
        (link_pb2.Reply(to="../etc", status="ok"), "an id that is not"),
        (link_pb2.Reply(to="0" * 32, status="maybe"), "unknown status"),
        (link_pb2.Reply(to="0" * 32, status="ok", reason="x" * 513), "a reason above"),
    ):
        with pytest.raises(PeerViolation, match=why):
            codec.reply(Incoming(link_pb2.Head(reply=head), ()))


@pytest.mark.parametrize(
    "change", [{"id": "1"}, {"round": -1}, {"round": 2**32}, {"job": "x" * 257}, {"expires": float("inf")}]
)
def test_what_no_receiver_accepts_is_refused_at_the_sender(change: dict[str, Any]) -> None:
    good = Request("0" * 32, "j", "step", "round", 0, 0, "", 1.0)
    codec.outgoing(good)
    with pytest.raises(InbondError, match="no receiver accepts"):
        codec.outgoing(replace(good, **change))


def test_request_ids_are_stable_and_bind_every_field() -> None:
    fields = ("job", 0, "round", 1, "a")
    assert request_id(*fields) == request_id(*fields)
    others = [("jo", 0, "bround", 1, "a"), ("job", 1, "round", 1, "a"), ("job", 0, "round", 2, "a")]
    assert request_id(*fields) not in {request_id(*other) for other in others}
    assert len(request_id(*fields)) == 32
