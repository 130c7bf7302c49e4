"""What went over the coordinator's links, put together again, and searches that a thief of it would try.

A capture is the file that INBOND_TEST_TAP names: a head (length, JSON) and a frame, over and over.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inbond import codec
from inbond.framing import Assembler, Chunk, Limits, parse
from inbond.messages import Reply, Request

HEADER = 20  # bytes of a ciphertext blob before its words
WINDOWS = 4  # places in a vector where it is looked for
WINDOW = 4  # neighbouring numbers that are searched for together: 16 bytes never match by chance
TOKEN = re.compile(rb"[A-Za-z0-9_-]{32,}")
HEX = re.compile(rb"(?:[0-9a-f]{2}){32,}")
Numbers = NDArray[Any]


@dataclass
class Exchange:
    """One request and, once it came, its reply."""

    party: str
    request: Request
    reply: Reply | None = None


@dataclass
class Capture:
    """All exchanges of one job, in the order of the requests."""

    exchanges: list[Exchange] = field(default_factory=list)

    def replies(self, step: str, number: int = 0) -> dict[str, list[bytes]]:
        """Party -> body of its reply to one step."""
        return {
            one.party: [bytes(part) for part in one.reply.body]
            for one in self.exchanges
            if one.reply is not None and (one.request.step, one.request.round) == (step, number)
        }

    def contributions(self, step: str, number: int = 0) -> dict[str, bytes]:
        """Party -> ciphertext blob that it contributed to one step."""
        found = {}
        for party, body in self.replies(step, number).items():
            record = codec.decode(body).array_records["contribution"]
            found[party] = record["v"].numpy().tobytes()
        return found

    def haystack(self, files: Iterable[Path] = ()) -> bytes:
        """Everything in one piece, and once more what its tokens (base64url) and hexadecimal texts say."""
        parts: list[bytes] = []
        for one in self.exchanges:
            parts += [bytes(part) for part in one.request.body]
            if one.reply is not None:
                parts += [one.reply.reason.encode(), *(bytes(part) for part in one.reply.body)]
        parts += [path.read_bytes() for path in files]
        whole = b"\n".join(parts)
        return b"\n".join([whole, *_spelt_out(whole)])


def _spelt_out(whole: bytes) -> Iterator[bytes]:
    for token in TOKEN.findall(whole):
        yield base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)) if len(token) % 4 != 1 else b""
    for text in HEX.findall(whole):
        yield bytes.fromhex(text.decode())


def read_capture(tap: Path, job: str) -> Capture:
    """The exchanges of one job in the tap's file."""
    capture, asked = Capture(), dict[str, Exchange]()
    assemblers: dict[tuple[str, str, str], Assembler] = {}  # of a party two, while one stream takes over from another
    for direction, party, stream, frame in _frames(tap.read_bytes()):
        parsed = parse(frame, Limits())
        assembler = assemblers.setdefault((direction, party, stream), Assembler())
        if isinstance(parsed, Chunk):
            message = assembler.chunk(parsed, 0.0)
        elif parsed.WhichOneof("kind") == "head":
            message = assembler.head(parsed.head, 0.0)
        else:
            continue
        if message is None:
            continue
        if direction == "out":
            request = codec.request(message)
            if request.job == job:
                asked[request.id] = Exchange(party, request)
                capture.exchanges.append(asked[request.id])
        elif (reply := codec.reply(message)).to in asked:
            asked[reply.to].reply = reply
    return capture


def _frames(data: bytes) -> Iterator[tuple[str, str, str, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        head = json.loads(data[at + 4 : at + 4 + length])
        start = at + 4 + length
        at = start + head["bytes"]
        yield head["direction"], head["party"], head["stream"], data[start:at]


# what a thief looks for


def found_vector(haystack: bytes, values: Numbers) -> list[str]:
    """Encodings in which some neighbours of `values` stand in the haystack; windows of equal numbers say nothing."""
    found = []
    for dtype in ("<f4", "<f8", "<i4", "<i8"):
        cast = np.ascontiguousarray(values, np.dtype(dtype))
        starts = np.linspace(0, cast.size - WINDOW, WINDOWS).astype(int)
        windows = [cast[start : start + WINDOW] for start in starts]
        if any(len(set(window.tolist())) == WINDOW and window.tobytes() in haystack for window in windows):
            found.append(dtype)
    return found


def found_number(haystack: bytes, value: float) -> list[str]:
    """Encodings in which one number (of at least five digits) stands in the haystack."""
    texts = {str(value), json.dumps(value)} | ({f"{value / 100:.2f}"} if isinstance(value, int) else set())
    found = [
        f"text {text}"
        for text in texts
        if text.encode() in haystack  # quicker than the expression, which is for numbers inside of longer texts
        and re.search(rb"(?<![0-9A-Za-z_-])" + re.escape(text.encode()) + rb"(?![0-9A-Za-z_-])", haystack)
    ]
    forms = ("<f8", ">f8") + (("<i8", ">i8") if isinstance(value, int) else ())
    return found + [form for form in forms if np.array(value, form).tobytes() in haystack]


# statistics


def deviation(symbols: NDArray[Any]) -> float:
    """How far the byte histogram is from uniform: (chi-square - df) / sqrt(2 df), about normal for uniform bytes."""
    counts = np.bincount(np.ascontiguousarray(symbols).view(np.uint8).reshape(-1), minlength=256)
    expected = counts.sum() / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    return (chi_square - 255) / float(np.sqrt(2 * 255))


def deviations_of_bits(words: NDArray[np.uint64], bits: int) -> list[float]:
    """`deviation` of every whole octet of words that are said to be uniform below 2**bits, top octet included."""
    shifts = [*range(0, bits - 7, 8), bits - 8]
    return [deviation(((words >> np.uint64(shift)) & np.uint64(255)).astype(np.uint8)) for shift in shifts]
