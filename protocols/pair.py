"""A channel between two parties of one job, through a coordinator that only carries it.

Who learns what: the coordinator learns sizes; the peer learns the content. Keys come from the two parties' X25519
epoch keys, which their signed verdicts vouch for, so a box authenticates its sender as well. Each direction has a key
of its own (RFC 5869); the content is under AES-256-GCM (NIST SP 800-38D) with a random nonce, and the label of the
message is bound to it, so that a box cannot be carried to another job, round or reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.containers import Bytes
from protocols.errors import PeerViolation
from protocols.masking import KEY_BYTES, EpochKey, pair_seed

NONCE_BYTES = 12
OVERHEAD = NONCE_BYTES + 16


class PairChannel:
    """What `me` seals for `peer` and opens from it; `digest` (32 bytes) is what both agreed on: the roster.

    Raises PeerViolation for a peer's key that is malformed or of low order.
    """

    def __init__(
        self,
        own: EpochKey,
        peer_public: bytes,
        *,
        digest: bytes,
        me: str,
        peer: str,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        seed = pair_seed(own, peer_public, digest=digest, me=me, peer=peer)
        self._out, self._in = (AESGCM(_key(seed, sender)) for sender in (me, peer))
        self._peer, self._random = peer, random

    def seal(self, label: str, content: Bytes) -> memoryview:
        """`content` for the peer alone: `OVERHEAD` bytes longer."""
        nonce, box = self._random(NONCE_BYTES), np.empty(len(content) + OVERHEAD, np.uint8).data  # bytearray sets zeros
        box[:NONCE_BYTES] = nonce
        self._out.encrypt_into(nonce, content, label.encode(), box[NONCE_BYTES:])
        return box

    def open(self, label: str, box: Bytes) -> memoryview:
        """The content of a box that the peer sealed under `label`; raises PeerViolation for any other."""
        if len(box) < OVERHEAD:
            raise PeerViolation("a box is too short", where=self._peer, right="send it whole")
        whole, content = memoryview(box), np.empty(len(box) - OVERHEAD, np.uint8).data
        try:
            self._in.decrypt_into(bytes(whole[:NONCE_BYTES]), whole[NONCE_BYTES:], label.encode(), content)
        except InvalidTag:
            raise PeerViolation("a box does not open", where=self._peer, right="seal it for this round") from None
        return content


def _key(seed: bytes, sender: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"inbond pair channel v1" + sender.encode()).derive(seed)
