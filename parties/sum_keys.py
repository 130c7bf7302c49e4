"""The two ways a job's sums are keyed, as one party holds them.

*Shared job key* (SHARED_2048): all parties open the joint sum, because all need it anyway. The leader makes the key.
*The owner's key* (PUBLIC_4096): only the job's owner can open; where the parties need the sum to go on, the owner
opens it and sends the slots back, sealed to each party and signed. In both the masks make one party's ciphertext
worthless even to who holds the key.
"""

from contextlib import ExitStack
from typing import Protocol

import numpy as np
from flwr.app import RecordDict

from inbond.cipher_process import CipherProcess
from inbond.records import blob, octets
from inbond.signed_box import open_signed, opened_label
from parties.job_context import JobContext
from protocols.errors import PeerViolation
from protocols.params import PUBLIC_4096, SHARED_2048, BfvParams
from protocols.secure_sum import SumResult, SumSpec, open_sum

MAX_BLOB = 512 * 1024 * 1024


class SumKey(Protocol):
    """How one sum is encrypted here, and opened."""

    params: BfvParams

    def cipher(self) -> CipherProcess:
        """The process that encrypts under this key."""

    def open(self, spec: SumSpec, content: RecordDict) -> SumResult:
        """The joint sum that a step's content carries; raises PeerViolation."""


class _Key:
    """A key in the job's vault under `name`, and the process that works with it."""

    params: BfvParams
    name: str

    def __init__(self, context: JobContext, processes: ExitStack) -> None:
        self._context, self._processes = context, processes
        self._process: CipherProcess | None = None
        self._loaded = False

    def ready(self) -> CipherProcess:
        """Start the process, for it takes a while; it has no key yet, unless it made it."""
        if self._process is None:
            self._process = self._processes.enter_context(CipherProcess(self.params))
        return self._process

    def cipher(self) -> CipherProcess:
        """The process, with the key."""
        if not self._loaded:
            key = self._context.vault.get(self.name)
            if key is None:
                raise PeerViolation("a step came before its key", where=self.name)
            self.ready().load_key(key)
            self._loaded = True
        return self.ready()


class SharedKey(_Key):
    """The job key that all parties hold."""

    params, name = SHARED_2048, "key"

    def make(self) -> bytes:
        """Make the key and put it away, unless it is there from before a crash."""
        kept = self._context.vault.get(self.name)
        if kept is not None:
            return kept
        key = self.ready().generate().secret
        self._loaded = True
        self._context.vault.put(self.name, key)
        return key

    def open(self, spec: SumSpec, content: RecordDict) -> SumResult:
        """Decrypt and check the sum in the content's `sum`."""
        return open_sum(spec, self.cipher().decrypt(blob(content, "sum", MAX_BLOB)))


class OwnersKey(_Key):
    """The owner's public key, which only encrypts; it came with the admission."""

    params, name = PUBLIC_4096, "sum_key"

    def open(self, spec: SumSpec, content: RecordDict) -> SumResult:
        """Check the slots that the owner opened for this party, in the content's `opened`."""
        context = self._context
        slots = open_signed(
            octets(content, "opened", "box"),
            opened_label(context.job, context.plan.digest(), spec.step, spec.round),
            context.epoch.private,
            sender=context.order.iss,
            trust=context.trust(),
            now=context.clock(),
        )
        if len(slots) != spec.rows * spec.parameters.degree * 8:
            raise PeerViolation("the opened sum has another size than was described", where=spec.step)
        return open_sum(spec, np.frombuffer(slots, np.uint64).reshape(spec.rows, spec.parameters.degree))
