"""The consortium's authority: invites, certifies and revokes its members.

Holds the CA key (in its key store) and no job, no data. Of an invitation it keeps a hash of the public half,
so its database enrols nobody. Each certificate event is handed to `record` inside the transaction that makes
it: an event that cannot be recorded does not happen. A member is bound to the two keys it enrolled with;
other keys take a new invitation.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import (
    Connection,
    Row,
    create_engine,
    delete,
    event,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from federation import login_store
from federation.authority_tables import authorities, certificates, invitations, members, metadata, revocations, settings
from federation.login_store import Proven
from inbond import tls
from inbond.credentials import Credentials
from inbond.enrolment import (
    Clock,
    Invitation,
    check_address,
    new_secret,
    proof_text,
    public_half,
    sign_bundle,
    utc_now,
)
from inbond.errors import ConfigError, Refused
from inbond.keystore import KeyStore, Unlock, private_bytes
from inbond.v1 import authority_pb2 as wire
from policies import denylist
from policies.certificates import (
    MAX_AUTHORITY_DAYS,
    NOBODY,
    SERVING_ROLES,
    authority_domain,
    issue,
    load_request,
    make_authority,
    make_request,
    requested_binding,
    to_der,
    to_pem,
)
from policies.identity import DenyList, PeerIdentity, SpiffeId, Standing, TrustStore, load_certificate

Record = Callable[[str, Mapping[str, Any]], None]

LEAF_LIFETIME = timedelta(hours=8)
INVITATION_LIFETIME = timedelta(hours=72)
ROTATION_NOTICE = timedelta(hours=48)  # twice the longest leaf life: every member has renewed and knows the next CA
DATABASE = "authority.db"
KEYS = "keys"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issued:
    """A member's two fresh leaf certificates."""

    tls: x509.Certificate
    signing: x509.Certificate


@dataclass(frozen=True, slots=True)
class Member:
    """A name of the consortium; `not_after` is the end of its newest certificate, aware."""

    spiffe_id: str
    joined: datetime
    not_after: datetime | None
    revoked: bool
    standing: Standing = NOBODY


def no_record(_event: str, _details: Mapping[str, Any]) -> None:
    """A `record` for whoever keeps no evidence: tests, and reading commands."""


