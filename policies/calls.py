"""May this person make this call at the coordinator? A question to the policies, answered from the certificate.

The person's role is the authority's word. One whom it gave none is a researcher, as everybody was before roles.
"""

from typing import Literal

from policies.engine import Engine
from policies.identity import PeerIdentity
from policies.request import AccessRequest, Decision, Entity, EntityRef, EntitySet

ORDERING_ROLE = "researcher"
DEFAULT_ROLE = ORDERING_ROLE  # the least with which a member invited without a role can order jobs, as ever

Call = Literal[
    "catalogue",
    "nodes",
    "proposed",
    "decide",
    "challenge",
    "explain",
    "submit",
    "list",
    "status",
    "cancel",
    "watch",
    "result",
    "open",
]


def role_of(person: PeerIdentity) -> str:
    """The role that the authority gave a person."""
    return person.standing.office or DEFAULT_ROLE


def decide_call(engine: Engine, person: PeerIdentity, call: Call, *, own: bool) -> Decision:
    """Whether `person` may make `call`; `own` says that it concerns the person's own jobs, or no job at all."""
    user = EntityRef("User", str(person.spiffe_id))
    consortium = EntityRef("Consortium", person.spiffe_id.trust_domain)
    entities = (
        Entity(consortium, (("parties", ()),)),
        Entity(user, (("roles", (role_of(person),)),), (consortium,)),
    )
    asked = AccessRequest(user, "call", consortium, (("what", call), ("own", own)), f"{role_of(person)}: {call}")
    return engine.decide_cached((asked,), EntitySet(entities))
