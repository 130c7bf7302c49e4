"""Where the others of a job are, as far as this party has seen their certificates.

It sees its own, the coordinator's (which signed the greeting of the link) and the researcher's (in the order). Those of
the other parties come with their verdicts: a job's roster is checked before anything is contributed (`inbond.roster`).
"""

from inbond.node import Node
from policies.identity import PeerIdentity
from policies.job import JobOrder
from policies.plan import Plan
from policies.regions import Hop, way


class Regions:
    """The countries that this party saw attested; the link's thread tells it of the coordinator."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._coordinator: PeerIdentity | None = None

    def greeted(self, coordinator: PeerIdentity) -> None:
        """Remember who greeted this party, by its certificate."""
        self._coordinator = coordinator

    def way(self, plan: Plan, order: JobOrder, submitter: PeerIdentity) -> tuple[Hop, ...]:
        """Where this party's data would go in the plan, and which of these places the authority attests."""
        own = self._node.credentials
        attested = {str(own.spiffe_id): own.standing.country}
        for peer in (self._coordinator, submitter):
            if peer is not None:
                attested[str(peer.spiffe_id)] = peer.standing.country
        return way(plan, order, attested, exporter=self._node.name)
