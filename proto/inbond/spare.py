"""A child process of one kind that has started and waits, so that a job does not wait for its interpreter.

It holds nothing of anybody before it is taken, and ends with its parent like any other child.
"""

import contextlib
import threading
from collections.abc import Callable

from inbond.child import Child
from inbond.errors import InbondError

QUIET = 0.5


class Spare:
    """At most one child that waits; `start` starts one, which goes on getting ready by itself.

    `start` may raise InbondError, which `take` passes on.
    """

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._due: threading.Timer | None = None
        self._closed = False

    def take(self) -> Child:
        """The child that waits, or a new one; from now on it is the caller's."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            if child.alive():
                return child
            child.kill()
        return self._start()

    def ready(self) -> None:
        """Have one waiting. What fails here, `take` tells."""
        with self._lock, contextlib.suppress(InbondError):
            if self._child is None and not self._closed:
                self._child = self._start()

    def ready_soon(self) -> None:
        """The same in `QUIET` seconds: the end of one job, and the begin of the next, need the processor first."""
        with self._lock:
            if self._due is not None:
                self._due.cancel()
            if not self._closed:
                self._due = threading.Timer(QUIET, self.ready)
                self._due.daemon = True
                self._due.start()

    def close(self) -> None:
        """End what waits; from now on none does."""
        with self._lock:
            child, self._child, self._closed = self._child, None, True
            if self._due is not None:
                self._due.cancel()
        if child is not None:
            child.kill()
