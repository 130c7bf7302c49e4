"""A party's signature of its published contract, beside the file: a detached JWS (RFC 7515 appendix F).

Whoever has the contract and the signature learns that this very contract is the party's word, at which time, without
asking the party. What the table is called and where it lies is not signed, as it is not published.
"""

from datetime import datetime, timedelta

from policies.contract import PublishedContract
from policies.envelope import Signer, Verified, attached, detached, sign, verify
from policies.errors import InvalidIdentity
from policies.identity import TrustStore

CONTRACT_TYPE = "inbond-contract+jws"
AGED = timedelta(days=366 * 6)  # read as long as an agreement's signature; the authority's certificate ends it before


def sign_contract(contract: PublishedContract, signer: Signer, at: datetime) -> str:
    """The detached signature of what is published of `contract`.

    Raises InvalidIdentity for a signer who is no party. Where the signer is, is the caller's to check (`check_place`).
    """
    if signer.spiffe_id.role != "party":
        raise InvalidIdentity("contracts are a party's to sign", where=str(signer.spiffe_id), right="a party's node")
    return detached(sign(contract.published(), typ=CONTRACT_TYPE, signer=signer, at=at))


def verify_contract(contract: PublishedContract, signature: str, trust: TrustStore, now: datetime) -> Verified:
    """Who signed this very contract; raises InvalidIdentity where `signature` proves nothing of the kind.

    The certificate is judged at the time of signing. A party is not believed about a table in another country than the
    authority attests.
    """
    token = attached(signature, contract.published(), typ=CONTRACT_TYPE)
    signed = verify(token, typ=CONTRACT_TYPE, trust=trust, now=now, aged=AGED)
    if signed.issuer.role != "party":
        raise InvalidIdentity("contracts are a party's to sign", where=str(signed.issuer), right="a party's signature")
    check_place(contract, signed.certificate.standing.country)
    return signed


def check_place(contract: PublishedContract, attested: str) -> None:
    """Raise InvalidIdentity unless the contract's jurisdiction is the country that the authority attests, if any."""
    if attested and contract.jurisdiction != attested:
        what = f"jurisdiction {contract.jurisdiction}, and the authority attests {attested}"
        raise InvalidIdentity(what, where=contract.dataset, right=f"a table in {attested}")
