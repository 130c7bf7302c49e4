"""Patterns of identities, with which contracts and agreements name members: shell patterns, segment by segment."""

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

Pattern = Annotated[str, Field(min_length=1, max_length=256)]


def matches(pattern: str, identity: str) -> bool:
    """Return whether `pattern` covers `identity` (a SPIFFE ID or a bare name).

    A pattern with `://` is matched against the whole SPIFFE ID segment by segment, any other against its last segment.
    """
    if "://" not in pattern:
        return fnmatchcase(identity.rsplit("/", 1)[-1], pattern)
    wanted, given = pattern.split("/"), identity.split("/")
    return len(wanted) == len(given) and all(map(fnmatchcase, given, wanted))
