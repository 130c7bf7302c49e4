"""A consortium's login card: what a person needs to log in the first time, and nothing secret.

It carries the authority's certificate, so the person's machine knows whom to show a password or token; whoever can swap
the card can read what is typed. It comes by a way that the person trusts, or its fingerprint is compared by voice.
"""

from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives import hashes
from pydantic import Field, model_validator

from inbond.config import read_text
from inbond.keystore import write_private
from policies.certificates import authority_domain
from policies.document import Value, read_document, validate
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import TrustStore, load_certificate
from policies.provider import Client
from policies.providers import MAX_PROVIDERS, SOLE, ProviderName

_ADDRESS = r"([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\]):[0-9]{1,5}"
Address = Annotated[str, Field(pattern=f"^{_ADDRESS}$")]


class Card(Value):
    """The authority's CA certificate (PEM), addresses (`host:port`), and the trusted providers by name.

    A card of before there were several, with one `provider`, is read too.
    """

    consortium: str
    ca: str = Field(max_length=16 * 1024)
    enrol_address: Address
    authority_address: Address
    coordinator_address: str = Field("", pattern=f"^({_ADDRESS})?$")
    providers: dict[ProviderName, Client] = Field({}, max_length=MAX_PROVIDERS)

    @model_validator(mode="before")
    @classmethod
    def _one_provider(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("provider") is None or "providers" in value:
            return value
        return {name: one for name, one in value.items() if name != "provider"} | {
            "providers": {SOLE: value["provider"]}
        }

    def trust(self) -> TrustStore:
        """Whom to believe with this card; raises InvalidInput when it is not one consortium's."""
        try:
            root = load_certificate(self.ca.encode())
            if authority_domain(root) != self.consortium:
                raise InvalidIdentity("of another consortium")
            return TrustStore(self.consortium, (root,))
        except InvalidIdentity:
            right = "the card as `inbond ca card` wrote it"
            raise InvalidInput("the certificate is not the consortium's", where="login card", right=right) from None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA certificate in hex, for two people to compare by voice."""
        return self.trust().authorities[0].fingerprint(hashes.SHA256()).hex()

    def save(self, path: Path) -> None:
        """Write the card, atomically."""
        write_private(path, self.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n")


def read_card(path: Path) -> Card:
    """The card in a file; raises ConfigError or InvalidInput."""
    card = validate(Card, read_document(read_text(path, "the card that `inbond ca card` wrote"), str(path)))
    card.trust()
    return card
