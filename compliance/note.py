"""C2SP signed notes (c2sp.org/signed-note): a text, a blank line, and one signature line per signer.

Relies on Ed25519. Whoever holds a note and a verifier key learns that the key's holder signed that text;
the key itself must come from elsewhere (a certificate, a colleague), never from the note.

Signature types known here: 0x01, Ed25519 over the text. Others (0x04 timestamped cosignatures, 0x06
ML-DSA-44) have key ids that match none of our keys and are ignored, as the specification asks.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance.errors import InvalidNote

ED25519 = 0x01
"""Signature type byte of c2sp.org/signed-note."""
MAX_NOTE_BYTES = 64 * 1024
"""A checkpoint with 100 cosignatures is about 15 KB."""
MAX_SIGNATURES = 100
"""The specification asks verifiers to accept at least 16."""
KEY_ID_BYTES = 4
_DASH = "— "
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class VerifierKey:
    """A signer's name and its Ed25519 public key (32 raw bytes)."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise _invalid("the key name is empty or holds a space or '+'", "a name such as example.com/log")
        if len(self.public) != 32:
            raise _invalid(f"the public key has {len(self.public)} bytes", "32 bytes of Ed25519")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || type || key)[:4]."""
        material = self.name.encode() + b"\n" + bytes([ED25519]) + self.public
        return hashlib.sha256(material).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the vkey text: name+hex(key id)+base64(type || key)."""
        material = base64.b64encode(bytes([ED25519]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a vkey text; raises InvalidNote where it is malformed or of another type."""
        # Only the first two '+' separate: base64 may hold more of them.
        parts = text.split("+", 2)
        if len(parts) != 3 or len(text) > 1024:
            raise _invalid("the verifier key has not three parts", "name+key id+base64, as the log prints it")
        material = strict_base64(parts[2], "verifier key")
        if material[:1] != bytes([ED25519]):
            raise _invalid("the verifier key is not of type Ed25519", "a key of type 0x01")
        key = cls(parts[0], material[1:])
        if key.key_id.hex() != parts[1]:
            raise _invalid("the key id does not belong to the name and key", f"{key.key_id.hex()} there")
        return key

    @classmethod
    def of(cls, name: str, key: Ed25519PrivateKey) -> "VerifierKey":
        """Return the verifier key under which `key` signs as `name`."""
        return cls(name, key.public_key().public_bytes_raw())

    def verifies(self, text: str, signature: bytes) -> bool:
        """Say whether `signature` is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signature:
    """One signature line: who, which key (4 bytes), and the signature bytes."""

    name: str
    key_id: bytes
    blob: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.blob).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text ending in a newline, and its signatures, not yet verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    def verify(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Return those of `keys` that signed; signatures of unknown keys are ignored.

        Raises InvalidNote where no known key signed, or where a known name and id carries a signature
        that fails (c2sp.org/signed-note: reject the whole note).
        """
        known = {(key.name, key.key_id): key for key in keys}
        signers = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not key.verifies(self.text, signature.blob):
                raise _invalid(f"the signature of {key.name} fails", "an unaltered note")
            signers.append(key)
        if not signers:
            raise _invalid("no signature of a known key", "a note signed by " + " or ".join(_names(known)))
        return tuple(dict.fromkeys(signers))


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> Note:
    """Sign `text` (ends in a newline, no control characters) as `name`; raises InvalidNote otherwise."""
    _check_text(text)
    verifier = VerifierKey.of(name, key)
    return Note(text, (Signature(name, verifier.key_id, key.sign(text.encode())),))


def parse_note(data: bytes) -> Note:
    """Read a note without verifying it; raises InvalidNote where it is too long or malformed."""
    if len(data) > MAX_NOTE_BYTES:
        raise _invalid(f"the note has {len(data)} bytes", f"at most {MAX_NOTE_BYTES}")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise _invalid("the note is not UTF-8", "UTF-8 text") from error
    # The signatures follow the last blank line: the text may hold blank lines of its own.
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise _invalid("no signature block", "text, a blank line, signature lines, each ending in a newline")
    _check_text(text + "\n")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _invalid(f"{len(lines)} signatures", f"at most {MAX_SIGNATURES}")
    return Note(text + "\n", tuple(map(_parse_signature, lines)))


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _NAME.fullmatch(name):
        raise _invalid("a signature line is malformed", "an em dash, the name and base64")
    blob = strict_base64(encoded, "signature line")
    if len(blob) <= KEY_ID_BYTES:
        raise _invalid("a signature is too short", "a key id of 4 bytes and a signature")
    return Signature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


def strict_base64(text: str, where: str) -> bytes:
    """Decode standard base64 that has exactly one spelling; raises InvalidNote for any other."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("the base64 is malformed", "standard base64 with padding", where) from error
    if base64.b64encode(data).decode() != text:
        raise _invalid("the base64 has stray bits at its end", "the canonical spelling", where)
    return data


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise _invalid("the text holds a control character or no final newline", "plain lines of text")


def _names(known: Iterable[tuple[str, bytes]]) -> list[str]:
    return [f"{name} (key id {key_id.hex()})" for name, key_id in known]


def _invalid(what: str, right: str, where: str = "signed note") -> InvalidNote:
    return InvalidNote(what, where=where, right=right)
