"""Private keys and other secrets at rest, each encrypted under one master key that an `Unlock` wraps.

A thief of the folder learns names and sizes; whoever also has the unlock file or passphrase learns all. Every
secret is AES-256-GCM with its name as associated data, so files cannot be swapped. Folder 0700, files 0600,
atomic writes.
"""

import os
import re
import secrets
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from inbond.errors import ConfigError

KEY_BYTES = 32
NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2: random 96-bit nonces
SALT_BYTES = 16
SCRYPT_COST = 2**17  # OWASP password storage: N=2^17, r=8, p=1 (128 MiB, about 0.4 s)
MAX_SECRET_BYTES = 1024 * 1024
SIGNING, TLS = "signing", "tls"
_MASTER = "master.key"
_SUFFIX = ".secret"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Unlock(ABC):
    """Wraps a key store's master key; the plug-in point for PKCS#11 tokens and key management services."""

    @abstractmethod
    def wrap(self, master: bytes) -> bytes:
        """Encrypt the 32-byte master key for storage."""

    @abstractmethod
    def unwrap(self, wrapped: bytes) -> bytes:
        """The master key of `wrap`; raises ConfigError when this is not the right unlock."""

    @staticmethod
    def from_file(path: Path) -> "Unlock":
        """Unlock with a file of at least 32 random bytes that others cannot read; raises ConfigError."""
        try:
            data, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            raise ConfigError(
                f"unlock file cannot be read ({error.strerror})", where=str(path), right="a readable file"
            ) from None
        if mode & stat.S_IRWXO:
            raise ConfigError("unlock file is open to everybody", where=str(path), right=f"chmod 600 {path}")
        if len(data) < KEY_BYTES:
            raise ConfigError("unlock file is too short", where=str(path), right=f"{KEY_BYTES} random bytes or more")
        return _KeyUnlock(_derive(data, b"inbond unlock file"))

    @staticmethod
    def new_file(path: Path) -> "Unlock":
        """Make a fresh unlock file (mode 0600) where none is yet; raises ConfigError."""
        if path.exists():
            raise ConfigError("unlock file exists already", where=str(path), right="another path")
        write_private(path, secrets.token_bytes(KEY_BYTES))
        return Unlock.from_file(path)

    @staticmethod
    def from_passphrase(text: str) -> "Unlock":
        """Unlock with a passphrase, stretched by scrypt (RFC 7914)."""
        return _PassphraseUnlock(text)

    @staticmethod
    def from_setting(setting: str, base: Path, environment: Mapping[str, str]) -> "Unlock":
        """Read `file:PATH` (relative to `base`) or `env:VARIABLE` (a passphrase); raises ConfigError."""
        kind, _, value = setting.partition(":")
        if kind == "file" and value:
            return Unlock.from_file(base / value)
        if kind != "env" or not value:
            raise ConfigError("not an unlock setting", where=setting, right="file:PATH or env:VARIABLE")
        if not environment.get(value):
            raise ConfigError("no passphrase", where=value, right="set the variable to the passphrase")
        return Unlock.from_passphrase(environment[value])


