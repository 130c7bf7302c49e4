"""Reading our own kept tokens again: their signatures were checked when they came in or were made."""

import base64
import json
from typing import Any

from inbond.errors import InbondError


def payload_of(token: str) -> dict[str, Any]:
    """The payload of a token that this node has already verified and kept itself; raises InbondError."""
    try:
        body = token.split(".")[1]
        payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        raise InbondError("a kept token is damaged", where="state.db", right="restore the node's folder") from None
    if not isinstance(payload, dict):
        raise InbondError("a kept token is damaged", where="state.db", right="restore the node's folder")
    return payload