class Authority:
    """The consortium's certificates, invitations and deny list, in one folder. Safe to share between
    threads.
    """

    def __init__(
        self,
        home: Path,
        keystore: KeyStore,
        *,
        clock: Clock = utc_now,
        record: Record = no_record,
        leaf_lifetime: timedelta = LEAF_LIFETIME,
    ) -> None:
        self._keystore, self._clock, self._record = keystore, clock, record
        self._leaf_lifetime = leaf_lifetime
        self._lock = threading.RLock()
        self._engine = create_engine(f"sqlite:///{home / DATABASE}")
        event.listen(self._engine, "connect", _durable)
        try:
            metadata.create_all(self._engine)
            login_store.metadata.create_all(self._engine)
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"cannot be opened ({reason})", where=str(home / DATABASE), right="a writable folder"
            ) from None
        self._own: Credentials | None = None

    @classmethod
    def create(
        cls,
        home: Path,
        trust_domain: str,
        unlock: Unlock,
        *,
        enrol_address: str,
        address: str,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        days: int = MAX_AUTHORITY_DAYS,
        clock: Clock = utc_now,
        record: Record = no_record,
    ) -> "Authority":
        """Found a consortium in the folder `home`; addresses are `host:port` as members dial them.

        `dns` and `ips` are all names under which members dial. Raises ConfigError when `home` is in use.
        """
        for dialled in (enrol_address, address):
            check_address(dialled)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_authority(trust_domain, key, clock(), days)
        keystore = KeyStore.create(home / KEYS, unlock)
        made = cls(home, keystore, clock=clock, record=record)
        with made.change() as connection:
            made._add_authority(connection, 1, key, (certificate, clock()))
            for name, value in (
                ("enrol", enrol_address),
                ("authority", address),
                ("hosts", _hosts(dns, ips)),
            ):
                connection.execute(insert(settings).values(name=name, value=value))
            record("authority.created", {"trust_domain": trust_domain, "fingerprint": _fingerprint(certificate)})
        return made

    @classmethod
    def open(
        cls,
        home: Path,
        unlock: Unlock,
        *,
        clock: Clock = utc_now,
        record: Record = no_record,
        leaf_lifetime: timedelta = LEAF_LIFETIME,
    ) -> "Authority":
        """Open what `create` made; certificates live for `leaf_lifetime`, 24 h at most. Raises ConfigError."""
        if not (home / DATABASE).exists():
            raise ConfigError("no authority here", where=str(home), right="inbond ca init")
        keystore = KeyStore.open(home / KEYS, unlock)
        return cls(home, keystore, clock=clock, record=record, leaf_lifetime=leaf_lifetime)

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """One transaction on the authority's database at a time."""
        with self._lock, self._engine.begin() as connection:
            yield connection

    @property
    def keystore(self) -> KeyStore:
        """The unlocked key store, which also seals what accounts keep."""
        return self._keystore

    @property
    def certificate(self) -> x509.Certificate:
        """The CA certificate that signs leaves now."""
        return self._issuer()[1]

    @property
    def trust_domain(self) -> str:
        """The consortium's name."""
        return authority_domain(self.certificate)

    @property
    def addresses(self) -> tuple[str, str]:
        """Enrolment address and mutual TLS address, `host:port` each."""
        return self._setting("enrol"), self._setting("authority")

    def trust(self) -> TrustStore:
        """What members trust: every CA certificate that has not ended, and the newest deny list."""
        certificates = tuple(certificate for _, certificate, _ in self._authorities())
        return TrustStore(authority_domain(certificates[0]), certificates, self.denied())

    def denied(self) -> DenyList:
        """The newest deny list."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(revocations).order_by(revocations.c.version)).all()
        names = frozenset(row.target for row in rows if row.target.startswith("spiffe://"))
        serials = frozenset(int(row.target, 16) for row in rows if row.target not in names)
        at = datetime.fromtimestamp(rows[-1].at, UTC) if rows else None
        return DenyList(len(rows), serials, names, at)

    def credentials(self) -> Credentials:
        """The authority's own certificates, made anew at half of their life."""
        with self._lock:
            if self._own is None or self._clock() >= self._own.renew_at:
                self._own = self._certify_self()
            return self._own

    def tls_identity(self) -> tls.TlsIdentity:
        """What the authority's server shows."""
        return tls.tls_identity(self.credentials(), self._keystore)

    def denylist_token(self) -> str:
        """The newest deny list, signed now."""
        return denylist.to_token(self.denied(), self.credentials().signer(self._keystore), self._clock())

    def invite(
        self,
        spiffe_id: SpiffeId,
        *,
        lifetime: timedelta = INVITATION_LIFETIME,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        coordinator_address: str = "",
        standing: Standing = NOBODY,
    ) -> Invitation:
        """A single-use invitation for a name; raises ConfigError for a name that cannot join."""
        self._check_invitable(spiffe_id, dns, ips, standing)
        if coordinator_address:
            check_address(coordinator_address)
        secret, now = new_secret(), self._clock()
        enrol_address, address = self.addresses
        invitation = Invitation(
            spiffe_id, enrol_address, address, self.certificate, now + lifetime, secret, coordinator_address
        )
        row = {
            "key_hash": _hash(public_half(secret)),
            "spiffe_id": str(spiffe_id),
            "hosts": _hosts(dns, ips, standing),
            "expires": invitation.expires.timestamp(),
        }
        with self.change() as connection:
            connection.execute(insert(invitations).values(**row))
            details = {"id": str(spiffe_id), "expires": invitation.expires.isoformat(), **said_of(standing)}
            self._record("invitation.created", details)
        return invitation

    def enrol(self, key: bytes, tls_request: bytes, signing_request: bytes, proof: bytes) -> Issued:
        """Certify the holder of an invitation; raises Refused (invitation) or InvalidIdentity (requests).

        A used invitation answers again to the same two keys until it expires: an answer may have been lost.
        """
        _check_proof(key, proof, proof_text(tls_request, signing_request))
        keys = requested_binding(tls_request, signing_request)
        with self.change() as connection:
            row = self._claim(connection, _hash(key), keys)
            spiffe_id = SpiffeId.parse(row.spiffe_id)
            self._check_not_denied(spiffe_id)
            self._bind(connection, spiffe_id, keys, row.hosts)
            return self._certify(connection, spiffe_id, tls_request, signing_request, hosts=row.hosts, how="enrolled")

    def renew(self, peer: PeerIdentity, tls_request: bytes, signing_request: bytes) -> Issued:
        """Certify a member again, for the keys it enrolled with; raises Refused or InvalidIdentity."""
        self._check_not_denied(peer.spiffe_id)
        if self.owner(peer.spiffe_id):
            raise Refused("of somebody who logs in", where=str(peer.spiffe_id), right="a new login")
        keys = requested_binding(tls_request, signing_request)
        with self.change() as connection:
            row = connection.execute(select(members).where(members.c.spiffe_id == str(peer.spiffe_id))).first()
            if row is None or row.bound != keys:
                raise Refused("other keys than enrolled", where=str(peer.spiffe_id), right="a new invitation")
            return self._certify(
                connection, peer.spiffe_id, tls_request, signing_request, hosts=row.hosts, how="renewed"
            )

    def admit(self, proven: Proven, tls_request: bytes, signing_request: bytes, details: Mapping[str, str]) -> Issued:
        """Certify somebody who logged in, in one transaction with what is good once in the proof.

        A name stays its first owner's. Raises Refused, or InvalidIdentity (requests).
        """
        self._check_not_denied(proven.spiffe_id)
        keys, hosts = requested_binding(tls_request, signing_request), _hosts((), (), proven.standing)
        with self.change() as connection:
            proven.spend(connection)
            login_store.check_owner(connection, proven, taken=self.is_taken(connection, proven.spiffe_id))
            self._bind(connection, proven.spiffe_id, keys, hosts)
            login_store.keep_owner(connection, proven.spiffe_id, proven.owner)
            self._record("login.accepted", {"id": str(proven.spiffe_id), **details, **said_of(proven.standing)})
            return self._certify(
                connection, proven.spiffe_id, tls_request, signing_request, hosts=hosts, how="logged in"
            )

    def owner(self, spiffe_id: SpiffeId) -> str:
        """Whose a name is that logs in; empty for every other name."""
        with self._engine.connect() as connection:
            return login_store.owner_of(connection, str(spiffe_id))

    def knows(self, spiffe_id: SpiffeId) -> bool:
        """Whether a name has joined or is kept for an account."""
        with self.change() as connection:
            return self.is_taken(connection, spiffe_id)

    def release(self, spiffe_id: SpiffeId) -> None:
        """Forget whose a person's name is and the keys it had, so that they renew no more: the next login takes it.

        Raises ConfigError for a name that nobody has.
        """
        with self.change() as connection:
            if spiffe_id.role != "user" or not self.is_taken(connection, spiffe_id):
                raise ConfigError("no person's name", where=str(spiffe_id), right="a user/... of: inbond ca list")
            self.forget(connection, spiffe_id)
            self._record("name.released", {"id": str(spiffe_id)})

    def forget(self, connection: Connection, spiffe_id: SpiffeId) -> None:
        """The name is nobody's, and its keys renew no more."""
        connection.execute(delete(members).where(members.c.spiffe_id == str(spiffe_id)))
        login_store.forget_owner(connection, str(spiffe_id))

    def is_taken(self, connection: Connection, spiffe_id: SpiffeId) -> bool:
        """`knows`, in a transaction that is under way."""
        joined = select(members.c.spiffe_id).where(members.c.spiffe_id == str(spiffe_id))
        return bool(login_store.owner_of(connection, str(spiffe_id))) or connection.execute(joined).first() is not None

    def sign_offline(
        self,
        spiffe_id: SpiffeId,
        tls_request: bytes,
        signing_request: bytes,
        *,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        standing: Standing = NOBODY,
    ) -> Issued:
        """Certify requests that the operator carried here; raises ConfigError or InvalidIdentity."""
        self._check_invitable(spiffe_id, dns, ips, standing)
        keys, hosts = requested_binding(tls_request, signing_request), _hosts(dns, ips, standing)
        with self.change() as connection:
            self._bind(connection, spiffe_id, keys, hosts)
            return self._certify(connection, spiffe_id, tls_request, signing_request, hosts=hosts, how="signed offline")

    def answer(self, issued: Issued) -> wire.Certificates:
        """The message that carries certificates, bundle and deny list to a node."""
        own, now = self.credentials(), self._clock()
        return wire.Certificates(
            tls_certificate=to_der(issued.tls),
            signing_certificate=to_der(issued.signing),
            bundle=sign_bundle(self.trust().authorities, own.signer(self._keystore), now),
            deny_list=self.denylist_token(),
        )

    def revoke(self, target: SpiffeId | int, reason: str) -> DenyList:
        """Put a name (for ever) or one certificate's serial on the deny list; returns the new list."""
        text = str(target) if isinstance(target, SpiffeId) else f"{target:x}"
        if isinstance(target, SpiffeId) and target.role == "authority":
            raise ConfigError("the authority cannot revoke itself", where=text, right="inbond ca rotate")
        with self.change() as connection:
            self._check_known(connection, target, text)
            now, version = self._clock(), self.denied().version + 1
            row = {"version": version, "target": text, "reason": reason, "at": now.timestamp()}
            connection.execute(insert(revocations).values(**row))
            self._record("certificate.revoked", {"target": text, "reason": reason, "version": version})
        return self.denied()

    def rotate(self) -> x509.Certificate:
        """Make the next CA certificate: members learn it as they renew, and it signs from 48 h on."""
        rows = self._authorities()
        start = self._clock() + ROTATION_NOTICE
        if rows[-1][2] > self._clock():
            raise ConfigError("a rotation is under way", where=self.trust_domain, right=f"wait until {rows[-1][2]}")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_authority(self.trust_domain, key, self._clock())
        with self.change() as connection:
            self._add_authority(connection, rows[-1][0] + 1, key, (certificate, start))
            details = {"fingerprint": _fingerprint(certificate), "active_from": start.isoformat()}
            self._record("authority.rotated", details)
        return certificate

    def members(self) -> list[Member]:
        """Every name that ever joined, in order."""
        newest = select(certificates).order_by(certificates.c.not_after)
        with self._engine.connect() as connection:
            ends = {row.spiffe_id: row.not_after for row in connection.execute(newest)}
            rows = connection.execute(select(members).order_by(members.c.spiffe_id)).all()
        ids = self.denied().ids
        return [
            Member(
                row.spiffe_id,
                datetime.fromtimestamp(row.joined, UTC),
                datetime.fromtimestamp(ends[row.spiffe_id], UTC) if row.spiffe_id in ends else None,
                row.spiffe_id in ids,
                Standing(*json.loads(row.hosts)[2:]),
            )
            for row in rows
        ]

    def serials(self) -> list[dict[str, Any]]:
        """Certificates that have not ended: serial (hex), spiffe_id, kind, not_after (aware)."""
        now = self._clock().timestamp()
        query = select(certificates).where(certificates.c.not_after > now).order_by(certificates.c.not_after)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [{**row, "not_after": datetime.fromtimestamp(row["not_after"], UTC)} for row in rows]

    def _setting(self, name: str) -> str:
        with self._engine.connect() as connection:
            return str(connection.execute(select(settings.c.value).where(settings.c.name == name)).scalar_one())

    def _authorities(self) -> list[tuple[int, x509.Certificate, datetime]]:
        """Number, certificate and start of each CA that has not ended, oldest first; raises ConfigError if
        none.
        """
        with self._engine.connect() as connection:
            rows = connection.execute(select(authorities).order_by(authorities.c.number)).all()
        found = [
            (row.number, load_certificate(row.pem.encode()), datetime.fromtimestamp(row.active_from, UTC))
            for row in rows
        ]
        alive = [row for row in found if row[1].not_valid_after_utc > self._clock()]
        if not alive:
            raise ConfigError(
                "the CA certificate has ended", where="authority", right="a new consortium: inbond ca init"
            )
        return alive

    def _issuer(self) -> tuple[int, x509.Certificate]:
        """The newest CA that members had time to learn of."""
        alive = self._authorities()
        active = [row for row in alive if row[2] <= self._clock()] or alive[:1]
        return active[-1][0], active[-1][1]

    def _add_authority(
        self,
        connection: Connection,
        number: int,
        key: ec.EllipticCurvePrivateKey,
        ca: tuple[x509.Certificate, datetime],
    ) -> None:
        self._keystore.put(_key_name(number), private_bytes(key))
        row = {"number": number, "pem": to_pem(ca[0]).decode(), "active_from": ca[1].timestamp()}
        connection.execute(insert(authorities).values(**row))

    def _certify_self(self) -> Credentials:
        spiffe_id = SpiffeId(self.trust_domain, "/authority")
        requests = [
            to_der(make_request(key, spiffe_id)) for key in (self._keystore.tls_key, self._keystore.signing_key)
        ]
        with self.change() as connection:
            issued = self._certify(
                connection, spiffe_id, requests[0], requests[1], hosts=self._setting("hosts"), how="renewed"
            )
        return Credentials.from_certificates(spiffe_id, issued.tls, issued.signing, trust=self.trust())

    def _certify(
        self,
        connection: Connection,
        spiffe_id: SpiffeId,
        *requests: bytes,
        hosts: str,
        how: str,
    ) -> Issued:
        """Both leaves of a name, noted and recorded; raises InvalidIdentity."""
        number, authority = self._issuer()
        signer = serialization.load_der_private_key(self._keystore.get(_key_name(number)), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise ConfigError("not a P-256 key", where=_key_name(number), right="restore the key store")
        dns, ips, *said = json.loads(hosts)
        standing = Standing(*said)
        addresses: tuple[tuple[Sequence[str], Sequence[str]], ...] = ((dns, ips), ((), ()))
        leaves = [
            issue(
                load_request(request),
                spiffe_id,
                authority,
                signer,
                self._clock(),
                lifetime=self._leaf_lifetime,
                dns=names[0],
                ips=names[1],
                standing=standing,
            )
            for request, names in zip(requests, addresses, strict=True)
        ]
        for kind, leaf in zip(("tls", "signing"), leaves, strict=True):
            self._note(connection, spiffe_id, kind, leaf, how, standing)
        return Issued(*leaves)

    def _note(
        self,
        connection: Connection,
        spiffe_id: SpiffeId,
        kind: str,
        leaf: x509.Certificate,
        how: str,
        standing: Standing,
    ) -> None:
        serial, end = f"{leaf.serial_number:x}", leaf.not_valid_after_utc
        row = {"serial": serial, "spiffe_id": str(spiffe_id), "kind": kind, "not_after": end.timestamp()}
        connection.execute(insert(certificates).values(**row))
        details = {
            "id": str(spiffe_id),
            "serial": serial,
            "kind": kind,
            "not_after": end.isoformat(),
            "how": how,
            **said_of(standing),
        }
        self._record("certificate.issued", details)

    def _claim(self, connection: Connection, key_hash: str, keys: str) -> Row[Any]:
        """Take an open invitation for `keys`, in one statement: of two processes, one gets it."""
        mine = (
            invitations.c.key_hash == key_hash,
            invitations.c.expires > self._clock().timestamp(),
            or_(invitations.c.bound.is_(None), invitations.c.bound == keys),
        )
        if connection.execute(update(invitations).where(*mine).values(bound=keys)).rowcount != 1:
            raise Refused("invitation unknown, used or expired", where="enrolment", right="a new invitation")
        return connection.execute(select(invitations).where(invitations.c.key_hash == key_hash)).one()

    def _bind(self, connection: Connection, spiffe_id: SpiffeId, keys: str, hosts: str) -> None:
        """Make `keys` the member's, in place of any earlier ones; raises Refused for a name in another role already."""
        self._check_one_role(connection, spiffe_id)
        self.forget(connection, spiffe_id)  # also whose it is: a name that joins in another way logs in no more
        row = {
            "spiffe_id": str(spiffe_id),
            "bound": keys,
            "hosts": hosts,
            "joined": self._clock().timestamp(),
        }
        connection.execute(insert(members).values(**row))

    def _check_one_role(self, connection: Connection, spiffe_id: SpiffeId) -> None:
        """Contracts and records speak of members by their bare names, so nobody joins under another one's."""
        others = (f"spiffe://{self.trust_domain}/{role}/{spiffe_id.name}" for role in ("party", "user"))
        for other in (one for one in others if one != str(spiffe_id)):
            if connection.execute(select(members.c.spiffe_id).where(members.c.spiffe_id == other)).first():
                raise Refused(f"the name is {other}'s", where=str(spiffe_id), right="another name")

    def _check_invitable(self, spiffe_id: SpiffeId, dns: Sequence[str], ips: Sequence[str], standing: Standing) -> None:
        where = str(spiffe_id)
        if standing.organisation and spiffe_id.role != "user":
            raise ConfigError("an organisation for a node", where=where, right="people have one: user/<name>")
        if spiffe_id.trust_domain != self.trust_domain or spiffe_id.role == "authority":
            raise ConfigError(
                "cannot join here", where=where, right=f"a coordinator, party or user of {self.trust_domain}"
            )
        if where in self.denied().ids:
            raise ConfigError("revoked for ever", where=where, right="another name")
        if (spiffe_id.role in SERVING_ROLES) != bool(dns or ips):
            raise ConfigError("host names", where=where, right="at least one for a coordinator, none for the others")

    def _check_not_denied(self, spiffe_id: SpiffeId) -> None:
        if str(spiffe_id) in self.denied().ids:
            raise Refused("revoked", where=str(spiffe_id), right="another name")

    def _check_known(self, connection: Connection, target: SpiffeId | int, text: str) -> None:
        known = (
            select(members.c.spiffe_id).where(members.c.spiffe_id == text)
            if isinstance(target, SpiffeId)
            else select(certificates.c.serial).where(certificates.c.serial == text)
        )
        if connection.execute(known).first() is None:
            raise ConfigError("nothing to revoke", where=text, right="a member or serial of: inbond ca list")


def _check_proof(key: bytes, proof: bytes, text: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(proof, text)
    except (InvalidSignature, ValueError):
        raise Refused("the proof does not verify", where="enrolment", right="signed by the invitation's key") from None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fingerprint(certificate: x509.Certificate) -> str:
    return _hash(to_der(certificate))


def _hosts(dns: Sequence[str], ips: Sequence[str], standing: Standing = NOBODY) -> str:
    return json.dumps([list(dns), list(ips), *(astuple(standing) if standing != NOBODY else ())])


def said_of(standing: Standing) -> dict[str, str]:
    """What the authority says of a member, as evidence has it."""
    said = {"organisation": standing.organisation, "role": standing.office, "country": standing.country}
    return {name: text for name, text in said.items() if text}


def _key_name(number: int) -> str:
    return f"authority-{number}"


def _durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
