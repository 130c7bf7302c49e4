"""Sums that wait for the job's owner: in key mode `holder` only the owner's key opens them.

The runner asks as it asks a party; the owner's command, which watches the job, fetches the ciphertext, opens it at
home and brings one sealed box per party. The coordinator sees ciphertext go out and boxes come in, nothing else.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict

from federation.secure_rounds import OPENED, SUM
from inbond import codec
from inbond.errors import Refused
from inbond.messages import Reply, Request
from inbond.records import blob

MAX_SUM = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: str
    request: Request
    future: "Future[Reply]"


class OwnerDesk:
    """What waits for owners; `tell(job, event)` lets the owner know. Nothing here outlives the process: a restarted
    runner asks again.
    """

    def __init__(self, tell: Callable[[str, Mapping[str, object]], None]) -> None:
        self._tell = tell
        self._waiting: dict[str, _Waiting] = {}
        self._lock = threading.Lock()

    def ask(self, job: str, request: Request) -> "Future[Reply]":
        """Lay a sum on the desk; the future ends with the boxes."""
        with self._lock:
            waiting = self._waiting.get(request.id) or _Waiting(job, request, Future())
            self._waiting[request.id] = waiting
        step = request.step.partition("_")[2]
        self._tell(job, {"event": "open", "request": request.id, "step": step, "round": request.round})
        return waiting.future

    def body(self, job: str, request: str) -> bytes | None:
        """The ciphertext that waits under `request`, or None when it was opened already."""
        waiting = self._find(job, request)
        return None if waiting is None else blob(codec.decode(waiting.request.body), SUM, MAX_SUM)

    def answer(self, job: str, request: str, boxes: Mapping[str, bytes]) -> None:
        """Hand the owner's boxes (party -> sealed slots) to the runner; raises Refused when nothing waits."""
        with self._lock:
            waiting = self._waiting.get(request)
            if waiting is None or waiting.job != job:
                raise Refused("no such sum waits to be opened", where="opened", right="watch the job")
            del self._waiting[request]
        content = RecordDict({OPENED: ConfigRecord(dict(boxes))})
        waiting.future.set_result(Reply(request, "ok", "", codec.encode(content)))

    def clear(self, job: str) -> None:
        """Forget what waits for an ended job."""
        with self._lock:
            self._waiting = {key: one for key, one in self._waiting.items() if one.job != job}

    def _find(self, job: str, request: str) -> _Waiting | None:
        with self._lock:
            waiting = self._waiting.get(request)
        return waiting if waiting is not None and waiting.job == job else None
