"""From the values of key columns to the items of an intersection: normalised, tagged with their kind, and distinct.

Who learns what: nothing is sent here. An item is LP(kind) || LP(version) || LP(UTF-8 of the normal form), where LP
puts a two-byte big-endian length in front; both sides name the same normalisations in the signed job, and values of
different kinds never meet. A value that is null, empty after trimming, or no value of its kind gives no item: like
SQL's null it matches nothing. Normal forms follow Unicode NFKC (UAX 15) as this Python's tables know it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import log
from operator import index
from types import MappingProxyType
from typing import cast
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from protocols.errors import MisuseError
from protocols.psi.ristretto import U8

I64 = npt.NDArray[np.int64]
Value = str | int | None
DIGEST = 16  # bytes of a keyed digest
LONGEST = 4096  # bytes of a normal form; longer values identify nobody
_OVERFLOW_BITS = 40

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164: at most 15 digits, no leading zero
_PHONE_MARKS = {ord(mark): None for mark in " -.()/\t\u00a0\u2010\u2011\u2012\u2013"}
_DIGITS = 64
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")
_TOKEN = re.compile(r"[!-~]+")
_BLANK = re.compile(r"\s")  # what str.strip takes away


def _compatible(text: str) -> str:
    return (text if text.isascii() else normalize("NFKC", text)).strip()


def _email(text: str) -> str:
    lowered = _compatible(_compatible(text).lower())  # lower-casing may leave the normal form
    return lowered if _EMAIL.fullmatch(lowered) else ""


def _phone(text: str) -> str:
    number = _compatible(text).replace("(0)", "").translate(_PHONE_MARKS)  # +44 (0)20: the trunk zero is not dialled
    return number if _PHONE.fullmatch(number) else ""


def _order_id(text: str) -> str:
    return _compatible(_compatible(text).upper())


def _card_token(text: str) -> str:
    token = text.strip()  # opaque and case-sensitive: nothing else may change
    return token if _TOKEN.fullmatch(token) else ""


def _integer(text: str) -> str:
    digits = text.strip()
    return str(int(digits)) if _INTEGER.fullmatch(digits) else ""


NORMALISATIONS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "text/1": _compatible,
        "email/1": _email,  # lower-cased; one @ with something on both sides
        "phone/1": _phone,  # E.164 with its plus sign; a national number has no country and gives no item
        "order-id/1": _order_id,  # upper-cased
        "card-token/1": _card_token,  # printable ASCII, kept as it is
        "integer/1": _integer,  # decimal without leading zeros
    }
)
"""By kind and version: from the text of a value to its normal form, empty for no value of the kind."""

_SEPARATOR = "\0"
_WHOLE: Mapping[str, Callable[[str], str]] = {"text/1": str, "order-id/1": str.upper}  # of ASCII text, before trimming
_LENGTHS = [length.to_bytes(2, "big") for length in range(2 * LONGEST)]


def encode(values: Sequence[Value], kind: str) -> list[bytes | None]:
    """Items of one key column, None where the value gives none.

    Raises:
        MisuseError: `kind` is not in NORMALISATIONS, or a value is neither text nor integer nor None.
    """
    if kind not in NORMALISATIONS:
        raise MisuseError(
            f"no normalisation {kind}", where="key column", right=f"use one of {', '.join(NORMALISATIONS)}"
        )
    name, version = kind.split("/")
    head = _prefixed(name.encode()) + _prefixed(version.encode())
    heads = [head + length for length in _LENGTHS[: LONGEST + 1]]
    raws = _normal_forms(values, kind)
    return [heads[len(raw)] + raw if 0 < len(raw) <= LONGEST else None for raw in raws]


def _normal_forms(values: Sequence[Value], kind: str) -> list[bytes]:
    """The normal form of each value, in UTF-8, empty for none."""
    if kind in _WHOLE and (joined := _joined(values)) is not None:
        forms = _WHOLE[kind](joined)
        if not _BLANK.search(forms):
            return forms.encode().split(_SEPARATOR.encode())
        return [text.strip().encode() for text in forms.split(_SEPARATOR)]
    if kind == "integer/1" and set(map(type, values)) == {int}:
        texts = list(map(str, values))
        if max(map(len, texts)) <= _DIGITS:
            return [text.encode() for text in texts]
    normal = NORMALISATIONS[kind]
    return [_utf8(normal(value if type(value) is str else _text(value))) for value in values]


def _joined(values: Sequence[Value]) -> str | None:
    """A column as one text, where all of it is ASCII and holds no separator."""
    try:
        joined = _SEPARATOR.join(cast("Sequence[str]", values))  # what is no text raises
    except TypeError:
        return None
    whole = bool(values) and joined.isascii() and joined.count(_SEPARATOR) == len(values) - 1
    return joined if whole else None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return b""


def encode_rows(columns: Sequence[Sequence[Value]], kinds: Sequence[str]) -> list[bytes | None]:
    """Items of a key of several columns, LP of each column's item one after the other; None if any part is.

    Raises:
        MisuseError: columns of different lengths, not one kind per column, or as `encode`.
    """
    if not columns or len(columns) != len(kinds) or len({len(column) for column in columns}) != 1:
        raise MisuseError("key columns do not fit together", where="key", right="give equal columns with a kind each")
    encoded = [encode(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    rows: list[bytes | None] = []
    if len(encoded) == 1:
        return [None if part is None else _LENGTHS[len(part)] + part for part in encoded[0]]
    for parts in zip(*encoded, strict=True):
        present = [_prefixed(part) for part in parts if part is not None]
        rows.append(b"".join(present) if len(present) == len(parts) else None)
    return rows


def distinct(items: Sequence[bytes | None]) -> tuple[list[bytes], I64]:
    """The different items in order of appearance, and for each row (n,) the position of its item, -1 for None."""
    once = dict.fromkeys(items)
    if len(once) == len(items) and None not in once:
        return [item for item in once if item is not None], np.arange(len(items))
    seen: dict[bytes, int] = {}
    rows = np.fromiter(
        (-1 if item is None else seen.setdefault(item, len(seen)) for item in items), np.int64, len(items)
    )
    return list(seen), rows


def digests(items: Sequence[bytes], key: bytes) -> U8:
    """128-bit digests (n, 16) of the items, BLAKE2b (RFC 7693) under a key of 16 to 64 bytes that both sides share.

    Raises:
        MisuseError: the key has another length.
    """
    if not 16 <= len(key) <= 64:
        raise MisuseError("a digest key has the wrong length", where="items", right="give 16 to 64 bytes")
    joined = b"".join([blake2b(item, digest_size=DIGEST, key=key).digest() for item in items])
    return np.frombuffer(joined, np.uint8).reshape(-1, DIGEST)


def _prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(2, "big") + part


def _text(value: object) -> str:
    if value is None:
        return ""
    try:
        if isinstance(value, str):
            return str(value)
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return str(index(value))  # type: ignore[arg-type]  # NumPy's integers too
    except TypeError:
        raise MisuseError(
            f"a key column holds {type(value).__name__}", where="key column", right="give text, integers or None"
        ) from None


def bucket_of(hashed: U8, buckets: int) -> I64:
    """Bucket (n,) in [0, buckets) of each keyed digest (n, 16): equal items fall in equal buckets on both sides."""
    words = np.ascontiguousarray(hashed).view("<u8")[:, 0]
    return (words % np.uint64(buckets)).astype(np.int64)


def bucket_capacity(count: int, buckets: int) -> int:
    """Rows that each of `buckets` buckets is padded to, so that `count` items overflow one with chance <= 2**-40.

    Chernoff's bound in its Kullback-Leibler form for a binomial tail, times the number of buckets. Being a function
    of announced numbers alone, the capacity hides how full a bucket is.
    """
    if count < 1 or buckets < 1:
        raise MisuseError("a count is out of range", where="buckets", right="give at least one item and bucket")
    share = 1 / buckets

    def safe(rows: int) -> bool:
        if rows >= count:
            return True
        part = (rows + 1) / count  # the first load that would not fit
        if part <= share:
            return False
        rest = (1 - part) * log((1 - part) / (1 - share)) if part < 1 else 0.0
        return count * (part * log(part / share) + rest) >= _OVERFLOW_BITS * log(2) + log(buckets)

    return bisect_left(range(count), True, key=safe)


def split(hashed: U8, buckets: int, capacity: int) -> list[I64]:
    """Positions of the items of each bucket, for their digests (n, 16) under the session's key.

    Raises:
        MisuseError: a bucket overflows its capacity, which at `bucket_capacity` has chance 2**-40; a new session key
            deals the items anew.
    """
    number = bucket_of(hashed, buckets)
    loads = np.bincount(number, minlength=buckets)
    if (loads > capacity).any():
        raise MisuseError("a bucket overflows", where="buckets", right="start a new session")
    return np.split(np.argsort(number, kind="stable"), np.cumsum(loads)[:-1])
