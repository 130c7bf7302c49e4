"""A person's signature under one command at one node: made by the command with the person's key, checked with the
node's trust, kept in the node's evidence log.

It says who gave which command where and when, and a commitment to the arguments that only the node can open. The nonce
is the checker's, fresh for every command: what was signed before, or for anything else, does not fit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from policies.envelope import Signer, check_claims, make_claims, sign, verify
from policies.errors import InvalidIdentity
from policies.identity import PeerIdentity, SpiffeId, TrustStore

ACT_TYPE = "inbond-act+jws"
LIFETIME = timedelta(minutes=1)
MAX_TOKEN_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class AskedAct:
    """What is to be signed: `command` at `node`, a commitment to its `arguments`, a `nonce` of 128 bits in hex."""

    node: SpiffeId
    command: str
    arguments: str
    nonce: str

    def payload(self) -> dict[str, str]:
        """What the token says of it besides its audience, the node."""
        return {"jti": self.nonce, "command": self.command, "arguments": self.arguments}


def sign_act(signer: Signer, asked: AskedAct, now: datetime) -> str:
    """The token with which `signer` gives the command `asked`."""
    claims = make_claims(signer.spiffe_id, [str(asked.node)], now, LIFETIME)
    return sign({**claims, **asked.payload()}, typ=ACT_TYPE, signer=signer, at=now)


def open_act(token: str, asked: AskedAct, *, trust: TrustStore, now: datetime) -> PeerIdentity:
    """The person who gives the command `asked` by `token`; raises InvalidIdentity (also revoked, expired, replayed)."""
    signed = verify(token, typ=ACT_TYPE, trust=trust, now=now, max_bytes=MAX_TOKEN_BYTES)
    check_claims(signed.payload, audience=asked.node, now=now)
    if signed.issuer.role != "user":
        raise InvalidIdentity(f"{signed.issuer} is no person", where="act", right="a user of the consortium")
    for name, value in asked.payload().items():
        if signed.payload.get(name) != value:
            raise InvalidIdentity(f"signed for another {name}", where="act", right=f"a signature for {asked.command}")
    return signed.certificate
