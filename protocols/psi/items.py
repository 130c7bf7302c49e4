"""From the values of key columns to the items of an intersection: normalised, tagged with their kind, and distinct.

Who learns what: nothing is sent here. An item is LP(kind) || LP(version) || LP(UTF-8 of the normal form), where LP
puts a two-byte big-endian length in front; both sides name the same normalisations in the signed job, and values of
different kinds never meet. A value that is null, empty after trimming, or no value of its kind gives no item: like
SQL's null it matches nothing. Normal forms follow Unicode NFKC (UAX 15) as this Python's tables know it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import log
from operator import index
from types import MappingProxyType
from typing import NamedTuple, TypeAlias
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from protocols.errors import MisuseError
from protocols.psi.ristretto import U8

I64 = npt.NDArray[np.int64]
Value = str | int | None
Column: TypeAlias = "Sequence[Value] | pa.Array | pa.ChunkedArray"
Items: TypeAlias = "pa.LargeBinaryArray"
DIGEST = 16  # bytes of a keyed digest
LONGEST = 4096  # bytes of a normal form; longer values identify nobody
_OVERFLOW_BITS = 40

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164: at most 15 digits, no leading zero
_PHONE_MARKS = {ord(mark): None for mark in " -.()/\t\u00a0\u2010\u2011\u2012\u2013"}
_DIGITS = 64
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{_DIGITS}}}")
_TOKEN = re.compile(r"[!-~]+")
_BLANKS = " \t\n\v\f\r\x1c\x1d\x1e\x1f"  # what str.strip takes away of ASCII


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


def _matching(column: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(column, rf"\A(?:{pattern})\z"), column, "")


def _email_column(column: pa.Array) -> pa.Array:
    return _matching(pc.ascii_lower(column), rf"[^@{_BLANKS}]+@[^@{_BLANKS}]+")


def _phone_column(column: pa.Array) -> pa.Array:
    plain = pc.replace_substring(column, "(0)", "")
    return _matching(pc.replace_substring_regex(plain, r"[-. ()/\t]", ""), _PHONE.pattern)


_ASCII: Mapping[str, Callable[[pa.Array], pa.Array]] = MappingProxyType(
    {
        "text/1": lambda column: column,
        "email/1": _email_column,
        "phone/1": _phone_column,
        "order-id/1": pc.ascii_upper,
        "card-token/1": lambda column: _matching(column, _TOKEN.pattern),
    }
)
"""The same for a whole column of ASCII texts without blanks at their ends."""

_LENGTHS = pa.array([length.to_bytes(2, "big") for length in range(2 * LONGEST)], pa.large_binary())
_NOTHING = pa.scalar(b"", pa.large_binary())


def encode(values: Column, kind: str) -> Items:
    """Items of one key column, null where the value gives none.

    Raises:
        MisuseError: `kind` is not in NORMALISATIONS, or a value is neither text nor integer nor None.
    """
    return _joined(*_parts(values, kind))


def encode_rows(columns: Sequence[Column], kinds: Sequence[str]) -> Items:
    """Items of a key of several columns, LP of each column's item one after the other; null if any part is.

    Raises:
        MisuseError: columns of different lengths, not one kind per column, or as `encode`.
    """
    if not columns or len(columns) != len(kinds) or len({len(column) for column in columns}) != 1:
        raise MisuseError("key columns do not fit together", where="key", right="give equal columns with a kind each")
    parts: list[pa.Array] = []
    for column, kind in zip(columns, kinds, strict=True):
        head, form = _parts(column, kind)
        lengths = pc.add(pc.binary_length(head), pc.binary_length(form))
        parts += [_LENGTHS.take(lengths), head, form]
    return _joined(*parts)


def _parts(values: Column, kind: str) -> tuple[Items, Items]:
    """What comes before each normal form, null where there is none, and the normal forms."""
    if kind not in NORMALISATIONS:
        raise MisuseError(
            f"no normalisation {kind}", where="key column", right=f"use one of {', '.join(NORMALISATIONS)}"
        )
    head = b"".join(len(part).to_bytes(2, "big") + part.encode() for part in kind.split("/"))
    forms = _normal_forms(values, kind)
    lengths = np.asarray(pc.binary_length(forms))
    heads = _joined(pa.scalar(head, pa.large_binary()), _LENGTHS)
    fits = pa.array(
        np.where((lengths > 0) & (lengths <= LONGEST), lengths, 0), mask=(lengths == 0) | (lengths > LONGEST)
    )
    return heads.take(fits), forms


def _joined(*parts: pa.Array | pa.Scalar) -> Items:
    """The parts of each row one after the other, null where one is."""
    return pc.binary_join_element_wise(*parts, _NOTHING)


def _normal_forms(values: Column, kind: str) -> Items:
    """The normal form of each value, in UTF-8, empty for none: whole columns at once, but for what is not ASCII."""
    texts = _texts(values, kind)
    normal = NORMALISATIONS[kind]
    if texts is None:
        listed = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else values
        forms = [_utf8(normal(value if type(value) is str else _text(value))) for value in listed]
        return pa.array(forms, pa.large_binary())
    if kind not in _ASCII:  # integers, as they are written
        return texts.cast(pa.large_binary())
    plain = pc.string_is_ascii(texts)
    forms = _ASCII[kind](pc.ascii_trim(texts, _BLANKS)).cast(pa.large_binary())
    if pc.all(plain).as_py():
        return forms
    strange = pc.invert(plain)
    others = [_utf8(normal(text)) for text in texts.filter(strange).to_pylist()]
    return pc.replace_with_mask(forms, strange, pa.array(others, pa.large_binary()))


def _texts(values: Column, kind: str) -> pa.Array | None:
    """The texts of a column, empty for null; None where they are to be read one by one."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else _column(values)
    if column is None:
        return None
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    integers = pa.types.is_integer(column.type)
    if integers or (kind in _ASCII and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type))):
        return column.cast(pa.large_string()).fill_null("")
    return None


