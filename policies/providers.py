"""Which OpenID providers an authority believes, each under the name that its operator gave it.

One issuer is one provider: else one and the same person could choose between two mappings. As soon as there are two,
each says for which organisations it speaks, so that who runs one of them makes nobody a person of the other's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from policies.document import Value
from policies.errors import InvalidInput
from policies.provider import Client, Provider

SOLE = "default"  # the name of a provider that was given none
MAX_PROVIDERS = 32

ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
C = TypeVar("C", bound=Client)


class Providers(Value):
    """The trusted providers by name; a document that holds one provider by itself is read too, as `default`."""

    providers: dict[ProviderName, Provider] = Field(max_length=MAX_PROVIDERS)

    @model_validator(mode="before")
    @classmethod
    def _by_itself(cls, value: Any) -> Any:
        return {"providers": {SOLE: value}} if isinstance(value, dict) and "issuer" in value else value

    @model_validator(mode="after")
    def _keep_apart(self) -> "Providers":
        issuers = [one.issuer for one in self.providers.values()]
        for issuer in issuers:
            if issuers.count(issuer) > 1:
                raise ValueError(f"{issuer} is there under two names; first: inbond ca oidc remove NAME")
        anybody = [name for name, one in self.providers.items() if not one.speaks_for]
        if anybody and len(self.providers) > 1:
            right = f"with several, each says so: set {anybody[0]} with --organisation or --map-organisation"
            raise ValueError(f"provider {anybody[0]} may speak for any organisation; {right}")
        return self

    def issued(self, issuer: str) -> tuple[str, Provider] | None:
        """Name and provider of an issuer; None for a stranger."""
        return next(((name, one) for name, one in self.providers.items() if one.issuer == issuer), None)


def chosen(providers: Mapping[str, C], name: str, where: str) -> tuple[str, C]:
    """The provider of that name, or the only one where no name is said; raises InvalidInput, also for none at all."""
    if not name and len(providers) == 1:
        return next(iter(providers.items()))
    if name in providers:
        return name, providers[name]
    known = ", ".join(sorted(providers)) or "none is trusted"
    what = f"no provider {name[:63]!r}" if name else "several providers" if providers else "no provider"
    raise InvalidInput(what, where=where, right=f"one of: {known}")
