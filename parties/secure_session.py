"""The party's half of a job's secure sums: roster, job key, masked contributions, opening of joint sums.

Who learns what: this party learns the sums that the plan lets it open, never another party's contribution; the
leader (first name in the roster) makes the job key, which opens nothing but sums because every ciphertext is
masked. The coordinator relays boxes and signatures that it can neither read nor forge.

The roster is pinned twice: every party signs the digest of all verdicts it was shown (a coordinator that shows
different rosters is found out before anything is contributed), and every mask is derived from the digest of the
sum's full description, so that parties who disagree on anything produce noise, not a sum.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inbond.roster import Roster
from inbond.signed_box import BoxLabel, open_signed, seal_signed
from policies.envelope import KEPT, Signer, sign, verify
from policies.identity import TrustStore
from policies.plan import Plan
from protocols.errors import PeerViolation
from protocols.masking import EpochKey
from protocols.secure_sum import SumResult, SumSpec, contribute, open_sum

ECHO_TYPE = "inbond-roster+jws"
KEY_PURPOSE = "job key"


class Cipher(Protocol):
    """The process that holds the job's BFV key (see `inbond.cipher_process`)."""

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """Ciphertext blob of masked slots."""

    def decrypt(self, blob: bytes) -> NDArray[np.uint64]:
        """Slots of a summed blob; raises PeerViolation."""


@dataclass(slots=True)
class SecureSession:
    """One job's secure sums at one party. `epoch` is the private half of the key in this party's verdict."""

    job: str
    me: str
    plan: Plan
    epoch: EpochKey
    signer: Signer
    roster: Roster
    minimum_parties: int

    def echo(self, key: bytes | None) -> tuple[str, dict[str, bytes]]:
        """This party's signed roster echo, and, where it leads with the fresh job `key`, a box per other party."""
        claims = {"job": self.job, "plan": self.plan.digest(), "roster": self.roster.digest}
        boxes: dict[str, bytes] = {}
        if key is not None:
            claims["key"] = hashlib.sha256(key).hexdigest()
            boxes = {name: self._seal_key(key, name) for name in self.roster.names if name != self.me}
        return sign(claims, typ=ECHO_TYPE, signer=self.signer, at=datetime.now(UTC)), boxes

    def _seal_key(self, key: bytes, reader: str) -> bytes:
        return seal_signed(key, self._key_label(reader), self.signer, self.roster.keys[reader])

    def _key_label(self, reader: str) -> BoxLabel:
        return BoxLabel(self.job, self.plan.digest(), f"{KEY_PURPOSE} for {reader}")

    def confirm(self, echoes: Sequence[str], trust: TrustStore, now: datetime) -> str:
        """Check that every party signed this very roster; the digest of the job key that the leader vouches for."""
        digests: dict[str, str] = {}
        for token in echoes:
            signed = verify(token, typ=ECHO_TYPE, trust=trust, now=now, aged=KEPT)
            claims = signed.payload
            same = (claims.get("job"), claims.get("plan"), claims.get("roster"))
            if same != (self.job, self.plan.digest(), self.roster.digest):
                raise PeerViolation("a party was shown another roster", where=str(signed.issuer))
            digests[str(signed.issuer)] = str(claims.get("key", ""))
        if set(digests) != set(self.roster.identities.values()):
            raise PeerViolation("not every party confirmed the roster", where="roster")
        return digests[self.roster.identities[self.roster.leader]]

    def take_key(self, box: bytes, digest: str, trust: TrustStore, now: datetime) -> bytes:
        """The job key from the leader's box; raises PeerViolation when it is not the one that the leader signed."""
        leader = self.roster.identities[self.roster.leader]
        key = open_signed(box, self._key_label(self.me), self.epoch.private, sender=leader, trust=trust, now=now)
        if hashlib.sha256(key).hexdigest() != digest:
            raise PeerViolation("the job key is not the one that the leader signed", where="job key")
        return key

    def spec(
        self, step: str, round_: int, *, reals: int, exact: int, clip: float, params: str, context: bytes
    ) -> SumSpec:
        """The full description of one sum; `context` is what the parties must agree on before it (the model)."""
        return SumSpec(
            job=self.job,
            plan_digest=bytes.fromhex(self.plan.digest()),
            step=step,
            round=round_,
            attempt=0,
            parties=self.roster.names,
            keys=dict(self.roster.keys),
            reals=reals,
            clip=clip,
            exact=exact,
            params=params,
            context=hashlib.sha256(context).digest(),
        )

    def contribute(self, spec: SumSpec, cipher: Cipher, reals: NDArray[np.float32], exact: NDArray[np.int64]) -> bytes:
        """This party's masked, encrypted contribution to the sum `spec`."""
        return cipher.encrypt(contribute(spec, self.me, self.epoch, reals, exact, minimum=self.minimum_parties))

    @staticmethod
    def open(spec: SumSpec, cipher: Cipher, blob: bytes) -> SumResult:
        """The joint sum; raises PeerViolation when it is not the sum of all parties' contributions to `spec`."""
        return open_sum(spec, cipher.decrypt(blob))
