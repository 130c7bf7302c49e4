"""What every node has: its folder, configuration, keys, certificates and evidence log, and the thread that keeps the
certificates fresh and the deny list current.
"""

import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from compliance.audit.entry import Entry, EntryType
from compliance.audit.log import AuditLog
from compliance.errors import ComplianceError
from inbond import enrolment
from inbond.config import NodeConfig, load, read_text
from inbond.credentials import Credentials
from inbond.errors import ConfigError, InbondError, Refused
from inbond.keystore import KeyStore, Unlock
from policies.denylist import DenyList
from policies.envelope import Signer
from policies.errors import PolicyError
from policies.identity import TrustStore

LOGIN_FILE = "login.json"
"""In the folder of a person who logs in: where, and with whom. Such a node does not renew its certificates."""

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def origin(consortium: str, role: str, name: str) -> str:
    """The origin line of a node's evidence log (C2SP checkpoint: a schema-less URL)."""
    return f"{consortium}/audit/{role}/{name}"


def extra_policies(home: Path) -> dict[str, str]:
    """The node's own Cedar files by name, which add to the baseline; raises ConfigError for an unreadable one."""
    return {path.name: read_text(path, "a Cedar file in UTF-8") for path in sorted((home / "policies").glob("*.cedar"))}


class Node:
    """One node's standing parts. `credentials` changes when they are renewed or the deny list grows."""

    def __init__(
        self,
        home: Path,
        config: NodeConfig,
        keystore: KeyStore,
        credentials: Credentials,
        audit: AuditLog | None,
    ) -> None:
        self.home, self.config, self.keystore, self.audit = home, config, keystore, audit
        self._credentials = credentials
        self._lock = threading.Lock()
        self._signed_size = 0

    @classmethod
    def open(cls, home: Path, *, audit: bool = True) -> "Node":
        """The node in folder `home`; raises ConfigError naming what is missing and the command that makes it."""
        config = load(home)
        unlock = Unlock.from_setting(config.keys.unlock, home, os.environ)
        keystore = KeyStore.open(home / "keys", unlock)
        if not (home / "certs").exists():
            right = f"inbond {config.node.role} join INVITATION --home {home}"
            raise ConfigError("this node has not joined a consortium", where=str(home), right=right)
        credentials = Credentials.load(home / "certs")
        node = config.node
        opened = (
            AuditLog.open(home / "audit.db", origin(node.consortium, node.role, node.name), keystore.signing_key)
            if audit
            else None
        )
        return cls(home, config, keystore, credentials, opened)

    @property
    def name(self) -> str:
        """The node's short name."""
        return self.config.node.name

    @property
    def credentials(self) -> Credentials:
        """The newest certificates."""
        return self._credentials

    @property
    def trust(self) -> TrustStore:
        """Whom this node believes, and whom no longer."""
        return self._credentials.trust

    def signer(self) -> Signer:
        """What this node signs with now."""
        return self._credentials.signer(self.keystore)

    def record(
        self,
        kind: EntryType,
        *,
        job: str | None = None,
        subject: str = "",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append evidence and return once it is durable; raises LogUnavailable, and then the step must not happen."""
        if self.audit is None:
            raise ConfigError("this node keeps no evidence log", where=str(self.home), right="open it with its log")
        node = str(self._credentials.spiffe_id)
        self.audit.append(Entry(kind, utc_now(), node, job, subject or node, dict(data or {})))

    def sign_checkpoint(self) -> None:
        """Sign the log's head where it has grown, so that an export proves everything up to now."""
        if self.audit is not None and self.audit.size != self._signed_size:
            size = self.audit.size
            self.audit.checkpoint()
            self._signed_size = size

    def check_certificate(self) -> None:
        """Raise Refused when the certificate has ended: nobody would let this node in, and it cannot renew."""
        ended = self._credentials.not_after
        if utc_now() >= ended:
            what = f"this node's certificate has expired ({ended:%Y-%m-%d %H:%M} UTC)"
            right = f"inbond login --home {self.home}" if self._logs_in else "join again with a new invitation"
            raise Refused(what, where=str(self.home / "certs"), right=right)

    # upkeep

    def renew(self) -> bool:
        """Renew certificates past half of their life; True when new ones are in use.

        A login is not renewed: raises Refused once it has ended.
        """
        if self._logs_in:
            self.check_certificate()
            return False
        if utc_now() < self._credentials.renew_at:
            return False
        fresh = enrolment.renew(self._credentials, self.keystore, self._authority(), folder=self.home / "certs")
        with self._lock:
            self._credentials = fresh.with_denied(self._newest(fresh.trust.denied))
        self._note_certificate("renewed")
        return True

    def refresh_denied(self) -> bool:
        """Fetch the deny list; True when it grew."""
        denied = enrolment.fetch_denylist(self._credentials, self.keystore, self._authority())
        with self._lock:
            if denied.version <= self._credentials.trust.denied.version:
                return False
            self._credentials = self._credentials.with_denied(denied)
            self._credentials.save(self.home / "certs")
        if self.audit is not None:
            data = {"event": "deny list", "version": denied.version}
            self.record(EntryType.CERTIFICATE, data=data)
        return True

    @property
    def _logs_in(self) -> bool:
        return (self.home / LOGIN_FILE).exists()

    def _newest(self, other: DenyList) -> DenyList:
        return max(self._credentials.trust.denied, other, key=lambda denied: denied.version)

    def _authority(self) -> str:
        return self.config.address.authority or self._credentials.authority

    def _note_certificate(self, event: str) -> None:
        if self.audit is not None:
            data = {"event": event, "not_after": self._credentials.not_after.isoformat()}
            self.record(EntryType.CERTIFICATE, subject=str(self._credentials.spiffe_id), data=data)

    def close(self) -> None:
        """Close the log."""
        if self.audit is not None:
            self.sign_checkpoint()
            self.audit.close()


class Upkeep(threading.Thread):
    """Keeps a node's certificates and deny list fresh; an authority that is away is asked again.

    A node whose certificate runs out while the authority is away stops being believed: it fails closed.
    """

    def __init__(
        self,
        node: Node,
        *,
        rotated: Callable[[], None] = lambda: None,
        denied: Callable[[], None] = lambda: None,
        tidy: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._node, self._rotated, self._denied, self._tidy = node, rotated, denied, tidy
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Loop until `stop`."""
        while not self._stop_asked.wait(self._node.config.life.denylist_seconds):
            for act in (self._refresh_denied, self._renew, self._tidy):
                try:
                    act()
                    self._node.sign_checkpoint()
                except (InbondError, PolicyError, ComplianceError) as error:
                    log.warning("upkeep", error=str(error))
                except Exception as error:  # a full disk must not end renewal for good
                    log.exception("upkeep", error=type(error).__name__)

    def _refresh_denied(self) -> None:
        if self._node.refresh_denied():
            self._denied()

    def _renew(self) -> None:
        if self._node.renew():
            self._rotated()

    def stop(self) -> None:
        """End the loop."""
        self._stop_asked.set()
