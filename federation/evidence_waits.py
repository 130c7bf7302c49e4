"""The jobs that wait for parties' records of evidence, and when each is asked about again, at the coordinator.

A party keeps its records to itself: the coordinator learns only which obligations lack one, and that they no longer do.
"""

import threading
import time
from collections.abc import Iterable, Mapping

from policies.verdict import Verdict

AGAIN_SECONDS = 5.0
Answers = Mapping[str, tuple[Verdict, str] | str]


class EvidenceWaits:
    """Waiting jobs, by when to ask again; thread-safe."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def expect(self, job: str) -> None:
        """Ask about `job` again in a while."""
        with self._lock:
            self._due[job] = time.monotonic() + AGAIN_SECONDS

    def over(self, job: str) -> None:
        """Forget a job that waits no longer."""
        with self._lock:
            self._due.pop(job, None)

    def take_due(self) -> list[str]:
        """The jobs to ask about now; each is given out once, until it is expected again."""
        now = time.monotonic()
        with self._lock:
            found = [job for job, due in self._due.items() if due <= now]
            for job in found:
                del self._due[job]
        return found


def missing(answers: Answers) -> tuple[str, ...]:
    """What parties lack before they take part, a line each."""
    found = ((party, answer[0]) for party, answer in answers.items() if not isinstance(answer, str))
    return tuple(f"{party}: {line}" for party, verdict in found for line in verdict.needs)


def silent(answers: Answers) -> tuple[str, ...]:
    """The parties that gave no verdict."""
    return tuple(party for party, answer in answers.items() if isinstance(answer, str))


def refusing(answers: Answers) -> tuple[str, ...]:
    """Why parties refuse, a line each."""
    return tuple(_lines(answers.items()))


def _lines(answers: Iterable[tuple[str, tuple[Verdict, str] | str]]) -> Iterable[str]:
    for party, answer in answers:
        if isinstance(answer, str):
            yield f"{party}: {answer}"
        elif not answer[0].permitted:
            yield from (f"{party}: {line}" for line in answer[0].reasons)
