"""Data-sharing agreements: what named parties let each other compute and learn, signed by every side, ended by any.

All sides read the terms; they name parties, tables and rules, never people. An agreement permits nothing by itself: it
is one more condition beside contract, policies and law. A signature holds the whole terms, so that terms which were
altered afterwards have none. Whether an agreement covers something is `policies.agreement_rules`.
"""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from policies.canonical import digest
from policies.contract import Purpose, Recipients, Slug, is_date
from policies.document import Value, read_document, validate
from policies.envelope import DEFAULT_MAX_BYTES, Signer, sign, verify
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import SpiffeId, TrustStore
from policies.plan import LeakKind

ID_LENGTH = 16  # hexadecimal digits: 64 bits tell a node's agreements apart
LONGEST = 5  # years: a typing error in a year is not an agreement for ever
AGED = timedelta(days=366 * (LONGEST + 1))  # a signature is read as long as what it signs, and some time before
MAX_PARTIES = 16

Act = Literal["agree", "revoke"]
TYP: dict[Act, str] = {"agree": "inbond-agreement+jws", "revoke": "inbond-agreement-end+jws"}
PartyName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="a party's short name")]
Token = Annotated[str, Field(min_length=1, max_length=DEFAULT_MAX_BYTES)]


class Agreement(Value):
    """The terms. `datasets` says who brings which tables; the days are both included; `uses` is how many jobs."""

    name: Slug
    consortium: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?$")]
    parties: frozenset[PartyName] = Field(min_length=2, max_length=MAX_PARTIES)
    datasets: dict[PartyName, frozenset[Slug]] = Field(min_length=1)
    purposes: frozenset[Purpose] = Field(min_length=1, max_length=64)
    leaks: frozenset[LeakKind] = Field(min_length=1)
    recipients: Recipients
    valid_from: str
    valid_until: str
    uses: int = Field(ge=1, le=10**6)

    @field_validator("valid_from", "valid_until")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        if not is_date(value):
            raise ValueError("not a date; write it as 2026-01-31")
        return value

    @model_validator(mode="after")
    def _terms_fit_together(self) -> "Agreement":
        strange = sorted(set(self.datasets) - self.parties)
        if strange:
            raise ValueError(f"`{strange[0]}` brings a table and is no party; add it to `parties`")
        if not all(self.datasets.values()):
            raise ValueError("a party brings no table; leave it out of `datasets`")
        if self.last_day < self.first_day:
            raise ValueError("the agreement ends before it begins; mend `valid_until`")
        if self.last_day.year - self.first_day.year > LONGEST:
            raise ValueError(f"the agreement is for more than {LONGEST} years; mend `valid_until`")
        return self

    @property
    def first_day(self) -> date:
        """The first day on which it holds."""
        return date.fromisoformat(self.valid_from)

    @property
    def last_day(self) -> date:
        """The last day on which it holds."""
        return date.fromisoformat(self.valid_until)

    def payload(self) -> dict[str, Any]:
        """The terms as JSON data, sets in order."""
        data = self.model_dump(mode="json")
        tables = {owner: sorted(names) for owner, names in sorted(data["datasets"].items())}
        return data | {"datasets": tables} | {key: sorted(data[key]) for key in ("parties", "purposes", "leaks")}

    def digest(self) -> str:
        """The SHA-256 of the terms."""
        return digest(self.payload())

    @property
    def id(self) -> str:
        """What it is called among a node's agreements: the first digits of its digest."""
        return self.digest()[:ID_LENGTH]

    def party(self, identity: SpiffeId) -> str:
        """The party of this name; raises InvalidIdentity for whoever is none."""
        if identity.trust_domain != self.consortium or identity.role != "party" or identity.name not in self.parties:
            raise InvalidIdentity(
                f"{identity} is no party to the agreement", where=self.name, right=", ".join(sorted(self.parties))
            )
        return identity.name


class SignedAgreement(Value):
    """Terms with what the sides have signed so far (JWS compact): what they send each other."""

    agreement: Agreement
    signatures: tuple[Token, ...] = Field(default=(), max_length=MAX_PARTIES)
    revocations: tuple[Token, ...] = Field(default=(), max_length=MAX_PARTIES)

    def payload(self) -> dict[str, Any]:
        """It all as JSON data."""
        return {
            "agreement": self.agreement.payload(),
            "signatures": list(self.signatures),
            "revocations": list(self.revocations),
        }


def load_agreement(text: str, where: str) -> Agreement:
    """Read terms from YAML or JSON; raises InvalidInput."""
    return validate(Agreement, read_document(text, where))


def read_signed(text: str, where: str) -> SignedAgreement:
    """Read what another side sent; the signatures are not checked yet. Raises InvalidInput."""
    return validate(SignedAgreement, read_document(text, where))


def sign_agreement(agreement: Agreement, act: Act, signer: Signer, at: datetime) -> str:
    """A party's word on the terms: it agrees, or ends them. Raises InvalidIdentity for whoever is no party."""
    agreement.party(signer.spiffe_id)
    if act == "agree" and at.date() > agreement.last_day:
        raise InvalidInput("the agreement is over", where=agreement.name, right="terms with a later `valid_until`")
    payload = {"iss": str(signer.spiffe_id), "agreement": agreement.payload()}
    return sign(payload, typ=TYP[act], signer=signer, at=at)


def signatory(token: str, agreement: Agreement, act: Act, *, trust: TrustStore, now: datetime) -> str:
    """The party whose word on just these terms a token is; raises InvalidIdentity where it proves nothing of the kind.

    The certificate is judged at the time of signing: it lives for hours, an agreement for years.
    """
    verified = verify(token, typ=TYP[act], trust=trust, now=now, aged=AGED)
    if verified.payload != {"iss": str(verified.issuer), "agreement": agreement.payload()}:
        raise InvalidIdentity("signed for other terms", where=agreement.name, right="a signature of these terms")
    return agreement.party(verified.issuer)
