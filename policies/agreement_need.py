"""What an owner asks before anybody reads what is computed from a table: an agreement that covers it.

Published with the contract: all members read for which readers the owner wants one.
"""

from typing import Any

from pydantic import Field, model_validator

from policies.document import Value
from policies.patterns import Pattern, matches

REQUIRED = "required"


class AgreementNeed(Value):
    """Every reader but the owner who matches one of `recipients` must be covered by an agreement (docs/agreements.md).

    In one word, `required`: every reader.
    """

    recipients: tuple[Pattern, ...] = Field(default=("*",), min_length=1, max_length=256)

    @model_validator(mode="before")
    @classmethod
    def _in_one_word(cls, value: Any) -> Any:
        if isinstance(value, str | bool):
            if value != REQUIRED:
                raise ValueError('neither a word nor a rule; write `required` or {recipients: [rosa, "p*"]}')
            return {}
        return value

    def asks(self, identity: str) -> bool:
        """Return whether what `identity` (a SPIFFE ID) reads must be agreed on."""
        return any(matches(pattern, identity) for pattern in self.recipients)
