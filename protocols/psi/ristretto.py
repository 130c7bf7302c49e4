"""The prime-order group ristretto255 (RFC 9496), one element at a time and in bulk over every core.

Who learns what: nothing is sent here. An encoding is 32 bytes and canonical; a scalar is 32 bytes, little-endian,
in [1, ORDER). libsodium does the arithmetic in constant time; we call the copy that `rbcl` ships through ctypes,
which releases the interpreter lock for each call, so threads use all cores (rbcl's own wrappers build objects per
call and gain little). Python's memory cannot be wiped for sure: scalars live for one session and are dropped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rbcl.rbcl import _sodium  # type: ignore[import-untyped]

from protocols.errors import MisuseError, PeerViolation

U8 = npt.NDArray[np.uint8]
Random = Callable[[int], bytes]

POINT = 32  # bytes of an encoding
SCALAR = 32
UNIFORM = 64  # bytes that `from_hash` takes
ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = bytes(POINT)
_FIELD = 2**255 - 19
_FEWEST = 32  # below this many items a thread costs more than it saves

# rbcl leaves its library behind in the temporary directory at every import; once it is mapped, the name may go.
with contextlib.suppress(OSError):
    Path(sys.modules["rbcl._sodium"].lib_path).unlink()


def _bind(name: str, arguments: int) -> Callable[..., int]:
    function: Any = _sodium[f"crypto_{name}"]  # by index: our own function object, which no other user re-declares
    function.argtypes, function.restype = [ctypes.c_void_p] * arguments, ctypes.c_int
    return function  # type: ignore[no-any-return]


_from_hash = _bind("core_ristretto255_from_hash", 2)
_is_valid = _bind("core_ristretto255_is_valid_point", 1)
_add = _bind("core_ristretto255_add", 3)
_subtract = _bind("core_ristretto255_sub", 3)
_multiply = _bind("scalarmult_ristretto255", 3)
_multiply_base = _bind("scalarmult_ristretto255_base", 2)
_x25519 = _bind("scalarmult_curve25519", 3)


def from_hash(uniform: bytes) -> bytes:
    """Map 64 uniform bytes to an element, as if at random (RFC 9496, section 4.3.4).

    Raises:
        MisuseError: `uniform` has another length.
    """
    if len(uniform) != UNIFORM:
        raise MisuseError("a hash has the wrong length", where="ristretto255", right="give 64 uniform bytes")
    out = ctypes.create_string_buffer(POINT)
    _from_hash(out, uniform)
    return out.raw


def is_valid(point: bytes) -> bool:
    """Whether `point` is the canonical encoding of an element other than the identity."""
    return point != IDENTITY and _is_encoding(point)


def _is_encoding(point: bytes) -> bool:
    # libsodium 1.0.18 ignores the top bit, which would give every element a second encoding.
    return len(point) == POINT and not point[-1] >> 7 and _is_valid(point) == 1


def multiply(scalar: bytes, point: bytes) -> bytes:
    """Return scalar * point.

    Raises:
        MisuseError: the scalar is not in [1, ORDER).
        PeerViolation: the point is no canonical encoding or is the identity.
    """
    check_scalar(scalar)
    out = ctypes.create_string_buffer(POINT)
    if not is_valid(point) or _multiply(out, scalar, point):
        raise _invalid()
    return out.raw


def multiply_base(scalar: bytes) -> bytes:
    """Return scalar * generator; raises MisuseError for a scalar out of range."""
    check_scalar(scalar)
    out = ctypes.create_string_buffer(POINT)
    _multiply_base(out, scalar)
    return out.raw


def add(p: bytes, q: bytes) -> bytes:
    """Return p + q, where the identity is allowed; raises PeerViolation for what is no canonical encoding."""
    return _combine(_add, p, q)


def subtract(p: bytes, q: bytes) -> bytes:
    """Return p - q, where the identity is allowed; raises PeerViolation for what is no canonical encoding."""
    return _combine(_subtract, p, q)


def _combine(function: Callable[..., int], p: bytes, q: bytes) -> bytes:
    out = ctypes.create_string_buffer(POINT)
    if not (_is_encoding(p) and _is_encoding(q)) or function(out, p, q):
        raise _invalid()
    return out.raw


def random_scalar(random: Random = os.urandom) -> bytes:
    """Draw a scalar uniform in [1, ORDER), up to a bias of 2**-259."""
    return (int.from_bytes(random(UNIFORM), "little") % (ORDER - 1) + 1).to_bytes(SCALAR, "little")


def random_points(count: int, random: Random = os.urandom) -> U8:
    """Draw elements (count, 32) uniformly; nobody knows their logarithms."""
    return hash_all(np.frombuffer(random(UNIFORM * count), np.uint8).reshape(count, UNIFORM))


def invert(scalar: bytes) -> bytes:
    """Return the inverse of a scalar modulo ORDER; raises MisuseError for a scalar out of range."""
    return pow(check_scalar(scalar), -1, ORDER).to_bytes(SCALAR, "little")


def check_scalar(scalar: bytes) -> int:
    """Return the number that a scalar encodes; raises MisuseError unless it is in [1, ORDER)."""
    number = int.from_bytes(scalar, "little")
    if len(scalar) != SCALAR or not 0 < number < ORDER:
        raise MisuseError("a scalar is out of range", where="ristretto255", right="draw it with random_scalar")
    return number


def hash_all(digests: U8, scalar: bytes | None = None, *, threads: int | None = None) -> U8:
    """Map each row of `digests` (n, 64) to an element and multiply it when a scalar is given, as (n, 32).

    Raises:
        MisuseError: wrong shape or scalar.
    """
    digests = _rows(digests, UNIFORM)
    points = np.empty((len(digests), POINT), np.uint8)
    source, target = digests.ctypes.data, points.ctypes.data
    if scalar is not None:
        check_scalar(scalar)

    def work(first: int, last: int) -> int:
        failed = 0
        outs = range(target + POINT * first, target + POINT * last, POINT)
        for out, digest in zip(outs, range(source + UNIFORM * first, source + UNIFORM * last, UNIFORM), strict=True):
            _from_hash(out, digest)
            if scalar is not None:
                failed |= _multiply(out, scalar, out)  # libsodium reads its input before it writes
        return failed

    if _spread(work, len(digests), threads):
        raise MisuseError("a digest maps to the identity", where="ristretto255", right="hash to uniform bytes")
    return points


def multiply_all(scalar: bytes, points: U8, *, threads: int | None = None) -> U8:
    """Return scalar * p for each row p of `points` (n, 32), in their order, by `threads` threads (default: all cores).

    Raises:
        MisuseError: the scalar is not in [1, ORDER), or another shape.
        PeerViolation: some row is no canonical encoding or is the identity; nothing is returned then.
    """
    check_scalar(scalar)
    points = _rows(points, POINT)
    if (points[:, -1] >> 7).any():  # see _is_encoding
        raise _invalid()
    products = np.empty_like(points)
    source, target = points.ctypes.data, products.ctypes.data

    def work(first: int, last: int) -> int:
        failed = 0
        outs = range(target + POINT * first, target + POINT * last, POINT)
        for out, point in zip(outs, range(source + POINT * first, source + POINT * last, POINT), strict=True):
            failed |= _multiply(out, scalar, point)  # -1 for a bad encoding and where the product is the identity
        return failed

    if _spread(work, len(points), threads):
        raise _invalid()
    return products


def agree_all(scalar: bytes, points: U8, *, threads: int | None = None) -> U8:
    """Return a name (n, 32) of plus or minus 8 * scalar * p for each row p of `points` (n, 32), in their order.

    For comparing alone: agree_all(a, multiply_all(b, p)) == agree_all(b, multiply_all(a, p)), and unequal elements get
    unequal names unless one is the other's negative, which for hashed elements has the chance of a collision. It costs
    a quarter less than `multiply_all`, because libsodium's X25519 (RFC 7748) is quicker than its Edwards arithmetic:
    the element with encoding s has y = (1 - s^2) / (1 + s^2), hence Montgomery u = (1 + y) / (1 - y) = 1 / s^2. Adding
    the point of order two inverts u, and a multiple of 8 forgets the torsion, so s^2 itself serves. X25519 multiplies
    by an integer in 8 * [2**251, 2**252); of `scalar` and its negative one lies there, and u has no sign.

    Raises:
        MisuseError: the scalar is out of range, or within 2**125 of 0 (never drawn), or another shape.
        PeerViolation: some row is no canonical encoding or is the identity; nothing is returned then.
    """
    number = check_scalar(scalar)
    number = number if number >= 2**251 else ORDER - number
    if number >= 2**252:
        raise MisuseError("a scalar is out of range", where="ristretto255", right="draw it with random_scalar")
    ladder = (8 * number).to_bytes(SCALAR, "little")
    points = _rows(points, POINT)
    if (points[:, -1] >> 7).any():  # see _is_encoding
        raise _invalid()
    names = np.empty_like(points)
    source, target = points.ctypes.data, names.ctypes.data

    def work(first: int, last: int) -> int:
        failed = 0
        for at in range(POINT * first, POINT * last, POINT):
            square = int.from_bytes(ctypes.string_at(source + at, POINT), "little") ** 2 % _FIELD
            failed |= _is_valid(source + at) - 1  # then X25519 is -1 for the identity alone
            failed |= _x25519(target + at, ladder, square.to_bytes(POINT, "little"))
        return failed

    if _spread(work, len(points), threads):
        raise _invalid()
    return names


def _rows(array: U8, width: int) -> U8:
    if array.ndim != 2 or array.shape[1] != width or array.dtype != np.uint8:
        raise MisuseError("rows have the wrong shape", where="ristretto255", right=f"give bytes of shape (n, {width})")
    return np.ascontiguousarray(array)


def _spread(work: Callable[[int, int], int], count: int, threads: int | None) -> bool:
    """Run `work` over [0, count) cut into one range per thread; whether any call reported a failure."""
    threads = min(threads or len(os.sched_getaffinity(0)), max(1, count // _FEWEST))
    if threads == 1:
        return work(0, count) != 0
    cuts = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return any(list(pool.map(work, cuts[:-1], cuts[1:])))


def _invalid() -> PeerViolation:
    return PeerViolation(
        "a group element is malformed", where="ristretto255", right="send canonical non-identity points"
    )
