"""What coordinator and party say to each other once the link stands: requests and replies, as values.

Nothing here is secret or trusted: whoever receives a request checks it against its own admission record.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from inbond.errors import InbondError

Buffer: TypeAlias = bytes | bytearray | memoryview
"""One contiguous piece of a body."""

Status: TypeAlias = Literal["ok", "refused", "failed"]
"""How a request ended: done, refused by the party's policy, or failed while it ran."""


class PeerViolation(InbondError):
    """The other side broke the protocol: what it sent is dropped and the conversation with it ends."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What the coordinator asks of one party.

    `id` is 32 hexadecimal digits (see `request_id`), `kind` and `step` name what is to be done, `round` and
    `attempt` count from 0, `plan_digest` binds it to the admitted plan, `expires` is in Unix seconds (UTC),
    and `body` is a sequence of buffers.
    """

    id: str
    job: str
    kind: str
    step: str
    round: int
    attempt: int
    plan_digest: str
    expires: float
    body: Sequence[Buffer] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A party's answer to the request whose id is `to`; `reason` explains any status but ok."""

    to: str
    status: Status
    reason: str = ""
    body: Sequence[Buffer] = ()


def request_id(job: str, attempt: int, step: str, round: int, party: str) -> str:  # noqa: A002 - the field's name
    """Return the id of this very request: 32 hexadecimal digits, the same after a restart of the coordinator.

    Each text is prefixed by its length, so no two different requests share an input of the hash.
    """
    digest = hashlib.sha256(b"inbond/request/v1")
    for text in (job, str(attempt), step, str(round), party):
        octets = text.encode()
        digest.update(len(octets).to_bytes(4, "big") + octets)
    return digest.hexdigest()[:32]


def size(body: Sequence[Buffer]) -> int:
    """Return the bytes of all parts of `body` together."""
    return sum(len(part) for part in body)
