"""The coordinator and the researcher's side: control, hub, runner, planner, strategies, commands. No row data.

import federation

session = federation.connect("~/rosa")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from federation.notebook import Session, connect
    from inbond.answers import Answer

__all__ = ["Answer", "Session", "connect"]
_HOMES = {"Answer": "inbond.answers", "Session": "federation.notebook", "connect": "federation.notebook"}


def __getattr__(name: str) -> Any:
    """What notebooks use, found when it is first asked for: every process imports this package, few need that."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
