"""The consortium's deny list as a signed statement of its authority.

Short certificate lives bound what a stolen key can do; the deny list ends it at once. Whoever carries the
list learns which names and serials are revoked, and can neither add to it nor bring back an older one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from policies.envelope import JSON, Signer, sign, verify
from policies.errors import InvalidIdentity
from policies.identity import DenyList, SpiffeId, TrustStore

__all__ = ["MAX_BYTES", "TYP", "DenyList", "extended", "from_token", "to_token"]

TYP = "inbond-denylist+jws"
MAX_BYTES = 4 * 1024 * 1024


def extended(denied: DenyList, now: datetime, *, serials: Iterable[int] = (), ids: Iterable[SpiffeId] = ()) -> DenyList:
    """The next version of `denied`, with these serials and names added; nothing is ever taken off."""
    return DenyList(
        denied.version + 1,
        denied.serials | frozenset(serials),
        denied.ids | {str(name) for name in ids},
        now.replace(microsecond=0),
    )


def to_token(denied: DenyList, signer: Signer, now: datetime) -> str:
    """`denied` signed by the authority at `now` (JWS compact, serials in hex)."""
    payload = {
        "iss": str(signer.spiffe_id),
        "iat": int(now.timestamp()),
        "version": denied.version,
        "serials": sorted(f"{serial:x}" for serial in denied.serials),
        "ids": sorted(denied.ids),
    }
    return sign(payload, typ=TYP, signer=signer)


def from_token(token: str, trust: TrustStore, now: datetime) -> DenyList:
    """Read a list signed by the authority of `trust`; raises InvalidIdentity.

    A version below `trust.denied` is refused: replaying an old list would bring a revoked certificate back.
    So is another list under the version that is known.
    """
    verified = verify(token, typ=TYP, trust=trust, now=now, max_bytes=MAX_BYTES)
    if verified.issuer.role != "authority":
        raise InvalidIdentity(
            "not signed by the authority", where=str(verified.issuer), right="a list of the authority"
        )
    denied = _read(verified.payload, now)
    if denied.version < trust.denied.version:
        raise InvalidIdentity(
            f"deny list {denied.version} is older than the known {trust.denied.version}",
            where=TYP,
            right="the newest",
        )
    if denied.version == trust.denied.version and replace(denied, issued=None) != replace(trust.denied, issued=None):
        raise InvalidIdentity(f"two deny lists {denied.version}", where=TYP, right="one list per version")
    return denied


def _read(payload: Mapping[str, JSON], now: datetime) -> DenyList:
    try:
        version, issued = payload["version"], payload["iat"]
        serials = frozenset(int(text, 16) for text in payload["serials"])
        ids = frozenset(str(SpiffeId.parse(text)) for text in payload["ids"])
        if type(version) is not int or version < 0:
            raise ValueError
        return DenyList(version, serials, ids, datetime.fromtimestamp(issued, now.tzinfo))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, InvalidIdentity):
        raise InvalidIdentity(
            "deny list cannot be read", where=TYP, right="version, iat, serials in hex, ids"
        ) from None
