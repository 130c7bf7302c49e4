"""What an owner lets auditors see of the values that it sent into joins, encrypted. Published with the contract."""

from pydantic import Field

from policies.document import Value
from policies.patterns import Pattern, matches

MAX_BLOCKS = 64


class AuditTerms(Value):
    """Who may see values of encrypted join columns: patterns of people's names or SPIFFE IDs; nobody else ever does.

    Of each join of two parties at most `blocks` blocks of 8192 keys are opened, to one request.
    """

    values_to: tuple[Pattern, ...] = Field(min_length=1, max_length=64)
    blocks: int = Field(default=8, ge=1, le=MAX_BLOCKS)

    def names(self, identity: str) -> bool:
        """Whether one of the patterns covers `identity` (a SPIFFE ID)."""
        return any(matches(pattern, identity) for pattern in self.values_to)
