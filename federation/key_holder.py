"""The owner's half of key mode `holder`: open a joint sum at home, send every party its slots, sealed and signed.

The owner learns the joint sums (the plan says so), never one party's contribution: what it decrypts is masked until
all parties' contributions are in it, which the canary of every row proves. One sum per step and round is opened, ever.
"""

from collections.abc import Mapping

import numpy as np

from inbond.cipher_process import CipherProcess
from inbond.roster import Roster
from inbond.signed_box import opened_label, seal_signed
from policies.envelope import Signer
from protocols.errors import PeerViolation
from protocols.params import PUBLIC_4096


class KeyHolder:
    """Opens the sums of one job. `secret` is the job's BFV key; it stays in the cipher process."""

    def __init__(self, job: str, plan_digest: str, roster: Roster, signer: Signer, secret: bytes) -> None:
        self._job, self._plan, self._roster, self._signer = job, plan_digest, roster, signer
        self._secret = secret
        self._opened: set[tuple[str, int]] = set()

    def open(self, step: str, round_: int, ciphertext: bytes) -> Mapping[str, bytes]:
        """Party -> box with the summed slots; raises PeerViolation unless it is a sum over all parties, once."""
        if (step, round_) in self._opened:
            raise PeerViolation("a second sum for the same step is never opened", where=f"{step} {round_}")
        with CipherProcess(PUBLIC_4096) as cipher:
            cipher.load_key(self._secret)
            slots = cipher.decrypt(ciphertext)
        if not np.all(slots[:, 0] == len(self._roster.names)):
            raise PeerViolation("this is not a sum over all parties of the roster", where=f"{step} {round_}")
        self._opened.add((step, round_))
        label, content = opened_label(self._job, self._plan, step, round_), slots.tobytes()
        return {party: seal_signed(content, label, self._signer, key) for party, key in self._roster.keys.items()}
