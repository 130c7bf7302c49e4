"""May this person do this at a node's own command line? A question to the policies of that node.

Who acts is a person, with name, organisation and role by the authority's word, or the node's keeper: whoever can read
its keys. Commands are named in areas, because the rules are about areas; a node's own policies may name either.
"""

from dataclasses import dataclass
from typing import Literal, Self

from policies.calls import role_of
from policies.engine import Engine
from policies.identity import PeerIdentity, SpiffeId
from policies.request import AccessRequest, Decision, Entity, EntityRef, EntitySet

Area = Literal[
    "contracts", "proposals", "agreements", "evidence", "subjects", "looking", "policies", "members", "revocation"
]
KEEPER = "keeper"

_COMMANDS: dict[Area, tuple[str, ...]] = {
    "contracts": ("contract sign",),
    "proposals": ("agreement propose", "agreement receive"),
    "agreements": ("agreement sign", "agreement revoke"),
    "evidence": (
        "audit open",
        "record add",
        "record expire",
        "law begin-counters",
        "law sent",
        "law breach open",
        "law breach done",
        "law breach not-needed",
        "law breach close",
    ),
    "subjects": (
        "subject consent",
        "subject withdraw",
        "subject object",
        "subject erase",
        "subject lift",
        "subject request",
        "subject answer",
        "subject copy",
        "subject retrain",
    ),
    "looking": ("subject counts", "subject show", "subject requests", "party answers list", "party answers show"),
    "policies": ("accept-policies",),
    "members": (
        "ca invite",
        "ca sign",
        "ca rotate",
        "ca card",
        "ca release",
        "ca account add",
        "ca account remove",
        "ca oidc set",
        "ca oidc remove",
    ),
    "revocation": ("ca revoke",),
}
ACTS: dict[str, Area] = {command: area for area, commands in _COMMANDS.items() for command in commands}
"""Every command that is decided on, as it is typed after `inbond`, and its area."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: `name` is a SPIFFE ID, of the person or, for the keeper, of the node itself."""

    name: SpiffeId
    role: str
    organisation: str = ""

    @classmethod
    def person(cls, peer: PeerIdentity) -> Self:
        """A person, by a certificate that was checked."""
        return cls(peer.spiffe_id, role_of(peer), peer.standing.organisation)

    @classmethod
    def keeper(cls, node: SpiffeId) -> Self:
        """Whoever can read the keys of `node`, and gave no other name."""
        return cls(node, KEEPER)


def decide_act(engine: Engine, actor: Actor, command: str, *, node: SpiffeId, organisation: str) -> Decision:
    """Whether `actor` may give `command` at `node`, whose own people are those of `organisation` (empty: nobody's).

    Raises KeyError for a command that is not in `ACTS`.
    """
    who, home = EntityRef("Actor", str(actor.name)), EntityRef("Home", str(node))
    entities = (
        Entity(home, (("kind", node.role), ("organisation", organisation))),
        Entity(who, (("role", actor.role), ("organisation", actor.organisation))),
    )
    context = (("command", command), ("area", ACTS[command]))
    asked = AccessRequest(who, "act", home, context, f"{actor.role}: {command}")
    return engine.decide((asked,), EntitySet(entities))
