"""A message's body on disk, in the parts it came in: what is kept is what can be sent again.

A file, or for a small body a column of a database row, holds the number of parts and their lengths (64-bit, big
endian), then the parts. A file is written in place and believed only where a database row, written after it, says that
it is there; so a torn file is never read.
"""

import os
import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from inbond.errors import InbondError
from inbond.messages import Buffer

_AT_ONCE = 512  # buffers of one writev; the kernel takes at most 1024
_NUMBER = 8


def write_all(file: int, body: Sequence[Buffer]) -> None:
    """Write every part of `body` to the descriptor `file`, without joining them. Raises OSError."""
    views = [memoryview(part).cast("B") for part in body if len(part)]
    while views:
        written = os.writev(file, views[:_AT_ONCE])
        while written:
            step = min(written, len(views[0]))
            written -= step
            views[0] = views[0][step:]
            if not len(views[0]):
                del views[0]


def write_body(path: Path, body: Sequence[Buffer]) -> None:
    """Write `body` to `path`, for its owner alone; makes the folder when it is missing. Raises OSError."""
    file = _open(path)
    try:
        write_all(file, [_lengths(body), *body])
    finally:
        os.close(file)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, flags, 0o600)


def read_body(path: Path) -> list[memoryview]:
    """Return the parts in `path`. Raises InbondError for a file that is gone or not whole."""
    try:
        return unpack_body(path.read_bytes(), str(path))
    except OSError:
        raise _damaged(str(path)) from None


def pack_body(body: Sequence[Buffer]) -> bytes:
    """Return `body` in one piece, as a file would hold it."""
    return b"".join((_lengths(body), *body))


def unpack_body(packed: bytes, where: str) -> list[memoryview]:
    """Return the parts in what `pack_body` made. Raises InbondError, which names `where`, if it is not whole."""
    data = memoryview(packed)
    count = int.from_bytes(data[:_NUMBER], "big")
    start = _NUMBER * (1 + count)
    try:
        lengths = struct.unpack(f"!{count}Q", data[_NUMBER:start])
    except (struct.error, OverflowError):
        raise _damaged(where) from None
    if start + sum(lengths) != len(data):
        raise _damaged(where)
    return [data[first:last] for first, last in pairwise(accumulate(lengths, initial=start))]


def _lengths(body: Sequence[Buffer]) -> bytes:
    return struct.pack(f"!{1 + len(body)}Q", len(body), *map(len, body))


def _damaged(where: str) -> InbondError:
    return InbondError("a kept body is gone or not whole", where=where, right="submit the job again")
