"""The coordinator's process: links to parties, the control service, jobs and their runners.

It holds no key that opens a payload. It fails closed: without its policies or its log it does not start, and without
its log it does not take a step.
"""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog

from compliance.audit.entry import EntryType
from federation.catalogue import read_catalogue
from federation.control import Control
from federation.gate import Gate
from federation.hub import Hub, HubSettings, Tap
from federation.hub import PeerIdentity as HubPeer
from federation.jobs import JobManager
from federation.store import CoordinatorStore
from inbond import codec, tls
from inbond.endorsed import check_policies
from inbond.errors import ConfigError, Errors
from inbond.framing import GRPC_OPTIONS, Limits
from inbond.memory import keep_freed_memory
from inbond.messages import Request, request_id
from inbond.node import Node, Upkeep, extra_policies, utc_now
from inbond.records import texts
from inbond.v1 import control_pb2_grpc
from policies.bundle import load_baseline
from policies.engine import Engine
from policies.envelope import sign
from policies.errors import InvalidIdentity
from policies.identity import PeerIdentity, SpiffeId, recheck

log = structlog.get_logger(__name__)
WELCOME_TYPE = "inbond-welcome+jws"
LIFE_SIGN = "coordinator.json"
MAX_PARTIES = 256
TAP_VARIABLE = "INBOND_TEST_TAP"  # a file that takes everything the coordinator's links carry: tests only


