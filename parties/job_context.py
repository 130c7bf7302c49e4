"""Everything one admitted job may touch at this party; its steps get this and nothing else of the agent."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flwr.app import RecordDict

from inbond.keystore import KeyStore
from policies.contract import DataContract, PublishedContract
from policies.envelope import Signer
from policies.identity import TrustStore
from policies.job import JobOrder
from policies.plan import Plan
from policies.query.compiled import Fragment
from policies.query.gathering import Values
from policies.verdict import Verdict
from policies.views import Asker, Cut
from protocols.masking import EpochKey

if TYPE_CHECKING:
    from inbond.answers import Answer
    from parties.differencing import ExactReleases
    from parties.join_process import JoinProcess
    from parties.openings import Openings
    from parties.releases import Releases


class Worker(Protocol):
    """The job's worker process."""

    def call(self, message_type: str, content: RecordDict, *, timeout: float) -> RecordDict:
        """Run one handler of the ClientApp and return what it replied; raises when it fails or takes too long."""

    def kill(self) -> None:
        """End the process at once."""


class JobVault:
    """The job's own files, encrypted under the node's key: job key, roster, models between rounds."""

    def __init__(self, folder: Path, keystore: KeyStore, job: str) -> None:
        self._folder, self._keys, self._job = folder, keystore, job

    def put(self, name: str, content: bytes) -> None:
        """Keep `content`; written beside and renamed, so that a crash leaves the old or the new one."""
        path = self._folder / f"{name}.sealed"
        path.with_suffix(".part").write_bytes(self._keys.encrypt(content, f"{self._job}/{name}"))
        path.with_suffix(".part").rename(path)

    def get(self, name: str) -> bytes | None:
        """What was kept under `name`, or None."""
        path = self._folder / f"{name}.sealed"
        if not path.exists():
            return None
        return self._keys.decrypt(path.read_bytes(), f"{self._job}/{name}")

    def drop(self, name: str) -> None:
        """Forget `name`."""
        (self._folder / f"{name}.sealed").unlink(missing_ok=True)


@dataclass(slots=True)
class JobContext:
    """One admitted job at this party; `contract` is that of its (first) table, `contracts` those of all tables.

    `masks` are those that the law binds the job to, by table and column.

    `step_seconds` and `memory_mib` bound a step and a process of it. `registry` changes when people say something of
    the use of their data.
    """

    job: str
    me: str
    order: JobOrder
    plan: Plan
    asker: Asker
    masks: Mapping[str, Mapping[str, Cut]]
    contract: DataContract
    contracts: Mapping[str, PublishedContract]
    verdict: Verdict
    epoch: EpochKey
    vault: JobVault
    signer: Callable[[], Signer]
    trust: Callable[[], TrustStore]
    clock: Callable[[], datetime]
    start_worker: Callable[["JobContext"], Worker]
    start_join: Callable[[], "JoinProcess"]
    run_fragment: Callable[["JobContext", Fragment], Mapping[str, Values]]
    registry: Callable[[], int]
    releases: "Releases"
    exact: "ExactReleases"
    openings: "Openings"
    summarise: Callable[[str, Mapping[str, Any]], None]
    keep_answer: Callable[["Answer"], None]
    step_seconds: float
    memory_mib: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bound(self, dataset: str) -> Mapping[str, Cut]:
        """The law's masks on a table in this job."""
        return self.masks.get(dataset, {})

    def note(self, **facts: Any) -> None:
        """Add to what the owner can read about this job (never sent anywhere)."""
        self.summarise(self.job, json.loads(json.dumps(facts)))
