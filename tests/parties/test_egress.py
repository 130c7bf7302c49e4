"""The egress guard: a reply holds exactly what its step promises, and nothing rides along."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from inbond.errors import Refused
from inbond.records import TO, blob_record, settings
from parties.egress import MAX_TOKEN, PLACED, SHARE_BYTES, check
from protocols import bfv
from protocols.masking import EpochKey
from protocols.pair import OVERHEAD
from protocols.params import SHARED_2048
from protocols.secure_sum import SumSpec

SPEC = SumSpec(
    job="0" * 32,
    plan_digest=b"p" * 32,
    step="census",
    round=0,
    attempt=0,
    parties=("p1", "p2", "p3"),
    keys={name: EpochKey.generate().public for name in ("p1", "p2", "p3")},
    reals=0,
    clip=1.0,
    exact=3,
    params=SHARED_2048.name,
    context=b"c" * 32,
)


@pytest.fixture(scope="module")
def blob() -> bytes:
    """A real ciphertext of the promised number of rows."""
    slots = np.zeros((SPEC.rows, SHARED_2048.degree), np.uint64)
    return bytes(bfv.Encryptor(SHARED_2048, bfv.generate_secret_key(SHARED_2048)).encrypt(slots))


def _contribution(blob: bytes) -> RecordDict:
    return RecordDict({"contribution": blob_record(blob)})


def test_a_promised_contribution_passes(blob: bytes) -> None:
    content = _contribution(blob)
    assert check("encrypted", "query.census", content, SPEC) is content


@pytest.mark.parametrize("change", ["shorter", "longer", "noise", "floats", "columns"])
def test_what_is_no_ciphertext_of_the_promised_rows_stays(blob: bytes, change: str) -> None:
    raw = np.frombuffer(blob, np.uint8)
    changes: dict[str, np.ndarray[Any, Any]] = {
        "shorter": raw[:-1],
        "longer": np.append(raw, np.uint8(0)),
        "noise": np.full_like(raw, 7),
        "floats": np.frombuffer(blob[: len(blob) // 4 * 4], np.float32),
        "columns": raw.reshape(1, -1),
    }
    content = RecordDict({"contribution": ArrayRecord({"v": Array(changes[change])})})
    with pytest.raises(Refused, match="egress guard"):
        check("encrypted", "query.census", content, SPEC)


def test_nothing_rides_along_in_the_contributions_own_record(blob: bytes) -> None:
    content = _contribution(blob)
    content.array_records["contribution"]["rows"] = Array(np.arange(5))
    with pytest.raises(Refused, match="not one array"):
        check("encrypted", "query.census", content, SPEC)


@pytest.mark.parametrize("extra", ["arrays", "metrics", "config"])
def test_a_record_that_no_promise_names_stops_the_reply(blob: bytes, extra: str) -> None:
    content = _contribution(blob)
    extras: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        "arrays": blob_record(b"x"),
        "metrics": MetricRecord({"mean": 3.5}),
        "config": settings(row="x"),
    }
    content["extra"] = extras[extra]
    with pytest.raises(Refused):
        check("encrypted", "query.census", content, SPEC)


def test_a_missing_record_stops_the_reply_too(blob: bytes) -> None:
    with pytest.raises(Refused):
        check("encrypted", "train", _contribution(blob), SPEC)


def test_a_contribution_without_a_described_sum_stays(blob: bytes) -> None:
    with pytest.raises(Refused, match="no sum is described"):
        check("encrypted", "query.census", _contribution(blob), None)


@pytest.mark.parametrize("step", ["", "train2", "query.dump"])
def test_a_step_without_a_promise_answers_nothing(step: str) -> None:
    for mode in ("encrypted", "plain"):
        with pytest.raises(Refused, match="nothing is promised"):
            check(mode, step, RecordDict(), None)


def test_a_token_has_a_size() -> None:
    content = RecordDict({"roster": settings(echo=["x" * (MAX_TOKEN + 1)]), "boxes": settings(p2=b"")})
    with pytest.raises(Refused):
        check("encrypted", "query.start", content, None)


def _placed(box: bytes, reader: str = "p2") -> RecordDict:
    return RecordDict({TO + reader: blob_record(box), "receipt": settings(box=b"receipt")})


def test_a_share_of_an_answer_goes_to_its_readers_alone_and_has_its_size() -> None:
    whole, readers = bytes(SHARE_BYTES * SPEC.exact + OVERHEAD), frozenset({"p2"})
    check(PLACED, "query.release", _placed(whole), SPEC, readers)
    for content in (_placed(whole + b"x"), _placed(whole[1:]), _placed(whole, "p3")):
        with pytest.raises(Refused):
            check(PLACED, "query.release", content, SPEC, readers)
    with pytest.raises(Refused):
        check("encrypted", "query.release", _placed(whole), SPEC, readers)


def test_nothing_leaves_with_an_answer_that_is_read_here(blob: bytes) -> None:
    check(PLACED, "query.answer", RecordDict(), None)
    for content in (_contribution(blob), _placed(b"x" * OVERHEAD)):
        with pytest.raises(Refused):
            check(PLACED, "query.answer", content, None, frozenset({"p2"}))
    with pytest.raises(Refused, match="nothing is promised"):
        check("encrypted", "query.answer", RecordDict(), None)
