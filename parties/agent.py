"""The party's agent: opens the node, checks its tables and policies, dials the coordinator, and answers at the door.

Outbound connections only. It fails closed: an unreadable contract, policy or log stops it before it connects.
"""

import json
import os
import threading
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import grpc
import structlog

from compliance.audit.entry import EntryType
from compliance.budget import BudgetLedger
from inbond import tls
from inbond.cipher_nursery import NURSERY
from inbond.endorsed import check_policies
from inbond.errors import ConfigError, Refused
from inbond.framing import GRPC_OPTIONS, Limits
from inbond.memory import keep_arrow_memory, keep_freed_memory
from inbond.node import Node, Upkeep, extra_policies, utc_now
from parties.admission import Admission
from parties.catalogue import Catalogue
from parties.door import Door
from parties.jobs import MIB, Jobs
from parties.lawfulness import Lawfulness
from parties.link import Link, LinkSettings
from parties.regions import Regions
from parties.sources import register_budgets
from parties.store import PartyStore
from parties.withheld import keep_registry_current
from policies.bundle import load_baseline
from policies.engine import Engine
from policies.envelope import verify
from policies.errors import PolicyError
from policies.law.law import law_or_closed

log = structlog.get_logger(__name__)
WELCOME_TYPE = "inbond-welcome+jws"
LIFE_SIGN = "agent.json"


class Agent:
    """One party node, running."""

    def __init__(self, home: Path) -> None:
        self._signing = threading.Lock()
        self.node = Node.open(home)
        self.node.check_certificate()
        check_policies(self.node, utc_now())
        self.home = home
        self.catalogue = Catalogue(home)
        law = law_or_closed()
        self.catalogue.check(law)
        self.engine = Engine(load_baseline(extra_policies(home)))
        self.budget = BudgetLedger.open(home / "budget.db")
        register_budgets(self.budget, self.catalogue.contracts.values(), home)
        self.store = PartyStore(home)
        keep_registry_current(self.node)
        self.jobs = Jobs(self.node, self.store, self.catalogue, self.budget)
        lawfulness = Lawfulness(self.node, law)
        self.regions = Regions(self.node)
        admission = Admission(self.node, self.store, self.catalogue, self.engine, self.budget, lawfulness, self.regions)
        self.door = Door(self.node, self.store, self.catalogue, admission, self.jobs)
        self.link = self._link()
        self.door.early.again = self.link.again
        self.upkeep = Upkeep(self.node, rotated=self.link.rotate, tidy=self.jobs.tidy)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Serve until `stop`; raises Refused when the consortium no longer lets this party in."""
        keep_freed_memory()
        keep_arrow_memory()
        NURSERY.warm()
        self.node.record(EntryType.NODE, data={"event": "started", "datasets": sorted(self.catalogue.contracts)})
        self._life("connecting")
        self.upkeep.start()
        self.jobs.ready_soon()
        try:
            self.link.run()
        finally:
            self.upkeep.stop()
            self.jobs.close()
            self._life("stopped")
            self.node.record(EntryType.NODE, data={"event": "stopped"})
            self.store.close()
            self.budget.close()
            self.node.close()

    def stop(self) -> None:
        """Let `run` return."""
        self.link.stop()

    def _link(self) -> Link:
        limits, life = self.node.config.limits, self.node.config.life
        address = self.node.config.address.coordinator
        if not address:
            right = 'set [address] coordinator = "host:port"'
            raise ConfigError("no coordinator address", where=str(self.home / "inbond.toml"), right=right)

        def connect() -> grpc.Channel:
            return tls.channel(address, self.node.credentials, self.node.keystore, GRPC_OPTIONS)

        return Link(
            connect,
            self.door.handle,
            verify=self._check_welcome,
            version=version("inbond"),
            limits=Limits(message=limits.message_mib * MIB),
            settings=LinkSettings(dead_after=5 * life.heartbeat_seconds, backoff_most=5.0),
            on_state=self._life,
        )

    def _check_welcome(self, nonce: bytes, token: bytes) -> None:
        """Raise Refused unless the coordinator of our consortium signed this very greeting."""
        try:
            signed = verify(token.decode("ascii", "replace"), typ=WELCOME_TYPE, trust=self.node.trust, now=utc_now())
        except PolicyError as error:
            raise Refused(f"the welcome is not the coordinator's ({error.what})", where="link") from None
        ours = (nonce.hex(), str(self.node.credentials.spiffe_id))
        if signed.issuer.role != "coordinator" or (signed.payload.get("nonce"), signed.payload.get("party")) != ours:
            raise Refused("the welcome is not the coordinator's", where="link")
        self.regions.greeted(signed.certificate)

    def _life(self, state: str) -> None:
        """Leave a sign of life for `inbond party status`."""
        log.info("link", state=state)
        sign = {"pid": os.getpid(), "state": state, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        path = self.home / LIFE_SIGN
        with self._signing:  # the link tells of its state on threads of its own
            path.with_suffix(".part").write_text(json.dumps(sign))
            path.with_suffix(".part").rename(path)
