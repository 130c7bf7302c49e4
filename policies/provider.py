"""Which OpenID provider an authority believes, and what its claims say about a person here.

The provider is trusted to know its people: whoever runs it can be anybody whose name its claims can spell. It is not
trusted with more: names are bound to the provider's own subject, and what is named nowhere maps to nothing.
"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from policies.document import Value
from policies.errors import InvalidIdentity, InvalidInput
from policies.identity import OFFICES, Office, SpiffeId, Standing

MAX_URL = 512
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:%/?-]*)?")
_RIGHT_URL = "https://..., or http:// on this machine's own loopback"

Binding = Literal["nonce", "single-use"]


def check_url(text: str) -> str:
    """`text` itself when it is `https://`, or `http://` on loopback; raises InvalidInput."""
    try:
        parts = urlsplit(text) if len(text) <= MAX_URL and _URL.fullmatch(text) else None
        good = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not (text.startswith("https://") or is_loopback(text)):
        raise InvalidInput("not an address to trust", where=repr(text[:80]), right=_RIGHT_URL)
    return text


def is_loopback(url: str) -> bool:
    """Whether a URL names this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _issuer(text: str) -> str:
    try:
        check_url(text)
    except InvalidInput as error:
        raise ValueError(f"{error.what}; {error.right}") from None
    if "?" in text:  # OpenID Connect Discovery 1.0 section 3
        raise ValueError("an issuer has no query; the URL as the provider's discovery document says it")
    return text


Issuer = Annotated[str, AfterValidator(_issuer)]
ClaimName = Annotated[str, Field(min_length=1, max_length=128)]
Words = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+( [!-~]+)*$")]


class Client(Value):
    """What people need to log in at the provider; no secret. `binding`: whether tokens must name the login's keys."""

    issuer: Issuer
    client_id: Words
    scopes: Words = "openid profile"
    binding: Binding = "nonce"


class Provider(Client):
    """The provider and how its claims map. `organisation` stands for everybody where there is no claim for it.

    Without a table (`organisations`, `roles`, `countries`) a claim's value must itself be the name here. `user_suffix`
    is cut off the user's name, which must end with it. Without `country` and `country_claim` no country is attested.
    """

    user_claim: ClaimName = "preferred_username"
    user_suffix: str = Field("", max_length=128)
    organisation: str = ""
    organisation_claim: str = Field("", max_length=128)
    organisations: dict[str, str] = Field({}, max_length=1024)
    role_claim: ClaimName
    roles: dict[str, Office] = Field({}, max_length=1024)
    country: str = ""
    country_claim: str = Field("", max_length=128)
    countries: dict[str, str] = Field({}, max_length=1024)

    @model_validator(mode="after")
    def _says_where_organisations_come_from(self) -> "Provider":
        if bool(self.organisation) == bool(self.organisation_claim):
            raise ValueError("`organisation` or `organisation_claim` is wanted, and one of them; give one")
        if self.organisation and self.organisations:
            raise ValueError("`organisations` without a claim; give `organisation_claim`")
        for name in (self.organisation, *self.organisations.values()):
            _check_standing(organisation=name)
        return self

    @model_validator(mode="after")
    def _says_where_countries_come_from(self) -> "Provider":
        if self.country and self.country_claim:
            raise ValueError("`country` and `country_claim`; give one of them, or neither")
        if self.countries and not self.country_claim:
            raise ValueError("`countries` without a claim; give `country_claim`")
        for code in (self.country, *self.countries.values()):
            _check_standing(country=code)
        return self

    @property
    def speaks_for(self) -> frozenset[str]:
        """The organisations whose people it may certify; empty where its claims may name any."""
        return frozenset({self.organisation} if self.organisation else self.organisations.values())

    def client(self) -> Client:
        """The part that people get."""
        return Client(**{name: getattr(self, name) for name in Client.model_fields})


def _check_standing(**said: str) -> None:
    try:
        Standing(**said)
    except InvalidIdentity as error:
        raise ValueError(f"{error.where} is {error.what}; {error.right}") from None


def subject_of(provider: str, subject: str) -> str:
    """Who somebody is at a provider, as evidence and the authority's database have it: a hash."""
    return hashlib.sha256(f"{len(provider)} {provider} {subject}".encode()).hexdigest()


def mapped(provider: Provider, claims: Mapping[str, Any], trust_domain: str) -> tuple[SpiffeId, Standing]:
    """Who the claims make somebody here; raises InvalidIdentity, without the claims' values, for nobody."""
    name = _user(provider, claims)
    organisation = provider.organisation or _one(
        _values(claims, provider.organisation_claim), provider.organisations, provider.organisation_claim
    )
    offices: Mapping[str, str] = provider.roles or {office: office for office in OFFICES}
    office = _one(_values(claims, provider.role_claim), offices, provider.role_claim)
    country = provider.country
    if provider.country_claim:
        country = _one(_values(claims, provider.country_claim), provider.countries, provider.country_claim)
    try:
        return SpiffeId(trust_domain, f"/user/{name}"), Standing(organisation, office, country)
    except InvalidIdentity:
        right = "names of lower-case letters, digits and hyphens; a country's code of two letters"
        raise InvalidIdentity("claims that map to no name here", where="ID token", right=right) from None


def _user(provider: Provider, claims: Mapping[str, Any]) -> str:
    found = _values(claims, provider.user_claim)
    if provider.user_claim == "email" and claims.get("email_verified") is not True:
        raise InvalidIdentity("a mail address that nobody verified", where="ID token", right="email_verified")
    if len(found) != 1 or not found[0].endswith(provider.user_suffix):
        raise InvalidIdentity(
            "no user's name", where=f"claim {provider.user_claim}", right="one text with the suffix that was set"
        )
    return found[0].removesuffix(provider.user_suffix)


def _one(values: tuple[str, ...], table: Mapping[str, str], claim: str) -> str:
    """What one of `values` maps to; several that map to different things are no answer."""
    found = {table[value] for value in values if value in table} if table else set(values)
    if len(found) != 1:
        what = "maps to nothing" if not found else f"maps to {len(found)} things"
        raise InvalidIdentity(what, where=f"claim {claim}", right="exactly one")
    return found.pop()


def _values(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The texts of a claim: of that very name, or at the end of a dotted path (`realm_access.roles`)."""
    value: Any = claims.get(name)
    if name not in claims:
        value = claims
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    found = value if isinstance(value, list) else [value]
    return tuple(one for one in found if isinstance(one, str))
