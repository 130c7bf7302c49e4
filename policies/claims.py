"""The claims of what people sign, beside what they say in it."""

from typing import Annotated

from pydantic import Field

from policies.document import Value
from policies.job import Identity, Instant


class RegisteredClaims(Value):
    """Claims as in RFC 7519 section 4.1: who for whom, when, from when until when; `jti` is the nonce."""

    iss: Identity
    aud: tuple[Identity, ...] = Field(min_length=1, max_length=1)
    iat: Instant
    nbf: Instant
    exp: Instant
    jti: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
