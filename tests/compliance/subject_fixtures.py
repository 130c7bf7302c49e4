"""Keys and purposes for tests of what people said and asked for."""

from pathlib import Path
from typing import Any, TypeVar

from compliance.subjects import FILE, Seal, SubjectRegistry

ADS, FRAUD = "dpv:Marketing", "dpv:FraudPreventionAndDetection"


def flip(text: bytes) -> bytes:
    return bytes(byte ^ 0x5A for byte in text)


SEAL = Seal(bytes(range(32)), flip, flip)

Told = list[tuple[str, dict[str, Any]]]


Registry = TypeVar("Registry", bound=SubjectRegistry)


def opened(kind: type[Registry], folder: Path, told: Told) -> Registry:
    """A registry in `folder` whose log is the list `told`."""
    return kind.open_with(folder / FILE, lambda subject, data: told.append((subject, dict(data))), SEAL)
