"""What a node shows of itself and whom it believes: its two certificates and the consortium's trust store.

Nothing here is secret. One file, replaced atomically, so a node never sees half a renewal.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from inbond.errors import ConfigError
from inbond.keystore import KeyStore, write_private
from policies.certificates import to_der, to_pem
from policies.envelope import Signer
from policies.errors import InvalidIdentity
from policies.identity import DenyList, SpiffeId, Standing, TrustStore, load_certificate, standing_of

FILE = "credentials.json"
MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """A node's certified identity, and where its authority answers (`host:port`, mutual TLS)."""

    spiffe_id: SpiffeId
    tls_chain_pem: bytes
    signing_chain: tuple[bytes, ...]
    trust: TrustStore
    not_after: datetime
    authority: str = ""

    @classmethod
    def from_certificates(
        cls,
        spiffe_id: SpiffeId,
        tls: x509.Certificate,
        signing: x509.Certificate,
        *,
        trust: TrustStore,
        authority: str = "",
    ) -> "Credentials":
        """Put two leaf certificates together; `not_after` is the earlier end."""
        end = min(tls.not_valid_after_utc, signing.not_valid_after_utc)
        return cls(spiffe_id, to_pem(tls), (to_der(signing),), trust, end, authority)

    @property
    def standing(self) -> Standing:
        """What the authority says of this node in its own certificate."""
        return standing_of(load_certificate(self.signing_chain[0]), self.spiffe_id)

    def check_country(self, claimed: str, *, or_else: str) -> None:
        """Raise ConfigError where a node claims another country than is attested; where none is, the claim stands."""
        attested = self.standing.country
        if attested not in {"", claimed}:
            what = f"claims {claimed}, and the authority attests {attested}"
            raise ConfigError(what, where="[node] country", right=f"country = {attested}, or {or_else}")

    @property
    def roots_pem(self) -> bytes:
        """The CA certificates of the trust store, PEM, one after the other."""
        return b"".join(to_pem(certificate) for certificate in self.trust.authorities)

    @property
    def renew_at(self) -> datetime:
        """Half of the certificate's life: renew from here on (the caller adds its jitter)."""
        start = load_certificate(self.tls_chain_pem).not_valid_before_utc
        return start + (self.not_after - start) / 2

    def signer(self, keystore: KeyStore) -> Signer:
        """What `policies.envelope.sign` needs; raises ConfigError when the key is not the certified one."""
        key = keystore.signing_key
        if key.public_key() != load_certificate(self.signing_chain[0]).public_key():
            raise ConfigError("another signing key is certified", where=str(self.spiffe_id), right="enrol this node")
        return Signer(self.spiffe_id, key, self.signing_chain)

    def with_denied(self, denied: DenyList) -> "Credentials":
        """The same credentials with a newer deny list."""
        return replace(self, trust=replace(self.trust, denied=denied))

    def save(self, folder: Path) -> None:
        """Write `credentials.json` in `folder`, atomically."""
        denied = self.trust.denied
        value = {
            "spiffe_id": str(self.spiffe_id),
            "tls": self.tls_chain_pem.decode(),
            "signing": [to_pem(load_certificate(der)).decode() for der in self.signing_chain],
            "authorities": [to_pem(certificate).decode() for certificate in self.trust.authorities],
            "authority": self.authority,
            "denied": {
                "version": denied.version,
                "serials": sorted(f"{serial:x}" for serial in denied.serials),
                "ids": sorted(denied.ids),
                "issued": denied.issued.isoformat() if denied.issued else None,
            },
        }
        write_private(folder / FILE, json.dumps(value, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> "Credentials":
        """Read what `save` wrote; raises ConfigError. Dates are not judged here: each use judges them."""
        path = folder / FILE
        try:
            return cls._from_json(json.loads(_read(path)))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, InvalidIdentity):
            raise ConfigError("damaged credentials", where=str(path), right="enrol again or restore it") from None

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> "Credentials":
        spiffe_id = SpiffeId.parse(value["spiffe_id"])
        trust = TrustStore(
            spiffe_id.trust_domain,
            tuple(load_certificate(pem.encode()) for pem in value["authorities"]),
            _denied(value["denied"]),
        )
        tls = load_certificate(value["tls"].encode())
        chain = [load_certificate(pem.encode()) for pem in value["signing"]]
        made = cls.from_certificates(spiffe_id, tls, chain[0], trust=trust, authority=str(value["authority"]))
        der = tuple(link.public_bytes(serialization.Encoding.DER) for link in chain)
        return replace(made, tls_chain_pem=value["tls"].encode(), signing_chain=der)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError("file too large", where=str(path), right=f"at most {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("this node is not enrolled", where=str(path), right="join with an invitation") from None


def _denied(value: dict[str, Any]) -> DenyList:
    issued = datetime.fromisoformat(value["issued"]) if value["issued"] else None
    serials = frozenset(int(text, 16) for text in value["serials"])
    return DenyList(int(value["version"]), serials, frozenset(map(str, value["ids"])), issued)
