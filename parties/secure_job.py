"""What every secure job does at a party: take the roster, share the job key, open and contribute to sums.

The subclasses add the steps of training and of querying. A step may run again after a crash: it then makes the same
state again, and a reply that was already given is given again by the door, not by us.
"""

import json
from contextlib import ExitStack

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from inbond.cipher_process import CipherProcess
from inbond.records import blob, blob_record, octets, settings, texts
from inbond.roster import Roster, read_roster
from inbond.signed_box import BoxLabel, seal_signed
from parties.job_context import JobContext
from parties.job_steps import JobSteps
from parties.secure_session import SecureSession
from protocols.errors import PeerViolation
from protocols.params import PUBLIC_4096, SHARED_2048, BfvParams
from protocols.secure_sum import SumResult, SumSpec

MAX_BLOB = 512 * 1024 * 1024
NO_REALS: NDArray[np.float32] = np.zeros(0, np.float32)


class SecureJob(JobSteps):
    """The start step, and what the steps of training and querying share."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(context)
        self._ciphers: dict[str, CipherProcess] = {}
        self._open = ExitStack()
        self._roster: Roster | None = None
        self.steps["query.start"] = self._start

    def close(self) -> None:
        """End the job's processes."""
        self._ciphers.clear()
        self._open.close()
        super().close()

    # roster and job key

    def _start(self, round_: int, content: RecordDict) -> RecordDict:
        del round_
        tokens = texts(content, "start", "verdicts")
        kept = self.context.vault.get("roster")
        if kept is not None and json.loads(kept) != tokens:
            raise PeerViolation("the roster of a job never changes", where="query.start")
        self._roster = self._read(tokens)
        self.context.vault.put("roster", json.dumps(tokens).encode())
        key = self._make_key() if self.leads else None
        token, boxes = self.session.echo(key)
        reply = RecordDict({"roster": settings(echo=[token], readers=sorted(boxes))})
        reply["boxes"] = ConfigRecord(dict(boxes))
        return reply

    def _read(self, tokens: list[str]) -> Roster:
        return read_roster(tokens, self.context.job, self.context.plan, self.context.trust(), self.context.clock())

    def _make_key(self) -> bytes:
        kept = self.context.vault.get("key")
        if kept is not None:
            return kept
        with CipherProcess(SHARED_2048) as cipher:
            key = cipher.generate().secret
        self.context.vault.put("key", key)
        return key

    def confirm(self, content: RecordDict) -> None:
        """Check every party's roster echo and take the job key; before the first contribution."""
        trust, now = self.context.trust(), self.context.clock()
        digest = self.session.confirm(texts(content, "roster", "echoes"), trust, now)
        if not self.leads:
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

    def cipher(self) -> CipherProcess:
        """The process that holds the job key."""
        if "job" not in self._ciphers:
            key = self.context.vault.get("key")
            if key is None:
                raise PeerViolation("a step came before the job key", where="job key")
            self._ciphers["job"] = self._cipher(SHARED_2048, key)
        return self._ciphers["job"]

    def result_cipher(self, public: bytes) -> CipherProcess:
        """A process that can only encrypt, under the researcher's public key."""
        if "result" not in self._ciphers:
            self._ciphers["result"] = self._cipher(PUBLIC_4096, public)
        return self._ciphers["result"]

    def _cipher(self, params: BfvParams, key: bytes) -> CipherProcess:
        cipher = self._open.enter_context(CipherProcess(params))
        cipher.load_key(key)
        return cipher

    def contribution(
        self, spec: SumSpec, exact: NDArray[np.int64], reals: NDArray[np.float32] = NO_REALS
    ) -> RecordDict:
        """The reply that carries this party's masked, encrypted contribution under the job key."""
        if self.context.vault.get("confirmed") is None:
            raise PeerViolation("a step came before the roster was confirmed", where=spec.step)
        self.promised = spec
        return RecordDict({"contribution": blob_record(self.session.contribute(spec, self.cipher(), reals, exact))})

    def opened(self, spec: SumSpec, content: RecordDict) -> SumResult:
        """The joint sum in a step's content."""
        return self.session.open(spec, self.cipher(), blob(content, "sum", MAX_BLOB))

    def seal(self, purpose: str, content: bytes) -> bytes:
        """`content` for the job's owner alone, signed by this party."""
        label = BoxLabel(self.context.job, self.context.plan.digest(), purpose)
        return seal_signed(content, label, self.context.signer(), bytes.fromhex(self.context.order.result_key))

    def receipt(self, **claims: str) -> ConfigRecord:
        """What this party saw come out, sealed to the job's owner, who compares the receipts of all parties."""
        return settings(box=self.seal("receipt", json.dumps({"party": self.context.me, **claims}).encode()))
