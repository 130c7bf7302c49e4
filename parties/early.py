"""Requests that came before their turn: they are put aside, and go round again once another step of the job is through.

The coordinator may ask for a turn of a join while the one before still runs, so that its mail is here when it is
needed. A small request may also overtake a large one on the link. What is put aside is neither checked nor answered.
"""

import threading
from collections.abc import Callable

from inbond.messages import Request
from protocols.errors import PeerViolation

MOST = 8  # of one job


class NotYet(Exception):
    """The request was put aside."""


class Early:
    """What is put aside, by job; `again` takes each request back, once, when its job has moved on."""

    def __init__(self) -> None:
        self.again: Callable[[Request], None] = _nowhere
        self._lock = threading.Lock()
        self._aside: dict[str, list[Request]] = {}

    def check(self, request: Request, due: Callable[[], bool]) -> None:
        """Raise NotYet, and put the request aside, unless it is `due`; raise PeerViolation where there are too many."""
        with self._lock:
            if due():
                return
            aside = self._aside.setdefault(request.job, [])
            if len(aside) >= MOST:
                raise PeerViolation("too many steps came before their turn", where=request.step)
            aside.append(request)
        raise NotYet

    def release(self, job: str) -> None:
        """The job has moved on, or is over."""
        with self._lock:
            aside = self._aside.pop(job, [])
        for request in aside:
            self.again(request)


def _nowhere(request: Request) -> None:
    raise RuntimeError(f"nobody takes request {request.id} back")
