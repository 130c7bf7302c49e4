"""One line of a benchmark: what we measured, beside a peer measured in the same run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measured value in `unit`; `ratio` is ours over the peer's, None where the peer was not measured."""

    metric: str
    unit: str
    ours: float
    peer: str
    peer_value: float | None
    ratio: float | None
    goal: str
    note: str = ""
