"""One audit entry: what happened, to what, in which job; its bytes are canonical JSON (RFC 8785).

Officers, co-signing parties and regulators read entries: they carry digests, names of machines and rules,
and keyed commitments, never rows or people (GDPR art. 5(1)(c); erasing the commitment's key erases the link,
art. 17).
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from typing import Any

from compliance.errors import InvalidEntry

MAX_ENTRY_BYTES = 65_535
"""An entry must fit a u16 length prefix (c2sp.org/tlog-tiles): log digests, not blobs."""
LIST_BYTES = 16 * 1024
"""What one list of an entry may take where it could be long."""
MAX_DEPTH = 8
MAX_SAFE_INTEGER = 2**53 - 1
"""RFC 8785 numbers are IEEE doubles (RFC 7493 section 2.2): larger integers travel as text."""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

FIRST_LINK = bytes(32)
"""The running hash before the first entry."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,255}")
_KEY = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_MAIL = re.compile(rb"[^\s\"@]+@[^\s\"@]+\.[A-Za-z]{2,}")
_FIELDS = ("data", "job", "node", "subject", "time", "type")
# Keys are ASCII and numbers integers, for which sorted compact JSON is exactly RFC 8785 (sections 3.2.2 and
# 3.2.3); the C encoder is five times faster than a general canonicaliser.
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False).encode


def fitting(lines: list[dict[str, Any]], most: int = LIST_BYTES) -> list[dict[str, Any]]:
    """As many of `lines` (JSON objects) as fit `most` bytes; of the others their number, and the digest of all."""
    sizes = accumulate(len(_canonical(line).encode()) for line in lines)
    kept = sum(size <= most for size in sizes)
    if kept == len(lines):
        return lines
    whole = hashlib.sha256(_canonical(lines).encode()).hexdigest()
    return [*lines[:kept], {"left_out": len(lines) - kept, "digest": whole}]


class EntryType(StrEnum):
    """The closed set of things a log may say."""

    DECISION = "decision"
    ADMISSION = "admission"
    STEP = "step"
    RELEASE = "release"
    REFUSAL = "refusal"
    CERTIFICATE = "certificate"
    JOB = "job"
    BUDGET = "budget"
    NODE = "node"


_TYPES = {each.value: each for each in EntryType}


@dataclass(frozen=True)
class Entry:
    """What happened: `time` aware; `node`, `subject` identifiers; `job` an identifier or None.

    `data` is JSON of text, integers, booleans, None, lists and objects: amounts that are not whole are
    decimal text, never floats. Raises InvalidEntry where any of this does not hold.
    """

    type: EntryType
    time: datetime
    node: str
    job: str | None
    subject: str
    data: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.type, EntryType):
            raise _invalid("the type is unknown", "one of " + ", ".join(EntryType), "type")
        if not isinstance(self.time, datetime) or self.time.tzinfo is None:
            raise _invalid("the time has no zone", "an aware datetime", "time")
        _check_identifier(self.node, "node")
        _check_identifier(self.subject, "subject")
        if self.job is not None:
            _check_identifier(self.job, "job")
        if not isinstance(self.data, dict):
            raise _invalid("not an object", "a dict of names to JSON values", "data")
        _check_json(self.data, 0)

    def to_bytes(self) -> bytes:
        """Return the canonical JSON, at most 65,535 bytes; raises InvalidEntry where it is longer."""
        stamp = self.time.astimezone(UTC).isoformat(timespec="microseconds")[:-6]
        job = "null" if self.job is None else f'"{self.job}"'
        # In the order of _FIELDS; identifiers hold nothing that JSON escapes.
        text = (
            f'{{"data":{_canonical(self.data)},"job":{job},"node":"{self.node}","subject":"{self.subject}",'
            f'"time":"{stamp}Z","type":"{self.type.value}"}}'
        )
        try:
            blob = text.encode()
        except UnicodeEncodeError as error:
            raise _invalid("a text holds half a surrogate pair", "Unicode text", "data") from error
        if len(blob) > MAX_ENTRY_BYTES:
            raise _invalid(f"{len(blob)} bytes", f"at most {MAX_ENTRY_BYTES}: log digests, not content")
        if b"@" in blob and _MAIL.search(blob):
            raise _invalid("it holds a mail address", "commitment(key, value) in place of personal data")
        return blob

    @classmethod
    def from_bytes(cls, blob: bytes) -> "Entry":
        """Read an entry; raises InvalidEntry unless `blob` is exactly what `to_bytes` writes."""
        if len(blob) > MAX_ENTRY_BYTES:
            raise _invalid(f"{len(blob)} bytes", f"at most {MAX_ENTRY_BYTES}")
        try:
            value = json.loads(blob)
        except (ValueError, RecursionError) as error:
            raise _invalid("not JSON", "canonical JSON (RFC 8785)") from error
        if not isinstance(value, dict) or tuple(value) != _FIELDS or not isinstance(value["time"], str):
            raise _invalid("the fields differ", "exactly " + ", ".join(_FIELDS))
        kind = _TYPES.get(value["type"]) if isinstance(value["type"], str) else None
        entry = cls(**{**value, "type": kind, "time": _parse_time(value["time"])})
        if entry.to_bytes() != blob:
            raise _invalid("not in canonical form", "the one spelling of RFC 8785")
        return entry


def commitment(key: bytes, value: str) -> str:
    """Stand-in for a personal value: HMAC-SHA256 under the party's own key (32 bytes), as `hmac-sha256:hex`.

    Equal values match under one key; without it the value cannot be guessed. Raises InvalidEntry for a
    shorter key.
    """
    if len(key) < 32:
        raise _invalid("the commitment key is too short", "32 random bytes", "commitment")
    return "hmac-sha256:" + hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def next_link(link: bytes, leaf: bytes) -> bytes:
    """Return the running hash after one more leaf: SHA-256(link || leaf).

    The Merkle root alone says that something was changed; a link per entry says which entry was first.
    """
    return hashlib.sha256(link + leaf).digest()


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise _invalid("not a time", "such as 2026-01-31T12:00:00.000000Z", "time") from error


def _check_identifier(value: object, name: str) -> None:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise _invalid(f"the {name} is not an identifier", "1 to 256 letters, digits and . _ : / + = -", name)


def _check_json(value: object, depth: int) -> None:
    """Accept what has exactly one spelling in canonical JSON."""
    if isinstance(value, str) or value is None:
        return
    if depth > MAX_DEPTH:
        raise _invalid("nested too deeply", f"at most {MAX_DEPTH} levels", "data")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise _invalid("a name is malformed", "1 to 128 ASCII letters, digits and _ . : / -", "data")
            _check_json(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_json(inner, depth + 1)
    elif not isinstance(value, int) or abs(value) > MAX_SAFE_INTEGER:
        raise _invalid(
            f"a value of type {type(value).__name__} cannot be written exactly",
            "text, integers below 2^53, booleans, None, lists and objects; decimals as text",
            "data",
        )


def _invalid(what: str, right: str, field_name: str = "") -> InvalidEntry:
    return InvalidEntry(what, where="audit entry" + f", {field_name}" * bool(field_name), right=right)
