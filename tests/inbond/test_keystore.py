"""Keys at rest: unreadable without the unlock, bound to their names, never half written."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbond import keystore as module
from inbond.errors import ConfigError
from inbond.keystore import KeyStore, Unlock, write_private


@pytest.fixture
def unlock(tmp_path: Path) -> Unlock:
    return Unlock.new_file(tmp_path / "unlock.key")


@pytest.fixture
def store(tmp_path: Path, unlock: Unlock) -> KeyStore:
    return KeyStore.create(tmp_path / "keys", unlock)


def test_a_store_opens_again_with_the_same_keys(tmp_path: Path, store: KeyStore, unlock: Unlock) -> None:
    again = KeyStore.open(tmp_path / "keys", unlock)
    assert again.signing_key.public_key() == store.signing_key.public_key()
    assert again.tls_key.public_key() == store.tls_key.public_key()
    assert again.tls_key.curve.name == "secp256r1"
    assert again.names() == ["signing", "tls"]


def test_another_unlock_does_not_open_it(tmp_path: Path, store: KeyStore) -> None:
    with pytest.raises(ConfigError, match="wrong key or altered; the unlock it was created with"):
        KeyStore.open(tmp_path / "keys", Unlock.new_file(tmp_path / "other.key"))


def test_a_passphrase_opens_what_it_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCRYPT_COST", 2**10)
    KeyStore.create(tmp_path / "keys", Unlock.from_passphrase("correct horse"))
    assert KeyStore.open(tmp_path / "keys", Unlock.from_passphrase("correct horse")).names()
    with pytest.raises(ConfigError, match="wrong key"):
        KeyStore.open(tmp_path / "keys", Unlock.from_passphrase("wrong horse"))


def test_the_passphrase_is_stretched_as_owasp_asks() -> None:
    assert module.SCRYPT_COST == 131_072


def test_nothing_readable_is_on_disk(tmp_path: Path, store: KeyStore) -> None:
    store.put("token", b"a very secret text")
    for path in (tmp_path / "keys").iterdir():
        data = path.read_bytes()
        assert b"secret text" not in data
        assert module.private_bytes(store.signing_key)[-32:] not in data
        assert module.private_bytes(store.tls_key)[36:68] not in data


def test_folder_and_files_are_the_owners_alone(tmp_path: Path, store: KeyStore) -> None:
    store.put("token", b"x")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}


def test_a_store_or_unlock_file_open_to_others_is_refused(tmp_path: Path, store: KeyStore, unlock: Unlock) -> None:
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        KeyStore.open(tmp_path / "keys", unlock)
    (tmp_path / "unlock.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Unlock.from_file(tmp_path / "unlock.key")


def test_secrets_are_put_got_and_deleted_by_name(store: KeyStore) -> None:
    store.put("db.password", b"one")
    store.put("db.password", b"two")
    assert store.get("db.password") == b"two"
    store.delete("db.password")
    store.delete("db.password")
    with pytest.raises(ConfigError, match="no such secret"):
        store.get("db.password")


@pytest.mark.parametrize("name", ["", "../signing", "a/b", "A", ".hidden", "x" * 65, "a\0b"])
def test_a_name_cannot_leave_the_folder(store: KeyStore, name: str) -> None:
    for act in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(ConfigError, match="bad name"):
            act()


def test_files_cannot_be_swapped_or_altered(tmp_path: Path, store: KeyStore) -> None:
    store.put("one", b"1")
    store.put("two", b"2")
    one, two = tmp_path / "keys" / "one.secret", tmp_path / "keys" / "two.secret"
    two.write_bytes(one.read_bytes())
    with pytest.raises(ConfigError, match="altered"):
        store.get("two")
    one.write_bytes(b"")
    with pytest.raises(ConfigError, match="altered"):
        store.get("one")


def test_create_does_not_overwrite_a_store(tmp_path: Path, store: KeyStore, unlock: Unlock) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        KeyStore.create(tmp_path / "keys", unlock)
    with pytest.raises(ConfigError, match="exists already"):
        Unlock.new_file(tmp_path / "unlock.key")


def test_open_says_where_there_is_no_store(tmp_path: Path, unlock: Unlock) -> None:
    with pytest.raises(ConfigError, match="no key store"):
        KeyStore.open(tmp_path / "nowhere", unlock)


def test_a_failed_write_leaves_the_old_secret_and_no_scraps(
    tmp_path: Path, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    store.put("token", b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put("token", b"new")
    monkeypatch.undo()
    assert store.get("token") == b"old"
    assert not [path for path in (tmp_path / "keys").iterdir() if path.name.startswith(".")]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_checkpoints_open_only_in_their_own_context(store: KeyStore, data: bytes, one: str, other: str) -> None:
    sealed = store.encrypt(data, one)
    assert len(sealed) == len(data) + 28
    assert store.decrypt(sealed, one) == data
    assert store.encrypt(data, one) != sealed
    if one != other:
        with pytest.raises(ConfigError, match="wrong key or altered"):
            store.decrypt(sealed, other)


def test_another_node_cannot_open_a_checkpoint(tmp_path: Path, store: KeyStore, unlock: Unlock) -> None:
    with pytest.raises(ConfigError, match="data of this node"):
        KeyStore.create(tmp_path / "other", unlock).decrypt(store.encrypt(b"x", "job"), "job")


def test_an_own_unlock_may_be_plugged_in(tmp_path: Path) -> None:
    class Token(Unlock):
        """As a PKCS#11 token would: the wrapping key never leaves it."""

        def wrap(self, master: bytes) -> bytes:
            return bytes(byte ^ 0x5A for byte in master)

        def unwrap(self, wrapped: bytes) -> bytes:
            return self.wrap(wrapped)

    made = KeyStore.create(tmp_path / "keys", Token())
    assert KeyStore.open(tmp_path / "keys", Token()).get("tls") == made.get("tls")


def test_the_setting_names_a_file_or_a_variable(tmp_path: Path, unlock: Unlock, store: KeyStore) -> None:
    assert KeyStore.open(tmp_path / "keys", Unlock.from_setting("file:unlock.key", tmp_path, {}))
    assert Unlock.from_setting("env:PASS", tmp_path, {"PASS": "x"})
    for setting in ("env:PASS", "env:", "pkcs11:x", "file:", "file:missing.key"):
        with pytest.raises(ConfigError):
            Unlock.from_setting(setting, tmp_path, {})


def test_a_short_unlock_file_or_empty_passphrase_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "short.key", b"x" * 31)
    with pytest.raises(ConfigError, match="too short"):
        Unlock.from_file(tmp_path / "short.key")
    with pytest.raises(ConfigError, match="empty"):
        Unlock.from_passphrase("")


def test_a_store_does_not_show_its_keys(store: KeyStore) -> None:
    assert "keys" in repr(store)
    assert "\\x" not in repr(store)
