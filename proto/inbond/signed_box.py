"""Sealed to one reader, signed by one sender, bound to one job: how content crosses the coordinator unread.

The box opens only with the reader's per-job key; inside, the sender's signature covers job, plan, purpose and the
content's digest, so that neither the coordinator nor another party can pass off a box as somebody else's.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from policies.envelope import KEPT, Signer, Verified, sign, verify
from policies.identity import TrustStore
from protocols.errors import PeerViolation
from protocols.sealing import open_sealed, seal

TYPE = "inbond-box+jws"
MAX_TOKEN = 16_384


@dataclass(frozen=True, slots=True)
class BoxLabel:
    """What a box is for; sender and reader must hold the same label for it to open."""

    job: str
    plan_digest: str
    purpose: str

    def context(self) -> bytes:
        """The bytes bound to the box as associated data."""
        return json.dumps(["inbond box v1", self.job, self.plan_digest, self.purpose]).encode()


def opened_label(job: str, plan_digest: str, step: str, round_: int) -> BoxLabel:
    """The label of a sum that the job's owner opened for the parties: the step and round whose sum it is."""
    return BoxLabel(job, plan_digest, f"opened {step} {round_}")


def seal_signed(content: bytes, label: BoxLabel, signer: Signer, reader: bytes) -> bytes:
    """`content` for the X25519 public key `reader` (32 bytes) alone, signed by `signer`."""
    claims = {
        "job": label.job,
        "plan": label.plan_digest,
        "purpose": label.purpose,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    token = sign(claims, typ=TYPE, signer=signer, at=datetime.now(UTC)).encode()
    return seal(len(token).to_bytes(4, "big") + token + content, reader, label.context())


def open_signed(box: bytes, label: BoxLabel, private: bytes, *, sender: str, trust: TrustStore, now: datetime) -> bytes:
    """The content of a box that `sender` (a SPIFFE ID) made; raises PeerViolation or InvalidIdentity."""
    return open_verified(box, label, private, sender=sender, trust=trust, now=now)[0]


def open_verified(
    box: bytes, label: BoxLabel, private: bytes, *, sender: str, trust: TrustStore, now: datetime
) -> tuple[bytes, Verified]:
    """The content of a box and its signature, for readers who need the sender's key; raises as `open_signed`."""
    plain = open_sealed(box, private, label.context())
    length = int.from_bytes(plain[:4], "big")
    if not 0 < length <= min(MAX_TOKEN, len(plain) - 4):
        raise PeerViolation("a sealed box has no signature", where=label.purpose)
    token = plain[4 : 4 + length].decode("ascii", "replace")
    signed = verify(token, typ=TYPE, trust=trust, now=now, aged=KEPT)
    content = plain[4 + length :]
    expected = {
        "job": label.job,
        "plan": label.plan_digest,
        "purpose": label.purpose,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if signed.payload != expected or str(signed.issuer) != sender:
        raise PeerViolation("a sealed box does not belong to this job, step and sender", where=label.purpose)
    return content, signed
