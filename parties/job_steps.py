"""One job's steps at a party: a table from step name to what is done, and the worker that does it."""

import threading
from collections.abc import Callable

from flwr.app import RecordDict

from inbond.errors import JobFailed
from parties.job_context import JobContext, Worker
from parties.worker import WorkerLost
from protocols.errors import PeerViolation
from protocols.secure_sum import SumSpec


class JobSteps:
    """`handle` is the whole interface; `promised` describes the sum that the last step contributed to.

    `correspondents` are the parties that this one may send mail to.
    """

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.promised: SumSpec | None = None
        self.correspondents: frozenset[str] = frozenset()
        self.steps: dict[str, Callable[[int, RecordDict], RecordDict]] = {}
        self.closed = False
        self._worker: Worker | None = None
        self._read_at = 0
        self._changing = threading.Lock()

    def handle(self, step: str, round_: int, content: RecordDict) -> RecordDict:
        """Run one step; raises PeerViolation for content that the protocol does not allow."""
        if step not in self.steps:
            raise PeerViolation("no such step in this kind of job", where=step)
        self.promised = None
        return self.steps[step](round_, content)

    def due(self, step: str, round_: int) -> bool:
        """Whether a step's turn has come: one that is not due waits for others of the job."""
        del step, round_
        return True

    def close(self) -> None:
        """End the job's processes, also under a step that runs; no new one is started."""
        with self._changing:
            self.closed, worker, self._worker = True, self._worker, None
        if worker is not None:
            worker.kill()

    def renew(self) -> None:
        """End a worker whose view was made before somebody said something of the use of their data."""
        if self._worker is not None and self.context.registry() != self._read_at:
            self._worker.kill()
            self._worker = None

    def worker(self) -> Worker:
        """The job's worker process, started when first needed and again after it died; raises JobFailed once closed."""
        if self._worker is None:
            self._read_at = self.context.registry()
            worker = self.context.start_worker(self.context)
            with self._changing:
                if not self.closed:
                    self._worker = worker
            if self.closed:
                worker.kill()
                raise JobFailed("the job has ended", where=self.context.job)
            return worker
        return self._worker

    def call(self, message_type: str, content: RecordDict) -> RecordDict:
        """One call of the worker; one that dies under it is replaced and asked again, once."""
        try:
            return self._call(message_type, content)
        except WorkerLost:
            return self._call(message_type, content)

    def _call(self, message_type: str, content: RecordDict) -> RecordDict:
        self.renew()
        worker = self.worker()
        try:
            return worker.call(message_type, content, timeout=self.context.step_seconds)
        except Exception:
            worker.kill()
            self._worker = None
            raise
