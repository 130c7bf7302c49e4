"""A kept body comes back in the parts it was sent in, or not at all."""

import stat
from pathlib import Path

import numpy as np
import pytest

from inbond import codec
from inbond.bodies import read_body, write_body
from inbond.errors import InbondError
from inbond.messages import Buffer
from inbond.records import vector, vectors


@pytest.mark.parametrize("body", [[b"head"], [b"head", b"", bytes(3_000_000)], [b"x"] * 1500, []])
def test_parts_come_back_as_they_were(tmp_path: Path, body: list[Buffer]) -> None:
    path = tmp_path / "job" / "request"
    write_body(path, body)
    assert [bytes(part) for part in read_body(path)] == [bytes(part) for part in body]


def test_a_content_with_an_array_can_be_read_again_from_what_was_kept(tmp_path: Path) -> None:
    sent = np.arange(1000, dtype=np.float32)
    write_body(tmp_path / "request", codec.encode(vectors(model=sent)))
    assert np.array_equal(vector(codec.decode(read_body(tmp_path / "request")), "model"), sent)


def test_a_shorter_body_leaves_nothing_of_a_longer_one_before_it(tmp_path: Path) -> None:
    write_body(tmp_path / "request", [bytes(100)])
    write_body(tmp_path / "request", [b"short"])
    assert [bytes(part) for part in read_body(tmp_path / "request")] == [b"short"]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    write_body(tmp_path / "request", [b"x"])
    assert stat.S_IMODE((tmp_path / "request").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [0, 5, 20, 30])
def test_a_torn_file_is_one_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "request"
    write_body(path, [b"head", b"a longer part"])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InbondError, match="not whole"):
        read_body(path)


@pytest.mark.parametrize("content", [b"\xff" * 64, bytes(8) + b"more"])
def test_bytes_that_are_no_body_are_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "request").write_bytes(content)
    with pytest.raises(InbondError, match="not whole"):
        read_body(tmp_path / "request")


def test_a_file_that_is_gone_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InbondError, match="gone"):
        read_body(tmp_path / "request")
