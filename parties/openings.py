"""What each side of a join is bound to, and what a value side keeps to open its own columns to an auditor.

Who learns what: both sides' evidence logs get the digest of the encrypted columns, from which nobody learns a value.
What opens them, the columns as sent and the secret key of the join, stays in the value side's own folder under the
node's key, and only where the contracts of all its tables name an auditor (`audit`); it goes by itself after
`openings.keep_days`. It is kept as it was sent, since tables change: nothing has to be read or encrypted again.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from compliance.audit.entry import EntryType
from inbond.errors import InbondError
from inbond.keystore import write_private
from inbond.messages import Buffer
from inbond.node import Node
from policies.contract import PublishedContract, Slug
from policies.document import Value
from policies.job import Hex32
from protocols.join.terms import MODULI

if TYPE_CHECKING:
    from parties.job_context import JobContext
    from parties.join_process import Committed

Role = Literal["values", "attributes"]
EVENT = "value commitment"
DAY = 24 * 3600.0
MIB = 1024 * 1024
MAX_KEPT = 1 << 30  # bytes: an opening is sealed in one piece
_TIDY_SECONDS = 600.0
_ENDING, _ASKED = ".sealed", ".request"


class Facts(NamedTuple):
    """A commitment towards `peer`, the contracts' `ranges` of the columns, the `contracts` of this party's tables."""

    peer: str
    committed: "Committed"
    ranges: tuple[tuple[int, int], ...]
    contracts: Mapping[str, PublishedContract]


class Logged(Value):
    """What an evidence log says of a commitment; `ranges` are texts "least..most", as they may pass 2**53."""

    event: Literal["value commitment"] = "value commitment"
    role: Role
    peer: Slug
    plan: Hex32
    commitment: Hex32
    moduli: int = Field(ge=1, le=len(MODULI))
    columns: int = Field(ge=1, le=2**16)
    blocks: int = Field(ge=1, le=2**16)
    ranges: tuple[str, ...] = Field(min_length=1, max_length=2**10)
    kept_days: int = Field(ge=0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(moduli, columns, blocks)."""
        return self.moduli, self.columns, self.blocks

    @property
    def limits(self) -> tuple[tuple[int, int], ...]:
        """The ranges as numbers; raises InbondError where they are none."""
        try:
            return tuple((int(least), int(most)) for least, most in (one.split("..") for one in self.ranges))
        except ValueError:
            raise InbondError("malformed ranges", where="evidence of a join", right='texts such as "0..500"') from None


@dataclass(frozen=True, slots=True)
class Kept:
    """What opens one commitment: secret `keys` and the columns as `sent`, which come from the tables `datasets`."""

    job: str
    peer: str
    datasets: tuple[str, ...]
    keys: bytes
    sent: memoryview


class Openings:
    """The folder `openings` in a party's home: one sealed file for each join in which it was the value side."""

    def __init__(self, node: Node) -> None:
        self._node, self._folder = node, node.home / "openings"
        self._tidied = 0.0

    def commit(self, context: "JobContext", facts: Facts, sent: Sequence[Buffer] | None) -> None:
        """Put a commitment into the log, and before it what opens it away: the keys and columns as this party `sent`
        them, in pieces (None: it received them).

        Raises LogUnavailable or OSError, and then the step must not happen.
        """
        committed, days = facts.committed, 0
        if sent is not None:
            days = self._keep(context.job, facts, sent)
        moduli, columns, blocks = committed.shape
        said = Logged(
            role="attributes" if sent is None else "values",
            peer=facts.peer,
            plan=context.plan.digest(),
            commitment=committed.root.hex(),
            moduli=moduli,
            columns=columns,
            blocks=blocks,
            ranges=tuple(f"{least}..{most}" for least, most in facts.ranges),
            kept_days=days,
        )
        self._node.record(EntryType.STEP, job=context.job, subject=context.order.iss, data=said.model_dump(mode="json"))

    def wanted(self, contracts: Mapping[str, PublishedContract]) -> bool:
        """Whether what opens a commitment over these tables is kept."""
        named = bool(contracts) and all(one.audit is not None for one in contracts.values())
        return named and self._node.config.openings.keep_days > 0

    def _keep(self, job: str, facts: Facts, sent: Sequence[Buffer]) -> int:
        """For how many days the columns are kept: none where no contract asks for it, or they are too large."""
        settings, size = self._node.config.openings, facts.committed.size
        if not self.wanted(facts.contracts) or size > min(MAX_KEPT, settings.keep_mib * MIB):
            return 0
        head = {"datasets": sorted(facts.contracts), "keys": len(facts.committed.keys)}
        content = b"".join((json.dumps(head).encode(), b"\n", facts.committed.keys, *sent))
        path = self._path(job, facts.peer)
        write_private(path, self._node.keystore.encrypt(content, _label(job, facts.peer)))
        self.tidy(now=True)
        return settings.keep_days

    def find(self, job: str, peer: str) -> Kept:
        """What opens the columns that were sent to `peer` in `job`; raises InbondError where nothing is kept."""
        self.tidy(now=True)
        path = self._path(job, peer)
        if not path.exists():
            days = self._node.config.openings.keep_days
            right = f"ask within {days} days of a join whose contracts all have `audit`"
            raise InbondError(f"nothing is kept that opens what was sent to {peer}", where=f"job {job}", right=right)
        content = memoryview(self._node.keystore.decrypt(path.read_bytes(), _label(job, peer)))
        end = bytes(content[: 1 << 16]).index(b"\n")
        head = json.loads(bytes(content[:end]))
        body = content[end + 1 :]
        return Kept(job, peer, tuple(head["datasets"]), bytes(body[: head["keys"]]), body[head["keys"] :])

    def answer_once(self, job: str, peer: str, request: str) -> None:
        """Note that `request` (its id) is answered; raises InbondError where another was: two would see more blocks."""
        path = self._path(job, peer).with_suffix(_ASKED)
        if path.exists():
            if path.read_text("ascii") != request:
                what = f"what was sent to {peer} has been opened to another request"
                raise InbondError(what, where=f"job {job}", right="its answer, from the auditor who asked")
            return
        write_private(path, request.encode())

    def tidy(self, *, now: bool = False) -> None:
        """Delete what is too old, and the oldest of what is too much; looks every ten minutes, or `now`."""
        clock = time.time()
        if not now and clock - self._tidied < _TIDY_SECONDS:
            return
        self._tidied = clock
        settings, total = self._node.config.openings, 0
        for age, size, path in sorted(self._files(clock)):
            total += size
            if age > settings.keep_days * DAY or total > settings.keep_mib * MIB:
                path.unlink(missing_ok=True)
                path.with_suffix(_ASKED).unlink(missing_ok=True)

    def _files(self, clock: float) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob(f"*{_ENDING}"):
            with suppress(FileNotFoundError):  # another process of this node tidies too
                stat = path.stat()
                found.append((clock - stat.st_mtime, stat.st_size, path))
        return found

    def _path(self, job: str, peer: str) -> Path:
        return self._folder / f"{job}_{peer}{_ENDING}"


def _label(job: str, peer: str) -> str:
    return f"opening of {job} to {peer}"
