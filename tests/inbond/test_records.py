"""What a step needs from a message is there in the right kind, or one error names it."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict

from inbond import codec
from inbond.records import BadContent, blob, blob_record, octets, settings, texts, vector, vectors


def test_what_was_put_in_comes_out_after_the_wire() -> None:
    content = vectors(x=np.arange(3, dtype=np.int64))
    content["b"] = blob_record(b"cipher")
    content["c"] = settings(names=["p1"], key=b"k")
    back = codec.decode([bytes(part) for part in codec.encode(content)])
    np.testing.assert_array_equal(vector(back, "x"), [0, 1, 2])
    assert (blob(back, "b", 6), texts(back, "c", "names"), octets(back, "c", "key")) == (b"cipher", ["p1"], b"k")


@pytest.mark.parametrize(
    "made",
    [
        RecordDict(),
        RecordDict({"b": settings(v=b"x")}),
        RecordDict({"b": ArrayRecord({"w": Array(np.zeros(1, np.uint8))})}),
        vectors(b=np.zeros(4, np.float32)),
        vectors(b=np.zeros((2, 2), np.uint8)),
        vectors(b=np.zeros(7, np.uint8)),
    ],
)
def test_what_is_no_blob_within_its_limit_is_bad_content(made: RecordDict) -> None:
    with pytest.raises(BadContent, match="b"):
        blob(made, "b", 6)


@pytest.mark.parametrize("value", ["text", 3, [1, 2], b"x", 0.5, True])
def test_a_list_of_texts_is_nothing_else(value: object) -> None:
    with pytest.raises(BadContent, match=r"c\.names"):
        texts(RecordDict({"c": settings(names=value)}), "c", "names")


def test_octets_are_bytes() -> None:
    for content in (RecordDict(), RecordDict({"c": settings(key="k")}), RecordDict({"c": settings(other=b"k")})):
        with pytest.raises(BadContent, match=r"c\.key"):
            octets(content, "c", "key")
