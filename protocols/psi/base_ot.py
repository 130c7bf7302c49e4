"""Random oblivious transfers on ristretto255: one side gets pairs of keys, the other one key of each pair.

Who learns what: the chooser one key of each pair and nothing of the other; the offerer not which. Chou and Orlandi
(Latincrypt 2015), for semi-honest parties: the offerer sends A = aG; for a choice c the chooser sends B = bG + cA;
the keys are hashes of aB and aB - aA, of which the chooser has the one of bA. Every point is checked.
"""

from __future__ import annotations

import os
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from protocols.errors import PeerViolation
from protocols.psi.ristretto import (
    POINT,
    U8,
    Random,
    add,
    is_valid,
    multiply,
    multiply_all,
    multiply_base,
    random_scalar,
    subtract,
)

KEY = 16


class Offerer:
    """Has both keys of each pair; `point` (32 bytes) is its message, the same for all transfers of the session."""

    def __init__(self, session: bytes, random: Random = os.urandom) -> None:
        self._session, self._scalar = session, random_scalar(random)
        self.point = multiply_base(self._scalar)

    def keys(self, points: bytes, count: int) -> U8:
        """The pairs (count, 2, 16) for what the chooser sent.

        Raises:
            PeerViolation: wrong length, or a point that is malformed or the identity.
        """
        if len(points) != POINT * count:
            raise PeerViolation("choices have the wrong length", where="base OT", right=f"send {count} points")
        shared = multiply_all(self._scalar, np.frombuffer(points, np.uint8).reshape(count, POINT))
        own = multiply(self._scalar, self.point)
        keys = bytearray()
        for index, product in enumerate(map(bytes, shared)):
            sent = points[POINT * index : POINT * (index + 1)]
            for secret in (product, subtract(product, own)):
                keys += _key(self._session, index, self.point, sent, secret)
        return np.frombuffer(keys, np.uint8).reshape(count, 2, KEY)


def choose(
    session: bytes, point: bytes, choices: npt.NDArray[np.bool_], random: Random = os.urandom
) -> tuple[bytes, U8]:
    """Choose in each pair: the message for the offerer, 32 bytes a choice, and the keys chosen (n, 16).

    Raises:
        PeerViolation: the offerer's point is malformed or the identity.
    """
    if not is_valid(point):
        raise PeerViolation("the offer is malformed", where="base OT", right="send one non-identity point")
    message, keys = bytearray(), bytearray()
    for index, choice in enumerate(choices):
        scalar = random_scalar(random)
        blind = multiply_base(scalar)
        sent = (blind, add(blind, point))[int(choice)]  # both are computed, so that time does not tell
        message += sent
        keys += _key(session, index, point, sent, multiply(scalar, point))
    return bytes(message), np.frombuffer(keys, np.uint8).reshape(len(choices), KEY)


def _key(session: bytes, index: int, offer: bytes, choice: bytes, secret: bytes) -> bytes:
    data = index.to_bytes(4, "little") + offer + choice + secret
    return blake2b(data, digest_size=KEY, key=session, person=b"inbond OT v1").digest()
