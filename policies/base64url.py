"""Base64url as JOSE has it (RFC 7515 section 2): no padding, and one text for each value."""

import base64
import binascii

from policies.errors import InvalidIdentity


def encode(data: bytes) -> str:
    """`data` as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str, where: str) -> bytes:
    """Strict base64url: one text per value, or a token could be altered without breaking its signature.

    Raises InvalidIdentity that names `where`; nothing at all is not base64url either.
    """
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        data = b""
    if not part or encode(data) != part:
        raise InvalidIdentity("not canonical base64url", where=where, right="RFC 7515 section 2: no padding")
    return data
