"""The process in which an auditor's machine reads an opening: SEAL and a peer's bytes, and nothing else of the auditor.

Who learns what: the process sees the opened values and the key of one join; no identity key, no network.
"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inbond.child import ChildLimits, spawn
from inbond.errors import JobFailed
from inbond.ipc import Channel, ChannelBroken
from protocols.errors import MisuseError, PeerViolation

if TYPE_CHECKING:
    from protocols.join.opening import Asked, Finding

_MEMORY = 8 << 30
_SECONDS = 1800.0
_VIOLATION = "violation"


def check_in_child(asked: "Asked", opening: bytes) -> "tuple[Finding, ...]":
    """`protocols.join.opening.check_opening` in a process of its own.

    Raises PeerViolation as that does, also where the bytes broke the process, and JobFailed where it does not start.
    """
    from protocols.join.opening import Finding  # noqa: PLC0415 - SEAL, which only this command needs

    child = spawn("parties.opening_process", limits=ChildLimits(address_space=_MEMORY), name="opening")
    head = {**asdict(asked), "root": asked.root.hex(), "nonce": asked.nonce.hex()}
    try:
        child.channel.send(json.dumps(head).encode(), [opening])
        answer = json.loads(child.channel.receive(_SECONDS).head)
    except (ChannelBroken, ValueError):
        raise PeerViolation("an opening that cannot be read through", where="opening", right="send it whole") from None
    finally:
        child.kill()
    if "failed" not in answer:
        return tuple(Finding(**one) for one in answer["findings"])
    if answer["failed"] == _VIOLATION:
        raise PeerViolation(answer["what"], where="opening")
    raise JobFailed(answer["what"], where="opening", right="evidence and contract that fit each other")


def _answer(head: dict[str, Any], opening: memoryview) -> dict[str, Any]:
    from protocols.join.commitment import Shape  # noqa: PLC0415
    from protocols.join.opening import Asked, check_opening  # noqa: PLC0415

    own = {"shape": Shape(**head["shape"]), "root": bytes.fromhex(head["root"]), "nonce": bytes.fromhex(head["nonce"])}
    asked = Asked(**{**head, **own, "ranges": tuple((least, most) for least, most in head["ranges"])})
    try:
        return {"findings": [asdict(one) for one in check_opening(asked, opening)]}
    except PeerViolation as error:
        return {"failed": _VIOLATION, "what": error.what}
    except MisuseError as error:
        return {"failed": "misuse", "what": error.what}


def main(channel: Channel) -> None:
    """Read one opening, and end."""
    packet = channel.receive()
    found = _answer(json.loads(packet.head), packet.body[0])
    channel.send(json.dumps(found).encode(), [])