class Coordinator:
    """One coordinator node, running."""

    def __init__(self, home: Path, *, tap: Tap | None = None) -> None:
        self.home = home
        self.node = Node.open(home)
        self.node.check_certificate()
        check_policies(self.node, utc_now())
        self.engine = Engine(load_baseline(extra_policies(home)))
        self.store = CoordinatorStore(home)
        self.hub = self._hub(tap or _file_tap(os.environ.get(TAP_VARIABLE, "")))
        self.jobs = JobManager(self.node, self.store, self.hub, self.engine)
        options = [*tls.SERVER_OPTIONS, *GRPC_OPTIONS]
        self.server = grpc.server(ThreadPoolExecutor(MAX_PARTIES + 64, "rpc"), options=options)
        self.hub.register(self.server)
        control = Control(self.node, self.store, self.jobs, self.hub, Gate(self.node, self.engine))
        control_pb2_grpc.add_ControlServicer_to_server(control, self.server)  # type: ignore[no-untyped-call]  # generated
        self.upkeep = Upkeep(self.node, denied=self.jobs.distrusted)
        self._asking = ThreadPoolExecutor(4, "catalogue")
        self._stopping = threading.Event()

    def start(self) -> str:
        """Serve and take up interrupted jobs; the address in use. Raises ConfigError for an unusable one."""
        address = self.node.config.address.listen
        shown = tls.server_credentials(lambda: tls.tls_identity(self.node.credentials, self.node.keystore))
        try:
            port = self.server.add_secure_port(address, shown)
        except RuntimeError:
            port = 0
        if not port:
            right = "a free host:port of this machine in [address] listen"
            raise ConfigError(f"cannot listen on {address}", where=str(self.home / "inbond.toml"), right=right)
        self.node.record(EntryType.NODE, data={"event": "started"})
        self.server.start()
        self.upkeep.start()
        self.jobs.resume()
        self._life("serving")
        return f"{address.rsplit(':', 1)[0]}:{port}"

    def run(self) -> None:
        """Serve until `stop`."""
        keep_freed_memory()
        self._stopping.wait()
        self._life("stopped")
        self.jobs.close()
        self.upkeep.stop()
        self.hub.close()
        self.server.stop(1.0).wait()
        self.node.record(EntryType.NODE, data={"event": "stopped"})
        self.store.close()
        self.node.close()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    def _hub(self, tap: Tap | None) -> Hub:
        limits, life = self.node.config.limits, self.node.config.life
        rate = float(limits.frames_per_s)
        return Hub(
            authorise=lambda context: _Peer(tls.authorise(context, self.node.trust, utc_now(), roles=("party",))),
            still_valid=self._still_valid,
            welcome=self._welcome,
            limits=Limits(message=limits.message_mib * 1024 * 1024),
            settings=HubSettings(
                heartbeat=life.heartbeat_seconds,
                dead_after=5 * life.heartbeat_seconds,
                rate=rate,
                burst=2 * rate,
            ),
            on_connect=self._connected,
            on_disconnect=lambda party: log.info("party left", party=party),
            tap=tap,
        )

    def _still_valid(self, peer: HubPeer) -> bool:
        try:
            recheck(_certified(peer), self.node.trust, utc_now())
        except InvalidIdentity as error:
            log.warning("a party is no longer trusted", party=peer.name, reason=str(error))
            return False
        return True

    def _welcome(self, peer: HubPeer, nonce: bytes) -> bytes:
        claims = {"nonce": nonce.hex(), "party": peer.spiffe_id, "iat": int(utc_now().timestamp())}
        return sign(claims, typ=WELCOME_TYPE, signer=self.node.signer()).encode()

    def _connected(self, party: str) -> None:
        """A party that connects is asked for its catalogue."""
        log.info("party connected", party=party)
        self._asking.submit(self._fetch_catalogue, party)

    def _fetch_catalogue(self, party: str) -> None:
        now = utc_now().timestamp()
        name = request_id("", int(now * 1000), "catalogue", 0, party)
        request = Request(name, "", "catalogue", "", 0, 0, "", now + 60.0, ())
        try:
            reply = self.hub.request(party, request).result(60.0)
            token = texts(codec.decode(reply.body), "catalogue", "token")[0]
            entry = read_catalogue(token, self.node.trust, utc_now())
            for dataset, reason in entry.left_out.items():
                self._note_left_out(party, dataset, reason)
            self.store.keep_catalogue(entry.party, token)
        except (*Errors, TimeoutError, KeyError) as error:
            log.warning("no catalogue", party=party, reason=str(error))

    def _note_left_out(self, party: str, dataset: str, reason: str) -> None:
        """Say why nobody is offered a contract, to the operator and in the evidence."""
        log.warning("a contract is left out", party=party, dataset=dataset, reason=reason)
        data = {"event": "contract left out", "dataset": dataset, "reason": reason}
        identity = SpiffeId(self.node.trust.trust_domain, f"/party/{party}")
        self.node.record(EntryType.REFUSAL, subject=str(identity), data=data)

    def _life(self, state: str) -> None:
        """Leave a sign of life for `inbond coordinator status`."""
        sign_ = {"pid": os.getpid(), "state": state, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        path = self.home / LIFE_SIGN
        path.with_suffix(".part").write_text(json.dumps(sign_))
        path.with_suffix(".part").rename(path)


class _Peer:
    """A party's identity in the words of the hub."""

    def __init__(self, identity: PeerIdentity) -> None:
        self.identity = identity

    @property
    def name(self) -> str:
        """Short name."""
        return self.identity.spiffe_id.name

    @property
    def spiffe_id(self) -> str:
        """Whole SPIFFE ID."""
        return str(self.identity.spiffe_id)


def _certified(peer: HubPeer) -> PeerIdentity:
    """The certificate behind a link's peer."""
    if not isinstance(peer, _Peer):
        raise InvalidIdentity("a link without a certificate", right="mutual TLS")
    return peer.identity


def _file_tap(path: str) -> Tap | None:
    """A tap that appends every frame to a file: direction, party, stream, length, bytes."""
    if not path:
        return None
    file, lock = Path(path).open("ab"), threading.Lock()  # noqa: SIM115 - open for the process's life

    def tap(direction: str, party: str, stream: str, frame: bytes) -> None:
        head = json.dumps({"direction": direction, "party": party, "stream": stream, "bytes": len(frame)}).encode()
        with lock:
            file.write(len(head).to_bytes(4, "big") + head + frame)
            file.flush()

    return tap
