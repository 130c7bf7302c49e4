"""Sealed boxes: bytes that one X25519 key opens, and only in the context they were sealed for.

Who learns what: the recipient the content; anybody else its length. The sender is not authenticated: callers
sign. Relies on X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and AES-256-GCM (NIST SP 800-38D), composed as in
RFC 9180's base mode: ephemeral key, both public keys in the derivation, the context as associated data. The
key is fresh for every box, so the nonce may be constant.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import MisuseError, PeerViolation

KEY_BYTES = 32
OVERHEAD = 32 + 16  # ephemeral key in front, authentication tag behind
MAX_PLAINTEXT = 1 << 30
MAX_CONTEXT = 1 << 16
_NONCE = bytes(12)


def generate() -> tuple[bytes, bytes]:
    """Make a key pair: (private, public), 32 bytes each."""
    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def seal(plaintext: bytes, recipient_public: bytes, context: bytes) -> bytes:
    """Encrypt for the recipient; `context` must be given again, byte for byte, to open.

    Raises:
        MisuseError: plaintext or context above the limits, or a recipient key that is no X25519 key.
    """
    if len(plaintext) > MAX_PLAINTEXT or len(context) > MAX_CONTEXT:
        raise MisuseError("too much to seal", where="seal", right=f"seal at most {MAX_PLAINTEXT} bytes at once")
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient_public))
    except ValueError:
        raise MisuseError("the recipient's key is unusable", where="seal", right="use an X25519 key") from None
    public = ephemeral.public_key().public_bytes_raw()
    return public + _cipher(shared, public, recipient_public).encrypt(_NONCE, plaintext, context)


def open_sealed(box: bytes, private: bytes, context: bytes) -> bytes:
    """Decrypt a box with the recipient's private key.

    Raises:
        PeerViolation: it does not open, in the same words for whatever reason.
        MisuseError: our own key has the wrong length.
    """
    if len(private) != KEY_BYTES:
        raise MisuseError("a private key has the wrong length", where="open_sealed", right="give 32 bytes")
    failure = PeerViolation("a sealed box does not open", where="sealing", right="seal it to this key and context")
    if not OVERHEAD <= len(box) <= OVERHEAD + MAX_PLAINTEXT or len(context) > MAX_CONTEXT:
        raise failure
    key, public = X25519PrivateKey.from_private_bytes(private), bytes(box[:KEY_BYTES])
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(public))
        cipher = _cipher(shared, public, key.public_key().public_bytes_raw())
        return cipher.decrypt(_NONCE, bytes(box[KEY_BYTES:]), context)
    except (ValueError, InvalidTag):
        raise failure from None


def _cipher(shared: bytes, ephemeral: bytes, recipient: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=ephemeral + recipient, info=b"inbond seal v1").derive(shared))
