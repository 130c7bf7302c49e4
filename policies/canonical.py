"""One spelling per value: canonical JSON and its digest.

Everything that is signed, compared or logged goes through here, so two nodes that hold the same value
hold the same bytes. Relies on RFC 8785 (JSON Canonicalization Scheme) and FIPS 180-4 (SHA-256).
"""

import hashlib
from typing import Any

import rfc8785

from policies.errors import InvalidInput

SAFE_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3 through ECMAScript: larger integers lose digits


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of `value` (dict, list, str, int, finite float, bool or None).

    Raises InvalidInput when the value has no canonical form (NaN, integer beyond 2**53 - 1, other types).
    """
    try:
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise InvalidInput(
            f"value has no canonical JSON form: {error}",
            right=f"use text, finite numbers, integers within {SAFE_INTEGER}, lists and objects",
        ) from error


def digest(value: Any) -> str:
    """Return the SHA-256 of `canonical(value)` as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()
