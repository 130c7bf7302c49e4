"""An auditor's question to both sides of a join: show what was committed to, and open some blocks of the values.

The two parties read it: who asks, about which join. It holds nothing of the data. The nonce is drawn after the join, so
that a value side could not foresee which blocks are asked for when it committed to them.
"""

from typing import Annotated

from pydantic import Field

from policies.audit_terms import MAX_BLOCKS
from policies.claims import RegisteredClaims
from policies.contract import Slug
from policies.job import Hex32

REQUEST_TYPE = "inbond-audit-request+jws"


class AuditRequest(RegisteredClaims):
    """The signed thing. `values` and `counterpart` are parties' names, `key` the X25519 key to which they answer."""

    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
    values: Slug
    counterpart: Slug
    blocks: int = Field(ge=1, le=MAX_BLOCKS)
    nonce: Hex32
    key: Hex32

    @property
    def purpose(self) -> str:
        """What an answer to this request is sealed for."""
        return f"audit opening {self.jti}"
