"""A secure round is complete or it is a failure that names the party: no sum of some of them is ever made."""

from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import RecordDict

from federation.secure_rounds import JobFrame, SecureRounds, finish
from inbond import flower
from inbond.errors import InbondError, JobFailed
from inbond.records import BadContent, settings
from protocols.errors import ProtocolError
from protocols.params import SHARED_2048

NODES = {name: flower.node_id(name) for name in ("p1", "p2", "p3")}
FRAME = JobFrame(NODES, ("v1", "v2", "v3"), 2, 5.0)


def _reply(name: str, content: RecordDict | None = None, error: str = "") -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(src_node_id=NODES[name], message_type="train"),
        has_error=lambda: bool(error),
        error=SimpleNamespace(reason=error),
        content=content or RecordDict(),
    )


def _rounds() -> SecureRounds:
    grid: Any = SimpleNamespace()
    return SecureRounds(grid, FRAME)


def test_the_leader_is_the_first_by_name() -> None:
    assert FRAME.leader == "p1"


def test_all_replies_make_a_round() -> None:
    assert set(_rounds().complete([_reply(name) for name in NODES])) == set(NODES)


def test_a_missing_party_is_named() -> None:
    with pytest.raises(JobFailed, match="no reply from p2, p3 within 5 s"):
        _rounds().complete([_reply("p1")])


def test_a_party_that_refuses_ends_the_round_with_its_words() -> None:
    with pytest.raises(JobFailed, match="party p2: the job was cancelled"):
        _rounds().complete([_reply("p1"), _reply("p2", error="the job was cancelled"), _reply("p3")])


@pytest.mark.parametrize("blob", [b"", b"garbage" * 100])
def test_what_is_no_ciphertext_is_not_summed(blob: bytes) -> None:
    from inbond.records import blob_record

    answers = {name: RecordDict({"contribution": blob_record(blob)}) for name in NODES}
    with pytest.raises((ProtocolError, InbondError)):
        SecureRounds.add(answers, SHARED_2048)


def test_a_reply_without_a_contribution_is_bad_content() -> None:
    with pytest.raises(BadContent):
        SecureRounds.add({name: RecordDict() for name in NODES}, SHARED_2048)


def test_a_result_without_every_receipt_is_not_left_behind() -> None:
    context: Any = SimpleNamespace(state=RecordDict())
    answers = {"p1": RecordDict({"receipt": settings(box=b"r1")}), "p2": RecordDict()}
    with pytest.raises(BadContent):
        finish(context, b"body", answers)
    assert not context.state
