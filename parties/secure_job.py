"""What every secure job does at a party: take the roster, share the job key, open and contribute to sums.

The subclasses add the steps of training and of querying. A step may run again after a crash: it then makes the same
state again, and a reply that was already given is given again by the door, not by us.
"""

import json
from contextlib import ExitStack

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from inbond.records import blob_record, octets, settings, texts
from inbond.roster import Roster, read_roster
from inbond.signed_box import BoxLabel, seal_signed
from parties.job_context import JobContext
from parties.job_steps import JobSteps
from parties.secure_session import SecureSession
from parties.sum_keys import OwnersKey, SharedKey, SumKey
from protocols.errors import PeerViolation
from protocols.secure_sum import SumSpec

NO_REALS: NDArray[np.float32] = np.zeros(0, np.float32)


class SecureJob(JobSteps):
    """The start step, and what the steps of training and querying share.

    `shares_key` says whether any sum of the job is under a key that the parties share.
    """

    shares_key = True

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        self.processes = ExitStack()
        self.shared_key = SharedKey(context, self.processes)
        self.owners_key = OwnersKey(context, self.processes)
        self._roster: Roster | None = None
        self.steps["query.start"] = self._start

    def close(self) -> None:
        """End the job's processes; the cipher of a step that still runs goes with it."""
        super().close()
        self.processes.close()

    # roster and job key

    def _start(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        tokens = texts(content, "start", "verdicts")
        kept = self.context.vault.get("roster")
        if kept is not None and json.loads(kept) != tokens:
            raise PeerViolation("the roster of a job never changes", where="query.start")
        self._roster = self._read(tokens)
        self.context.vault.put("roster", json.dumps(tokens).encode())
        self.begin()
        key = self.shared_key.make() if self.leads and self.shares_key else None
        token, boxes = self.session.echo(key)
        reply = RecordDict({"roster": settings(echo=[token], readers=sorted(boxes))})
        reply["boxes"] = ConfigRecord(dict(boxes))
        return reply

    def begin(self) -> None:
        """All parties' verdicts permit: what a job may do at home while the roster goes round and a key is made."""

    def _read(self, tokens: list[str]) -> Roster:
        return read_roster(tokens, self.context.job, self.context.plan, self.context.trust(), self.context.clock())

    def confirm(self, content: RecordDict) -> None:
        """Check every party's roster echo and take the job key; before the first contribution."""
        trust, now = self.context.trust(), self.context.clock()
        digest = self.session.confirm(texts(content, "roster", "echoes"), trust, now)
        if self.shares_key and not self.leads:
            key = self.session.take_key(octets(content, "roster", "box"), digest, trust, now)
            self.context.vault.put("key", key)
        self.context.vault.put("confirmed", self.roster.digest.encode())

    @property
    def roster(self) -> Roster:
        """The roster this party was shown; raises PeerViolation before the start step."""
        if self._roster is None:
            kept = self.context.vault.get("roster")
            if kept is None:
                raise PeerViolation("a step came before the roster", where="roster")
            self._roster = self._read(json.loads(kept))
        return self._roster

    @property
    def leads(self) -> bool:
        """Whether this party makes the job key and seals the result."""
        return self.roster.leader == self.context.me

    @property
    def session(self) -> SecureSession:
        """The protocol object, with the node's newest certificate."""
        context = self.context
        return SecureSession(
            context.job,
            context.me,
            context.plan,
            context.epoch,
            context.signer(),
            self.roster,
            context.plan.minimum_parties,
        )

    # sums

    def contribution(
        self, key: SumKey, spec: SumSpec, exact: NDArray[np.int64], reals: NDArray[np.float32] = NO_REALS
    ) -> RecordDict:
        """The reply that carries this party's masked contribution, encrypted under `key`."""
        if self.context.vault.get("confirmed") is None:
            raise PeerViolation("a step came before the roster was confirmed", where=spec.step)
        self.promised = spec
        return RecordDict({"contribution": blob_record(self.session.contribute(spec, key.cipher(), reals, exact))})

    def seal(self, purpose: str, content: bytes) -> bytes:
        """`content` for the job's owner alone, signed by this party."""
        label = BoxLabel(self.context.job, self.context.plan.digest(), purpose)
        return seal_signed(content, label, self.context.signer(), bytes.fromhex(self.context.order.result_key))

    def receipt(self, **claims: str) -> ConfigRecord:
        """What this party saw come out, sealed to the job's owner, who compares the receipts of all parties."""
        return settings(box=self.seal("receipt", json.dumps({"party": self.context.me, **claims}).encode()))