class _KeyUnlock(Unlock):
    """Wraps with a 256-bit key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def wrap(self, master: bytes) -> bytes:
        return _seal(self._key, master, b"master")

    def unwrap(self, wrapped: bytes) -> bytes:
        return _open(self._key, wrapped, b"master", where="key store", right="the unlock it was created with")


class _PassphraseUnlock(Unlock):
    """Wraps with a key stretched from a passphrase; the salt travels in front of the wrapped key."""

    def __init__(self, text: str) -> None:
        if not text:
            raise ConfigError("empty passphrase", where="key store", right="at least one character")
        self._text = text.encode()

    def _stretched(self, salt: bytes) -> _KeyUnlock:
        return _KeyUnlock(Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_COST, r=8, p=1).derive(self._text))

    def wrap(self, master: bytes) -> bytes:
        salt = secrets.token_bytes(SALT_BYTES)
        return salt + self._stretched(salt).wrap(master)

    def unwrap(self, wrapped: bytes) -> bytes:
        return self._stretched(wrapped[:SALT_BYTES]).unwrap(wrapped[SALT_BYTES:])


class KeyStore:
    """An unlocked folder of secrets: the node's signing and TLS keys, and any others by name."""

    def __init__(self, folder: Path, master: bytes) -> None:
        self._folder = folder
        self._master = master

    def __repr__(self) -> str:
        return f"KeyStore({str(self._folder)!r})"

    @classmethod
    def create(cls, folder: Path, unlock: Unlock) -> "KeyStore":
        """Make a store with fresh signing (Ed25519) and TLS (P-256) keys; raises ConfigError if there is
        one.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if (folder / _MASTER).exists():
            raise ConfigError("key store exists already", where=str(folder), right="another folder, or open this one")
        master = secrets.token_bytes(KEY_BYTES)
        store = cls(folder, master)
        store.put(SIGNING, private_bytes(Ed25519PrivateKey.generate()))
        store.put(TLS, private_bytes(ec.generate_private_key(ec.SECP256R1())))
        write_private(folder / _MASTER, unlock.wrap(master))  # last: a store without it is no store
        return store

    @classmethod
    def open(cls, folder: Path, unlock: Unlock) -> "KeyStore":
        """Unlock the store in `folder`; raises ConfigError for no store, a wrong unlock or loose
        permissions.
        """
        try:
            wrapped, mode = (folder / _MASTER).read_bytes(), folder.stat().st_mode
        except OSError as error:
            raise ConfigError(
                f"no key store ({error.strerror})", where=str(folder), right="run the init command"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError("key store is open to others", where=str(folder), right=f"chmod 700 {folder}")
        return cls(folder, unlock.unwrap(wrapped))

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The node's Ed25519 key."""
        key = serialization.load_der_private_key(self.get(SIGNING), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("not an Ed25519 key", where=f"{self._folder} {SIGNING}", right="restore the key store")
        return key

    @property
    def tls_key(self) -> ec.EllipticCurvePrivateKey:
        """The node's P-256 key."""
        key = serialization.load_der_private_key(self.get(TLS), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError("not a P-256 key", where=f"{self._folder} {TLS}", right="restore the key store")
        return key

    @property
    def tls_key_pem(self) -> bytes:
        """The TLS key as gRPC wants it: PKCS#8 PEM, in memory only."""
        return self.tls_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def put(self, name: str, secret: bytes) -> None:
        """Store `secret` (at most 1 MiB) under `name`, replacing what was there."""
        if len(secret) > MAX_SECRET_BYTES:
            raise ConfigError(f"secret of {len(secret)} bytes", where=name, right=f"at most {MAX_SECRET_BYTES}")
        write_private(self._path(name), _seal(self._master, secret, _secret_context(name)))

    def get(self, name: str) -> bytes:
        """The secret called `name`; raises ConfigError when there is none or it was altered."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ConfigError("no such secret", where=str(path), right="a name that was put") from None
        return _open(self._master, data, _secret_context(name), where=str(path), right="restore it from a backup")

    def delete(self, name: str) -> None:
        """Forget the secret called `name`; nothing happens when there is none."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """The names of all secrets, sorted."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))

    def encrypt(self, data: bytes, context: str) -> bytes:
        """Encrypt bytes kept elsewhere (job checkpoints) for `context`: nonce, ciphertext and tag, 28 bytes
        more.
        """
        key = _derive(self._master, b"inbond data " + context.encode())
        return _seal(key, data, context.encode())

    def decrypt(self, data: bytes, context: str) -> bytes:
        """The bytes given to `encrypt` with this context; raises ConfigError when either differs."""
        key = _derive(self._master, b"inbond data " + context.encode())
        return _open(key, data, context.encode(), where=context, right="data of this node and of this context")

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for `purpose` alone; the same each time, and nowhere on disk."""
        return _derive(self._master, b"inbond derived " + purpose.encode())

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError("bad name of a secret", where=repr(name[:80]), right="a-z, 0-9, dot, underscore, hyphen")
        return self._folder / f"{name}{_SUFFIX}"


def private_bytes(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 DER of a private key, unencrypted: for `KeyStore.put` only."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` (mode 0600) by `data`, all or nothing, also across a power loss."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except OSError:
        Path(scratch).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_new(out: Path) -> None:
    """Raise ConfigError where no new file can be written to `out`, whatever it is to hold."""
    if out.exists():
        raise ConfigError("there is such a file already", where=str(out), right="another name")
    check_folder(out)


def check_folder(out: Path) -> None:
    """Raise ConfigError where `out` would be in no folder."""
    if not out.parent.is_dir():
        raise ConfigError("there is no such folder", where=str(out.parent), right="a folder that exists")


def _secret_context(name: str) -> bytes:
    return b"secret " + name.encode()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def _seal(key: bytes, data: bytes, context: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, context)


def _open(key: bytes, sealed: bytes, context: bytes, *, where: str, right: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise ConfigError("cannot be decrypted: wrong key or altered", where=where, right=right) from None