def _column(values: Sequence[Value]) -> pa.Array | None:
    """A list as a column where all of it is text, or whole numbers of 64 bits."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        if kinds <= {str}:
            return pa.array(values, pa.large_string())
        return pa.array(values, pa.int64()) if kinds == {int} else None
    except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
        return None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return b""


class Keys(NamedTuple):
    """Rows by key: row i has the key items[rows[i]], none where rows[i] is -1; the `items` are distinct."""

    items: Items
    rows: I64


def distinct(items: Items | Sequence[bytes | None]) -> Keys:
    """The different items in order of appearance, and for each row (n,) the position of its item, -1 for none."""
    column = items if isinstance(items, pa.Array) else pa.array(items, pa.large_binary())
    coded = column.dictionary_encode()
    rows = coded.indices.fill_null(-1) if coded.indices.null_count else coded.indices
    return Keys(coded.dictionary, np.asarray(rows).astype(np.int64))


def digests(items: Items | Sequence[bytes], key: bytes) -> U8:
    """128-bit digests (n, 16) of the items, BLAKE2b (RFC 7693) under a key of 16 to 64 bytes that both sides share.

    Raises:
        MisuseError: the key has another length.
    """
    if not 16 <= len(key) <= 64:
        raise MisuseError("a digest key has the wrong length", where="items", right="give 16 to 64 bytes")
    listed = items.to_pylist() if isinstance(items, pa.Array) else items
    joined = b"".join(_digested(listed, blake2b(digest_size=DIGEST, key=key)))
    return np.frombuffer(joined, np.uint8).reshape(-1, DIGEST)


def _digested(items: Iterable[bytes], keyed: blake2b) -> list[bytes]:
    """A hash per item (hashlib has no bulk call), from one state that has the key in it."""
    copy, found = keyed.copy, []
    for item in items:
        state = copy()
        state.update(item)
        found.append(state.digest())
    return found


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
