"""A model's card, and the mark in it that binds the parameters to the job, plan and purpose they were made for.

Whoever has the model file reads all of it. The mark is no secret: it shows that card and parameters belong together,
and the card came in a box that the leading party signed. A model passed on with another purpose no longer fits.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from inbond.errors import ConfigError
from policies.canonical import digest

_RIGHT = "a model of `inbond job result`, as it was written"


def watermark(use: Mapping[str, str], parameters: bytes) -> str:
    """SHA-256 over `use` (job, plan, purpose) and the parameters (float32 bytes, little-endian)."""
    said = {name: use[name] for name in ("job", "plan", "purpose")}
    return digest({**said, "parameters": hashlib.sha256(parameters).hexdigest()})


def fits(card: Mapping[str, Any], parameters: NDArray[np.float32]) -> bool:
    """Whether the card's mark is of these parameters; never for a card without one."""
    try:
        return str(card["use"]["watermark"]) == watermark(card["use"], parameters.astype("<f4").tobytes())
    except (KeyError, TypeError):
        return False


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model file whose mark fits; raises ConfigError for any other file."""
    try:
        with safe_open(path, "numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
            parameters = file.get_tensor("parameters")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError("this is no model with a card", where=str(path), right=_RIGHT) from None
    if not fits(card, parameters):
        what = "the parameters are not those that were made under this card"
        raise ConfigError(what, where=str(path), right=_RIGHT)
    return dict(card)
