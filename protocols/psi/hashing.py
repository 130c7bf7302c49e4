"""From items to uniform digests: expand_message_xmd with SHA-512 (RFC 9380, section 5.3.1), under our own domains.

Who learns what: nothing is sent here. The session id stands in front of every hashed string, so what two sessions
send stays unlinkable even if a scalar were used twice by mistake. `ristretto.hash_all` maps the digests to the group,
which together is the suite ristretto255_XMD:SHA-512_R255MAP_RO_ (RFC 9380, appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha512

import numpy as np

from protocols.errors import MisuseError
from protocols.psi.ristretto import U8, UNIFORM

SESSION = 32  # bytes of a session id
_BLOCK, _OUTPUT = 128, 64  # of SHA-512


def domain(protocol: str) -> bytes:
    """Domain separation tag of the protocol with this id, for instance `psi-ec/1`.

    Raises:
        MisuseError: the id is empty or not printable ASCII, or the tag would pass RFC 9380's 255 bytes.
    """
    tag = f"INBOND-V01-PSI-{protocol}-ristretto255_XMD:SHA-512_R255MAP_RO_"
    if not protocol or not protocol.isascii() or not protocol.isprintable() or len(tag) > 255:
        raise MisuseError("a protocol id is malformed", where="hash domain", right="give 1 to 200 ASCII characters")
    return tag.encode()


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """Expand a message to `length` uniform bytes under a domain separation tag of at most 255 bytes.

    Raises:
        MisuseError: the tag is empty or too long, or more than 255 blocks of 64 bytes are asked for.
    """
    blocks = -(-length // _OUTPUT)
    if not 0 < len(dst) <= 255 or not 0 < blocks <= 255:
        raise MisuseError("a hash domain or length is out of range", where="expand_message_xmd", right="see RFC 9380")
    tail = dst + bytes([len(dst)])
    first = sha512(bytes(_BLOCK) + message + length.to_bytes(2, "big") + b"\0" + tail).digest()
    out = [block := sha512(first + b"\1" + tail).digest()]
    for i in range(2, blocks + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        out.append(block := sha512(mixed + bytes([i]) + tail).digest())
    return b"".join(out)[:length]


def digest_all(items: Sequence[bytes], *, session: bytes, dst: bytes) -> U8:
    """Digests (n, 64) of `session` || item for every item: what expand_message_xmd gives for 64 bytes.

    Raises:
        MisuseError: the session id is not 32 bytes, or the tag is not in 1..255 bytes.
    """
    if len(session) != SESSION or not 0 < len(dst) <= 255:
        raise MisuseError("a session id or hash domain is malformed", where="hashing", right="give 32 bytes and a tag")
    start = sha512(bytes(_BLOCK) + session)
    tail = dst + bytes([len(dst)])
    head, last = UNIFORM.to_bytes(2, "big") + b"\0" + tail, b"\1" + tail
    digests = bytearray()
    for item in items:  # a hash per item; hashlib has no bulk call
        state = start.copy()
        state.update(item + head)
        digests += sha512(state.digest() + last).digest()
    return np.frombuffer(digests, np.uint8).reshape(-1, UNIFORM)
